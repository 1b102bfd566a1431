"""Leased units: no more of them than the stated overshoot, whatever the load, and fewer trips for keys that come often."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designs.rate_limiter.backends.local_lease import LocalLeaseStore
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.limits import Limit
from designs.rate_limiter.ports import Demand, StoreError, Taken

LEASE_US = 1_000_000
DAY_US = 86_400 * 1_000_000
FROZEN = Limit("fixed_window", 100, DAY_US, 100)


class Clock:
    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


class Held(MemoryLimitStore):
    """A store whose answers wait until they are let go, and which is away when it is told to be."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.gate = asyncio.Event()
        self.gate.set()
        self.away = False

    async def take(self, demands: Sequence[Demand]) -> Taken:
        if self.away:
            raise StoreError("away", may_have_happened=False)
        taken = await super().take(demands)
        await self.gate.wait()
        return taken


def demand(limit: Limit = FROZEN, item: str = "u1", cost: int = 1, *, shadow: bool = False, rule: str = "r") -> Demand:
    return Demand(f"{{d}}:{limit.algorithm}1:{rule}", item, limit, cost, shadow)


def leasing(store: MemoryLimitStore, clock: Clock, size: int = 10) -> LocalLeaseStore:
    return LocalLeaseStore(store, size, LEASE_US, clock)


def test_a_key_that_comes_once_takes_one_unit_and_no_block() -> None:
    async def scene() -> None:
        clock = Clock()
        store = MemoryLimitStore(clock)
        await leasing(store, clock).take([demand()])
        assert (await store.peek([demand()])).decisions[0].remaining == 99

    asyncio.run(scene())


def test_a_key_that_comes_often_asks_the_store_once_for_a_block() -> None:
    async def scene() -> None:
        clock = Clock()
        replica = leasing(MemoryLimitStore(clock), clock)
        said = [(await replica.take([demand()])).decisions[0].remaining for _ in range(41)]
        assert replica.trips == 1 + 4
        assert said == list(range(99, 58, -1))  # what is left here counts as left

    asyncio.run(scene())


def test_a_limit_that_allows_few_at_once_is_leased_by_a_tenth_of_that() -> None:
    async def scene() -> None:
        clock = Clock()
        store, limit = MemoryLimitStore(clock), Limit("gcra", 1, DAY_US // 1000, 20)
        replica = leasing(store, clock, size=1000)
        await replica.take([demand(limit)])
        await replica.take([demand(limit)])
        assert (await store.peek([demand(limit)])).decisions[0].remaining == 20 - 1 - 2

    asyncio.run(scene())


def test_units_are_not_spent_after_their_lease() -> None:
    async def scene() -> None:
        clock = Clock()
        replica = leasing(MemoryLimitStore(clock), clock)
        for _ in range(2):
            await replica.take([demand()])
        clock.now_us += LEASE_US
        trips = replica.trips
        await replica.take([demand()])
        assert replica.trips == trips + 1

    asyncio.run(scene())


@pytest.mark.parametrize("size", [1, 7, 10, 50])
def test_replicas_that_share_a_frozen_limit_admit_no_more_than_it_has_and_the_last_units_are_not_wasted_on_blocks(
    size: int,
) -> None:
    async def scene() -> None:
        clock = Clock()
        store = MemoryLimitStore(clock)
        replicas = [leasing(store, clock, size) for _ in range(4)]
        admitted = 0
        for turn in range(400):
            admitted += (await replicas[turn % 4].take([demand()])).allowed
            clock.now_us += 1000
        assert admitted <= FROZEN.quota
        assert admitted >= FROZEN.quota - 4 * min(size, 10)  # what a replica holds when its lease ends is lost

    asyncio.run(scene())


MOVES = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 0, 1, 1_000, 40_000, LEASE_US]), st.integers(1, 4)), max_size=120)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["gcra", "token_bucket", "leaky_bucket"]), st.integers(1, 30), MOVES)
def test_in_no_span_more_is_spent_than_the_bound_and_one_block_of_each_replica(
    algorithm: str, size: int, moves: list[tuple[int, int, int]]
) -> None:
    limit = Limit(algorithm, 50, 1_000_000, 100)  # type: ignore[arg-type]

    async def scene() -> None:
        clock = Clock()
        store = MemoryLimitStore(clock)
        replicas = [leasing(store, clock, size) for _ in range(3)]
        admitted: list[tuple[int, int]] = []
        for who, later_us, cost in moves:
            clock.now_us += later_us
            if (await replicas[who].take([demand(limit, cost=cost)])).allowed:
                admitted.append((clock.now_us, cost))
        for first in range(len(admitted)):
            spent = 0
            for at_us, cost in admitted[first:]:
                spent += cost
                span_us = at_us - admitted[first][0]
                assert spent <= limit.burst + span_us * limit.quota // limit.period_us + 3 * size

    asyncio.run(scene())


