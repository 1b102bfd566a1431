"""The limiter over its store: one question however many rules apply, and what each rule says when the store says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.limiter import CLOSED_RETRY_US, Limiter, Request, Verdict
from designs.rate_limiter.limits import Limit, Slots
from designs.rate_limiter.ports import Demand, LimitStore, NotKept, SlotDemand, StoreError, Taken
from designs.rate_limiter.rules import Cost, Domain, Rule, RuleSet
from tests.rate_limiter.limit_store_contract import StoreClock

T = TypeVar("T")

MINUTE_US = 60_000_000


def limit(quota: int, algorithm: Any = "gcra") -> Limit:
    return Limit(algorithm, quota, MINUTE_US, quota)


class AwayStore:
    """A store that can be away. `asked`: the verbs so far, with how many demands."""

    def __init__(self, store: LimitStore) -> None:
        self._store = store
        self.away, self.asked = False, list[tuple[str, int]]()

    async def take(self, demands: Sequence[Demand]) -> Taken:
        return await self._there("take", demands, lambda: self._store.take(demands))

    async def peek(self, demands: Sequence[Demand]) -> Taken:
        return await self._there("peek", demands, lambda: self._store.peek(demands))

    async def give_back(self, demands: Sequence[Demand]) -> None:
        await self._there("give_back", demands, lambda: self._store.give_back(demands))

    async def reset(self, demands: Sequence[Demand]) -> None:
        await self._there("reset", demands, lambda: self._store.reset(demands))

    async def acquire(self, demands: Sequence[SlotDemand], token: str) -> Taken:
        return await self._there("acquire", demands, lambda: self._store.acquire(demands, token))

    async def renew(self, demands: Sequence[SlotDemand], token: str) -> bool:
        return await self._there("renew", demands, lambda: self._store.renew(demands, token))

    async def release(self, demands: Sequence[SlotDemand], token: str) -> bool:
        return await self._there("release", demands, lambda: self._store.release(demands, token))

    async def ping(self) -> None: ...

    async def close(self) -> None: ...

    async def _there(self, verb: str, demands: Sequence[Any], ask: Callable[[], Awaitable[T]]) -> T:
        self.asked.append((verb, len(demands)))
        if self.away:
            raise StoreError("away", may_have_happened=True)
        return await ask()


class Scene:
    """A limiter, its store that can be away, its process's own, and rules that can be changed."""

    def __init__(self, *rules: Rule, mode: Any = "on") -> None:
        self.clock = StoreClock()
        self.store = AwayStore(MemoryLimitStore(self.clock))
        self.rules = RuleSet({"api": Domain("api", rules)}, "v1", mode)
        self.limiter = Limiter(self.store, MemoryLimitStore(self.clock), lambda: self.rules)

    async def check(self, descriptor: dict[str, str] | None = None, **more: Any) -> Verdict:
        return await self.limiter.check(request(descriptor, **more))


def request(descriptor: dict[str, str] | None = None, **more: Any) -> Request:
    return Request(more.pop("domain", "api"), descriptor or {"user": "u1", "tenant": "t1", "route": "/a"}, **more)


def per_user(quota: int = 3, **more: Any) -> Rule:
    return Rule("per-user", {"user": "*"}, more.pop("limit", limit(quota)), **more)


def per_tenant(quota: int = 5, **more: Any) -> Rule:
    return Rule("per-tenant", {"tenant": "*"}, more.pop("limit", limit(quota, "sliding_window")), **more)


def per_route(quota: int = 100, **more: Any) -> Rule:
    return Rule("per-route", {"route": "*"}, limit(quota, "fixed_window"), **more)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scene()

    asyncio.run(run())


def left(verdict: Verdict) -> dict[str, int]:
    return {rule.rule: rule.decision.remaining for rule in verdict.rules}


def test_all_rules_that_apply_are_one_question_and_all_have_to_agree() -> None:
    async def scene() -> None:
        here = Scene(per_user(3), per_tenant(5), per_route())
        verdicts = [await here.check() for _ in range(5)]
        assert [verdict.allowed for verdict in verdicts] == [True] * 3 + [False] * 2
        assert left(verdicts[-1]) == {"per-user": 0, "per-tenant": 2, "per-route": 97}, "a refusal takes nothing of the others"
        assert [rule.rule for rule in verdicts[-1].refusing] == ["per-user"]
        assert here.store.asked == [("take", 3)] * 5

    play(scene)


def test_a_request_that_no_rule_applies_to_passes_unasked_and_is_counted_as_such() -> None:
    async def scene() -> None:
        here = Scene(per_user())
        assert await here.check({"ip": "10.0.0.1"}) == Verdict(True)
        assert await here.check(domain="elsewhere") == Verdict(True)
        assert (await here.limiter.acquire(request(), "a")) == Verdict(True)
        assert here.store.asked == []
        assert here.limiter.totals.unmatched == 3

    play(scene)


