import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.processes import ProcessSpec
from tests.workbench.bounded_wait import alive, wait_until
from tests.workbench.toy_design.processes import KNOBS, SERVER, processes
from workbench.processes import (
    FIRST_PORT,
    LAST_PORT,
    UNPINNED,
    ProcessFailed,
    Supervisor,
    answers,
    answers_200,
    cpu_plan,
    free_port,
    port_is_free,
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")


def toy(tmp_path: Path, replicas: int = 1, mood: str = "calm") -> list[ProcessSpec]:
    knobs = KNOBS(mood=mood)
    return processes(knobs, data_dir=tmp_path, ports=free_port, servers={}, replicas=replicas, env={})


def stubborn(name: str = "stubborn", code: str = "pass") -> ProcessSpec:
    """A process that ignores SIGTERM, and says so in its log once it does."""
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True);"
    return ProcessSpec(name, "worker", (sys.executable, "-I", "-S", "-c", f"{ignore}{code}; time.sleep(600)"))


def test_all_processes_are_ready_when_started_and_gone_when_stopped(tmp_path: Path) -> None:
    specs = toy(tmp_path, replicas=2)
    with Supervisor(tmp_path) as supervisor:
        supervisor.start_all(specs)
        assert all(answers_200(spec.ready_url or "") for spec in specs)
        pids = supervisor.pids_by_role()["service"]
        assert len(pids) == 2
        assert [spec.name for spec in supervisor.running()] == ["replica-1", "replica-2"]
    assert not any(alive(pid) for pid in pids)
    assert not any(answers_200(spec.ready_url or "") for spec in specs)


def test_a_process_that_dies_early_is_one_sentence_with_the_end_of_its_log(tmp_path: Path) -> None:
    argv = (sys.executable, str(SERVER), "1")
    broken = ProcessSpec("broken", "worker", argv, {"TOY_MOOD": "broken"}, ready_url="http://127.0.0.1:1/")
    specs = [*toy(tmp_path, replicas=1), broken]
    supervisor = Supervisor(tmp_path)
    with pytest.raises(ProcessFailed, match="broken ended with exit code 1 before it was ready; its log ends: the toy is broken"):
        supervisor.start_all(specs)
    assert supervisor.pids_by_role() == {}
    assert not answers_200(specs[0].ready_url or "")


def test_a_program_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    spec = ProcessSpec("absent", "worker", ("/nowhere/program",), ready_url="http://127.0.0.1:1/")
    with pytest.raises(ProcessFailed, match="cannot run /nowhere/program: No such file"):
        Supervisor(tmp_path).start_all([spec])


def test_a_process_that_never_becomes_ready_is_given_up_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    deaf = ProcessSpec("deaf", "service", stubborn().argv, ready_url=f"http://127.0.0.1:{port}/healthz")
    supervisor = Supervisor(tmp_path, ready_within_s=0.2, stop_within_s=0.1)
    with pytest.raises(ProcessFailed, match=r"deaf not ready within 0\.2 s"):
        supervisor.start_all([deaf])
    assert supervisor.pids_by_role() == {}


def test_a_process_that_ignores_sigterm_is_killed_with_all_it_started(tmp_path: Path) -> None:
    start_another = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    supervisor = Supervisor(tmp_path, stop_within_s=0.1)
    supervisor.start_all([stubborn(code=start_another)])
    log = tmp_path / "stubborn.log"
    wait_until(lambda: len(log.read_text().splitlines()) == 2, "the process has started another")
    pids = [*supervisor.pids_by_role()["worker"], int(log.read_text().splitlines()[1])]
    supervisor.stop()
    wait_until(lambda: not any(alive(pid) for pid in pids), "both are gone")


def test_a_crash_is_told_once_and_the_process_can_be_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        [spec] = specs = toy(tmp_path)
        supervisor.start_all(specs)
        [pid] = supervisor.pids_by_role()["service"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not supervisor.running(), "the supervisor has seen the crash")
        assert supervisor.newly_ended() == ["replica-1 was ended by SIGKILL; its log is empty"]
        assert supervisor.newly_ended() == []
        supervisor.restart("replica-1")
        assert answers_200(spec.ready_url or "")
        supervisor.kill("replica-1")
        assert supervisor.newly_ended() == []
        assert not answers_200(spec.ready_url or "")


def test_a_paused_process_counts_as_running_answers_nothing_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        [spec] = specs = toy(tmp_path)
        supervisor.start_all(specs)
        pid = supervisor.pid("replica-1")
        supervisor.pause("replica-1")
        supervisor.pause("replica-1")
        assert supervisor.running() == specs
        assert not answers(spec.url or "", timeout_s=0.1)
        supervisor.resume("replica-1")
        assert answers_200(spec.url or "")
        assert supervisor.pid("replica-1") == pid
        supervisor.kill("replica-1")
        assert supervisor.pid("replica-1") is None
        with pytest.raises(ProcessFailed, match="replica-1 does not run"):
            supervisor.pause("replica-1")
        with pytest.raises(ProcessFailed, match="there is no process 'replica-9'; there are replica-1"):
            supervisor.pid("replica-9")


