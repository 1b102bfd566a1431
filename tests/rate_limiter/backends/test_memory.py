"""The reference keeps the contract, and its bound on keys gives nobody a new quota."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.backends.memory import SHARED, MemoryLimitStore
from designs.rate_limiter.ports import Demand
from tests.rate_limiter.bounds import over_bound
from tests.rate_limiter.limit_store_contract import LEASE_US, LIMIT_STORE_CONTRACT, StoreClock, demand, slot
from tests.rate_limiter.traces import START_US, THOROUGH


@pytest.mark.parametrize("promise", LIMIT_STORE_CONTRACT)
def test_memory_keeps_the_promise(promise: str) -> None:
    clock = StoreClock()
    asyncio.run(LIMIT_STORE_CONTRACT[promise](MemoryLimitStore(clock), clock))


def test_who_fills_the_memory_with_keys_gives_nobody_a_new_quota() -> None:
    """The flaw of every store that evicts: a stranger makes keys until mine is gone, and I am as new."""

    async def scene() -> None:
        clock = StoreClock()
        store = MemoryLimitStore(clock, max_keys=100)
        mine = demand(item="me")
        await store.take([replace(mine, cost=5)])
        for number in range(1_000):
            await store.take([demand(item=f"made-up-{number}")])
        assert not (await store.take([mine])).allowed
        assert store.keys <= 100 + SHARED
        assert store.shared == 1_000 - 99

    asyncio.run(scene())


def test_room_comes_back_when_keys_are_over_and_no_live_one_is_dropped_for_it() -> None:
    async def scene() -> None:
        clock = StoreClock()
        store = MemoryLimitStore(clock, max_keys=50)
        live = demand(item="live", quota=5, period_us=10**12)
        await store.take([replace(live, cost=5)])
        for number in range(49):
            await store.take([demand(item=f"old-{number}")])
        clock.us += 10**8
        for number in range(200):
            await store.take([demand(item=f"new-{number}")])
            clock.us += 10**8
        assert store.shared == 0
        assert not (await store.take([live])).allowed

    asyncio.run(scene())


@THOROUGH
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 20_000_000)), max_size=120))
def test_however_few_keys_there_is_room_for_no_key_gets_more_than_its_bound(asked: list[tuple[int, int]]) -> None:
    async def scene() -> None:
        clock, passed = StoreClock(), dict[str, list[tuple[int, int]]]()
        store = MemoryLimitStore(clock, max_keys=4)
        for number, later_us in asked:
            clock.us += later_us
            each = demand("token_bucket", item=f"u{number}", quota=2, burst=2)
            if (await store.take([each])).allowed:
                passed.setdefault(each.item, []).append((clock.us, 1))
        limit = demand("token_bucket", quota=2, burst=2).limit
        assert all(over_bound(limit, times) is None for times in passed.values())

    asyncio.run(scene())


def test_slots_are_bounded_in_the_same_way() -> None:
    async def scene() -> None:
        clock = StoreClock()
        store = MemoryLimitStore(clock, max_keys=10)
        assert (await store.acquire([slot("mine", limit=1)], "a")).allowed
        for number in range(200):
            await store.acquire([slot(f"made-up-{number}", limit=1)], f"token-{number}")
        assert not (await store.acquire([slot("mine", limit=1)], "b")).allowed
        assert store.keys <= 10 + SHARED
        clock.us += LEASE_US
        assert (await store.acquire([slot("mine", limit=1)], "b")).allowed

    asyncio.run(scene())


def test_a_rule_that_changes_its_algorithm_counts_anew_and_reads_nothing_of_the_other() -> None:
    async def scene() -> None:
        store = MemoryLimitStore(lambda: START_US)
        before: Demand = demand("gcra")
        await store.take([replace(before, cost=5)])
        assert (await store.take([replace(demand("sliding_log"), cost=5)])).allowed
        assert not (await store.take([before])).allowed

    asyncio.run(scene())
