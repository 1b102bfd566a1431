"""The clocks, against processes that burn a known amount of CPU time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loadtests import cpu_clock
from loadtests.cpu_clock import MachineTimes, Unreadable, steal_ratio

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clocks are Linux's")

BURN = "import time\ndef burn(s):\n    end = time.{clock}() + s\n    while time.{clock}() < end: pass\n"
PER_PROCESS = BURN.format(clock="process_time")
PER_THREAD = BURN.format(clock="thread_time")


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that prints "ready" once it has done its work, and stays until its input closes."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", code + "\nprint('ready', flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_clock_of_this_process_is_its_process_time() -> None:
    before_ns = time.process_time_ns()
    seen_ns = cpu_clock.cpu_ns(os.getpid())

    assert before_ns <= seen_ns <= time.process_time_ns()


def test_a_thread_that_ended_still_counts() -> None:
    code = PER_THREAD + "import threading\nt = threading.Thread(target=burn, args=(0.2,)); t.start(); t.join()\nburn(0.1)"
    with child(code) as process:
        assert 0.3e9 <= cpu_clock.cpu_ns(process.pid) < 1.5e9
        assert cpu_clock.tree([process.pid]) == [process.pid]


def test_children_count_while_they_live_and_after_they_ended() -> None:
    code = (
        PER_PROCESS
        + "import subprocess, sys\n"
        + f"code = {(PER_PROCESS + 'burn(0.2)')!r}\n"
        + "subprocess.run([sys.executable, '-S', '-c', code])\n"
        + f"alive = subprocess.Popen([sys.executable, '-S', '-c', {(PER_PROCESS + 'burn(0.2); print(1, flush=True); input()')!r}],"
        + " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        + "alive.stdout.readline()"
    )
    with child(code) as process:
        own_ns = cpu_clock.cpu_ns(process.pid)
        ended_ns = cpu_clock.reaped_children_ns(process.pid)
        family = cpu_clock.tree([process.pid])
        assert len(family) == 2
        living_ns = cpu_clock.cpu_ns(family[1])

        assert ended_ns >= 0.18e9  # in ticks of 10 ms
        assert living_ns >= 0.2e9
        assert cpu_clock.tree_cpu_ns([process.pid]) >= own_ns + ended_ns + living_ns
        assert cpu_clock.tree_cpu_ns([process.pid, family[1]]) < own_ns + ended_ns + 2 * living_ns, "each counts once"


def test_without_the_kernels_clock_the_ticks_in_proc_agree_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with child(PER_PROCESS + "burn(0.2)") as process:
        exact_ns = cpu_clock.cpu_ns(process.pid)
        monkeypatch.setattr(cpu_clock, "CPUCLOCK_SCHED", 3)  # no such clock
        assert cpu_clock.cpu_ns(process.pid) == pytest.approx(exact_ns, abs=30e6)


def test_a_process_that_is_not_there_is_said_so() -> None:
    with child("") as process:
        pid = process.pid
    for reading in (cpu_clock.cpu_ns, cpu_clock.reaped_children_ns):
        with pytest.raises(Unreadable, match=str(pid)):
            reading(pid)
    for tree_reading in (cpu_clock.tree_cpu_ns, cpu_clock.run_queue_wait_ns, cpu_clock.rss_bytes):
        with pytest.raises(Unreadable, match=str(pid)):
            tree_reading([pid])


def test_waiting_for_a_cpu_is_seen() -> None:
    """Two processes that want the same CPU wait for each other."""
    cpu = min(os.sched_getaffinity(0))
    code = PER_PROCESS + f"import os\nos.sched_setaffinity(0, {{{cpu}}})\n" + "print('ready', flush=True)\ninput()\nburn(0.1)"
    with child(code) as one, child(code) as two:
        before_ns = cpu_clock.run_queue_wait_ns([one.pid, two.pid])
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, two):
            assert process.stdout is not None
            process.stdout.readline()
        assert cpu_clock.run_queue_wait_ns([one.pid, two.pid]) - before_ns > 0.05e9


def test_memory_that_is_touched_is_resident() -> None:
    with child("kept = bytearray(b'x' * 50_000_000)") as large, child("") as small:
        difference = cpu_clock.rss_bytes([large.pid]) - cpu_clock.rss_bytes([small.pid])

    assert 45e6 < difference < 60e6


def test_steal_is_its_share_of_all_time() -> None:
    assert steal_ratio(MachineTimes(1_000, 10), MachineTimes(1_400, 14)) == 0.01
    assert steal_ratio(MachineTimes(1_000, 10), MachineTimes(1_000, 10)) == 0.0
    assert cpu_clock.machine_times().busy_and_idle > 0
