"""Load shedding: whom a server refuses when it is short of room. A rate limit asks what a client may have; this asks what is left.

Stripe's four ("Scaling your API with rate limiters"), and where each is here:

    request rate limiter         the rules with a quota
    concurrent requests limiter  the rules with slots
    fleet usage load shedder     `Room`: a fifth of a process's slots is kept for critical requests. For a whole fleet: a rule with
                                 slots that only the other requests match
    worker utilisation shedder   `Marks`: the busier the process, the more of the lowest classes is refused

    level       0 ........ 1 ........ 2 ........ 3
    low         all pass   none
    normal                 all pass   none
    high                              all pass   none
    critical    all pass, always, as far as there is room

The level rises while utilisation is above `high`, falls more slowly while it is below `low`, and stays in between: what is refused
grows and shrinks gradually and does not flap. A level of 0.3 refuses three in ten of the lowest class, by chance.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from starlette.types import ASGIApp, Receive, Scope, Send

from designs.building_blocks.event_loop_lag import LoopDelay
from designs.building_blocks.problem_details import Problem
from designs.building_blocks.telemetry import UNTIMED, header
from designs.rate_limiter.headers import PROBLEM_TYPES
from designs.rate_limiter.principals import bearer_key

Priority: TypeAlias = Literal["critical", "high", "normal", "low"]
Reason: TypeAlias = Literal["room", "utilisation"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)  # who is refused last comes first
MAX_LEVEL = 3.0

RESERVED_SHARE = 0.2
LAG_FULL_S = 0.1  # an event loop that is so late is fully used
RISE_AT_MOST_S = 0.25  # one look after a pause is not the pause
RETRY_S = 1
RETRY_JITTER_S = 4  # the refused don't come back together
PRIORITY_HEADER = b"x-priority"

_REFUSALS_KEPT_FOR = {priority: rank for rank, priority in enumerate(reversed(PRIORITIES))}  # low 0, critical 3


@dataclass(frozen=True, slots=True)
class Room:
    """`capacity` requests under way at once, of which `reserved` are for critical ones alone. Critical ones may use all."""

    capacity: int
    reserved_share: float = RESERVED_SHARE

    def __post_init__(self) -> None:
        if self.capacity < 1 or not 0 <= self.reserved_share < 1:
            raise ValueError("a room has one place at least, and less than all of it is reserved")

    @property
    def reserved(self) -> int:
        """Rounded up, and never the last place: a room of one is everybody's."""
        return min(self.capacity - 1, math.ceil(self.capacity * self.reserved_share))

    def has_place(self, priority: Priority, critical: int, others: int) -> bool:
        """Whether one more may come, while so many are under way."""
        if critical + others >= self.capacity:
            return False
        return priority == "critical" or others < self.capacity - self.reserved


@dataclass(frozen=True, slots=True)
class Marks:
    """`high` and `low`: utilisation above which more is refused, and below which less is. `rise_s` and `fall_s`: until a class that
    was let in is refused wholly, and the way back.
    """

    high: float = 0.75
    low: float = 0.5
    rise_s: float = 1.0
    fall_s: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high or self.rise_s <= 0 or self.fall_s <= 0:
            raise ValueError("the low mark lies below the high one, and neither way takes no time")


def next_level(marks: Marks, level: float, utilisation: float, elapsed_s: float) -> float:
    """The level after `elapsed_s` at this utilisation (1 is full; more is possible)."""
    if utilisation > marks.high:
        return min(MAX_LEVEL, level + min(elapsed_s, RISE_AT_MOST_S) / marks.rise_s)
    if utilisation < marks.low:
        return max(0.0, level - elapsed_s / marks.fall_s)
    return level


def share_refused(level: float, priority: Priority) -> float:
    """How much of a class is refused at this level: never more of a class than of the one below it, and nothing of critical."""
    return min(1.0, max(0.0, level - _REFUSALS_KEPT_FOR[priority]))