def test_the_wait_is_that_of_the_rule_that_takes_longest_and_never_where_one_never_allows_so_much() -> None:
    async def scene() -> None:
        here = Scene(per_user(2), per_tenant(1, limit=limit(1, "gcra")))
        await here.check()
        assert (await here.check()).retry_after_us == MINUTE_US
        await here.check({"user": "u1", "tenant": "t2"})
        assert (await here.check()).retry_after_us == MINUTE_US
        assert (await here.check(cost=2)).retry_after_us is None
        assert (await here.check({"user": "u1"})).retry_after_us == MINUTE_US // 2

    play(scene)


def test_a_shadow_rule_is_counted_and_refuses_nobody() -> None:
    async def scene() -> None:
        here = Scene(per_user(1, mode="shadow"), per_tenant(3))
        verdicts = [await here.check() for _ in range(4)]
        assert [verdict.allowed for verdict in verdicts] == [True, True, True, False]
        assert [verdict.rules[0].decision.allowed for verdict in verdicts] == [True, False, False, False]
        assert here.limiter.totals.decisions == {
            ("api", "per-user", "allowed"): 1,
            ("api", "per-user", "shadow_refused"): 3,
            ("api", "per-tenant", "allowed"): 3,
            ("api", "per-tenant", "refused"): 1,
        }

    play(scene)


def test_a_look_counts_nothing_in_the_store_nor_in_the_totals() -> None:
    async def scene() -> None:
        here = Scene(per_user(1))
        for _ in range(3):
            assert (await here.limiter.peek(request())).allowed
        await here.check()
        assert not (await here.limiter.peek(request())).allowed
        assert here.limiter.totals.decisions.total() == 1

    play(scene)


def test_a_delay_is_told_only_to_who_may_go_on() -> None:
    async def scene() -> None:
        here = Scene(per_user(limit=Limit("leaky_queue", 60, MINUTE_US, 2)))
        assert [(await here.check()).delay_us for _ in range(3)] == [0, 1_000_000, 0]

    play(scene)


def test_what_is_refunded_or_reset_can_be_had_again() -> None:
    async def scene() -> None:
        here = Scene(per_user(3), per_tenant(5))
        for _ in range(3):
            await here.check()
        await here.limiter.refund(request())
        assert left(await here.check()) == {"per-user": 0, "per-tenant": 2}
        await here.limiter.reset(request())
        assert left(await here.check()) == {"per-user": 2, "per-tenant": 4}

    play(scene)


def test_an_expensive_request_takes_and_gets_back_what_its_rule_says_it_costs() -> None:
    async def scene() -> None:
        here = Scene(per_user(10, costs=[Cost({"tenant": "t1"}, 4)]), per_tenant(10))
        assert left(await here.check()) == {"per-user": 6, "per-tenant": 9}
        assert left(await here.check()) == {"per-user": 2, "per-tenant": 8}
        assert not (await here.check()).allowed
        await here.limiter.refund(request())
        assert left(await here.check()) == {"per-user": 2, "per-tenant": 8}

    play(scene)


def test_a_sketch_can_not_be_refunded() -> None:
    async def scene() -> None:
        here = Scene(per_user(limit=limit(3, "sketch")))
        await here.check()
        with pytest.raises(NotKept):
            await here.limiter.refund(request())

    play(scene)


def test_a_rule_that_changes_holds_from_the_next_request_and_the_kill_switch_lets_everybody_pass() -> None:
    async def scene() -> None:
        here = Scene(per_user(1))
        assert [(await here.check()).allowed for _ in range(2)] == [True, False]
        here.rules = RuleSet({"api": Domain("api", [per_user(3)])}, "v2")
        # What was used stays used: as time, for GCRA, so a minute of debt is all of what 3 in a minute have.
        assert not (await here.check()).allowed
        here.rules = RuleSet({"api": Domain("api", [per_user(1)])}, "v3", mode="off")
        assert await here.check() == Verdict(True)

    play(scene)


# -- slots ---------------------------------------------------------------------------------------------------------------------


def exports(slots: int = 1, **more: Any) -> Rule:
    return Rule("exports", {"tenant": "*"}, Slots(slots, 10_000_000), **more)


def test_slots_and_rates_are_asked_for_apart() -> None:
    async def scene() -> None:
        here = Scene(per_user(1), exports())
        assert (await here.limiter.acquire(request(), "a")).allowed
        assert not (await here.limiter.acquire(request(), "b")).allowed
        assert left(await here.check()) == {"per-user": 0}
        assert await here.limiter.renew(request(), "a")
        assert await here.limiter.release(request(), "a")
        assert not await here.limiter.release(request(), "a")
        assert (await here.limiter.acquire(request(), "b")).allowed

    play(scene)


