"""What can be done to a process or to what it stands on: killed, stopped, its clock moved, its disk full, its power gone.

    faults = ProcessFaults(running)          # a RunningDesign(..., faults=True)
    faults.begin(Fault("pause", "replica-1", at_s=0, for_s=2))
    faults.end(...)                          # the same fault

Faults of one process may overlap. What each process must suffer is the sum of the faults in force, worked out anew at every
begin and end: a process is started again when the last fault that holds it down ends, and one that is started under a full disk
has a full disk. The clock and the store are reached through a file that the process maps (`fault_hooks.py`), and so never wait for
a process that starts; all else is done by signals and limits, and the design takes no part in it.

Redis is the run's own. Kafka and Cassandra are given: they are only killed, held still and brought back, where that is allowed
(`workbench.servers`), and a power loss of the host, which is the end of all that is the run's, leaves them alone.
"""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING

from designs.building_blocks.fault_hooks import write_fault_file
from loadtests.faults.kinds import HOOKED_KINDS, HOST
from loadtests.faults.schedule import PROCESS_KINDS, Fault
from workbench.embedded_redis import EmbeddedRedis
from workbench.servers import GivenServerFaults, why_not

if TYPE_CHECKING:
    from workbench.launch import RunningDesign

REDIS = "redis"
HOLDS_DOWN = frozenset({"kill", "wipe", "power_loss"})
NEEDED = {"clock_offset": "seconds", "slow_store": "delay", "disk_full": "bytes"}


class FaultFailed(RuntimeError):
    """A fault could not be done, or not be undone. The message is a sentence."""


