"""Each fault moves the figure it should move, on the real design; and what it took away comes back when it ends."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis.exceptions import ResponseError

from loadtests.faults.schedule import Fault
from tests.processes.driving import wait_until
from tests.url_shortener.processes.driving import Api, running, stored_links
from workbench.embedded_redis import EmbeddedRedis
from workbench.fault_injection.process_faults import FaultFailed, ProcessFaults
from workbench.launch import RunningDesign

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")


def fault(kind: str, target: str, **attributes: float) -> Fault:
    return Fault(kind, target, at_s=0, for_s=1, attributes=attributes)


@pytest.fixture(scope="module")
def design() -> Iterator[RunningDesign]:
    with running(replicas=2, faults=True) as started:
        yield started


@pytest.fixture
def faults(design: RunningDesign) -> Iterator[ProcessFaults]:
    """Healed at the end, and every process is ready for the next test."""
    faults = ProcessFaults(design)
    yield faults
    faults.heal()
    for url in design.urls:
        with Api(url, design.api_key) as api:
            wait_until(lambda api=api: api.readiness() == "ready", "the replica is ready again")  # type: ignore[misc]


@pytest.fixture
def first(design: RunningDesign, faults: ProcessFaults) -> Iterator[Api]:
    with Api(design.urls[0], design.api_key) as api:
        yield api


@pytest.fixture
def second(design: RunningDesign, faults: ProcessFaults) -> Iterator[Api]:
    with Api(design.urls[1], design.api_key) as api:
        yield api


@pytest.fixture
def server(design: RunningDesign) -> EmbeddedRedis:
    assert design.redis is not None
    return design.redis


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


def test_a_killed_replica_is_another_process_afterwards_on_the_same_port(
    design: RunningDesign, faults: ProcessFaults, first: Api, second: Api
) -> None:
    code = first.create("https://example.org/")["code"]
    before = design.supervisor.pid("replica-1")
    assert f"SIGKILL of replica-1 (pid {before})" in faults.begin(fault("kill", "replica-1"))
    assert design.supervisor.pid("replica-1") is None
    assert second.visit(code).status_code == 302
    after = design.supervisor.pid("replica-1") if faults.end(fault("kill", "replica-1")) else None
    assert after not in (None, before)
    with Api(design.urls[0], design.api_key) as api:
        assert api.visit(code).status_code == 302
    assert design.supervisor.newly_ended() == []


def test_a_process_comes_back_with_the_last_of_the_faults_that_hold_it_down(design: RunningDesign, faults: ProcessFaults) -> None:
    shorter, longer = fault("kill", "click-worker"), Fault("kill", "click-worker", at_s=0, for_s=9)
    faults.begin(longer)
    assert faults.begin(shorter) == "click-worker was down already"
    assert faults.end(shorter) == "click-worker is down"
    assert design.supervisor.pid("click-worker") is None
    assert "runs" in faults.end(longer)
    assert design.supervisor.pid("click-worker") is not None


def test_a_process_that_ended_by_itself_is_left_for_its_watcher_to_find(design: RunningDesign, faults: ProcessFaults) -> None:
    pause = fault("pause", "click-worker")
    faults.begin(pause)
    pid = design.supervisor.pid("click-worker")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: design.supervisor.pid("click-worker") is None, "the worker is gone")
    assert faults.end(pause) == "click-worker is down"
    with pytest.raises(FaultFailed, match="click-worker does not run"):
        faults.begin(pause)
    assert "click-worker was ended by SIGKILL" in design.supervisor.newly_ended()[0]
    design.supervisor.restart("click-worker")


def test_a_paused_replica_answers_nothing_and_then_what_it_was_asked(design: RunningDesign, faults: ProcessFaults) -> None:
    port = int(design.urls[0].rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        faults.begin(fault("pause", "replica-1"))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        faults.end(fault("pause", "replica-1"))
        connection.settimeout(10)
        assert connection.recv(64).startswith(b"HTTP/1.1 200")


def test_a_process_killed_during_a_pause_is_paused_again_when_it_is_back(design: RunningDesign, faults: ProcessFaults) -> None:
    faults.begin(fault("pause", "click-worker"))
    faults.begin(fault("kill", "click-worker"))
    assert "stands still" in faults.end(fault("kill", "click-worker"))
    assert "stands still" not in faults.end(fault("pause", "click-worker"))


def test_a_paused_redis_makes_every_replica_degraded_and_a_spoilt_link_only_one(
    design: RunningDesign, faults: ProcessFaults, first: Api, second: Api, client: redis.Redis
) -> None:
    faults.begin(fault("pause", "redis"))
    wait_until(lambda: first.readiness() == second.readiness() == "degraded", "both miss Redis")
    faults.end(fault("pause", "redis"))
    wait_until(lambda: first.readiness() == second.readiness() == "ready", "both have Redis again")
    assert design.proxy is not None
    assert set(design.proxy.proxies()) == {"redis@replica-1", "redis@replica-2", "redis@click-worker"}
    design.proxy.set_enabled("redis@replica-1", False)
    wait_until(lambda: first.readiness() == "degraded", "the first misses Redis")
    assert second.readiness() == "ready"
    assert client.ping()
    design.proxy.reset()


def test_a_wiped_redis_is_empty(faults: ProcessFaults, client: redis.Redis) -> None:
    client.set("kept?", "no")
    assert "deleted" in faults.begin(fault("wipe", "redis"))
    with pytest.raises(redis.ConnectionError):
        client.ping()
    faults.end(fault("wipe", "redis"))
    assert not client.exists("kept?")


def test_when_the_host_loses_power_all_fall_and_acknowledged_links_stay_while_redis_forgets_its_last_second(
    design: RunningDesign, faults: ProcessFaults, first: Api, client: redis.Redis
) -> None:
    before = design.pids_by_role()
    made = [first.create(f"https://example.org/{number}")["code"] for number in range(3)]
    client.set("young", "lost")
    client.connection_pool.disconnect()
    assert "redis lost the last" in faults.begin(fault("power_loss", "host"))
    assert set(design.pids_by_role()) == {"proxy"}
    faults.end(fault("power_loss", "host"))
    after = design.pids_by_role()
    assert {role: len(pids) for role, pids in after.items()} == {role: len(pids) for role, pids in before.items()}
    assert after["proxy"] == before["proxy"]
    assert set(made) <= set(stored_links(design.data_dir))
    assert not client.exists("young")


def test_a_clock_that_is_ahead_ends_links_early_on_its_replica_alone(
    design: RunningDesign, faults: ProcessFaults, first: Api, second: Api
) -> None:
    in_an_hour = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    asked = {"url": "https://example.org/", "expires_at": in_an_hour}
    code = first.http.post("/api/v1/links", json=asked).json()["code"]
    gone = {"ahead": 410, "right": 302}
    faults.begin(fault("clock_offset", "replica-1", seconds=7200))
    assert (first.visit(code).status_code, second.visit(code).status_code) == (gone["ahead"], gone["right"])
    assert first.http.post("/api/v1/links", json=asked).status_code == 422
    made_at = dt.datetime.fromisoformat(first.create("https://example.org/later")["created_at"])
    assert made_at > dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    faults.end(fault("clock_offset", "replica-1", seconds=7200))
    assert first.visit(code).status_code == 302


def test_a_slow_store_keeps_its_replica_waiting_while_the_other_is_done(
    design: RunningDesign, faults: ProcessFaults, first: Api, second: Api
) -> None:
    second.create("https://example.org/")  # connected, and with numbers at hand
    slow = fault("slow_store", "replica-1", delay=2_000)
    assert "2000 ms slower" in faults.begin(slow)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first.http.post, "/api/v1/links", json={"url": "https://example.org/"})
        second.create("https://example.org/")
        assert not waiting.done()
        faults.end(slow)
        assert waiting.result().status_code in (201, 503)
    assert first.create("https://example.org/")


@linux_only
def test_on_a_full_disk_a_create_is_refused_and_changes_nothing_and_afterwards_writes_go_on(
    design: RunningDesign, faults: ProcessFaults, first: Api, second: Api
) -> None:
    known = first.create("https://example.org/known")["code"]
    before = stored_links(design.data_dir)
    log = design.data_dir / "logs" / "replica-1.log"
    logged = log.stat().st_size
    faults.begin(fault("disk_full", "replica-1", bytes=0))
    for answer in (first.http.post("/api/v1/links", json={"url": "https://example.org/"}), first.edit(known, enabled=False)):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
    assert first.visit(known).status_code == 302
    assert stored_links(design.data_dir) == before
    assert log.stat().st_size == logged, "the log is on the same disk"
    assert second.create("https://example.org/")
    faults.end(fault("disk_full", "replica-1", bytes=0))
    assert first.create("https://example.org/")["code"] in stored_links(design.data_dir)
    assert first.edit(known, enabled=False).status_code == 200


@linux_only
def test_on_a_full_disk_redis_refuses_writes_edits_are_refused_and_both_go_on_afterwards(
    faults: ProcessFaults, first: Api, client: redis.Redis
) -> None:
    code = first.create("https://example.org/")["code"]
    faults.begin(fault("disk_full", "redis", bytes=0))

    def refuses() -> bool:
        try:
            client.set("any", "thing")
        except ResponseError as error:
            return "MISCONF" in str(error)
        return False

    wait_until(refuses, "Redis has seen that it can't write its log")
    assert first.edit(code, url="https://example.org/2").status_code == 503
    assert first.visit(code).status_code == 302
    faults.end(fault("disk_full", "redis", bytes=0))
    wait_until(lambda: not refuses(), "Redis tries again, once a second")
    wait_until(lambda: first.edit(code, url="https://example.org/2").status_code == 200, "edits work again")


@linux_only
def test_a_process_started_while_its_disk_is_full_has_a_full_disk(faults: ProcessFaults, first: Api, design: RunningDesign) -> None:
    faults.begin(fault("disk_full", "replica-1", bytes=0))
    faults.begin(fault("kill", "replica-1"))
    assert "may write 0 bytes" in faults.end(fault("kill", "replica-1"))
    with Api(design.urls[0], design.api_key) as api:
        assert api.http.post("/api/v1/links", json={"url": "https://example.org/"}).status_code == 503
        faults.end(fault("disk_full", "replica-1", bytes=0))
        assert api.create("https://example.org/")


def test_faults_of_many_threads_at_once_end_with_all_processes_running(design: RunningDesign, faults: ProcessFaults) -> None:
    faults_of_each = [
        fault("kill", "replica-1"),
        fault("kill", "redis"),
        fault("power_loss", "host"),
        fault("pause", "click-worker"),
        fault("clock_offset", "replica-2", seconds=5),
    ]
    together = threading.Barrier(len(faults_of_each))

    def strike(one: Fault) -> None:
        together.wait()
        faults.begin(one)
        faults.end(one)

    with ThreadPoolExecutor(len(faults_of_each)) as pool:
        list(pool.map(strike, faults_of_each))
    assert {role: len(pids) for role, pids in design.pids_by_role().items()} == {"service": 2, "worker": 1, "proxy": 1, "store": 1}
    assert design.supervisor.newly_ended() == []


@pytest.mark.parametrize(
    ("kind", "target", "attributes", "sentence"),
    [
        ("latency", "redis", {"latency": 1}, "latency is nothing that is done to a process"),
        (
            "kill",
            "replica-9",
            {},
            "there is no process 'replica-9' to strike; there are redis, replica-1, replica-2, click-worker, host",
        ),
        ("wipe", "replica-1", {}, "there is nothing to wipe of replica-1"),
        ("wipe", "host", {}, "there is nothing to wipe of host"),
        ("power_loss", "replica-1", {}, "not by replica-1 alone"),
        ("slow_store", "redis", {"delay": 1}, "redis has no such hook"),
        ("clock_offset", "replica-1", {}, "clock_offset needs the attribute seconds"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    design: RunningDesign, kind: str, target: str, attributes: dict[str, float], sentence: str
) -> None:
    with pytest.raises(FaultFailed, match=sentence):
        ProcessFaults(design).begin(fault(kind, target, **attributes))


def test_a_design_in_normal_life_has_nothing_in_the_way_and_cannot_be_hooked() -> None:
    with running(clicks="off", cache="none", ids="lease", traces=0) as calm:
        assert set(calm.pids_by_role()) == {"service"}
        assert not any("FAULT_FILE" in name for spec in calm.specs for name in spec.env)
        with pytest.raises(FaultFailed, match="faults=True"):
            ProcessFaults(calm).begin(fault("clock_offset", "replica-1", seconds=1))
        with pytest.raises(FaultFailed, match="redis is not ours to break"):
            ProcessFaults(calm).begin(fault("kill", "redis"))
        ProcessFaults(calm).begin(fault("kill", "host"))
        assert calm.supervisor.running() == []


def test_a_fault_that_fails_half_way_leaves_nothing_down() -> None:
    with running(clicks="off", ids="lease") as unwatched:
        with pytest.raises(FaultFailed, match="power_loss of host: this server was not watched"):
            ProcessFaults(unwatched).begin(fault("power_loss", "host"))
        assert set(unwatched.pids_by_role()) == {"service", "store"}


def test_a_run_that_ends_while_all_is_broken_leaves_no_process_behind() -> None:
    with running(faults=True) as broken:
        faults = ProcessFaults(broken)
        pids = [pid for pids in broken.pids_by_role().values() for pid in pids]
        faults.begin(fault("pause", "redis"))
        faults.begin(fault("pause", "replica-1"))
    left = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(map(str, pids))], capture_output=True, text=True, check=False).stdout
    assert [state for state in left.split() if not state.startswith("Z")] == []
