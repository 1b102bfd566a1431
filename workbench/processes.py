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
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from designs.building_blocks.processes import ProcessSpec
from workbench.parent_death import tied_to_this_process

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

    Log files are `<log_dir>/<name>.log`. `cpus` pins every child. Not for use from several threads, and to be used from one
    that lives as long as the run (see `parent_death.py`).
    """

    def __init__(
        self, log_dir: Path, *, cpus: Iterable[int] | None = None, ready_within_s: float = 20.0, stop_within_s: float = 5.0
    ) -> None:
        self.log_dir = log_dir
        self.ready_within_s = ready_within_s
        self.stop_within_s = stop_within_s
        self._cpus = frozenset(cpus) if cpus else None
        self._children: dict[str, Child] = {}

    def start_all(self, specs: Iterable[ProcessSpec]) -> None:
        """Start every process, then wait until all are ready. When one fails, all are stopped and `ProcessFailed` is raised."""
        try:
            started = [self._spawn(spec) for spec in specs]
            self._wait_ready(started)
        except BaseException:
            self.stop()
            raise

    def restart(self, name: str) -> None:
        """Start a process that ended (or was killed) again, as it was, and wait until it is ready."""
        child = self._children[name]
        if child.process.poll() is None:
            raise ValueError(f"{name} still runs")
        self._wait_ready([self._spawn(child.spec)])

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until the process is gone: a crash, on purpose."""
        child = self._children[name]
        _signal_group(child.process, signal.SIGKILL)
        child.process.wait()
        child.reported = True

    def newly_ended(self) -> list[str]:
        """A sentence for each process that ended by itself since the last call."""
        ended = [child for child in self._children.values() if not child.reported and child.process.poll() is not None]
        for child in ended:
            child.reported = True
        return [f"{child.spec.name} {_how(child.process.returncode)}{_log_tail(child.log)}" for child in ended]

    def running(self) -> list[ProcessSpec]:
        return [child.spec for child in self._children.values() if child.process.poll() is None]

    def pids_by_role(self) -> dict[str, list[int]]:
        """Role -> ids of its running processes."""
        pids: dict[str, list[int]] = {}
        for child in self._children.values():
            if child.process.poll() is None:
                pids.setdefault(child.spec.role, []).append(child.process.pid)
        return pids

    def stop(self) -> None:
        """SIGTERM to all, `stop_within_s` for all together, SIGKILL to those left. Safe to call again."""
        # Only groups whose leader still ran a moment ago: an old process id may by now be somebody else's.
        processes = [child.process for child in self._children.values() if child.process.poll() is None]
        try:
            for process in processes:
                _signal_group(process, signal.SIGTERM)
            deadline = time.monotonic() + self.stop_within_s
            while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
                time.sleep(POLL_S)
        finally:
            # Reached after a second Ctrl-C too; and the whole group, for what a child may have started itself.
            for process in processes:
                _signal_group(process, signal.SIGKILL)
                process.wait()
            self._children.clear()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _spawn(self, spec: ProcessSpec) -> Child:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log = self.log_dir / f"{spec.name}.log"
        child = Child(spec, spawn(spec.argv, spec.env, log, signal.SIGKILL, self._cpus), log)
        self._children[spec.name] = child
        return child

    def _wait_ready(self, children: Sequence[Child]) -> None:
        deadline = time.monotonic() + self.ready_within_s
        waiting = list(children)
        while waiting:
            for child in waiting:
                if child.process.poll() is not None:
                    how = _how(child.process.returncode)
                    raise ProcessFailed(f"{child.spec.name} {how} before it was ready{_log_tail(child.log)}")
            waiting = [child for child in waiting if child.spec.ready_url and not answers_200(child.spec.ready_url)]
            if waiting and time.monotonic() > deadline:
                names = " and ".join(child.spec.name for child in waiting)
                raise ProcessFailed(f"{names} not ready within {self.ready_within_s:g} s{_log_tail(waiting[0].log)}")
            if waiting:
                time.sleep(POLL_S)


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    on_parent_death: signal.Signals,
    cpus: Iterable[int] | None = None,
) -> subprocess.Popen[bytes]:
    """A child in its own process group, with no stdin, its output appended to `log`, tied to this process."""
    with log.open("ab") as output:
        return subprocess.Popen(
            tied_to_this_process(argv, on_parent_death, cpus),
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def answers_200(url: str, timeout_s: float = 1.0) -> bool:
    """Does a GET of this http:// URL answer 200 now?"""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
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
    """Who runs where, so that the generator does not take the time it measures."""

    servers: frozenset[int]
    generator: frozenset[int]


def cpu_plan(cpus: Iterable[int] | None = None) -> CpuPlan | None:
    """Servers on the first CPUs, the generator on the last. None where there is one CPU, or no pinning (macOS)."""
    if cpus is None:
        if sys.platform != "linux":
            return None
        cpus = os.sched_getaffinity(0)
    *first, last = sorted(set(cpus))
    return CpuPlan(frozenset(first), frozenset([last])) if first else None


def _signal_group(process: subprocess.Popen[bytes], what: signal.Signals) -> None:
    try:
        os.killpg(process.pid, what)
    except ProcessLookupError:
        return
    except PermissionError:
        # macOS answers so for a group of which only a zombie is left.
        return


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
