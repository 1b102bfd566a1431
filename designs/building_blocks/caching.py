"""Two cache layers in front of a store, and a stated bound on how stale they get: S, on every replica.

    local    in the process (L1): no network, and no other replica can take an entry out
    shared   one for all replicas (L2, Redis): one round trip, invalidated for all at once
    store    the authority: `load(key)`

What a `LayeredCache` promises, as long as the versions of a key only rise, over deletes and re-creates as well:

    on the replica that wrote      the write is seen from the moment `write` or `invalidate` returns
    on every other replica         S = `policy.local_ttl_us` after that at the latest, also for a key that is hit without a
                                   pause: entries die S after the *fetch*, and no hit extends them
    late writers lose              a value read before an edit and filled after it is refused, because the edit left a higher
                                   version behind: the new entry, or a marker without a value

What it does not: a shared layer that forgets markers (an eviction; a restart, unless the layer tells its lives apart as the URL
shortener's does) may take an old value back for up to `ttl_us` from a load that was under way. A store that answers `load` from a
lagging replica breaks the bound as well.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, NamedTuple, TypeVar

from designs.building_blocks.cache_layers import CacheUnavailable, Entry, LocalCache, SharedCache, for_one_request
from designs.building_blocks.stampede import SingleFlight, jittered_ttl_us, monotonic_us, refresh_early

V = TypeVar("V")

Source = Literal["local", "shared", "store"]

# How a loser of the lease looks whether the winner is done: after 2, 4, 8 ... ms, then every 50 ms.
_FIRST_POLL_S = 0.002
_SLOWEST_POLL_S = 0.05


class Lookup(NamedTuple, Generic[V]):
    """What a read found and where; no value means the key is absent. A tuple, because every read makes one."""

    version: int
    value: V | None
    source: Source


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long things live, and what happens when they die.

    `ttl_us`           the shared layer's; bounds how long a change that nobody announces stays unseen
    `local_ttl_us`     S, the staleness bound; also how old a load of this process may be for others to join it
    `jitter`           share of a life that chance may take away, 0 to 1
    `negative_ttl_us`  how long "absent" is remembered; 0 = not at all, so each read of an unknown key asks the store
    `stampede`         none: every miss loads. single-flight: one load per process. lease: one in all.
                       early-expiry: XFetch as in the paper, alone, scaled by `beta`
    `lease_ms`         how long the others wait for the process that loads; what a dead one costs
    `marker_ttl_us`    how long an invalidation keeps refusing older values
    """

    ttl_us: int
    local_ttl_us: int
    jitter: float = 0.1
    negative_ttl_us: int = 0
    stampede: Literal["none", "single-flight", "lease", "early-expiry"] = "single-flight"
    beta: float = 1.0
    lease_ms: int = 2_000
    marker_ttl_us: int = 30_000_000

    def __post_init__(self) -> None:
        if self.ttl_us <= 0 or self.local_ttl_us < 0 or self.negative_ttl_us < 0:
            raise ValueError("ttl_us lies above 0, local_ttl_us and negative_ttl_us at 0 or above")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter is a share from 0 to below 1, not {self.jitter}")
        if self.beta <= 0 or self.lease_ms <= 0:
            raise ValueError("beta and lease_ms lie above 0")
        if self.marker_ttl_us < self.local_ttl_us:
            raise ValueError("a marker has to outlive the local entries it guards: marker_ttl_us >= local_ttl_us")

    @property
    def slowest_fill_us(self) -> int:
        """A load that took longer is answered but not put into the shared layer.

        What would refuse its value, if that became old meanwhile, may be gone: a marker, or an entry with a higher version.
        A third of their lives leaves room for the way to the shared layer, and for a guard that was itself loaded slowly.
        """
        return min(self.marker_ttl_us, int(self.ttl_us * (1 - self.jitter))) // 3


@dataclass(slots=True)
class CacheStats:
    """Reads that were answered = local_hits + shared_hits + negative_hits + misses; the others cut across these."""

    local_hits: int = 0
    shared_hits: int = 0
    negative_hits: int = 0  # a layer knew the key to be absent
    misses: int = 0  # answered by the store, by a load of their own or of somebody else
    loads: int = 0  # times the store was asked
    waits: int = 0  # reads that waited for a load of somebody else, in this process or another
    early: int = 0  # reads that passed over a fresh entry in order to renew it
    refused_fills: int = 0  # came too late
    unavailable: int = 0  # reads and fills for which the shared layer was down


