import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.cache_layers import (
    CacheUnavailable,
    Entry,
    GuardedSharedCache,
    LocalCache,
    MemorySharedCache,
    SharedCache,
    for_one_request,
)
from designs.building_blocks.circuit_breaker import CircuitBreaker
from tests.building_blocks.shared_cache_contract import CHECKS, MARKER_TTL_MS, Layer, a_late_writer_loses
from tests.known_bad.caching import RearmingLocalCache, UnversionedSharedCache
from tests.virtual_time import now_us, run

S_US = 500_000


class Clock:
    def __init__(self) -> None:
        self.now_us = 1_000_000

    def __call__(self) -> int:
        return self.now_us


def last_served_after_us(local: LocalCache[str], clock: Clock) -> int:
    """How long after the fetch a key that is hit every 10 ms was last served, looking for 3 s."""
    began_us = last_us = clock.now_us
    assert local.fill("k", Entry(1, "v", began_us + S_US))
    while clock.now_us < began_us + 3_000_000:
        if local.get("k") is not None:
            last_us = clock.now_us
        clock.now_us += 10_000
    return last_us - began_us


def test_a_key_that_is_hit_without_a_pause_is_dropped_when_its_time_is_over() -> None:
    clock = Clock()
    assert last_served_after_us(LocalCache(10, clock), clock) == S_US - 10_000


def test_a_cache_whose_hits_rearm_the_life_is_caught() -> None:
    clock = Clock()
    assert last_served_after_us(RearmingLocalCache(10, clock), clock) == 3_000_000 - 10_000


def test_the_local_layer_keeps_to_its_size_and_drops_the_oldest_fill() -> None:
    local: LocalCache[str] = LocalCache(3, Clock())
    for version, key in enumerate("abcad", start=1):
        local.fill(key, Entry(version, "v", 10**9))
        local.get("b")
    assert [key for key in "abcd" if local.get(key)] == ["a", "c", "d"]
    assert (len(local), local.evicted) == (3, 1)
    for number in range(100):
        local.invalidate(f"key {number}", 1, 10**6)
        local.fill(f"key {number}", Entry(1, "v", 10**9))
    assert len(local) == 3


def test_clearing_drops_entries_and_keeps_refusing_old_ones() -> None:
    local: LocalCache[str] = LocalCache(3, Clock())
    local.fill("a", Entry(1, "v", 10**9))
    local.invalidate("b", 5, 10**6)
    local.clear()
    assert len(local) == 0
    assert local.get("a") is None
    assert not local.fill("b", Entry(4, "old", 10**9))


def test_what_cannot_be_meant_is_refused() -> None:
    local: LocalCache[str] = LocalCache(3, Clock())
    with pytest.raises(ValueError, match="at least one entry"):
        LocalCache(0)
    with pytest.raises(ValueError, match="nothing below version 0"):
        local.invalidate("k", 0, 1)
    with pytest.raises(ValueError, match="is a marker"):
        local.fill("k", Entry(1, None, 10**9))


@given(
    st.lists(
        st.tuples(st.sampled_from(["fill", "invalidate", "pass"]), st.integers(0, 6), st.integers(1, 9)),
        max_size=60,
    )
)
def test_the_local_layer_serves_nothing_expired_invalidated_or_older_than_what_it_served(
    steps: list[tuple[str, int, int]],
) -> None:
    clock = Clock()
    local: LocalCache[int] = LocalCache(4, clock)
    floor, floor_until_us = 0, 0
    living, living_until_us = -1, 0
    for does, version, span in steps:
        if does == "pass":
            clock.now_us += span
        elif does == "fill":
            entry = Entry(version, version or None, clock.now_us + span)
            lower = version < floor and clock.now_us < floor_until_us
            lower = lower or (version < living and clock.now_us < living_until_us)
            assert local.fill("k", entry) is not lower
            if not lower:
                living, living_until_us = version, clock.now_us + span
        elif version:
            local.invalidate("k", version, span)
            floor = max(version, floor) if clock.now_us < floor_until_us else version
            floor_until_us = clock.now_us + span
            if living < version:
                living_until_us = 0
        held = local.get("k")
        assert (held.version if held else None) == (living if clock.now_us < living_until_us else None)


def reference(hop: Callable[[], Awaitable[None]]) -> SharedCache[str]:
    return MemorySharedCache(100, MARKER_TTL_MS * 1000, now_us, hop)


def guarded(hop: Callable[[], Awaitable[None]]) -> SharedCache[str]:
    breaker = CircuitBreaker(lambda: now_us() / 1e6)
    return GuardedSharedCache(reference(hop), breaker, deadline_s=1)


async def at_once() -> None:
    return None


async def after_a_millisecond() -> None:
    await asyncio.sleep(0.001)


