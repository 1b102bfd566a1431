"""The whole cache on two or three replicas in one process, in virtual time: what is served, how old, and for how many loads."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from designs.building_blocks.cache_layers import (
    CacheUnavailable,
    GuardedSharedCache,
    LocalCache,
    MemorySharedCache,
    SharedCache,
)
from designs.building_blocks.caching import CachePolicy, LayeredCache, Lookup
from designs.building_blocks.circuit_breaker import CircuitBreaker
from tests.known_bad.caching import CreateLeavesCacheAlone, PlainTtlCache, UnversionedSharedCache
from tests.virtual_time import now_us, run

MS = 1000
POLICY = CachePolicy(ttl_us=10_000 * MS, local_ttl_us=500 * MS, negative_ttl_us=2_000 * MS, jitter=0.0)


class Store:
    """Rows with versions. Looking one up takes `way_s()` there and `way_s()` back, and counts."""

    def __init__(self, way_s: Callable[[], float] = lambda: 0.05) -> None:
        self.rows: dict[str, tuple[int, str | None]] = {}
        self.loaded_at_us: list[int] = []
        self.broken = False
        self._way_s = way_s

    async def load(self, key: str) -> tuple[int, str | None]:
        self.loaded_at_us.append(now_us())
        await asyncio.sleep(self._way_s())
        row = self.rows.get(key, (0, None))
        await asyncio.sleep(self._way_s())
        if self.broken:
            raise OSError("the store is down")
        return row

    def edit(self, key: str, value: str | None) -> int:
        version = self.rows.get(key, (0, None))[0] + 1
        self.rows[key] = (version, value)
        return version


def replica(
    store: Store,
    shared: SharedCache[str] | None,
    policy: CachePolicy = POLICY,
    *,
    local: bool = True,
    on_shared_down: Literal["bypass", "refuse"] = "bypass",
    kind: type[LayeredCache[str]] = LayeredCache[str],
    seed: int = 1,
) -> LayeredCache[str]:
    return kind(
        local=LocalCache(100, now_us) if local else None,
        shared=shared,
        load=store.load,
        policy=policy,
        on_shared_down=on_shared_down,
        clock_us=now_us,
        rng=random.Random(seed).random,
        new_token=lambda: f"replica {seed}",
    )


# One history: who wrote what when, and what readers were given.


@dataclass(slots=True)
class State:
    """A state of the key: from `committed_us` in the store, and announced from `acked_us` on, if ever."""

    value: str | None
    committed_us: int
    writer: int
    acked_us: float = math.inf


@dataclass(frozen=True, slots=True)
class Read:
    reader: int
    asked_us: int
    answered_us: int
    value: str | None


@dataclass(slots=True)
class History:
    states: list[State] = field(default_factory=lambda: [State(None, 0, -1, 0)])
    reads: list[Read] = field(default_factory=list)

    def stale(self, bound_us: int) -> list[Read]:
        """Reads that gave a value although a newer one had been acknowledged: by the same replica, or longer than the bound."""
        return [read for read in self.reads if not any(self._explains(i, read, bound_us) for i in self._matching(read))]

    def _matching(self, read: Read) -> Iterable[int]:
        return (i for i, state in enumerate(self.states) if state.value == read.value)

    def _explains(self, i: int, read: Read, bound_us: int) -> bool:
        return self.states[i].committed_us <= read.answered_us and not any(
            newer.acked_us < read.asked_us - (0 if newer.writer == read.reader else bound_us) for newer in self.states[i + 1 :]
        )


@dataclass(frozen=True, slots=True)
class Step:
    after_ms: int
    replica: int
    does: Literal["read", "write", "edit", "delete"]


async def play(steps: Iterable[Step], replicas: list[LayeredCache[str]], store: Store) -> History:
    """Write-through, edit with invalidation, delete, read: each step in a task of its own, as requests are."""
    history = History()

    async def act(step: Step) -> None:
        cache = replicas[step.replica % len(replicas)]
        who = step.replica % len(replicas)
        asked_us = now_us()
        if step.does == "read":
            try:
                lookup = await cache.get("k")
            except CacheUnavailable:
                return
            history.reads.append(Read(who, asked_us, now_us(), lookup.value))
            return
        value = None if step.does == "delete" else f"value {len(history.states)}"
        version = store.edit("k", value)
        state = State(value, now_us(), who)
        history.states.append(state)
        try:
            if step.does == "write" and value is not None:
                await cache.write("k", version, value)
            else:
                await cache.invalidate("k", version)
        except CacheUnavailable:
            return
        state.acked_us = now_us()

    tasks = []
    for step in steps:
        await asyncio.sleep(step.after_ms / 1000)
        tasks.append(asyncio.create_task(act(step)))
    await asyncio.gather(*tasks)
    return history


@dataclass(frozen=True, slots=True)
class Setup:
    """`slowest_*_ms`: each way takes a random time up to this. `loss`: share of the ways to the shared layer that fail."""

    layers: Literal["both", "local", "shared"]
    stampede: Literal["none", "single-flight", "lease", "early-expiry"]
    on_shared_down: Literal["bypass", "refuse"] = "bypass"
    replicas: int = 3
    s_ms: int = 100
    ttl_ms: int = 900
    negative_ttl_ms: int = 300
    marker_ms: int = 700
    jitter: float = 0.2
    slowest_way_ms: int = 20
    slowest_store_ms: int = 150
    loss: float = 0.0
    seed: int = 0

    def run(
        self,
        steps: Iterable[Step],
        shared_kind: type[MemorySharedCache[str]] = MemorySharedCache[str],
        kind: type[LayeredCache[str]] = LayeredCache[str],
    ) -> list[Read]:
        """The stale reads of the history these steps give."""
        rng = random.Random(self.seed)
        marker_ttl_us = max(self.marker_ms, self.s_ms) * MS
        stampede = "single-flight" if self.layers == "local" and self.stampede == "lease" else self.stampede
        policy = CachePolicy(
            ttl_us=self.ttl_ms * MS,
            local_ttl_us=self.s_ms * MS,
            jitter=self.jitter,
            negative_ttl_us=min(self.negative_ttl_ms, self.s_ms if self.layers == "local" else 10**9) * MS,
            stampede=stampede,
            lease_ms=200,
            marker_ttl_us=marker_ttl_us,
        )

        async def hop() -> None:
            await asyncio.sleep(rng.random() * self.slowest_way_ms / 1000)
            if rng.random() < self.loss:
                raise CacheUnavailable("lost on the way")

        async def scene() -> History:
            store = Store(lambda: rng.random() * self.slowest_store_ms / 1000)
            shared = None if self.layers == "local" else shared_kind(100, marker_ttl_us, now_us, hop)
            replicas = [
                replica(
                    store,
                    shared,
                    policy,
                    local=self.layers != "shared",
                    on_shared_down=self.on_shared_down,
                    kind=kind,
                    seed=seed,
                )
                for seed in range(self.replicas)
            ]
            return await play(steps, replicas, store)

        return run(scene()).stale(self.s_ms * MS)


steps_strategy = st.lists(
    st.builds(
        Step,
        st.one_of(st.integers(0, 30), st.integers(0, 400)),
        st.integers(0, 2),
        st.sampled_from(("read", "read", "read", "write", "edit", "delete")),
    ),
    max_size=40,
)
setups = st.builds(
    Setup,
    layers=st.sampled_from(("both", "both", "local", "shared")),
    stampede=st.sampled_from(("none", "single-flight", "lease", "early-expiry")),
    on_shared_down=st.sampled_from(("bypass", "refuse")),
    replicas=st.integers(2, 3),
    s_ms=st.sampled_from((20, 100, 400)),
    ttl_ms=st.sampled_from((450, 900)),
    negative_ttl_ms=st.sampled_from((0, 300)),
    marker_ms=st.sampled_from((150, 700)),
    jitter=st.sampled_from((0.0, 0.2)),
    loss=st.sampled_from((0.0, 0.0, 0.2)),
    seed=st.integers(0, 10**6),
)

# A read is under way to the store and back while the value is edited and the edit announced; then the key is read on.
SLOW_READ_MEETS_EDIT = [
    Step(0, 0, "write"),
    Step(1000, 0, "read"),
    Step(20, 1, "edit"),
    *[Step(40, 2, "read") for _ in range(20)],
]
SLOW_READ_SETUP = Setup("both", "none", ttl_ms=900, slowest_way_ms=1, slowest_store_ms=100)
READ_THEN_CREATE = [Step(0, 0, "read"), Step(300, 1, "write"), *[Step(20, 2, "read") for _ in range(10)]]


@settings(max_examples=250, deadline=None)
@given(steps=steps_strategy, setup=setups)
@example(steps=SLOW_READ_MEETS_EDIT, setup=SLOW_READ_SETUP)
@example(steps=READ_THEN_CREATE, setup=Setup("both", "lease"))
def test_no_replica_serves_a_value_for_longer_than_s_after_it_was_invalidated(steps: list[Step], setup: Setup) -> None:
    assert setup.run(steps) == []


@pytest.mark.parametrize("layers", ["both", "shared"])
def test_a_fill_without_versions_is_caught(layers: Literal["both", "shared"]) -> None:
    caught = 0
    for seed in range(20):
        setup = replace(SLOW_READ_SETUP, layers=layers, seed=seed)
        assert setup.run(SLOW_READ_MEETS_EDIT) == []
        caught += bool(setup.run(SLOW_READ_MEETS_EDIT, UnversionedSharedCache[str]))
    assert caught > 0


def test_a_negative_entry_that_outlives_a_create_is_caught() -> None:
    setup = Setup("both", "single-flight", negative_ttl_ms=900)
    assert setup.run(READ_THEN_CREATE) == []
    assert setup.run(READ_THEN_CREATE, kind=CreateLeavesCacheAlone[str]) != []


# How many loads an expiry costs.


async def loads_per_expiry(store: Store, readers: list[Callable[[str], Awaitable[object]]]) -> float:
    """1,000 reads a second of one key for 8 s, shared out evenly. Loads more than 0.5 s apart belong to different expiries."""
    await readers[0]("k")
    await asyncio.sleep(1)
    store.loaded_at_us.clear()
    tasks = []
    for number in range(8000):
        tasks.append(asyncio.create_task(_ask(readers[number % len(readers)])))
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    expiries = 1 + sum(later - earlier > 500 * MS for earlier, later in pairwise(store.loaded_at_us))
    assert expiries >= 3
    return len(store.loaded_at_us) / expiries


async def _ask(reader: Callable[[str], Awaitable[object]]) -> None:
    await reader("k")


def layered(stampede: Literal["none", "single-flight", "lease", "early-expiry"]) -> float:
    async def scene() -> float:
        store = Store()
        store.edit("k", "v")

        async def hop() -> None:
            await asyncio.sleep(0.000_25)

        shared = MemorySharedCache[str](clock_us=now_us, hop=hop)
        policy = CachePolicy(ttl_us=2_000 * MS, local_ttl_us=100 * MS, jitter=0.0, stampede=stampede)
        replicas = [replica(store, shared, policy, local=False, seed=seed) for seed in range(3)]
        return await loads_per_expiry(store, [cache.get for cache in replicas])

    return run(scene())


def plain_ttl() -> float:
    async def scene() -> float:
        store = Store()
        store.edit("k", "v")
        return await loads_per_expiry(store, [PlainTtlCache(store.load, 2_000 * MS, now_us).get])

    return run(scene())


@pytest.mark.parametrize(
    ("policy", "loads", "fewest", "most"),
    [
        ("plain TTL, known bad", plain_ttl, 90, 115),
        ("none", lambda: layered("none"), 90, 115),
        ("early-expiry", lambda: layered("early-expiry"), 1, 8),
        ("single-flight", lambda: layered("single-flight"), 3, 3),
        ("lease", lambda: layered("lease"), 1, 1),
    ],
)
def test_a_load_of_100_ms_at_1000_reads_a_second_runs_this_often_per_expiry_on_three_replicas(
    policy: str, loads: Callable[[], float], fewest: float, most: float
) -> None:
    """Without a guard 1 + rate x cost, 101; XFetch a few; single-flight one per process; the lease one."""
    assert fewest <= loads() <= most, policy


def test_xfetch_starts_before_the_expiry_and_nobody_waits_for_it() -> None:
    async def scene() -> None:
        store = Store()
        store.edit("k", "v")
        policy = CachePolicy(ttl_us=2_000 * MS, local_ttl_us=2_000 * MS, jitter=0.0, stampede="early-expiry")
        cache = replica(store, None, policy)
        await cache.get("k")
        waited = 0
        for _ in range(5000):
            asked_us = now_us()
            task = asyncio.create_task(cache.get("k"))
            await asyncio.sleep(0.001)
            waited += not task.done() and now_us() > asked_us
        assert 1 <= cache.stats.early == waited == len(store.loaded_at_us) - 1 <= 30

    run(scene())


# Reading and writing through the layers.


def test_a_value_is_found_in_the_nearest_layer_that_has_it() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        one, two = replica(store, shared), replica(store, shared)
        store.edit("k", "v")
        assert await one.get("k") == Lookup(1, "v", "store")
        assert await one.get("k") == Lookup(1, "v", "local")
        assert await two.get("k") == Lookup(1, "v", "shared")
        assert await two.get("k") == Lookup(1, "v", "local")
        assert (one.stats.misses, one.stats.loads, one.stats.local_hits) == (1, 1, 1)
        assert (two.stats.shared_hits, two.stats.local_hits, two.stats.loads) == (1, 1, 0)

    run(scene())


@pytest.mark.parametrize(("stampede", "held"), [("single-flight", "v"), ("early-expiry", None)])
def test_a_peek_sees_fresh_local_values_alone_and_leaves_the_draw_to_the_read(stampede: Any, held: str | None) -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        store.edit("k", "v")
        cache = replica(store, shared, replace(POLICY, stampede=stampede))
        assert cache.peek("k") is None
        await cache.get("k")
        assert cache.peek("k") == held
        assert cache.stats.local_hits == (held is not None)
        assert cache.stats.early == 0
        await asyncio.sleep(0.6)
        assert cache.peek("k") is None
        assert replica(store, shared, local=False).peek("k") is None

    run(scene())


def test_without_any_layer_every_read_is_a_load() -> None:
    async def scene() -> None:
        store = Store()
        cache = replica(store, None, local=False)
        store.edit("k", "v")
        assert [(await cache.get("k")).source for _ in range(3)] == ["store"] * 3

    run(scene())


def test_a_local_entry_dies_s_after_the_fetch_began_and_not_after_it_ended() -> None:
    async def scene() -> None:
        async def slow_way() -> None:
            await asyncio.sleep(0.1)

        store, shared = Store(), MemorySharedCache[str](clock_us=now_us, hop=slow_way)
        cache = replica(store, shared)
        await shared.fill("k", cache._entry(1, "v", now_us(), 0))
        asked_us = now_us()
        assert (await cache.get("k")).source == "shared"
        while (await cache.get("k")).source == "local":
            last_us = now_us()
            await asyncio.sleep(0.01)
        assert last_us - asked_us < POLICY.local_ttl_us

    run(scene())


def test_a_local_entry_does_not_outlive_the_shared_one_it_came_from() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        store.edit("k", "v")
        policy = replace(POLICY, ttl_us=1_000 * MS)
        one, two = replica(store, shared, policy), replica(store, shared, policy)
        await one.get("k")
        await asyncio.sleep(0.8)
        assert (await two.get("k")).source == "shared"
        await asyncio.sleep(0.15)
        assert (await two.get("k")).source == "store"

    run(scene())


def test_an_absent_key_is_remembered_and_a_create_on_another_replica_is_seen_at_once() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        one, two = replica(store, shared), replica(store, shared)
        assert await one.get("k") == Lookup(0, None, "store")
        assert await one.get("k") == await two.get("k") == Lookup(0, None, "shared")
        assert (one.stats.negative_hits, two.stats.negative_hits, len(store.loaded_at_us)) == (1, 1, 1)
        await two.write("k", store.edit("k", "v"), "v")
        assert await one.get("k") == Lookup(1, "v", "shared")
        assert await two.get("k") == Lookup(1, "v", "local")

    run(scene())


def test_a_single_process_remembers_absent_keys_in_its_own_layer() -> None:
    async def scene() -> None:
        store = Store()
        cache = replica(store, None)
        assert [(await cache.get("k")).source for _ in range(3)] == ["store", "local", "local"]
        await cache.write("k", store.edit("k", "v"), "v")
        assert await cache.get("k") == Lookup(1, "v", "local")
        forgetful = replica(store, None, replace(POLICY, negative_ttl_us=0))
        assert [(await forgetful.get("j")).source for _ in range(3)] == ["store"] * 3

    run(scene())


def test_a_deleted_key_is_absent_and_remembered_once_its_marker_has_ended() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](marker_ttl_us=1_000 * MS, clock_us=now_us)
        cache = replica(store, shared)
        await cache.write("k", store.edit("k", "v"), "v")
        await cache.invalidate("k", store.edit("k", None))
        assert await cache.get("k") == Lookup(2, None, "store")
        assert cache.stats.refused_fills == 1
        await asyncio.sleep(1)
        assert [(await cache.get("k")).source for _ in range(2)] == ["store", "shared"]
        await cache.write("k", store.edit("k", "again"), "again")
        assert (await cache.get("k")).value == "again"

    run(scene())


def test_a_read_after_a_write_does_not_join_a_load_from_before_it() -> None:
    async def scene() -> None:
        store = Store()
        store.edit("k", "old")
        cache = replica(store, None, local=False)
        before = asyncio.create_task(cache.get("k"))
        await asyncio.sleep(0.08)
        await cache.invalidate("k", store.edit("k", "new"))
        assert (await cache.get("k")).value == "new"
        assert (await before).value == "old"

    run(scene())


def test_a_read_after_an_edit_does_not_join_one_that_looked_while_the_edit_was_on_its_way() -> None:
    async def scene() -> None:
        # invalidate: 100 ms there, none back; the read that starts with it: 10 ms there, 200 ms back.
        ways_s = iter([0.1, 0.01, 0.2, *[0.0] * 10])

        async def hop() -> None:
            await asyncio.sleep(next(ways_s))

        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        await replica(store, shared).write("k", store.edit("k", "old"), "old")
        shared._hop = hop
        cache = replica(store, shared)
        edit = asyncio.create_task(cache.invalidate("k", store.edit("k", "new")))
        before = asyncio.create_task(cache.get("k"))
        await edit
        assert (await cache.get("k")).value == "new"
        assert (await before).value == "old"
        assert (await cache.get("k")).value == "new"

    run(scene())


def test_nobody_joins_a_load_of_its_process_that_began_longer_than_s_ago() -> None:
    async def scene() -> None:
        ways_s = iter([0.05, 1.0, *[0.05] * 10])
        store, shared = Store(lambda: next(ways_s)), MemorySharedCache[str](clock_us=now_us)
        store.edit("k", "old")
        one, two = replica(store, shared), replica(store, shared)
        before = asyncio.create_task(two.get("k"))
        await asyncio.sleep(0.1)
        await one.invalidate("k", store.edit("k", "new"))
        await asyncio.sleep(0.3)
        joined = asyncio.create_task(two.get("k"))
        await asyncio.sleep(0.3)
        assert (await two.get("k")).value == "new"
        assert (await before).value == (await joined).value == "old"

    run(scene())


def test_a_message_from_another_replica_drops_the_entry_before_its_time() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        one, two = replica(store, shared), replica(store, shared)
        await one.write("k", store.edit("k", "old"), "old")
        await two.get("k")
        await one.invalidate("k", store.edit("k", "new"))
        assert (await two.get("k")).value == "old"
        two.drop_local("k", 2)
        assert (await two.get("k")).value == "new"
        two.clear_local()
        assert (await two.get("k")).source == "shared"

    run(scene())


def test_a_write_that_comes_second_does_not_replace_the_newer_one() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        one, two = replica(store, shared), replica(store, shared)
        first, second = store.edit("k", "first"), store.edit("k", "second")
        await two.write("k", second, "second")
        await one.write("k", first, "first")
        assert await one.get("k") == Lookup(second, "second", "shared")
        assert await two.get("k") == Lookup(second, "second", "local")

    run(scene())


def test_a_load_too_slow_for_its_guards_is_answered_and_not_kept() -> None:
    async def scene() -> None:
        store, shared = Store(lambda: 2.0), MemorySharedCache[str](clock_us=now_us)
        store.edit("k", "v")
        assert POLICY.slowest_fill_us < 4_000 * MS
        cache = replica(store, shared)
        assert await cache.get("k") == Lookup(1, "v", "store")
        assert cache.stats.refused_fills == 1
        assert await shared.get("k") is None

    run(scene())


def test_a_load_that_outlasts_the_marker_of_an_edit_does_not_bring_the_old_value_back() -> None:
    async def scene() -> None:
        ways_s = iter([0.05, 1.0, *[0.05] * 10])
        store = Store(lambda: next(ways_s))
        shared = MemorySharedCache[str](marker_ttl_us=500 * MS, clock_us=now_us)
        policy = replace(POLICY, marker_ttl_us=500 * MS)
        one, two = replica(store, shared, policy), replica(store, shared, policy)
        store.edit("k", "old")
        before = asyncio.create_task(two.get("k"))
        await asyncio.sleep(0.1)
        await one.invalidate("k", store.edit("k", "new"))
        assert (await before).value == "old"
        assert (await one.get("k")).value == "new"

    run(scene())


def test_every_answered_read_is_counted_once_and_who_waited_beside_it() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        store.edit("k", "v")
        cache = replica(store, shared)
        await asyncio.gather(*(cache.get("k") for _ in range(10)), cache.get("unknown"))
        await cache.get("k")
        await cache.get("unknown")
        stats = cache.stats
        assert (stats.misses, stats.waits, stats.loads) == (11, 9, 2)
        assert (stats.local_hits, stats.shared_hits, stats.negative_hits) == (1, 0, 1)

    run(scene())


# The lease.

LEASE = replace(POLICY, stampede="lease", lease_ms=1000)


def test_the_losers_of_the_lease_get_what_the_winner_loaded() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        store.edit("k", "v")
        replicas = [replica(store, shared, LEASE, seed=seed) for seed in range(3)]
        answers = await asyncio.gather(*(cache.get("k") for cache in replicas for _ in range(10)))
        assert {answer.value for answer in answers} == {"v"}
        assert len(store.loaded_at_us) == 1
        assert [cache.stats.waits for cache in replicas] == [9, 10, 10]

    run(scene())


@pytest.mark.parametrize("seed", range(30))
def test_the_lease_means_one_load_whenever_the_processes_come(seed: int) -> None:
    async def scene() -> None:
        rng = random.Random(seed)

        async def hop() -> None:
            await asyncio.sleep(rng.random() * 0.05)

        store, shared = Store(), MemorySharedCache[str](clock_us=now_us, hop=hop)
        store.edit("k", "v")

        async def come(cache: LayeredCache[str], after_s: float) -> None:
            await asyncio.sleep(after_s)
            assert (await cache.get("k")).value == "v"

        await asyncio.gather(*(come(replica(store, shared, LEASE, seed=n), n * 0.02) for n in range(20)))
        assert len(store.loaded_at_us) == 1

    run(scene())


def test_a_dead_lease_holder_costs_the_time_of_the_lease() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        store.edit("k", "v")
        await shared.acquire("k", "the dead", LEASE.lease_ms)
        replicas = [replica(store, shared, LEASE, seed=seed) for seed in range(3)]
        answers = await asyncio.gather(*(cache.get("k") for cache in replicas))
        assert {answer.value for answer in answers} == {"v"}
        assert LEASE.lease_ms * MS <= now_us() <= (LEASE.lease_ms + 200) * MS
        assert 1 <= len(store.loaded_at_us) <= 3

    run(scene())


def test_who_waits_for_the_lease_takes_it_over_when_the_load_failed_or_cannot_be_kept() -> None:
    async def scene() -> None:
        store, shared = Store(), MemorySharedCache[str](clock_us=now_us)
        policy = replace(LEASE, negative_ttl_us=0)
        replicas = [replica(store, shared, policy, seed=seed) for seed in range(3)]
        answers = await asyncio.gather(*(cache.get("unknown") for cache in replicas))
        assert answers == [Lookup(0, None, "store")] * 3
        assert now_us() < policy.lease_ms * MS
        store.broken = True
        outcomes = await asyncio.gather(*(cache.get("k") for cache in replicas), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OSError] * 3
        assert await shared.acquire("k", "next", 1000)

    run(scene())


def test_a_holder_that_takes_longer_than_its_lease_keeps_nobody_waiting_and_takes_no_lease_away() -> None:
    async def scene() -> None:
        ways_s = iter([0.9, 0.9, 0.05, 0.05])
        store, shared = Store(lambda: next(ways_s)), MemorySharedCache[str](clock_us=now_us)
        store.edit("k", "v")
        slow, quick = (replica(store, shared, LEASE, seed=seed) for seed in range(2))
        holder = asyncio.create_task(slow.get("k"))
        await asyncio.sleep(0.01)
        assert (await quick.get("k")).value == "v"
        assert now_us() < 1_300 * MS
        assert await shared.acquire("k", "third", 10_000)
        assert (await holder).value == "v"
        assert not await shared.acquire("k", "fourth", 10_000)

    run(scene())


# Without the shared layer.


class Line:
    def __init__(self) -> None:
        self.cut = False

    async def __call__(self) -> None:
        if self.cut:
            await asyncio.Event().wait()


def behind_a_breaker(line: Line) -> tuple[GuardedSharedCache[str], CircuitBreaker]:
    breaker = CircuitBreaker(lambda: now_us() / 1e6, failures=2, window_s=10, open_s=1)
    return GuardedSharedCache(MemorySharedCache[str](clock_us=now_us, hop=line), breaker, 0.05), breaker


@pytest.mark.parametrize("stampede", ["none", "single-flight", "lease", "early-expiry"])
def test_reads_bypass_a_black_hole_at_the_cost_of_one_deadline_until_the_breaker_opens(stampede: Any) -> None:
    async def scene() -> None:
        line, store = Line(), Store(lambda: 0.005)
        shared, breaker = behind_a_breaker(line)
        cache = replica(store, shared, replace(POLICY, stampede=stampede), local=False)
        store.edit("k", "v")
        line.cut = True
        took_ms = []
        for _ in range(4):
            asked_us = now_us()
            assert await cache.get("k") == Lookup(1, "v", "store")
            took_ms.append((now_us() - asked_us) // MS)
        assert took_ms == [60, 60, 10, 10]
        assert breaker.opened_total == 1
        assert cache.stats.unavailable == 4

        line.cut = False
        await asyncio.sleep(1.01)
        assert [(await cache.get("k")).source for _ in range(2)] == ["store", "shared"]
        assert breaker.state == "closed"

    run(scene())


def test_a_bypass_is_still_one_load_per_process() -> None:
    async def scene() -> None:
        line, store = Line(), Store()
        line.cut = True
        cache = replica(store, behind_a_breaker(line)[0])
        await asyncio.gather(*(cache.get("k") for _ in range(100)))
        assert len(store.loaded_at_us) == 1

    run(scene())


def test_a_store_that_could_not_carry_the_load_is_protected_by_refusing() -> None:
    async def scene() -> None:
        line, store = Line(), Store()
        shared, _ = behind_a_breaker(line)
        cache = replica(store, shared, on_shared_down="refuse")
        store.edit("k", "v")
        await cache.get("k")
        line.cut = True
        assert (await cache.get("k")).source == "local"
        await asyncio.sleep(0.6)
        with pytest.raises(CacheUnavailable):
            await cache.get("k")
        assert len(store.loaded_at_us) == 1

    run(scene())


@pytest.mark.parametrize("write_through", [True, False])
def test_a_write_the_shared_layer_did_not_take_is_not_acknowledged_and_gone_from_this_replica(
    write_through: bool,
) -> None:
    async def scene() -> None:
        line, store = Line(), Store(lambda: 0.005)
        shared, breaker = behind_a_breaker(line)
        cache = replica(store, shared)
        await cache.write("k", store.edit("k", "old"), "old")
        line.cut = True
        version = store.edit("k", "new")
        for _ in range(2):
            with pytest.raises(CacheUnavailable):
                await (cache.write("k", version, "new") if write_through else cache.invalidate("k", version))
        assert breaker.opened_total == 1
        assert await cache.get("k") == Lookup(2, "new", "store")
        line.cut = False
        await asyncio.sleep(1.01)
        assert (await cache.get("k")).value == "old"
        await cache.invalidate("k", version)
        assert (await cache.get("k")).value == "new"

    run(scene())


def test_a_fill_that_fails_does_not_fail_the_read() -> None:
    async def scene() -> None:
        line, store = Line(), Store()
        shared, _ = behind_a_breaker(line)
        cache = replica(store, shared)
        store.edit("k", "v")
        reader = asyncio.create_task(cache.get("k"))
        await asyncio.sleep(0.05)
        line.cut = True
        assert await reader == Lookup(1, "v", "store")
        assert (await cache.get("k")).source == "local"

    run(scene())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ttl_us": 0}, "ttl_us lies above 0"),
        ({"local_ttl_us": -1}, "at 0 or above"),
        ({"jitter": 1.0}, "below 1, not 1.0"),
        ({"lease_ms": 0}, "above 0"),
        ({"marker_ttl_us": 1}, "outlive the local entries"),
    ],
)
def test_a_policy_that_cannot_hold_is_refused_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(POLICY, **change)


def test_a_lease_without_a_shared_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="use single-flight"):
        replica(Store(), None, LEASE)


@pytest.mark.parametrize("stampede", ["none", "single-flight", "lease", "early-expiry"])
def test_a_layer_that_answers_every_call_just_in_time_costs_a_read_one_deadline_and_not_five(stampede: Any) -> None:
    async def scene() -> None:
        store = Store(lambda: 0.005)
        breaker = CircuitBreaker(lambda: now_us() / 1e6, failures=99)
        slow = MemorySharedCache[str](clock_us=now_us, hop=lambda: asyncio.sleep(0.0225))
        shared = GuardedSharedCache[str](slow, breaker, 0.05)
        cache = replica(store, shared, replace(POLICY, stampede=stampede), local=False)
        store.edit("k", "v")
        asked_us = now_us()
        assert (await cache.get("k")).value == "v"
        assert now_us() - asked_us <= 50 * MS + 10 * MS

    run(scene())
