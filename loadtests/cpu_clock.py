"""What a group of processes cost: CPU time, time spent waiting for a CPU, memory; and how much the machine disturbed them.

CPU time per request is the figure that small, shared machines can compare: requests/s of one service against itself varies by
half from round to round, its CPU time per request by a few per cent. Read outside a round, before and after it.

On Linux the kernel keeps a CPU clock for each process that any process of the same user may read, to the nanosecond, with
ended threads included (`clock_getcpuclockid(3)`; the id is computed as in `man 2 clock_getres`, "dynamic clocks"). Elsewhere
`/proc` does not exist and these functions raise `Unreadable`.

Limit: a child that ended counts from its parent's `cutime + cstime`, so in 10 ms ticks, and only if the parent waited for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CPUCLOCK_SCHED = 2
TREE_LIMIT = 1_000
TREE_ATTEMPTS = 3


class Unreadable(RuntimeError):
    """The process ended, belongs to someone else, or this system keeps no such figure."""


def cpu_ns(pid: int) -> int:
    """CPU time of one process, user and system, all its threads, those that ended included; without its children."""
    try:
        return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)
    except (OSError, AttributeError):
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) * _tick_ns()


def reaped_children_ns(pid: int) -> int:
    """CPU time of the children, and theirs, that ended and were waited for; in ticks of 10 ms."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) * _tick_ns()


def tree_cpu_ns(pids: Iterable[int]) -> int:
    """CPU time of these processes and all that descend from them, each counted once.

    A descendant that ends between two readings moves from its own clock to its parent's reaped children, so the sum stands.
    """
    pids = list(pids)
    for _ in range(TREE_ATTEMPTS):
        try:
            return sum(cpu_ns(pid) + reaped_children_ns(pid) for pid in tree(pids))
        except Unreadable as error:  # a descendant ended after it was listed: its time is now its parent's
            last = error
    raise last


def run_queue_wait_ns(pids: Iterable[int]) -> int:
    """Time the live threads of these processes and their descendants were ready to run and had no CPU (Linux schedstat)."""
    total = 0
    for pid in tree(pids):
        for schedstat in PROC.glob(f"{pid}/task/*/schedstat"):
            try:
                total += int(schedstat.read_text().split()[1])
            except OSError:
                continue  # the thread ended while we were looking
    return total


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory of these processes and their descendants. Pages they share count for each."""
    pages = 0
    for pid in tree(pids):
        try:
            pages += int((PROC / str(pid) / "statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def tree(pids: Iterable[int]) -> list[int]:
    """The processes and their live descendants, each once. `Unreadable` when one of `pids` itself is gone."""
    found: dict[int, None] = {}
    pending = list(pids)
    for pid in pending:
        if not (PROC / str(pid) / "stat").exists():
            raise Unreadable(f"process {pid} is not running")
    while pending and len(found) < TREE_LIMIT:
        pid = pending.pop()
        if pid not in found:
            found[pid] = None
            pending.extend(_children(pid))
    return list(found)


@dataclass(frozen=True, slots=True)
class MachineTimes:
    """Sums over all CPUs since boot, in ticks."""

    busy_and_idle: int
    steal: int


def machine_times() -> MachineTimes:
    """From the first line of /proc/stat: user nice system idle iowait irq softirq steal (guest is inside user)."""
    try:
        fields = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError as error:
        raise Unreadable("this system has no /proc/stat") from error
    return MachineTimes(sum(fields), fields[7])


def steal_ratio(before: MachineTimes, after: MachineTimes) -> float:
    """Share of all CPU time between two readings that the hypervisor gave to others."""
    return (after.steal - before.steal) / max(1, after.busy_and_idle - before.busy_and_idle)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for path in PROC.glob(f"{pid}/task/*/children"):
        try:
            children.extend(int(child) for child in path.read_text().split())
        except OSError:
            continue
    return children


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on: index 11 utime, 12 stime, 13 cutime, 14 cstime (`man 5 proc_pid_stat`)."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError as error:
        raise Unreadable(f"process {pid} is not running") from error
    # The name, in parentheses, may hold spaces and parentheses itself.
    return text.rpartition(")")[2].split()


def _tick_ns() -> int:
    return 1_000_000_000 // os.sysconf("SC_CLK_TCK")