@pytest.mark.parametrize("hop", [at_once, after_a_millisecond])
@pytest.mark.parametrize("make", [reference, guarded])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_memory_layer_keeps_the_contract(
    check: Callable[[Layer], Awaitable[None]],
    make: Callable[[Callable[[], Awaitable[None]]], SharedCache[str]],
    hop: Callable[[], Awaitable[None]],
) -> None:
    async def scene() -> None:
        await check(Layer(make(hop), now_us, lambda ms: asyncio.sleep(ms / 1000)))

    run(scene())


def test_the_contract_catches_a_layer_without_versions() -> None:
    async def scene() -> None:
        layer = Layer(UnversionedSharedCache(clock_us=now_us), now_us, lambda ms: asyncio.sleep(ms / 1000))
        await a_late_writer_loses(layer)

    with pytest.raises(AssertionError):
        run(scene())


def test_leases_are_bounded_and_the_dead_make_room() -> None:
    async def scene() -> None:
        shared: MemorySharedCache[str] = MemorySharedCache(max_entries=2, clock_us=now_us)
        assert await shared.acquire("a", "t", 100)
        assert await shared.acquire("b", "t", 900)
        assert not await shared.acquire("c", "t", 100)
        await asyncio.sleep(0.2)
        assert await shared.acquire("c", "t", 100)
        assert not await shared.acquire("b", "other", 100)

    run(scene())


class Line:
    """The way to a shared layer, which can be cut: then what is asked is never answered."""

    def __init__(self) -> None:
        self.cut = False
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        if self.cut:
            await asyncio.Event().wait()


def test_a_layer_that_never_answers_costs_one_deadline_until_the_breaker_opens_and_is_probed_later() -> None:
    async def scene() -> None:
        line = Line()
        breaker = CircuitBreaker(lambda: now_us() / 1e6, failures=3, window_s=10, open_s=1)
        shared = GuardedSharedCache[str](MemorySharedCache(clock_us=now_us, hop=line), breaker, deadline_s=0.05)
        await shared.fill("k", Entry(1, "v", 10**9))
        line.cut = True

        async def refused(key: str) -> tuple[int, bool]:
            began_us = now_us()
            with pytest.raises(CacheUnavailable) as caught:
                await shared.get(key)
            return now_us() - began_us, caught.value.maybe_done

        assert [await refused("k") for _ in range(3)] == [(50_000, True)] * 3
        assert breaker.opened_total == 1
        line.asked = 0
        assert [await refused("k") for _ in range(100)] == [(0, False)] * 100
        assert line.asked == 0

        await asyncio.sleep(1.01)
        assert sorted(await asyncio.gather(*(refused("k") for _ in range(20)))) == [(0, False)] * 19 + [(50_000, True)]
        line.cut = False
        assert await refused("k") == (0, False)
        await asyncio.sleep(1.01)
        assert (await shared.get("k")) == Entry(1, "v", 10**9)
        assert breaker.state == "closed"

    run(scene())


def test_a_caller_that_is_cancelled_is_no_failure_of_the_cache() -> None:
    async def scene() -> None:
        line = Line()
        line.cut = True
        breaker = CircuitBreaker(lambda: now_us() / 1e6, failures=1)
        shared = GuardedSharedCache[str](MemorySharedCache(hop=line), breaker, deadline_s=1)
        caller = asyncio.create_task(shared.get("k"))
        await asyncio.sleep(0.5)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert breaker.opened_total == 0
        with pytest.raises(CacheUnavailable):
            await shared.get("k")
        assert breaker.opened_total == 1

    run(scene())


class SlowLayer(MemorySharedCache[str]):
    """Answers each call just in time."""

    def __init__(self, takes_s: float) -> None:
        super().__init__(clock_us=now_us, hop=lambda: asyncio.sleep(takes_s / 2))


def test_all_calls_of_one_request_share_one_deadline_and_each_request_has_one_of_its_own() -> None:
    async def scene() -> None:
        shared = GuardedSharedCache[str](SlowLayer(0.04), CircuitBreaker(lambda: now_us() / 1e6, failures=99), deadline_s=0.05)
        for _ in range(3):
            request, began_us = for_one_request(shared), now_us()
            assert await request.get("k") is None
            await asyncio.sleep(5)  # the store's time is not the layer's
            with pytest.raises(CacheUnavailable):
                await request.fill("k", Entry(1, "v", 10**9))
            with pytest.raises(CacheUnavailable):
                await request.release("k", "t")
            assert now_us() - began_us == 5_000_000 + 50_000
        began_us = now_us()
        for _ in range(3):
            await shared.get("k")
        assert now_us() - began_us == 120_000, "without a request to belong to, each call has a deadline of its own"

    run(scene())


def test_a_layer_without_a_deadline_is_handed_on_as_it_is() -> None:
    layer = MemorySharedCache[str](clock_us=now_us)
    assert for_one_request(layer) is layer
