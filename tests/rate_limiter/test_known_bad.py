"""Limiters that are flawed on purpose are caught by the bounds and promises that the right ones keep, and those are not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.limits import Limit
from designs.rate_limiter.ports import LimitStore
from designs.rate_limiter.route_templates import RouteTemplates, routes_of
from designs.rate_limiter.rules import Rule, item_of
from tests.known_bad.rate_limiter import (
    ClientClockStore,
    CostIgnoredKey,
    DebitsOnRefusalKey,
    ExpireFloorKey,
    GetDecideIncrStore,
    IncrThenExpireKey,
    LoopOverLimitsStore,
    LruStore,
    ProcessDied,
    RepeatedMemberKey,
    WholePathTemplates,
    WholeSecondKey,
    joined_item,
)
from tests.rate_limiter.bounds import most_in_a_period, over_bound
from tests.rate_limiter.limit_store_contract import LIMIT_STORE_CONTRACT, StoreClock, demand
from tests.rate_limiter.test_windows import across_an_edge
from tests.rate_limiter.traces import SECOND_US, START_US, Key

MINUTE_US = 60 * SECOND_US


def passed(key: Key, asked: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(when, cost) of what is admitted of (when, cost) that is asked."""
    return [(at_us, cost) for at_us, cost in asked if key.ask(at_us, cost).allowed]


def both(bad: type[Key], limit: Limit, asked: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], str | None]:
    """What the bad one admits, and what its bound says of it. The right one has kept its own."""
    assert over_bound(limit, passed(Key(limit), asked)) is None
    got = passed(bad(limit), asked)
    return got, over_bound(limit, got)


def test_a_clock_of_whole_seconds_gives_two_seconds_worth_at_an_edge() -> None:
    limit = Limit("token_bucket", 500, SECOND_US, 500)
    edge_us = START_US + SECOND_US
    got, wrong = both(WholeSecondKey, limit, [(edge_us - 1_000, 1)] * 500 + [(edge_us, 1)] * 500)
    assert len(got) == 1_000
    assert wrong is not None


def test_a_clock_of_whole_seconds_loses_what_comes_in_between() -> None:
    """Three in two seconds: the bucket of one overflows at each whole second."""
    limit = Limit("token_bucket", 3, 2 * SECOND_US, 1)
    asked = [(START_US + at_us, 1) for at_us in range(0, 10 * SECOND_US, 1_000)]
    assert (len(passed(WholeSecondKey(limit), asked)), len(passed(Key(limit), asked))) == (10, 15)


def test_an_expiry_rounded_down_to_nothing_lets_everybody_in() -> None:
    got, wrong = both(ExpireFloorKey, Limit("token_bucket", 10, SECOND_US, 1), [(START_US, 1)] * 200)
    assert len(got) == 200
    assert wrong is not None


def test_log_entries_that_share_a_member_are_counted_once() -> None:
    limit = Limit("sliding_log", 100, MINUTE_US, 100)
    got, wrong = both(RepeatedMemberKey, limit, [(START_US + n, 5) for n in range(96)])
    assert sum(cost for _, cost in got) == 480
    assert wrong is not None


def test_a_cost_that_is_not_looked_at_goes_over_the_limit() -> None:
    got, wrong = both(CostIgnoredKey, Limit("fixed_window", 10, MINUTE_US, 10), [(START_US, 8)] * 3)
    assert sum(cost for _, cost in got) == 16
    assert wrong is not None


def test_who_pays_for_refusals_has_less_than_nothing_left_and_waits_for_more() -> None:
    limit = Limit("fixed_window", 5, MINUTE_US, 5)
    bad, right = DebitsOnRefusalKey(limit), Key(limit)
    assert [bad.ask(START_US, 4).remaining for _ in range(4)] == [1, -3, -7, -11]
    assert [right.ask(START_US, 4).remaining for _ in range(4)] == [1, 1, 1, 1]
    assert right.ask(START_US, 1).allowed
    assert not bad.ask(START_US, 1).allowed, "one unit was left, and the refused ones have spent it"


def test_who_dies_between_incr_and_expire_leaves_a_key_that_refuses_for_ever() -> None:
    limit = Limit("fixed_window", 5, MINUTE_US, 5)
    bad = IncrThenExpireKey(limit, dies=True)
    with pytest.raises(ProcessDied):
        bad.ask(START_US)
    bad.dies = False
    an_hour = [(START_US + at_us, 1) for at_us in range(0, 60 * MINUTE_US, SECOND_US)]
    assert len(passed(bad, an_hour)) == 4
    assert len(passed(Key(limit), an_hour)) >= 59 * 5
    assert len(passed(IncrThenExpireKey(limit), an_hour)) >= 59 * 5, "it works until somebody dies"


