import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.workbench.bounded_wait import alive
from tests.workbench.toy_design.processes import API_KEY, ToyKnobs, TracedToyKnobs
from workbench.catalogue import Design
from workbench.embedded_redis import find_server
from workbench.launch import DataFolderBusy, PortTaken, RunningDesign, bytecode_kept_in
from workbench.processes import ProcessFailed, answers_200, free_port, port_is_free

needs_redis_server = pytest.mark.skipif(
    find_server() is None and not os.environ.get("CI"), reason="no redis-server on this machine"
)


def test_a_running_design_tells_its_urls_its_key_and_its_processes(toy_design: Design) -> None:
    with RunningDesign(toy_design, replicas=2) as running:
        assert len(set(running.urls)) == 2
        assert all(answers_200(url) for url in running.urls)
        assert running.metrics_urls == tuple(f"{url}/metrics" for url in running.urls)
        assert running.api_key == API_KEY
        pids = running.pids_by_role()
        assert list(pids) == ["service"]
        assert len(pids["service"]) == 2
    assert not any(alive(pid) for pid in pids["service"])


def test_a_temporary_data_folder_is_gone_afterwards_and_a_named_one_stays(toy_design: Design, tmp_path: Path) -> None:
    with RunningDesign(toy_design) as running:
        temporary = running.data_dir
        assert temporary.is_dir()
    assert not temporary.exists()
    with RunningDesign(toy_design, data_dir=tmp_path / "kept"):
        pass
    assert (tmp_path / "kept" / "logs" / "replica-1.log").exists()


@needs_redis_server
def test_redis_runs_beside_a_design_that_needs_one_and_ends_with_it(toy_design: Design) -> None:
    with RunningDesign(toy_design, ToyKnobs(store="redis")) as running:
        [store] = running.pids_by_role()["store"]
        assert running.redis is not None
        with redis.Redis.from_url(running.redis.url) as client:
            assert client.ping()
        assert running.specs[0].env["TOY_REDIS"] == running.redis.url
    assert not alive(store)


def test_a_redis_that_already_runs_is_used_instead(toy_design: Design) -> None:
    elsewhere = "redis://127.0.0.1:6379/0"
    with RunningDesign(toy_design, ToyKnobs(store="redis"), redis_url=elsewhere) as running:
        assert running.redis is None
        assert running.specs[0].env["TOY_REDIS"] == elsewhere
        assert "store" not in running.pids_by_role()


def test_a_collector_runs_beside_a_design_that_sends_traces_and_ends_after_it(toy_design: Design) -> None:
    with RunningDesign(toy_design, TracedToyKnobs()) as running:
        assert running.specs[0].env["TOY_DESIGN_TRACES_ENDPOINT"] == f"{running.collector_url}/v1/traces"
        assert answers_200(f"{running.collector_url}/counts")
        pids = running.pids_by_role()
        assert sorted(pids) == ["collector", "service"]
    assert not any(alive(pid) for pid in [*pids["collector"], *pids["service"]])


def test_a_collector_that_already_runs_is_used_instead(toy_design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {"TOY_DESIGN_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}
    with RunningDesign(toy_design, TracedToyKnobs(), env=elsewhere) as running:
        assert running.collector_url is None
        assert list(running.pids_by_role()) == ["service"]
        assert running.specs[0].env["TOY_DESIGN_TRACES_ENDPOINT"] == elsewhere["TOY_DESIGN_TRACES_ENDPOINT"]
    monkeypatch.setenv("TOY_DESIGN_TRACES_ENDPOINT", elsewhere["TOY_DESIGN_TRACES_ENDPOINT"])
    with RunningDesign(toy_design, TracedToyKnobs()) as running:
        assert running.collector_url is None


def test_processes_get_a_place_for_compiled_modules_only_where_python_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    assert bytecode_kept_in(tmp_path) == {}
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    ask = "import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)"
    child = {**os.environ, **bytecode_kept_in(tmp_path)}
    said = subprocess.run([sys.executable, "-c", ask], env=child, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", str(tmp_path)]


def test_a_design_that_cannot_start_leaves_nothing_behind(toy_design: Design, tmp_path: Path) -> None:
    broken = RunningDesign(toy_design, ToyKnobs(mood="broken", store="redis"), redis_url="redis://127.0.0.1:6379/0")
    with pytest.raises(ProcessFailed, match="the toy is broken on purpose"):
        broken.start()
    assert not broken.data_dir.exists()
    with RunningDesign(toy_design, data_dir=tmp_path), pytest.raises(DataFolderBusy, match="in use by another run"):
        RunningDesign(toy_design, data_dir=tmp_path).start()
    with RunningDesign(toy_design, data_dir=tmp_path) as again:
        assert answers_200(again.urls[0])


def test_the_first_replica_answers_on_the_port_asked_for_and_the_others_after_it(toy_design: Design) -> None:
    port = free_port()
    with RunningDesign(toy_design, replicas=2, first_port=port) as running:
        assert running.urls[0] == f"http://127.0.0.1:{port}"
        assert int(running.urls[1].rsplit(":", 1)[1]) > port
        with pytest.raises(PortTaken, match=f"port {port} is taken"):
            RunningDesign(toy_design, first_port=port).start()
        assert answers_200(running.urls[0])
    assert port_is_free(port)