class LayeredCache(Generic[V]):
    """Reads through the layers there are; either may be None. For one event loop.

    `load(key)` asks the store: (version, value), or (0, None) for absent, or (version, None) for deleted at that version.
    `on_shared_down`: what a read does without the shared layer. "bypass" loads from the store, which then carries the whole
    load; "refuse" raises `CacheUnavailable`, which protects a store that could not.
    """

    def __init__(
        self,
        *,
        local: LocalCache[V] | None,
        shared: SharedCache[V] | None,
        load: Callable[[str], Awaitable[tuple[int, V | None]]],
        policy: CachePolicy,
        on_shared_down: Literal["bypass", "refuse"] = "bypass",
        clock_us: Callable[[], int] = monotonic_us,
        rng: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_token: Callable[[], str] = secrets.token_hex,
    ) -> None:
        if policy.stampede == "lease" and shared is None:
            raise ValueError("a lease is held in the shared layer, and there is none: use single-flight")
        self.stats = CacheStats()
        self._local = local
        self._shared = shared
        self._load = load
        self._policy = policy
        self._on_shared_down = on_shared_down
        self._clock_us = clock_us
        self._rng = rng
        self._sleep = sleep
        self._new_token = new_token
        self._draws = policy.stampede == "early-expiry"
        self._flights: SingleFlight[Lookup[V]] | None = None
        if policy.stampede in ("single-flight", "lease"):
            self._flights = SingleFlight(clock_us, join_for_us=policy.local_ttl_us)
        # XFetch needs a cost for entries that were written and never loaded: that of the last load.
        self._last_cost_us = 0

    async def get(self, key: str) -> Lookup[V]:
        """The value, or that there is none. Raises what `load` raises, and `CacheUnavailable` where that is the policy."""
        if self._local is not None:
            entry = self._local.get(key)
            if entry is not None and not (self._draws and self._renews(entry)):
                if entry.value is None:
                    self.stats.negative_hits += 1
                else:
                    self.stats.local_hits += 1
                return Lookup(entry.version, entry.value, "local")
        if self._flights is None:
            lookup = await self._fetch(key)
        else:
            if key in self._flights:
                self.stats.waits += 1
            lookup = await self._flights.do(key, partial(self._fetch, key))
        if lookup.source == "store":
            self.stats.misses += 1
        elif lookup.value is None:
            self.stats.negative_hits += 1
        else:
            self.stats.shared_hits += 1
        return lookup

    def peek(self, key: str) -> V | None:
        """The value if this process holds it: the hot path, without awaiting. None says nothing; then `get`."""
        # XFetch draws once per read, and the reader that draws the short straw has to load: that is for `get` alone.
        if self._local is None or self._draws:
            return None
        entry = self._local.get(key)
        if entry is None or entry.value is None:
            return None
        self.stats.local_hits += 1
        return entry.value

    @property
    def evicted(self) -> int:
        """Entries that left the local layer for want of room."""
        return self._local.evicted if self._local is not None else 0

    async def write(self, key: str, version: int, value: V) -> None:
        """Write-through, after the store has it: replaces what is older in both layers, a negative entry as well.

        Raises `CacheUnavailable` as `invalidate` does. A higher version that got there first stays.
        """
        now_us = self._clock_us()
        kept = True
        try:
            if self._shared is not None:
                kept = await self._shared.fill(key, self._entry(version, value, now_us, self._last_cost_us))
        finally:
            self.drop_local(key, version)
        if kept:
            self._fill_local(key, self._entry(version, value, now_us, self._last_cost_us), now_us)

    async def invalidate(self, key: str, version: int) -> None:
        """Nothing below `version` is served any more: at once here, within S elsewhere. Call it after the store has the edit.

        Raises `CacheUnavailable`, whatever `on_shared_down` says, when the shared layer may still hold the old value: then
        only this replica has dropped it. Doing it again is safe, and until it succeeds the bound is `ttl_us` instead of S.
        """
        try:
            if self._shared is not None:
                await self._shared.invalidate(key, version)
        finally:
            self.drop_local(key, version)

    def drop_local(self, key: str, version: int) -> None:
        """As `invalidate`, for this replica alone: what to do with a message from another one."""
        if self._local is not None:
            self._local.invalidate(key, version, self._policy.marker_ttl_us)
        if self._flights is not None:
            self._flights.forget(key)

    def clear_local(self) -> None:
        """Forgets the local layer, for instance when messages from other replicas may have been lost."""
        if self._local is not None:
            self._local.clear()

    async def _fetch(self, key: str) -> Lookup[V]:
        """One read of what lies below the local layer."""
        if self._shared is None:
            return await self._load_and_fill(key, None)
        shared = for_one_request(self._shared)
        try:
            found = await self._read_shared(shared, key)
            if found is None and self._policy.stampede == "lease":
                found = await self._load_under_lease(shared, key)
        except CacheUnavailable:
            self.stats.unavailable += 1
            if self._on_shared_down == "refuse":
                raise
            # Not into the shared layer: it has just cost this read its deadline, and would again.
            return await self._load_and_fill(key, None)
        return found if found is not None else await self._load_and_fill(key, shared)

    async def _read_shared(self, shared: SharedCache[V], key: str) -> Lookup[V] | None:
        # The clock before the read: had the entry been replaced right behind it, its age would count from here.
        read_at_us = self._clock_us()
        entry = await shared.get(key)
        if entry is None or (self._draws and self._renews(entry)):
            return None
        self._fill_local(key, entry, read_at_us)
        return Lookup(entry.version, entry.value, "shared")

    async def _load_under_lease(self, shared: SharedCache[V], key: str) -> Lookup[V]:
        """One process loads; the others look for its entry, or take over the lease, and after `lease_ms` load on their own.

        They ask for the lease at each look, since the winner may have come to nothing that can be cached, or to an error.
        """
        token = self._new_token()
        give_up_at_us = self._clock_us() + self._policy.lease_ms * 1000
        pause_s = _FIRST_POLL_S
        while not await shared.acquire(key, token, self._policy.lease_ms):
            left_us = give_up_at_us - self._clock_us()
            if left_us <= 0:
                return await self._load_and_fill(key, shared)
            if pause_s == _FIRST_POLL_S:
                self.stats.waits += 1
            await self._sleep(min(pause_s, left_us / 1e6))
            pause_s = min(2 * pause_s, _SLOWEST_POLL_S)
            # A look is as good as a new request: what is waited for is the other process, for `lease_ms` at most.
            shared = for_one_request(shared)
            found = await self._read_shared(shared, key)
            if found is not None:
                return found
        try:
            # Between our miss and our lease the last holder may have come and gone.
            found = await self._read_shared(shared, key)
            return found if found is not None else await self._load_and_fill(key, shared)
        finally:
            with suppress(CacheUnavailable):
                await shared.release(key, token)

    async def _load_and_fill(self, key: str, shared: SharedCache[V] | None) -> Lookup[V]:
        """Asks the store, and fills `shared`, when given, and the local layer."""
        self.stats.loads += 1
        read_at_us = self._clock_us()
        version, value = await self._load(key)
        self._last_cost_us = self._clock_us() - read_at_us
        lookup = Lookup[V](version, value, "store")
        if value is None and not self._policy.negative_ttl_us:
            return lookup
        entry = self._entry(version, value, read_at_us, self._last_cost_us)
        if shared is not None:
            try:
                late = self._last_cost_us > self._policy.slowest_fill_us
                if late or not await shared.fill(key, entry):
                    self.stats.refused_fills += 1
                    return lookup
            except CacheUnavailable:
                self.stats.unavailable += 1
        self._fill_local(key, entry, read_at_us)
        return lookup

    def _entry(self, version: int, value: V | None, read_at_us: int, cost_us: int) -> Entry[V]:
        # A key deleted at version n is remembered as absent, version 0: at version n it would be a marker.
        version, ttl_us = (0, self._policy.negative_ttl_us) if value is None else (version, self._policy.ttl_us)
        return Entry(version, value, read_at_us + jittered_ttl_us(ttl_us, self._policy.jitter, self._rng), cost_us)

    def _fill_local(self, key: str, entry: Entry[V], read_at_us: int) -> None:
        if self._local is None or (entry.value is None and self._shared is not None):
            # No message tells this replica of a create on another one: "absent" stays where a create replaces it.
            return
        until_us = read_at_us + jittered_ttl_us(self._policy.local_ttl_us, self._policy.jitter, self._rng)
        entry = Entry(entry.version, entry.value, min(until_us, entry.fresh_until_us), entry.cost_us)
        if not self._local.fill(key, entry):
            self.stats.refused_fills += 1

    def _renews(self, entry: Entry[V]) -> bool:
        early = refresh_early(self._clock_us(), entry.fresh_until_us, entry.cost_us, self._policy.beta, self._rng)
        self.stats.early += early
        return early