def test_a_slot_that_was_had_while_the_store_was_away_is_renewed_and_given_back_here() -> None:
    async def scene() -> None:
        here = Scene(exports())
        here.store.away = True
        acquired = await here.limiter.acquire(request(), "a")
        assert (acquired.allowed, acquired.degraded) == (True, True)
        assert not (await here.limiter.acquire(request(), "b")).allowed
        assert await here.limiter.renew(request(), "a")
        assert await here.limiter.release(request(), "a")
        assert (await here.limiter.acquire(request(), "b")).allowed
        with pytest.raises(StoreError):
            await here.limiter.release(request(), "never")

    play(scene)


# -- without the store ---------------------------------------------------------------------------------------------------------


def test_open_lets_everybody_pass_and_says_that_nobody_counted() -> None:
    async def scene() -> None:
        here = Scene(per_user(1, on_store_down="open"))
        here.store.away = True
        verdicts = [await here.check() for _ in range(5)]
        assert all(verdict.allowed and verdict.degraded and not verdict.unavailable for verdict in verdicts)
        assert here.limiter.totals.degraded == {("api", "per-user", "open"): 5}

    play(scene)


def test_closed_lets_nobody_pass_and_it_is_not_the_clients_fault() -> None:
    async def scene() -> None:
        here = Scene(per_user(1, on_store_down="closed"))
        here.store.away = True
        verdict = await here.check()
        assert (verdict.allowed, verdict.degraded, verdict.unavailable) == (False, True, True)
        assert verdict.retry_after_us == CLOSED_RETRY_US

    play(scene)


def test_local_keeps_the_limit_here_and_the_store_counts_again_when_it_is_back() -> None:
    async def scene() -> None:
        here = Scene(per_user(2))
        await here.check()
        here.store.away = True
        verdicts = [await here.check() for _ in range(3)]
        assert [verdict.allowed for verdict in verdicts] == [True, True, False]
        assert all(verdict.degraded for verdict in verdicts)
        assert not verdicts[-1].unavailable, "this one has had its share"
        here.store.away = False
        back = await here.check()
        assert (back.allowed, back.degraded, left(back)) == (True, False, {"per-user": 0})

    play(scene)


POLICIES = ("open", "local", "closed")


@pytest.mark.parametrize("first", POLICIES)
@pytest.mark.parametrize("second", POLICIES)
def test_each_rule_decides_by_its_own_policy_and_all_have_to_agree(first: Any, second: Any) -> None:
    """All or nothing here too: where a closed rule refuses, a local one is not asked, and has lost nothing afterwards."""

    async def scene() -> None:
        here = Scene(per_user(2, on_store_down=first), per_tenant(2, on_store_down=second))
        here.store.away = True
        verdicts = [await here.check() for _ in range(3)]
        closed, local = "closed" in (first, second), "local" in (first, second)
        assert [verdict.allowed for verdict in verdicts] == [not closed, not closed, not closed and not local]
        assert [verdict.unavailable for verdict in verdicts] == [closed] * 3
        assert all(rule.degraded for verdict in verdicts for rule in verdict.rules)
        assert all(
            rule.unavailable == (policy == "closed") for rule, policy in zip(verdicts[0].rules, (first, second), strict=True)
        )
        if closed and local:
            here.rules = RuleSet({"api": Domain("api", [per_user(2), per_tenant(2)])}, "v2")
            assert left(await here.check()) == {"per-user": 1, "per-tenant": 1}

    play(scene)


def test_two_local_rules_are_taken_together_or_not_at_all() -> None:
    async def scene() -> None:
        here = Scene(per_user(1), per_tenant(5))
        here.store.away = True
        verdicts = [await here.check() for _ in range(3)]
        assert [verdict.allowed for verdict in verdicts] == [True, False, False]
        assert left(verdicts[-1]) == {"per-user": 0, "per-tenant": 4}

    play(scene)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_shadow_rule_refuses_nobody_without_the_store_either(policy: Any) -> None:
    async def scene() -> None:
        here = Scene(per_user(1, on_store_down=policy, mode="shadow"), per_tenant(5, on_store_down="open"))
        here.store.away = True
        verdicts = [await here.check() for _ in range(3)]
        assert all(verdict.allowed and verdict.degraded for verdict in verdicts)

    play(scene)


def test_what_changes_the_counts_on_demand_fails_openly_without_the_store() -> None:
    """A refund or a reset that nobody made must not look like one."""

    async def scene() -> None:
        here = Scene(per_user(), exports())
        here.store.away = True
        for ask in (here.limiter.refund(request()), here.limiter.reset(request())):
            with pytest.raises(StoreError):
                await ask
        with pytest.raises(StoreError):
            await here.limiter.renew(request(), "never")

    play(scene)
