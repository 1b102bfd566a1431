"""A design's processes, started together and ended together: none outlives the supervisor, however it ends.

Each child has its own process group (so a Ctrl-C meant for us is not meant for it), its own log file, and the kernel's promise
to be killed with us. A child that dies before it is ready becomes one sentence with the end of its log.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from designs.building_blocks.processes import ProcessSpec
from workbench.spawner import pause, resume, signal_group, spawn

POLL_S = 0.02
LOG_TAIL_LINES = 6
LOG_TAIL_CHARACTERS = 800
# Below the range from which the kernel takes the ports of outgoing connections (32768 upwards): a load generator's
# connection can never sit on the port of a service that is being restarted.
FIRST_PORT, LAST_PORT = 20_000, 32_000
PORT_ATTEMPTS = 200


class ProcessFailed(RuntimeError):
    """A process ended, or was not ready in time. The message is a sentence with the end of its log."""


@dataclass(slots=True)
class Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes]
    log: Path
    reported: bool = False


class Supervisor:
    """Starts the processes of one run and stops them all.

    >>> with Supervisor(folder) as supervisor:
    ...     supervisor.start_all(specs)

    Log files are `<log_dir>/<name>.log`. `cpus` pins every child. For use from any thread; of one process, from one at a time.
    """

    def __init__(
        self, log_dir: Path, *, cpus: Iterable[int] | None = None, ready_within_s: float = 60.0, stop_within_s: float = 5.0
    ) -> None:
        self.log_dir = log_dir
        self.ready_within_s = ready_within_s
        self.stop_within_s = stop_within_s
        self._cpus = frozenset(cpus) if cpus else None
        self._children: dict[str, Child] = {}
        self._lock = threading.RLock()  # guards the table and the flag; nobody waits for a process while holding it
        self._stopping = False

    def start_all(self, specs: Iterable[ProcessSpec]) -> None:
        """Start every process, then wait until all are ready. When one fails, all are stopped and `ProcessFailed` is raised."""
        with self._lock:
            self._stopping = False
        try:
            started = [self._spawn(spec) for spec in specs]
            self._wait(started, answers_200)
        except BaseException:
            self.stop()
            raise

    def restart(self, *names: str, ready: bool = True) -> None:
        """Start processes that ended (or were killed) again, as they were, and wait until all are ready.

        Not `ready`: until they answer anything at all. While a server they need is away that is as far as they come.
        """
        for name in names:
            if self._child(name).process.poll() is None:
                raise ValueError(f"{name} still runs")
        self._wait([self._spawn(self._child(name).spec) for name in names], answers_200 if ready else answers)

    def kill(self, *names: str) -> None:
        """SIGKILL to all of them at once, and wait until they are gone: a crash, on purpose."""
        children = [self._child(name) for name in names]
        for child in children:
            child.reported = True
            signal_group(child.process, signal.SIGKILL)
        for child in children:
            child.process.wait()

    def pause(self, name: str) -> None:
        """SIGSTOP: the process keeps all it has, and does nothing. Returns when it stands still."""
        pause(self._running(name))

    def resume(self, name: str) -> None:
        """SIGCONT: it goes on, and does not know that time has passed."""
        resume(self._running(name))

    def pid(self, name: str) -> int | None:
        """None while the process does not run."""
        process = self._child(name).process
        return process.pid if process.poll() is None else None

    def newly_ended(self) -> list[str]:
        """A sentence for each process that ended by itself since the last call."""
        ended = [child for child in self._all() if not child.reported and child.process.poll() is not None]
        for child in ended:
            child.reported = True
        return [f"{child.spec.name} {_how(child.process.returncode)}{_log_tail(child.log)}" for child in ended]

    def running(self) -> list[ProcessSpec]:
        """Those that have not ended; a paused one counts as running."""
        return [child.spec for child in self._all() if child.process.poll() is None]

    def pids_by_role(self) -> dict[str, list[int]]:
        """Role -> ids of its running processes."""
        pids: dict[str, list[int]] = {}
        for child in self._all():
            if child.process.poll() is None:
                pids.setdefault(child.spec.role, []).append(child.process.pid)
        return pids

    def stop(self) -> None:
        """SIGTERM to all, `stop_within_s` for all together, SIGKILL to those left. Safe to call again."""
        with self._lock:
            self._stopping = True
        # Only groups whose leader still ran a moment ago: an old process id may by now be somebody else's.
        processes = [child.process for child in self._all() if child.process.poll() is None]
        try:
            for process in processes:
                signal_group(process, signal.SIGTERM)
                resume(process)  # one that stands still takes no other signal
            deadline = time.monotonic() + self.stop_within_s
            while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
                time.sleep(POLL_S)
        finally:
            # Reached after a second Ctrl-C too; and the whole group, for what a child may have started itself.
            for process in processes:
                signal_group(process, signal.SIGKILL)
                process.wait()
            with self._lock:
                self._children.clear()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _all(self) -> list[Child]:
        with self._lock:
            return list(self._children.values())

    def _child(self, name: str) -> Child:
        with self._lock:
            if name not in self._children:
                raise ProcessFailed(f"there is no process {name!r}; there are {', '.join(self._children) or 'none'}")
            return self._children[name]

    def _running(self, name: str) -> subprocess.Popen[bytes]:
        process = self._child(name).process
        if process.poll() is not None:
            raise ProcessFailed(f"{name} does not run")
        return process

    def _spawn(self, spec: ProcessSpec) -> Child:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log = self.log_dir / f"{spec.name}.log"
        with self._lock:
            if self._stopping:  # a restart in another thread must not leave one behind
                raise ProcessFailed(f"{spec.name} was not started: the run is being stopped")
            child = Child(spec, spawn(spec.argv, spec.env, log, signal.SIGKILL, self._cpus), log)
            self._children[spec.name] = child
        return child

    def _wait(self, children: Sequence[Child], so: Callable[[str], bool]) -> None:
        """Until this is so of the `ready_url` of each that has one."""
        deadline = time.monotonic() + self.ready_within_s
        waiting = list(children)
        while waiting:
            for child in waiting:
                if child.process.poll() is not None:
                    how = _how(child.process.returncode)
                    raise ProcessFailed(f"{child.spec.name} {how} before it was ready{_log_tail(child.log)}")
            waiting = [child for child in waiting if child.spec.ready_url and not so(child.spec.ready_url)]
            if waiting and time.monotonic() > deadline:
                names = " and ".join(child.spec.name for child in waiting)
                raise ProcessFailed(f"{names} not ready within {self.ready_within_s:g} s{_log_tail(waiting[0].log)}")
            if waiting:
                time.sleep(POLL_S)


def answers_200(url: str, timeout_s: float = 1.0) -> bool:
    """Does a GET of this http:// URL answer 200 now?"""
    return _status_of(url, timeout_s) == 200


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Does a GET of this http:// URL get any answer now?"""
    return _status_of(url, timeout_s) is not None