class ProcessFaults:
    """Faults of the processes of one running design. `begin` and `end` block, and may be called from any thread."""

    def __init__(self, running: RunningDesign) -> None:
        self._running = running
        names = [REDIS, *running.given, *(spec.name for spec in running.specs)]
        self._in_force: dict[str, list[Fault]] = {name: [] for name in names}
        self._hooked: dict[str, list[Fault]] = {name: [] for name in names}  # in force too, and reached by the file
        self._locks = {name: threading.RLock() for name in names}
        self._hooks_lock = threading.Lock()
        self._held_down: set[str] = set()  # who was ended here; a process that ends by itself is not started again

    def begin(self, fault: Fault) -> str:
        """Do it; returns what was done. Raises `FaultFailed`, and nothing is in force then."""
        names = self._struck(fault)
        if fault.kind in HOOKED_KINDS:
            with self._hooks_lock, _as_fault_failed(fault):
                return "; ".join([self._set_hooks(name, [*self._hooked[name], fault]) for name in names])
        with self._alone(names), _as_fault_failed(fault):
            for name in names:
                self._in_force[name].append(fault)
            try:
                if fault.kind in HOLDS_DOWN:
                    return self._take_down(fault, names)
                for name in names:
                    if not self._runs(name) and name not in self._held_down:
                        raise FaultFailed(f"{name} does not run")
                return "; ".join([self._suffer(name) for name in names])
            except BaseException:
                for name in names:
                    self._in_force[name].remove(fault)
                with contextlib.suppress(RuntimeError, OSError):  # what went wrong first is the news
                    self._start(names)
                raise

    def end(self, fault: Fault) -> str:
        """Undo it, as far as no other fault asks for the same; returns what was done. Raises `FaultFailed`."""
        names = self._struck(fault)
        if fault.kind in HOOKED_KINDS:
            with self._hooks_lock, _as_fault_failed(fault):
                return "; ".join([self._set_hooks(name, [f for f in self._hooked[name] if f != fault]) for name in names])
        with self._alone(names), _as_fault_failed(fault):
            for name in names:
                if fault in self._in_force[name]:
                    self._in_force[name].remove(fault)
            self._start(names)
            return "; ".join([self._suffer(name) for name in names])

    def heal(self) -> None:
        """End all that is in force. Raises the first `FaultFailed`, after it has tried the rest."""
        failed: FaultFailed | None = None
        for fault in [fault for faults in [*self._in_force.values(), *self._hooked.values()] for fault in list(faults)]:
            try:
                self.end(fault)
            except FaultFailed as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _struck(self, fault: Fault) -> Sequence[str]:
        """The processes a fault strikes, Redis first. Raises `FaultFailed` for what can't be."""
        if fault.kind not in PROCESS_KINDS:
            raise FaultFailed(f"{fault.kind} is nothing that is done to a process")
        if fault.target != HOST and fault.target not in self._in_force:
            raise FaultFailed(f"there is no process {fault.target!r} to strike; there are {', '.join([*self._in_force, HOST])}")
        if fault.target in self._running.given:
            self._given(fault.target)
            if fault.kind not in ("kill", "pause"):
                raise FaultFailed(f"{fault.target} may hold what is others', so it is only killed and held still, not {fault.kind}")
        if fault.kind == "wipe" and fault.target != REDIS:
            raise FaultFailed(f"there is nothing to wipe of {fault.target}: of all processes only redis has data of its own")
        if fault.kind == "power_loss" and fault.target not in (REDIS, HOST):
            raise FaultFailed(f"power is lost by redis or by the whole host, not by {fault.target} alone; kill does the same to it")
        if fault.kind in HOOKED_KINDS and fault.target == REDIS:
            raise FaultFailed(f"{fault.kind} strikes processes of the design; redis has no such hook")
        if (needed := NEEDED.get(fault.kind)) and needed not in fault.attributes:
            raise FaultFailed(f"{fault.kind} needs the attribute {needed}")
        if fault.target != HOST:
            if fault.target == REDIS:
                self._redis()
            return [fault.target]
        without_redis = fault.kind in HOOKED_KINDS or self._running.redis is None
        ours = [name for name in self._in_force if name not in self._running.given]
        return [name for name in ours if not (name == REDIS and without_redis)]

    def _take_down(self, fault: Fault, names: Sequence[str]) -> str:
        """SIGKILL to all of them at once."""
        up = [name for name in names if self._runs(name)]
        self._held_down.update(up)
        done = [f"SIGKILL of {self._with_pid(name)}" for name in up] or [f"{fault.target} was down already"]
        self._running.supervisor.kill(*(name for name in up if not self._is_server(name)))
        if fault.target == HOST and self._running.given:
            done.append(f"{' and '.join(self._running.given)} went on: they are not this run's")
        for name in up:
            if name in self._running.given:
                self._given(name).kill()
        if REDIS in names:
            if fault.kind == "power_loss":
                done.append(f"redis lost the last {self._redis().power_loss()} bytes of its log")
            elif fault.kind == "wipe":
                self._redis().wipe()
                done.append("its data is deleted")
            else:
                self._redis().kill()
        return ", ".join(done)

    def _start(self, names: Sequence[str]) -> None:
        """Start whoever is held down by nothing any more: servers first, then the others together."""
        free = [name for name in names if name in self._held_down and not _newest(self._in_force[name], HOLDS_DOWN)]
        down = [name for name in free if not self._runs(name)]
        for name in down:
            if self._is_server(name):
                self._server(name).start()
        # Not until they are ready: what they need may be struck by another fault.
        self._running.supervisor.restart(*(name for name in down if not self._is_server(name)), ready=False)
        self._held_down.difference_update(free)

    def _suffer(self, name: str) -> str:
        """Make a process suffer what is in force for it, and no more; returns its state in words."""
        if not self._runs(name):
            return f"{name} is down"
        words = self._limit_files(name)
        still = _newest(self._in_force[name], {"pause"}) is not None
        if self._is_server(name):
            server = self._server(name)
            server.pause() if still else server.resume()
        elif still:
            self._running.supervisor.pause(name)
        else:
            self._running.supervisor.resume(name)
        return ", ".join([f"{self._with_pid(name, 'runs')}", *words, *(["stands still"] if still else [])])

    def _set_hooks(self, name: str, faults: list[Fault]) -> str:
        """These are in force from now on; a process that is down finds them when it is started."""
        clock, slow = _newest(faults, {"clock_offset"}), _newest(faults, {"slow_store"})
        offset_s = clock.attributes["seconds"] if clock else 0.0
        delay_ms = slow.attributes["delay"] if slow else 0.0
        file = self._running.fault_file(name)
        write_fault_file(file, clock_offset_us=round(offset_s * 1e6), store_delay_us=round(delay_ms * 1e3))
        self._hooked[name] = faults
        return f"the clock of {name} {offset_s:+g} s, its store {delay_ms:g} ms slower"

    def _limit_files(self, name: str) -> list[str]:
        full, pid = _newest(self._in_force[name], {"disk_full"}), self._pid(name)
        if name in self._running.given or pid is None:
            return []
        if not hasattr(resource, "prlimit"):
            if full:
                raise FaultFailed("only Linux lets one process fill the disk of another")
            return []
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        usual, _ = resource.getrlimit(resource.RLIMIT_FSIZE)  # a child starts with what its parent has
        soft = int(full.attributes["bytes"]) if full else usual
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        return [f"may write {soft} bytes to a file"] if full else []

    def _runs(self, name: str) -> bool:
        return self._given(name).runs if name in self._running.given else self._pid(name) is not None

    def _pid(self, name: str) -> int | None:
        return self._server(name).pid if self._is_server(name) else self._running.supervisor.pid(name)

    def _with_pid(self, name: str, verb: str = "") -> str:
        """`replica-1 (pid 7)`; without it where it is not known."""
        pid = self._pid(name)
        return " ".join([name, *([verb] if verb else []), *([f"(pid {pid})"] if pid is not None else [])])

    def _is_server(self, name: str) -> bool:
        return name == REDIS or name in self._running.given

    def _server(self, name: str) -> EmbeddedRedis | GivenServerFaults:
        return self._redis() if name == REDIS else self._given(name)

    def _redis(self) -> EmbeddedRedis:
        if self._running.redis is None:
            raise FaultFailed("redis is not ours to break: it was running already, or the knobs need none")
        return self._running.redis

    def _given(self, name: str) -> GivenServerFaults:
        server = self._running.breakable.get(name)
        if server is None:
            raise FaultFailed(why_not(self._running.given[name]))
        return server

    @contextlib.contextmanager
    def _alone(self, names: Sequence[str]) -> Iterator[None]:
        """Nobody else changes these processes meanwhile. Always taken in one order, so that no two wait for each other."""
        with contextlib.ExitStack() as held:
            for name in sorted(names):
                held.enter_context(self._locks[name])
            yield


def _newest(faults: Sequence[Fault], kinds: Set[str]) -> Fault | None:
    """The one that was begun last, of these kinds."""
    return next((fault for fault in reversed(faults) if fault.kind in kinds), None)


@contextlib.contextmanager
def _as_fault_failed(fault: Fault) -> Iterator[None]:
    try:
        yield
    except FaultFailed:
        raise
    except (RuntimeError, OSError, ValueError) as error:  # of the workbench and of the system; none says whose fault it was
        raise FaultFailed(f"{fault.kind} of {fault.target}: {error}") from error
