"""What a fault excuses, as times: pure functions from the strikes and observations of a history and what the knobs promise.

A Redis that was only killed is started again with all that it had acknowledged, so it excuses nothing. One that was wiped, or lost
its power, counts anew: the limiter promises one more limit per key for each such loss, and no more. What a replica counts by itself
goes with its process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtests.faults.kinds import HOST
from loadtests.history.operation import Observation, Struck
from loadtests.rate_limiter.promises import REDIS_STORES, Promises

REDIS = "redis"
LOSING = frozenset({"wipe", "power_loss"})  # of a server: what it had counted
ENDING = frozenset({"kill", "wipe", "power_loss"})  # of a process
STALLING = ENDING | {"pause"}  # a process that can't answer meanwhile
BREAKER_S = 1.0  # it lets nobody through for so long
SLACK_S = 0.5  # between what a client sees and what a process does on a busy machine
LATE_S = 1.0  # what nobody was told of has happened so long after it at the latest, unless something held it up


@dataclass(frozen=True, slots=True)
class Window:
    from_s: float
    to_s: float

    def meets(self, sent_s: float, end_s: float) -> bool:
        return sent_s <= self.to_s and end_s >= self.from_s


class Windows:
    """Many of them, asked often: merged where they meet."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self._from_s: list[float] = []
        self._to_s: list[float] = []
        for window in sorted(windows, key=lambda each: each.from_s):
            if self._to_s and window.from_s <= self._to_s[-1]:
                self._to_s[-1] = max(self._to_s[-1], window.to_s)
            else:
                self._from_s.append(window.from_s)
                self._to_s.append(window.to_s)

    def meet(self, sent_s: float, end_s: float) -> bool:
        """Whether one of them meets this span."""
        place = bisect_left(self._to_s, sent_s)
        return place < len(self._from_s) and self._from_s[place] <= end_s


def touches_store(struck: Struck, node: str, promises: Promises) -> bool:
    """Whether this node may have had to do without its store: the server, the way to it, or the node itself was struck."""
    if struck.kind == "clock_offset":
        return False
    of_redis = struck.target in (REDIS, f"{REDIS}@{node}") and promises.store in REDIS_STORES
    return of_redis or struck.target in (node, HOST)


def away(strikes: Iterable[Struck], observations: Iterable[Observation], node: str, promises: Promises) -> list[Window]:
    """When this node may have answered without the store: from a fault until its breaker has had time to find out that it is over.

    A breaker that says on the metrics page that it opened had seen failures, whatever caused them.
    """
    after_s = open_for_s(promises)
    windows = [Window(each.began_s - SLACK_S, each.ended_s + after_s) for each in strikes if touches_store(each, node, promises)]
    seen = sorted((each.at_s, _opened(each)) for each in observations if each.f == "breaker" and each.node == node)
    for (before_s, before), (at_s, now) in zip([(0.0, 0), *seen], seen, strict=False):
        if now > before:
            windows.append(Window(before_s - SLACK_S, at_s + after_s))
    return windows


def open_for_s(promises: Promises) -> float:
    """How long after a failure answers may do without the store at once: the breaker, and the probe that ends it."""
    return BREAKER_S + promises.deadline_s + SLACK_S


def _opened(observation: Observation) -> int:
    opened = observation.value.get("opened", 0)
    return int(opened) if isinstance(opened, int | float) else 0


def unable(strikes: Iterable[Struck], node: str) -> list[Window]:
    """When this node may have answered nothing: it was ended or held still."""
    return [
        Window(each.began_s - SLACK_S, each.ended_s + SLACK_S)
        for each in strikes
        if each.kind in STALLING and each.target in (node, HOST)
    ]


def counted_anew(strikes: Iterable[Struck], where: str, promises: Promises) -> list[Window]:
    """Between these, a count is one count. `where` is the node that counts by itself, "" for the shared store.

    A clock that was put wrong moves the count with it where it is the clock that counts; what happened meanwhile is not judged.
    """
    windows = []
    for each in sorted(strikes, key=lambda struck: struck.began_s):
        if where:
            lost = each.kind in ENDING and each.target in (where, HOST)
            turned = each.kind == "clock_offset" and each.target == where
        else:
            servers = (REDIS, HOST) if promises.store in REDIS_STORES else (HOST,)
            lost = each.kind in LOSING and each.target in servers
            turned = each.kind == "clock_offset" and promises.client_clock
        if lost or turned:
            windows.append(Window(each.began_s - SLACK_S * turned, each.ended_s + SLACK_S * turned))
    return windows


def latest_s(sent_s: float, end_s: float, strikes: Sequence[Struck], node: str, promises: Promises) -> float:
    """Until when a request may have been carried out of which nobody was told: it may wait for as long as something is held up."""
    until_s = end_s + LATE_S
    held_up = True
    while held_up:  # one fault after the other may hold it
        held_up = False
        for each in strikes:
            in_the_way = each.began_s <= until_s and each.ended_s >= sent_s and touches_store(each, node, promises)
            if in_the_way and each.ended_s + LATE_S > until_s:
                until_s, held_up = each.ended_s + LATE_S, True
    return until_s


def locked_out(strikes: Iterable[Struck], where: str, horizon_s: float, promises: Promises) -> list[Window]:
    """When a count that follows a clock which was put wrong may refuse too early: until it is as if nobody had come."""
    if not where and not promises.client_clock:
        return []
    return [
        Window(each.began_s - SLACK_S, each.ended_s + SLACK_S + abs(each.attributes.get("seconds", 0.0)) + horizon_s)
        for each in strikes
        if each.kind == "clock_offset" and where in ("", each.target)
    ]