def _status_of(url: str, timeout_s: float) -> int | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def free_port(rng: random.Random | None = None) -> int:
    """A port of 127.0.0.1 that nobody listens on now. Nothing reserves it: who takes it must bear to find it taken."""
    rng = rng or random.Random()
    for _ in range(PORT_ATTEMPTS):
        port = rng.randint(FIRST_PORT, LAST_PORT)
        if port_is_free(port):
            return port
    raise RuntimeError(f"no free port between {FIRST_PORT} and {LAST_PORT} in {PORT_ATTEMPTS} attempts")


def port_is_free(port: int) -> bool:
    """Could a server bind this port of 127.0.0.1 now?"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class CpuPlan:
    """Who runs where, so that the generator does not take the time it measures. None: on any CPU."""

    servers: frozenset[int] | None
    generator: frozenset[int] | None


UNPINNED = CpuPlan(None, None)


def cpu_plan(cpus: Iterable[int] | None = None) -> CpuPlan:
    """Servers on the first CPUs, the generator on the last. `UNPINNED` where there is one CPU, or no pinning (macOS)."""
    if cpus is None:
        if sys.platform != "linux":
            return UNPINNED
        cpus = os.sched_getaffinity(0)
    *first, last = sorted(set(cpus))
    return CpuPlan(frozenset(first), frozenset([last])) if first else UNPINNED


def _how(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode}"


def _log_tail(log: Path) -> str:
    """`; its log ends: ...`, in one line, or nothing when the log is empty."""
    with log.open("rb") as lines:
        lines.seek(max(0, log.stat().st_size - 16_384))
        text = lines.read().decode(errors="replace")
    last = [line.strip() for line in text.splitlines() if line.strip()][-LOG_TAIL_LINES:]
    return f"; its log ends: {' | '.join(last)[-LOG_TAIL_CHARACTERS:]}" if last else "; its log is empty"
