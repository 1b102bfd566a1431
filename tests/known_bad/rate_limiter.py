"""Rate limiters as many a tutorial and some libraries have them. Each has one flaw, which tests/rate_limiter/test_known_bad.py
catches by the bounds and promises that the right ones are held to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Scope

from designs.rate_limiter.algorithms import ALGORITHMS
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.fixed_window import end_of_window
from designs.rate_limiter.limits import NEVER_SEEN, Decision
from designs.rate_limiter.ports import Demand, Taken
from designs.rate_limiter.route_templates import RouteTemplates
from designs.rate_limiter.rules import Rule
from tests.rate_limiter.traces import SECOND_US, Key

# -- one key -------------------------------------------------------------------------------------------------------------------


class WholeSecondKey(Key):
    """Counts in whole seconds (`time()`, EXPIRE): a second's refill comes at its edge at once, and what is in between is lost."""

    def ask(self, now_us: int, cost: int = 1) -> Decision:
        return super().ask(now_us - now_us % SECOND_US, cost)


class DebitsOnRefusalKey(Key):
    """INCR first, compare then: who is refused pays as well, and who asks again and again never gets in."""

    def ask(self, now_us: int, cost: int = 1) -> Decision:
        start_us = now_us - now_us % self.limit.period_us
        used = cost + (self.state[1] if self.state and self.state[0] == start_us else 0)
        self.state = (start_us, used)
        left_us = end_of_window(now_us, self.limit.period_us) - now_us
        allowed = used <= self.limit.quota
        return Decision(allowed, self.limit.quota, self.limit.quota - used, 0 if allowed else left_us, left_us)


class CostIgnoredKey(Key):
    """Is there room for one? Then all of the cost is added."""

    def ask(self, now_us: int, cost: int = 1) -> Decision:
        decision = super().ask(now_us, 1)
        if decision.allowed and cost > 1:
            self.state = (self.state[0], self.state[1] + cost - 1)
        return decision


class RepeatedMemberKey(Key):
    """ZADD with the time as the member: what comes in the same tick, or costs more than one, is one member."""

    def ask(self, now_us: int, cost: int = 1) -> Decision:
        decision = super().ask(now_us, cost)
        self.state = tuple(sorted(set(self.state)))
        return decision


class ExpireFloorKey(Key):
    """EXPIRE floor(2 x burst / rate): of less than a second nothing is left, the key goes at once and everybody is new."""

    def ask(self, now_us: int, cost: int = 1) -> Decision:
        decision = super().ask(now_us, cost)
        if 2 * self.limit.burst * self.limit.period_us // self.limit.quota < SECOND_US:
            self.state = NEVER_SEEN
        return decision


@dataclass
class IncrThenExpireKey(Key):
    """INCR, and EXPIRE for the first of a window: who dies between the two leaves a key that never ends.

    `dies`: the process that asks dies there, once.
    """

    dies: bool = False
    ends_us: int | None = None  # None: the key has no end, or is not there

    def ask(self, now_us: int, cost: int = 1) -> Decision:
        if self.ends_us is not None and now_us >= self.ends_us:
            self.state, self.ends_us = NEVER_SEEN, None
        used = (self.state[0] if self.state else 0) + cost
        self.state = (used,)
        if used == cost:
            if self.dies:
                raise ProcessDied
            self.ends_us = now_us + self.limit.period_us
        left_us = self.ends_us - now_us if self.ends_us is not None else self.limit.period_us
        return Decision(used <= self.limit.quota, self.limit.quota, max(0, self.limit.quota - used), left_us, left_us)


class ProcessDied(Exception):
    """Between two commands."""


# -- stores --------------------------------------------------------------------------------------------------------------------


class ClientClockStore(MemoryLimitStore):
    """Shared counts, and each process decides by its own clock: who is fast finds everything refilled."""

    def __init__(self, shared: MemoryLimitStore, clock_us: Callable[[], int]) -> None:
        super().__init__(clock_us)
        self._states = shared._states


class GetDecideIncrStore(MemoryLimitStore):
    """GET, decide in the client, INCR: all who read before the first has written get in."""

    async def take(self, demands: Sequence[Demand]) -> Taken:
        seen = await self.peek(demands)
        await asyncio.sleep(0)
        if seen.allowed:
            for demand in demands:
                algorithm, now_us, state = ALGORITHMS[demand.limit.algorithm], self._clock_us(), self._state(demand.key)
                # As INCR adds, whatever the counter says by now.
                after = algorithm.take(demand.limit, state, now_us, demand.cost)
                self._keep(demand.key, demand, state if after is None else after, now_us)
        return seen


class LoopOverLimitsStore(MemoryLimitStore):
    """One limit after the other until one refuses: those before it have counted a request that never was."""

    async def take(self, demands: Sequence[Demand]) -> Taken:
        decisions: list[Decision] = []
        for demand in demands:
            decisions += (await super().take([demand])).decisions
            if not decisions[-1].allowed:
                looked = await self.peek(demands[len(decisions) :]) if len(decisions) < len(demands) else None
                return Taken(False, (*decisions, *(looked.decisions if looked else ())))
        return Taken(True, tuple(decisions))


class LruStore(MemoryLimitStore):
    """An LRU cache of 1,024 counters: whoever can make keys makes others be forgotten, and has a new quota himself."""

    KEYS = 1_024

    async def take(self, demands: Sequence[Demand]) -> Taken:
        for demand in demands:
            if demand.key in self._states:
                self._states.move_to_end(demand.key)
            elif len(self._states) >= self.KEYS:
                self._states.popitem(last=False)
        return await super().take(demands)


# -- keys ----------------------------------------------------------------------------------------------------------------------


def joined_item(rule: Rule, descriptor: Mapping[str, str]) -> str:
    """Values joined by what may be in them: ("a:b", "c") and ("a", "b:c") are one client."""
    return ":".join(descriptor[key] for key in rule.match)


class WholePathTemplates(RouteTemplates):
    """Keys on the path: each id is a route of its own, and whoever makes paths up is never limited."""

    def template_of(self, scope: Scope) -> str:
        return str(scope["path"])
