"""A design that needs Kafka or Cassandra: it is told where they are and what is its own there, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtests.faults.schedule import Fault
from tests.workbench.fake_servers import answering, calls, control_script
from tests.workbench.toy_design.processes import ServedToyKnobs
from workbench import launch
from workbench.catalogue import Design
from workbench.fault_injection.injector import nodes_of, unbreakable
from workbench.fault_injection.links import SeveralServers
from workbench.fault_injection.process_faults import FaultFailed, ProcessFaults
from workbench.given_servers import GivenServer, NoServer
from workbench.launch import RunningDesign
from workbench.namespaces import NAME


@pytest.fixture
def given() -> Iterator[dict[str, str]]:
    with answering("kafka") as kafka, answering("cassandra") as cassandra:
        yield {"KAFKA_BOOTSTRAP": kafka, "CASSANDRA_HOSTS": cassandra}


@pytest.fixture(autouse=True)
def deleted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, str]]]:
    """The namespaces that were to be deleted, and where."""
    asked: list[tuple[str, Mapping[str, str]]] = []

    def delete(name: str, servers: Mapping[str, str]) -> bool:
        asked.append((name, dict(servers)))
        return False  # which fails no stop

    monkeypatch.setattr(launch, "delete_namespace", delete)
    return asked


def toy(design: Design, given: Mapping[str, str], servers: Any = "both", **options: Any) -> RunningDesign:
    return RunningDesign(design, ServedToyKnobs(servers=servers), environ=given, **options)


def test_it_is_told_where_the_servers_are_and_what_is_its_own_there(
    toy_design: Design, given: dict[str, str], deleted: list[tuple[str, Mapping[str, str]]]
) -> None:
    with toy(toy_design, given) as one, toy(toy_design, given, "kafka") as other:
        assert {name: one.specs[0].env[name] for name in given} == given
        assert "CASSANDRA_HOSTS" not in other.specs[0].env
        names = [running.specs[0].env["TOY_NAMESPACE"] for running in (one, other)]
        assert all(NAME.fullmatch(name) and name.startswith("toy_design_") for name in names)
        assert len({*names}) == 2, "two runs share servers and no data"
        assert deleted == []
        assert list(one.pids_by_role()) == ["service"], "the servers of this test are this process, whose CPU is nobody's"
    kafka_alone = {"KAFKA_BOOTSTRAP": given["KAFKA_BOOTSTRAP"]}
    assert deleted == [(names[1], kafka_alone), (names[0], given)]


def test_what_a_named_data_folder_has_in_the_servers_stays_with_it(
    toy_design: Design, given: dict[str, str], deleted: list[tuple[str, Mapping[str, str]]], tmp_path: Path
) -> None:
    for _ in range(2):
        with toy(toy_design, given, data_dir=tmp_path) as running:
            assert running.namespace == (tmp_path / "namespace").read_text().strip()
    assert deleted == []


def test_a_server_that_is_missing_is_a_sentence_and_nothing_is_started(
    toy_design: Design, given: dict[str, str], deleted: list[tuple[str, Mapping[str, str]]]
) -> None:
    running = toy(toy_design, {**given, "CASSANDRA_HOSTS": ""})
    with pytest.raises(NoServer, match="CASSANDRA_HOSTS does not say where"):
        running.start()
    assert not running.data_dir.exists()
    assert deleted == []


def test_a_start_that_fails_later_leaves_nothing_in_the_servers(
    toy_design: Design, given: dict[str, str], deleted: list[tuple[str, Mapping[str, str]]]
) -> None:
    running = RunningDesign(toy_design, ServedToyKnobs(mood="broken"), environ=given)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        running.start()
    assert [servers for _, servers in deleted] == [given]
    running.stop()
    assert len(deleted) == 1


def test_each_process_has_a_proxy_of_its_own_to_each_server(toy_design: Design, given: dict[str, str]) -> None:
    with toy(toy_design, given, faults=True, replicas=2) as running:
        assert running.proxy is not None
        links = running.proxy.proxies()
        assert set(links) == {f"{server}@replica-{number}" for server in ("kafka", "cassandra") for number in (1, 2)}
        for spec in running.specs:
            assert spec.env["KAFKA_BOOTSTRAP"] == spec.env["TOY_DESIGN_KAFKA_BROKERS_AT"] == links[f"kafka@{spec.name}"].listen
            assert spec.env["CASSANDRA_HOSTS"] == links[f"cassandra@{spec.name}"].listen
        assert {link.upstream for link in links.values()} == set(given.values())
        assert nodes_of(running) == ["replica-1", "replica-2", "kafka", "cassandra"]
        assert set(unbreakable(running)) == {"kafka", "cassandra"}


def test_links_to_several_servers_of_one_kind_cannot_be_spoilt(toy_design: Design, given: dict[str, str]) -> None:
    several = {**given, "CASSANDRA_HOSTS": f"{given['CASSANDRA_HOSTS']},127.0.0.1:1"}
    with pytest.raises(SeveralServers, match="CASSANDRA_HOSTS names several servers"):
        toy(toy_design, several, faults=True).start()


def test_a_given_server_is_killed_held_still_and_brought_back_by_its_command(toy_design: Design, tmp_path: Path) -> None:
    """The stand-in goes on answering, so a kill is told from one that hit another server."""
    with answering("kafka") as kafka:
        environ = {"KAFKA_BOOTSTRAP": kafka, "SERVERS_CONTROL": str(control_script(tmp_path))}
        with toy(toy_design, environ, "kafka", faults=True) as running:
            assert unbreakable(running) == {}
            faults = ProcessFaults(running)
            pause, kill = (Fault(kind, "kafka", at_s=0, for_s=1) for kind in ("pause", "kill"))
            assert faults.begin(pause) == "kafka runs, stands still"
            assert faults.end(pause) == "kafka runs"
            with pytest.raises(FaultFailed, match=r"kill of kafka: .* controls another one"):
                faults.begin(kill)
            assert calls(tmp_path) == ["stop kafka", "cont kafka", "kill kafka"]


def test_a_killed_server_is_started_again_when_the_last_fault_that_holds_it_down_ends(
    toy_design: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GivenServer, "answers", lambda server: calls(tmp_path)[-1:] != ["kill kafka"])
    environ = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "SERVERS_CONTROL": str(control_script(tmp_path))}
    with toy(toy_design, environ, "kafka", faults=True) as running:
        faults = ProcessFaults(running)
        shorter, longer = (Fault("kill", "kafka", at_s=0, for_s=seconds) for seconds in (1, 2))
        assert faults.begin(longer) == "SIGKILL of kafka"
        assert faults.begin(shorter) == "kafka was down already"
        assert faults.end(shorter) == "kafka is down"
        assert faults.end(longer) == "kafka runs"
        assert calls(tmp_path) == ["kill kafka", "up kafka"]


def test_what_would_cost_others_their_data_is_not_done_and_a_host_that_falls_leaves_them_alone(
    toy_design: Design, tmp_path: Path, given: dict[str, str]
) -> None:
    environ = {**given, "SERVERS_CONTROL": str(control_script(tmp_path))}
    with toy(toy_design, environ, faults=True) as running:
        faults = ProcessFaults(running)
        for kind in ("wipe", "power_loss", "disk_full"):
            with pytest.raises(FaultFailed, match="cassandra may hold what is others'"):
                faults.begin(Fault(kind, "cassandra", at_s=0, for_s=1, attributes={"bytes": 0}))
        loss = Fault("power_loss", "host", at_s=0, for_s=1)
        assert faults.begin(loss).endswith("kafka and cassandra went on: they are not this run's")
        faults.end(loss)
        assert calls(tmp_path) == []


def test_a_server_without_a_control_is_refused_with_a_sentence(toy_design: Design, given: dict[str, str]) -> None:
    with toy(toy_design, given, faults=True) as running:
        for kind in ("kill", "pause"):
            with pytest.raises(FaultFailed, match=r"is not ours to break: .* set SERVERS_CONTROL"):
                ProcessFaults(running).begin(Fault(kind, "kafka", at_s=0, for_s=1))
