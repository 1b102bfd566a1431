"""Carries out a schedule of faults on a design that runs, while somebody else makes load, and tells what really happened.

Promises. A fault that takes long to end, such as the start of a process, delays no fault of another target. However a run ends, by
its schedule, by `stop` or by a fault that could not be done, what was begun is ended. Healing can be asked for again, and again
does nothing. A fault that could not be done ends the schedule, and is never passed over in silence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from loadtests.faults.describe import describe
from loadtests.faults.kinds import HOOKED_KINDS, HOST, SERVERS
from loadtests.faults.links import LinkFaults
from loadtests.faults.schedule import NETWORK_KINDS, Fault
from loadtests.history.operation import Struck
from workbench.fault_injection.process_faults import ProcessFaults
from workbench.launch import RunningDesign
from workbench.servers import why_not

# An end that waits for a process to be ready takes up to 20 s, one that starts a Java server usually no longer and 120 s at most.
# It has two tries.
STOP_WITHIN_S = 260.0
TRIES_TO_HEAL = 2
HEALERS = 8
LINKS, HOOKS = "links", "hooks"  # lanes in which nothing takes long


class InjectionFailed(RuntimeError):
    """Faults that could not be done, or not be ended. The message says which and why."""


class Striking(Protocol):
    """What does a fault, and what takes it back; both block, and are called from several threads."""

    def begin(self, fault: Fault) -> str: ...
    def end(self, fault: Fault) -> str: ...


class SpoilingLinks(Striking, Protocol):
    def reset(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Begun:
    """A fault that may have begun and has not certainly ended."""

    fault: Fault
    at_s: float


def nodes_of(running: RunningDesign) -> list[str]:
    """What can be struck of a running design, as `loadtests.faults.plan.plan` wants to know it: its processes and its servers.

    Of a server that was given that may be no more than the connections to it; see `unbreakable`.
    """
    return [*(spec.name for spec in running.specs), *(["redis"] if running.redis is not None else []), *running.given]


def unbreakable(running: RunningDesign) -> dict[str, str]:
    """Servers that can't be killed or held still from here -> why not."""
    return {name: why_not(server) for name, server in running.given.items() if name not in running.breakable}


