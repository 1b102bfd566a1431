"""The limiter: which rules a request meets, what the store says to them, and what is said when the store says nothing.

    1. `rules.applied`: the rules that apply, each with the demand it makes of the store
    2. `store.take`: all of them in one round trip, all or nothing
    3. late, refused or broken: each rule's `on_store_down` decides, and the verdict is degraded

The store it is given keeps a deadline by itself (`assembly` puts a guard before it): it raises `StoreError` in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from designs.rate_limiter.limits import Decision
from designs.rate_limiter.ports import Demand, LimitStore, SlotDemand, StoreError, Taken
from designs.rate_limiter.rules import Applied, RuleSet, applied

Ask: TypeAlias = Callable[[Sequence[Any]], Awaitable[Taken]]  # of a store: `take`, `peek`, `acquire`

CLOSED_RETRY_US = 1_000_000  # what a fail-closed answer tells the client to wait: as long as the breaker stays open


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for how much. `tier` chooses among the limits of a rule; a tier that a rule does not know gets its usual limit."""

    domain: str
    descriptor: Mapping[str, str]
    tier: str = ""
    cost: int = 1


@dataclass(frozen=True, slots=True)
class RuleDecision:
    """What one rule says. `degraded`: the store did not, its `on_store_down` did (`unavailable`: by refusing everybody)."""

    rule: str
    decision: Decision
    demand: Demand | SlotDemand
    degraded: bool = False
    unavailable: bool = False

    @property
    def shadow(self) -> bool:
        return self.demand.shadow


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all rules together say: allowed when none that counts refused. Without a rule that applies everything is allowed."""

    allowed: bool
    rules: tuple[RuleDecision, ...] = ()

    @property
    def degraded(self) -> bool:
        return any(rule.degraded for rule in self.rules)

    @property
    def unavailable(self) -> bool:
        """Refused only because the store is away: the client has done nothing wrong."""
        return not self.allowed and all(rule.unavailable for rule in self.refusing)

    @property
    def refusing(self) -> tuple[RuleDecision, ...]:
        return tuple(rule for rule in self.rules if not rule.shadow and not rule.decision.allowed)

    @property
    def retry_after_us(self) -> int | None:
        """0 when allowed; the longest wait of those that refuse, None when one of them will never allow so much."""
        waits = [rule.decision.retry_after_us for rule in self.refusing]
        known = [wait for wait in waits if wait is not None]
        return None if len(known) < len(waits) else max(known, default=0)

    @property
    def delay_us(self) -> int:
        return max((rule.decision.delay_us for rule in self.rules if not rule.shadow), default=0) if self.allowed else 0


@dataclass
class Totals:
    """Decisions by (domain, rule, outcome), outcome "allowed", "refused", "shadow_refused"; and those made without the store."""

    decisions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    degraded: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (domain, rule, on_store_down)
    unmatched: int = 0  # requests that no rule applied to


class Limiter:
    """`rules()` is the rule set in force; `fallback` is this process's own store, for rules whose on_store_down is local."""

    def __init__(self, store: LimitStore, fallback: LimitStore, rules: Callable[[], RuleSet]) -> None:
        self._store = store
        self._fallback = fallback
        self._rules = rules
        self.totals = Totals()

    async def check(self, request: Request) -> Verdict:
        """Count the request. One round trip, however many rules apply."""
        return await self.check_met(request.domain, self._rates(request))

    async def check_met(self, domain: str, met: Sequence[Applied]) -> Verdict:
        """Count what these rules ask, of one request or of several that pass or fail together. Their keys differ."""
        if not met:
            self.totals.unmatched += 1
            return Verdict(True)
        return self._counted(domain, met, await self._asked(met, self._store.take, self._fallback.take))

    @property
    def rules(self) -> RuleSet:
        """The rule set in force."""
        return self._rules()

    async def peek(self, request: Request) -> Verdict:
        """What `check` would say now. Counts nothing."""
        met = self._rates(request)
        return await self._asked(met, self._store.peek, self._fallback.peek) if met else Verdict(True)

    async def refund(self, request: Request) -> None:
        """Give back what a `check` of the same request took. Raises `StoreError`, `NotKept`."""
        if met := self._rates(request):
            await self._store.give_back(_rates_of(met))

    async def reset(self, request: Request) -> None:
        """Forget what the keys of this request have used. Raises `StoreError`, `NotKept`."""
        if met := self._rates(request):
            await self._store.reset(_rates_of(met))
            await self._fallback.reset(_rates_of(met))

    async def acquire(self, request: Request, token: str) -> Verdict:
        """A slot of each concurrency limit that applies, or of none."""
        met = self._slots(request)
        if not met:
            self.totals.unmatched += 1
            return Verdict(True)
        asked = await self._asked(
            met,
            lambda demands: self._store.acquire(demands, token),
            lambda demands: self._fallback.acquire(demands, token),
        )
        return self._counted(request.domain, met, asked)

    async def renew(self, request: Request, token: str) -> bool:
        """False when a lease had run out. Raises `StoreError`, unless the slots are held here because the store was away.

        A shadow rule is renewed by itself: one that was full holds nothing, and may not cost the others their lease.
        """
        slots = _slots_of(self._slots(request))
        held_here = [await self._fallback.renew([slot], token) for slot in slots]
        try:
            for shadow in (slot for slot in slots if slot.shadow):
                await self._store.renew([shadow], token)
            counted = [slot for slot in slots if not slot.shadow]
            return any(held_here) or not counted or await self._store.renew(counted, token)
        except StoreError:
            if any(held_here):
                return True
            raise

    async def release(self, request: Request, token: str) -> bool:
        """False when no slot was held any more. Raises `StoreError`, unless the slots were held here because the store was away."""
        met = self._slots(request)
        if not met:
            return True
        held_here = await self._fallback.release(_slots_of(met), token)
        try:
            return await self._store.release(_slots_of(met), token) or held_here
        except StoreError:
            if held_here:
                return True
            raise

    def _rates(self, request: Request) -> list[Applied]:
        return [each for each in self._applied(request) if isinstance(each.demand, Demand)]

    def _slots(self, request: Request) -> list[Applied]:
        return [each for each in self._applied(request) if isinstance(each.demand, SlotDemand)]

    def _applied(self, request: Request) -> list[Applied]:
        return applied(self._rules(), request.domain, request.descriptor, request.tier, request.cost)

    async def _asked(
        self,
        met: Sequence[Applied],
        ask: Ask,
        ask_here: Ask,
    ) -> Verdict:
        try:
            taken = await ask([each.demand for each in met])
        except StoreError:
            return await _without_store(met, ask_here)
        decided = zip(met, taken.decisions, strict=True)
        return Verdict(taken.allowed, tuple(RuleDecision(each.rule.name, said, each.demand) for each, said in decided))

    def _counted(self, domain: str, met: Sequence[Applied], verdict: Verdict) -> Verdict:
        for each, rule in zip(met, verdict.rules, strict=True):
            outcome = "allowed" if rule.decision.allowed else "shadow_refused" if rule.shadow else "refused"
            self.totals.decisions[domain, rule.rule, outcome] += 1
            if rule.degraded:
                self.totals.degraded[domain, rule.rule, each.rule.on_store_down] += 1
        return verdict