class Shedder:
    """Who comes in. Costs a few sums a request. For one event loop.

    `lag_s()` is how late the process is; `chance()` lies in [0, 1).
    """

    def __init__(
        self,
        room: Room,
        marks: Marks | None = None,
        *,
        lag_s: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._room = room
        self._marks = marks or Marks()
        self._lag_s = lag_s
        self._clock = clock
        self._chance = chance
        self._looked_at_s = clock()
        self._was_busy = False
        self._critical = self._others = 0
        self.level = 0.0
        self.admitted: Counter[Priority] = Counter()
        self.shed: Counter[Priority] = Counter()
        self.reasons: Counter[Reason] = Counter()

    @property
    def under_way(self) -> int:
        return self._critical + self._others

    def utilisation(self) -> float:
        """The scarcer of the two: places, and the time of the event loop."""
        return max(self.under_way / self._room.capacity, self._lag_s() / LAG_FULL_S)

    def enter(self, priority: Priority) -> bool:
        """Whether it may come in. Who may has to `leave`, and who may not has taken nothing."""
        self._look()
        reason: Reason | None = None
        if self._chance() < share_refused(self.level, priority):
            reason = "utilisation"
        elif not self._room.has_place(priority, self._critical, self._others):
            reason = "room"
        if reason is not None:
            self.shed[priority] += 1
            self.reasons[reason] += 1
            return False
        self.admitted[priority] += 1
        self._count(priority, 1)
        return True

    def leave(self, priority: Priority) -> None:
        """It is done, with the priority it came in with."""
        self._count(priority, -1)

    def _look(self) -> None:
        now_s, utilisation = self._clock(), self.utilisation()
        elapsed_s = max(0.0, now_s - self._looked_at_s)
        busy, was_busy = utilisation > self._marks.high, self._was_busy
        self._looked_at_s, self._was_busy = now_s, busy
        if busy and not was_busy:
            return  # a moment: it takes two looks to know of a time, and a single late turn of the loop is no load
        self.level = next_level(self._marks, self.level, utilisation, elapsed_s)

    def _count(self, priority: Priority, change: int) -> None:
        if priority == "critical":
            self._critical += change
        else:
            self._others += change


class LoadShedder:
    """ASGI middleware: refuses with 503 and a Retry-After that differs from one refusal to the next.

    `priority` has to come from what a client can't make up, see `by_key`. WebSockets pass: they are few, and would hold their
    places for hours. What operators ask (`exempt`, paths) passes as well: they want to know why.
    """

    def __init__(
        self,
        app: ASGIApp,
        priority: Callable[[Scope], Priority],
        capacity: int,
        *,
        reserved_share: float = RESERVED_SHARE,
        marks: Marks | None = None,
        lag_s: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        exempt: Collection[str] = UNTIMED,
    ) -> None:
        self._app = app
        self._priority = priority
        self._chance = chance
        self._exempt = frozenset(exempt)
        lag_s = lag_s if lag_s is not None else LoopDelay(clock).seconds
        self.shedder = Shedder(Room(capacity, reserved_share), marks, lag_s=lag_s, clock=clock, chance=chance)

    @property
    def refused(self) -> int:
        return self.shedder.shed.total()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        priority = self._priority(scope)
        if not self.shedder.enter(priority):
            await self._refusal(priority).response()(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self.shedder.leave(priority)

    def _refusal(self, priority: Priority) -> Problem:
        retry_s = RETRY_S + int(self._chance() * RETRY_JITTER_S)
        return Problem(
            503,
            f"{PROBLEM_TYPES}temporary-reduced-capacity",
            f"short of room, and requests of {priority} priority are refused first; nothing was changed, try again in {retry_s} s",
            headers={"Retry-After": str(retry_s)},
        )


def by_key(class_of: Callable[[bytes], Priority | None], otherwise: Priority = "low") -> Callable[[Scope], Priority]:
    """The priority of whose API key a request brings; `class_of` is asked for the SHA-256 of the key.

    The key's class is the most a request can have. With `X-Priority` it can ask for less (a batch job for "low"), which costs
    nobody anything; asking for more changes nothing, else everybody would. Without a known key it is `otherwise`, whatever it asks.
    """

    def priority_of(scope: Scope) -> Priority:
        key = bearer_key(scope["headers"])
        most = (class_of(hashlib.sha256(key).digest()) if key else None) or otherwise
        asked = header(scope, PRIORITY_HEADER).decode("latin-1").strip().lower()
        lower = PRIORITIES[PRIORITIES.index(most) :]
        return next((priority for priority in lower if priority == asked), most)

    return priority_of