def test_a_paused_process_is_stopped_in_order_as_any_other(tmp_path: Path) -> None:
    say_bye = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye'))); print('here', flush=True)"
    )
    argv = (sys.executable, "-I", "-S", "-c", f"{say_bye}; time.sleep(600)")
    with Supervisor(tmp_path) as supervisor:
        supervisor.start_all([ProcessSpec("polite", "worker", argv)])
        log = tmp_path / "polite.log"
        wait_until(lambda: log.read_text() == "here\n", "the process listens to signals")
        supervisor.pause("polite")
    assert log.read_text() == "here\nbye\n"


def test_several_crash_at_once_and_come_back_together(tmp_path: Path) -> None:
    specs = toy(tmp_path, replicas=3)
    with Supervisor(tmp_path) as supervisor:
        supervisor.start_all(specs)
        before = {spec.name: supervisor.pid(spec.name) for spec in specs}
        supervisor.kill("replica-1", "replica-3")
        assert [spec.name for spec in supervisor.running()] == ["replica-2"]
        supervisor.restart("replica-1", "replica-3", ready=False)
        assert all(answers(spec.url or "") for spec in specs)
        assert supervisor.pid("replica-2") == before["replica-2"]
        assert supervisor.newly_ended() == []


def test_a_process_outlives_the_thread_that_had_it_started(tmp_path: Path) -> None:
    [spec] = specs = toy(tmp_path)
    with Supervisor(tmp_path) as supervisor:
        supervisor.start_all(specs)
        for change in (lambda: supervisor.kill(spec.name), lambda: supervisor.restart(spec.name)):
            thread = threading.Thread(target=change)
            thread.start()
            thread.join()
        assert answers_200(spec.url or "")
        assert supervisor.newly_ended() == []


@linux_only
def test_a_child_is_told_of_a_file_that_may_not_grow_instead_of_being_killed_for_it(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start_all([ProcessSpec("one", "worker", ("sleep", "600"))])
        status = Path(f"/proc/{supervisor.pid('one')}/status")
        wait_until(lambda: "Name:\tsleep" in status.read_text(), "it has become what it is to be")
        [ignored] = [int(line.split()[1], 16) for line in status.read_text().splitlines() if line.startswith("SigIgn:")]
        assert ignored & 1 << signal.SIGXFSZ - 1


def test_a_running_process_is_not_started_twice(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start_all([stubborn()])
        supervisor.stop_within_s = 0.1
        with pytest.raises(ValueError, match="stubborn still runs"):
            supervisor.restart("stubborn")


@linux_only
def test_processes_end_when_the_one_who_started_them_is_killed_and_can_clean_up_nothing(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from workbench.processes import *;"
        f"from tests.workbench.test_processes import stubborn; s = Supervisor(pathlib.Path({str(tmp_path)!r}));"
        "s.start_all([stubborn()]); print(s.pids_by_role()['worker'][0], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: (tmp_path / "stubborn.log").read_text() == "deaf\n", "the child ignores SIGTERM")
        parent.kill()
    wait_until(lambda: not alive(pid), "the child is gone")


@linux_only
def test_a_process_whose_parent_died_before_it_could_ask_does_not_start() -> None:
    shim = Path(__file__).parents[2] / "workbench" / "parent_death.py"
    somebody_else = "1" if os.getpid() != 1 else "2"
    argv = [sys.executable, "-I", "-S", str(shim), somebody_else, "9", "any", "echo", "started"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (70, "")


@linux_only
def test_pinned_processes_run_on_their_cpus_only(tmp_path: Path) -> None:
    first = min(os.sched_getaffinity(0))
    with Supervisor(tmp_path, cpus={first}) as supervisor:
        supervisor.start_all(toy(tmp_path))
        [pid] = supervisor.pids_by_role()["service"]
        assert os.sched_getaffinity(pid) == {first}


def test_secrets_in_the_environment_are_not_in_what_is_printed_of_a_process() -> None:
    spec = ProcessSpec("one", "service", ("true",), {"API_KEYS": "demo:hunter2"})
    assert "hunter2" not in repr(spec)


@given(st.sets(st.integers(0, 255), min_size=1))
def test_servers_and_generator_never_share_a_cpu(cpus: set[int]) -> None:
    plan = cpu_plan(cpus)
    if len(cpus) == 1:
        assert plan == UNPINNED
    else:
        assert plan.servers is not None
        assert plan.generator is not None
        assert plan.servers | plan.generator == cpus
        assert not plan.servers & plan.generator
        assert plan.generator == {max(cpus)}


def test_a_free_port_is_one_nobody_listens_on_and_no_outgoing_connection_takes() -> None:
    first_choice = random.Random(7).randint(FIRST_PORT, LAST_PORT)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first_choice))
        taken.listen()
        assert not port_is_free(first_choice)
        port = free_port(random.Random(7))
    assert port != first_choice
    assert FIRST_PORT <= port <= LAST_PORT < 32768