async def _without_store(met: Sequence[Applied], ask_here: Ask) -> Verdict:
    """Each rule by its `on_store_down`. Nothing is taken here when one that counts is closed: the request fails anyway."""
    here = [each for each in met if each.rule.on_store_down == "local"]
    closed = any(each.rule.on_store_down == "closed" and not each.demand.shadow for each in met)
    said: dict[int, Decision] = {}
    allowed = not closed
    if here and not closed:
        taken = await ask_here([each.demand for each in here])
        allowed = taken.allowed
        said = {id(each): decision for each, decision in zip(here, taken.decisions, strict=True)}
    return Verdict(allowed, tuple(_unasked(each, said.get(id(each))) for each in met))


def _unasked(each: Applied, decision: Decision | None) -> RuleDecision:
    """What a rule says without the store. A local one that was not asked, because another is closed, has nothing against it."""
    demand = each.demand
    limit = demand.slots.limit if isinstance(demand, SlotDemand) else demand.limit.burst
    closed = each.rule.on_store_down == "closed"
    if decision is None:
        decision = Decision(not closed, limit, 0 if closed else limit, CLOSED_RETRY_US if closed else 0, 0)
    return RuleDecision(each.rule.name, decision, demand, degraded=True, unavailable=closed)


def _rates_of(met: Sequence[Applied]) -> list[Demand]:
    return [each.demand for each in met if isinstance(each.demand, Demand)]


def _slots_of(met: Sequence[Applied]) -> list[SlotDemand]:
    return [each.demand for each in met if isinstance(each.demand, SlotDemand)]