class Injector:
    """One schedule, carried out once: `run` in a thread of its own, then `stop`, from any thread.

    `tell` is given each fault when it has ended, from the thread that ended it, one at a time. `clock` is the clock of the load.
    The rest is for tests: who does the faults, who sleeps (`wait(seconds)`, True at once when the run is to stop), and what runs
    the faults of one lane one after another. Raises `InjectionFailed` for a schedule the design was not started for.
    """

    def __init__(
        self,
        running: RunningDesign,
        faults: Iterable[Fault],
        tell: Callable[[Struck], None] = lambda struck: None,
        clock: Callable[[], float] = time.monotonic,
        *,
        links: SpoilingLinks | None = None,
        processes: Striking | None = None,
        wait: Callable[[float], bool] | None = None,
        new_lane: Callable[[], Executor] = lambda: ThreadPoolExecutor(1, "faults"),
    ) -> None:
        self._faults = sorted(faults, key=lambda fault: fault.at_s)
        self._tell = tell
        self._clock = clock
        self._links, self._processes = links, processes
        for fault in self._faults:
            if fault.kind in NETWORK_KINDS:
                self._links = self._links or _link_faults(running)
            else:
                self._processes = self._processes or ProcessFaults(running)
        self._one_by_one = any(fault.target == HOST for fault in self._faults)
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._new_lane = new_lane
        self._state = threading.RLock()  # guards what follows
        self._begun: dict[int, Begun] = {}
        self._struck: list[Struck] = []
        self._problems: list[str] = []
        self._running = False
        self._over = threading.Event()

    @property
    def struck(self) -> list[Struck]:
        """What has begun and ended so far, in the order in which it began."""
        with self._state:
            return sorted(self._struck, key=lambda each: each.began_s)

    def run(self, began_s: float) -> list[Struck]:
        """Strike, from second `began_s` of the clock on, and heal; what really happened. Whether all went well is for `stop`."""
        with self._state:
            if self._running:
                raise RuntimeError("an injector runs once")
            self._running = True
        try:
            self._strike(began_s)
        finally:
            try:
                self._heal()
            finally:
                self._over.set()
        return self.struck

    def stop(self) -> None:
        """End a run that still goes on, and heal. Raises `InjectionFailed` when a fault could not be done, or not be ended."""
        self._stopping.set()
        with self._state:
            running = self._running
        if running and not self._over.wait(STOP_WITHIN_S):
            raise InjectionFailed(f"the faults that strike did not end within {STOP_WITHIN_S:g} s")
        self._heal()
        if self._problems:
            raise InjectionFailed("; ".join(self._problems))

    def _strike(self, began_s: float) -> None:
        """Hand each begin and each end to its lane when it is due. Comes back when all lanes have done what they were given."""
        begins = [(fault.at_s, True, number) for number, fault in enumerate(self._faults)]
        ends = [(fault.until_s, False, number) for number, fault in enumerate(self._faults)]  # before a begin that is due with it
        lanes: dict[str, Executor] = {}
        try:
            for due_s, begins_now, number in sorted(begins + ends):
                if self._wait(max(0.0, began_s + due_s - self._clock())):
                    return
                lane = self._lane_of(self._faults[number])
                if lane not in lanes:
                    lanes[lane] = self._new_lane()
                lanes[lane].submit(self._begin if begins_now else self._end, number)
        finally:
            for executor in lanes.values():  # what is under way comes to its end, also after a stop
                executor.shutdown(wait=False, cancel_futures=self._stopping.is_set())
            for executor in lanes.values():
                executor.shutdown(wait=True)

    def _lane_of(self, fault: Fault) -> str:
        """The faults of a lane wait for one another: of one process, of the whole host where it falls, of what is quick."""
        if fault.kind in NETWORK_KINDS:
            return LINKS
        if fault.kind in HOOKED_KINDS:
            return HOOKS
        return HOST if self._one_by_one else fault.target

    def _begin(self, number: int) -> None:
        if self._stopping.is_set():
            return
        fault = self._faults[number]
        with self._state:
            self._begun[number] = Begun(fault, self._clock())  # before it is done: what is half done has to be undone too
        try:
            self._doer_of(fault).begin(fault)
        except Exception as error:
            self._fail(f"{describe(fault)}: it could not be done: {error}")

    def _end(self, number: int) -> None:
        with self._state:
            begun = self._begun.get(number)
        if begun is not None:
            self._undo(number, begun, tries=1)

    def _undo(self, number: int, begun: Begun, tries: int) -> None:
        """One that can't be undone stays begun, for `_heal`."""
        problem = ""
        for _ in range(tries):
            try:
                self._doer_of(begun.fault).end(begun.fault)
            except Exception as error:
                problem = f"{describe(begun.fault)}: it could not be ended: {error}"
            else:
                self._ended(number)
                return
        self._fail(problem)

    def _ended(self, number: int) -> None:
        with self._state:
            begun = self._begun.pop(number, None)
            if begun is None:
                return
            fault = begun.fault
            spoilt = {"toxicity": fault.toxicity} if fault.toxicity < 1 else {}
            struck = Struck(
                kind=fault.kind,
                target=fault.target,
                began_s=begun.at_s,
                ended_s=self._clock(),
                schedule=fault.schedule,
                attributes={**fault.attributes, **spoilt},
                detail=describe(fault),
            )
            self._struck.append(struck)
            try:
                self._tell(struck)
            except Exception as error:
                self._fail(f"{struck.detail}: it could not be told: {error}")

    def _heal(self) -> None:
        """Connections first, since a process may need them to become ready; then the servers; then all else, side by side."""
        with self._state:
            left = dict(self._begun)
        stages: list[list[int]] = [[], [], []]
        for number, begun in left.items():
            links, server = begun.fault.kind in NETWORK_KINDS, begun.fault.target in (*SERVERS, HOST)
            stages[0 if links else 1 if server else 2].append(number)
        if stages[0] and self._links is not None:
            try:
                self._links.reset()
            except Exception as error:
                self._fail(f"the proxy could not be reset: {error}")
        for stage in stages:
            with ThreadPoolExecutor(HEALERS, "healing") as healers:
                list(healers.map(lambda number: self._undo(number, left[number], TRIES_TO_HEAL), stage))

    def _fail(self, problem: str) -> None:
        with self._state:
            if problem not in self._problems:
                self._problems.append(problem)
        self._stopping.set()

    def _doer_of(self, fault: Fault) -> Striking:
        doer = self._links if fault.kind in NETWORK_KINDS else self._processes
        assert doer is not None  # made where the schedule needs it
        return doer


def _link_faults(running: RunningDesign) -> SpoilingLinks:
    if running.proxy is None:
        raise InjectionFailed("nothing stands in the way of its connections; start the design with faults=True")
    return LinkFaults(running.proxy)