def test_while_a_block_is_on_its_way_the_others_take_what_they_need_and_no_second_block() -> None:
    async def scene() -> None:
        clock = Clock()
        store = Held(clock)
        replica = leasing(store, clock)
        await replica.take([demand()])
        store.gate.clear()
        asking = [asyncio.create_task(replica.take([demand()])) for _ in range(5)]
        await asyncio.sleep(0)
        store.gate.set()
        assert all(taken.allowed for taken in await asyncio.gather(*asking))
        assert (await store.peek([demand()])).decisions[0].remaining == 100 - 1 - 10 - 4
        trips = replica.trips
        for _ in range(9):
            await replica.take([demand()])
        assert replica.trips == trips, "the block is there"
        await replica.take([demand()])
        assert replica.trips == trips + 1, "the next one is asked for"
        await replica.take([demand()])
        assert replica.trips == trips + 1

    asyncio.run(scene())


def test_one_limit_that_refuses_gives_what_another_has_reserved_back() -> None:
    async def scene() -> None:
        clock = Clock()
        store = MemoryLimitStore(clock)
        replica = leasing(store, clock)
        tight = demand(Limit("fixed_window", 1, DAY_US, 1), rule="tight")
        for _ in range(2):
            await replica.take([demand()])
        await store.take([tight])
        assert not (await replica.take([demand(), tight])).allowed
        trips = replica.trips
        for _ in range(9):
            assert (await replica.take([demand()])).allowed
        assert replica.trips == trips, "all nine of the block are still there"

    asyncio.run(scene())


def test_a_store_that_is_away_takes_nothing_from_the_lease() -> None:
    async def scene() -> None:
        clock = Clock()
        store = Held(clock)
        replica = leasing(store, clock)
        for _ in range(2):
            await replica.take([demand()])
        store.away = True
        with pytest.raises(StoreError):
            await replica.take([demand(), demand(item="u2")])
        for _ in range(9):
            assert (await replica.take([demand()])).allowed
        with pytest.raises(StoreError):
            await replica.take([demand()])

    asyncio.run(scene())


def test_a_refused_key_is_refused_here_for_as_long_as_the_store_said() -> None:
    async def scene() -> None:
        clock = Clock()
        limit = Limit("gcra", 10, 1_000_000, 1)
        replica = leasing(MemoryLimitStore(clock), clock)
        await replica.take([demand(limit)])
        first = await replica.take([demand(limit)])
        trips = replica.trips
        clock.now_us += 60_000
        again = await replica.take([demand(limit)])
        assert replica.trips == trips
        assert first.decisions[0].retry_after_us == 100_000
        assert again.decisions[0].retry_after_us == 40_000
        clock.now_us += 40_000
        assert (await replica.take([demand(limit)])).allowed

    asyncio.run(scene())


def test_what_is_given_back_or_reset_is_there_at_once_for_who_did_it() -> None:
    async def scene() -> None:
        clock = Clock()
        limit = Limit("fixed_window", 1, DAY_US, 1)
        replica = leasing(MemoryLimitStore(clock), clock)
        for undo in (replica.give_back, replica.reset):
            assert (await replica.take([demand(limit)])).allowed
            assert not (await replica.take([demand(limit)])).allowed
            await undo([demand(limit)])
        assert (await replica.take([demand(limit)])).allowed

    asyncio.run(scene())


def test_a_rule_that_changed_is_not_served_from_a_lease_of_the_old_one() -> None:
    async def scene() -> None:
        clock = Clock()
        replica = leasing(MemoryLimitStore(clock), clock)
        for _ in range(2):
            await replica.take([demand()])
        smaller = demand(Limit("fixed_window", 5, DAY_US, 5))
        assert not (await replica.take([smaller])).allowed

    asyncio.run(scene())


def test_a_shadow_is_leased_too_and_refuses_nobody() -> None:
    async def scene() -> None:
        clock = Clock()
        tight = Limit("fixed_window", 3, DAY_US, 3)
        replica = leasing(MemoryLimitStore(clock), clock)
        taken = [await replica.take([demand(), demand(tight, shadow=True, rule="s")]) for _ in range(6)]
        assert all(each.allowed for each in taken)
        assert [each.decisions[1].allowed for each in taken] == [True] * 3 + [False] * 3

    asyncio.run(scene())