def test_a_sliding_window_that_is_taken_for_exact_is_found_out() -> None:
    """The counter keeps its own bound. Who promises its quota in any period promises what only a log keeps."""
    got = across_an_edge("sliding_window", 100)
    promised = Limit("sliding_log", 100, MINUTE_US, 100)
    assert over_bound(promised, got) is not None
    assert most_in_a_period(promised, got) > 190
    assert over_bound(replace(promised, algorithm="sliding_window"), got) is None
    assert over_bound(promised, across_an_edge("sliding_log", 100)) is None


def test_two_processes_with_clocks_two_seconds_apart_admit_twice_the_limit() -> None:
    async def scene() -> None:
        clock = StoreClock()
        shared = MemoryLimitStore(clock)
        one = demand(quota=5, period_us=SECOND_US)
        got = []
        for store in (ClientClockStore(shared, clock), ClientClockStore(shared, lambda: clock.us + 2 * SECOND_US)):
            got += [(clock.us, 1) for _ in range(7) if (await store.take([one])).allowed]
        assert len(got) == 10
        assert over_bound(one.limit, got) is not None

    asyncio.run(scene())


def test_an_lru_of_counters_gives_a_new_quota_to_whoever_makes_enough_keys() -> None:
    async def scene(store: LimitStore, clock: StoreClock) -> list[tuple[int, int]]:
        mine = demand(item="me")
        got = [(clock.us, 1) for _ in range(7) if (await store.take([mine])).allowed]
        for number in range(1_100):
            await store.take([demand(item=f"made-up-{number}")])
        return got + [(clock.us, 1) for _ in range(7) if (await store.take([mine])).allowed]

    clock = StoreClock()
    got = asyncio.run(scene(LruStore(clock), clock))
    assert len(got) == 10
    assert over_bound(demand().limit, got) is not None
    assert len(asyncio.run(scene(MemoryLimitStore(clock, max_keys=1_024), clock))) == 5


@pytest.mark.parametrize("at_once", [10, 50, 200])
def test_get_decide_incr_admits_everybody_who_reads_before_the_first_has_written(at_once: int) -> None:
    async def scene(store: LimitStore) -> int:
        one = demand("fixed_window", quota=100)
        admitted = 0
        for _ in range(400 // at_once):
            admitted += sum(taken.allowed for taken in await asyncio.gather(*(store.take([one]) for _ in range(at_once))))
            admitted += (await store.take([one])).allowed  # so that the rounds do not end with the limit by chance
        return admitted

    clock = StoreClock()
    assert asyncio.run(scene(GetDecideIncrStore(clock))) > 100
    assert asyncio.run(scene(MemoryLimitStore(clock))) == 100


BROKEN_PROMISES: dict[str, tuple[type[MemoryLimitStore], str]] = {
    "get, decide, incr": (GetDecideIncrStore, "of_many_at_once_exactly_the_limit_passes"),
    "a loop over the limits": (LoopOverLimitsStore, "when_one_refuses_none_is_taken_whichever_it_is"),
}


@pytest.mark.parametrize("flaw", BROKEN_PROMISES)
def test_the_contract_of_a_store_catches_it(flaw: str) -> None:
    bad, promise = BROKEN_PROMISES[flaw]
    clock = StoreClock()
    asyncio.run(LIMIT_STORE_CONTRACT[promise](MemoryLimitStore(clock), clock))
    with pytest.raises(AssertionError):
        asyncio.run(LIMIT_STORE_CONTRACT[promise](bad(clock), clock))


def test_values_joined_by_what_may_be_in_them_are_one_client() -> None:
    rule = Rule("both", {"user": "*", "tenant": "*"}, Limit("gcra", 5, SECOND_US, 5))
    one, other = {"user": "a:b", "tenant": "c"}, {"user": "a", "tenant": "b:c"}
    assert joined_item(rule, one) == joined_item(rule, other)
    assert item_of(rule, one) != item_of(rule, other)


def test_a_key_of_the_whole_path_is_a_limit_for_each_id() -> None:
    async def nothing(request: Request) -> Response:
        raise AssertionError("nobody asks")

    app = Starlette(routes=[Route("/users/{user}", nothing)])
    asked = [{"type": "http", "method": "GET", "path": path, "headers": []} for path in ("/users/1", "/users/2", "/made/up")]
    kept = {templates: {templates(routes_of(app)).template_of(scope) for scope in asked} for templates in TEMPLATES}
    assert kept == {RouteTemplates: {"/users/{user}", "unmatched"}, WholePathTemplates: {"/users/1", "/users/2", "/made/up"}}


TEMPLATES = (RouteTemplates, WholePathTemplates)
