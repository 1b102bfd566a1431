"""The layers a cache is made of: one in the process, one that all replicas share, and the versions that keep both honest.

Promises of every layer: a fresh entry is served until its time and no hit extends it; a late writer loses, since a fill below
the version of a living entry or marker is refused; the size is bounded. `caching.LayeredCache` puts the layers together.

An entry's times are on the clock of the process that holds it; a shared layer hands over the life that is left, not the time.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from designs.building_blocks.deadline import Deadline
from designs.building_blocks.stampede import monotonic_us

V = TypeVar("V")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """What a layer holds under a key.

        version 0, no value     negative entry: the key is known to be absent
        version n, a value      the value as of version n
        version n, no value     invalidation marker: a miss for readers, but fills below version n are refused

    Versions of a key only rise, below 2**53 (a number in a Redis script holds no more). `fresh_until_us` is on the holder's
    clock; `cost_us` is what loading the value took, the delta of XFetch.
    """

    version: int
    value: V | None
    fresh_until_us: int
    cost_us: int = 0


class LocalCache(Generic[V]):
    """The layer in the process: at most `max_entries` entries and as many markers, sync, for one event loop.

    `get` is the hot path of every service that has it: a dict lookup and a comparison, no bookkeeping. So the eviction is
    FIFO by fill: all entries live about equally long, thus the first to go has the least life left, and a hot key that is
    evicted is back with its next read. (An OrderedDict, because the oldest key of a plain dict takes a scan to find.)
    """

    def __init__(self, max_entries: int, clock_us: Callable[[], int] = monotonic_us) -> None:
        if max_entries < 1:
            raise ValueError(f"a cache holds at least one entry, not {max_entries}")
        self.evicted = 0
        self._max_entries = max_entries
        self._clock_us = clock_us
        self._entries: OrderedDict[str, Entry[V]] = OrderedDict()
        # Apart from the entries, so that a marker outlasts the entry that came after it, and `get` never meets one.
        self._markers: OrderedDict[str, Entry[V]] = OrderedDict()

    def __len__(self) -> int:
        """Entries held, the expired among them until something takes their place."""
        return len(self._entries)

    def get(self, key: str) -> Entry[V] | None:
        """The entry if it is fresh. A hit never extends its life."""
        entry = self._entries.get(key)
        if entry is None or entry.fresh_until_us <= self._clock_us():
            return None
        return entry

    def fill(self, key: str, entry: Entry[V]) -> bool:
        """Keeps the entry, unless it has expired by now or a living entry or marker has a higher version."""
        if entry.value is None and entry.version:
            raise ValueError("an entry with a version and no value is a marker: leave it with invalidate")
        now_us = self._clock_us()
        if entry.fresh_until_us <= now_us:
            return False
        for rival in (self._entries.get(key), self._markers.get(key)):
            if rival is not None and rival.version > entry.version and rival.fresh_until_us > now_us:
                return False
        self._put(self._entries, key, entry)
        return True

    def invalidate(self, key: str, version: int, marker_ttl_us: int) -> None:
        """From now on nothing below `version` is served, nor accepted for `marker_ttl_us`. What is as new stays."""
        if version < 1:
            raise ValueError(f"there is nothing below version {version} to invalidate")
        now_us = self._clock_us()
        held = self._entries.get(key)
        if held is not None and held.version < version:
            del self._entries[key]
        marker = self._markers.get(key)
        if marker is not None and marker.fresh_until_us > now_us:
            version = max(version, marker.version)
        self._put(self._markers, key, Entry(version, None, now_us + marker_ttl_us))

    def clear(self) -> None:
        """Drops all entries. The markers stay: what they refuse is old in any case."""
        self._entries.clear()

    def _put(self, into: OrderedDict[str, Entry[V]], key: str, entry: Entry[V]) -> None:
        into[key] = entry
        into.move_to_end(key)
        if len(into) > self._max_entries:
            into.popitem(last=False)
            self.evicted += 1


class CacheUnavailable(Exception):
    """The shared layer did not answer. `maybe_done`: whether what was asked may have happened all the same."""

    def __init__(self, reason: str, *, maybe_done: bool = True) -> None:
        super().__init__(reason)
        self.maybe_done = maybe_done


class SharedCache(Protocol[V]):
    """The layer all replicas share. Each verb is atomic, and raises `CacheUnavailable` when there is no answer.

    tests/building_blocks/shared_cache_contract.py is this contract as checks.
    """

    async def get(self, key: str) -> Entry[V] | None:
        """The entry if it is fresh and no marker; `fresh_until_us` on the caller's clock, never later than it is."""

    async def fill(self, key: str, entry: Entry[V]) -> bool:
        """Keeps the entry until it expires; False if it has, or if a living entry or marker has a higher version."""

    async def invalidate(self, key: str, version: int) -> None:
        """Leaves a marker: nothing below `version` is served from now on, nor accepted as long as the marker lives."""

    async def acquire(self, key: str, token: str, ttl_ms: int) -> bool:
        """Takes the lease to load `key`, for at most `ttl_ms`; False while another token, or the same, has it."""

    async def release(self, key: str, token: str) -> None:
        """Gives the lease back if `token` still has it (compare and delete), else does nothing."""


async def _no_hop() -> None:
    return None


class MemorySharedCache(Generic[V]):
    """The reference of the contract, for replicas that live in one process. `hop()` is awaited on the way there and back."""

    def __init__(
        self,
        max_entries: int = 100_000,
        marker_ttl_us: int = 30_000_000,
        clock_us: Callable[[], int] = monotonic_us,
        hop: Callable[[], Awaitable[None]] = _no_hop,
    ) -> None:
        self._entries: LocalCache[V] = LocalCache(max_entries, clock_us)
        self._leases: dict[str, tuple[str, int]] = {}  # token, until when
        self._max_leases = max_entries
        self._marker_ttl_us = marker_ttl_us
        self._clock_us = clock_us
        self._hop = hop

    async def get(self, key: str) -> Entry[V] | None:
        await self._hop()
        entry = self._entries.get(key)
        await self._hop()
        return entry

    async def fill(self, key: str, entry: Entry[V]) -> bool:
        await self._hop()
        kept = self._entries.fill(key, entry)
        await self._hop()
        return kept

    async def invalidate(self, key: str, version: int) -> None:
        await self._hop()
        self._entries.invalidate(key, version, self._marker_ttl_us)
        await self._hop()

    async def acquire(self, key: str, token: str, ttl_ms: int) -> bool:
        await self._hop()
        taken = self._lease(key, token, ttl_ms)
        await self._hop()
        return taken

    async def release(self, key: str, token: str) -> None:
        await self._hop()
        if self._leases.get(key, ("", 0))[0] == token:
            del self._leases[key]
        await self._hop()

    def _lease(self, key: str, token: str, ttl_ms: int) -> bool:
        now_us = self._clock_us()
        if self._leases.get(key, ("", 0))[1] > now_us:
            return False
        if len(self._leases) >= self._max_leases:
            self._leases = {k: lease for k, lease in self._leases.items() if lease[1] > now_us}
            if len(self._leases) >= self._max_leases:
                return False
        self._leases[key] = (token, now_us + ttl_ms * 1000)
        return True


class Breaker(Protocol):
    """What `GuardedSharedCache` asks of a circuit breaker (see circuit_breaker.py)."""

    def allow(self) -> bool:
        """Whether a call may be made now."""

    def success(self) -> None:
        """The call was answered."""

    def failure(self) -> None:
        """The call was not answered."""


class GuardedSharedCache(Generic[V]):
    """A shared layer that is late is as good as down: each call has a deadline, and a breaker saves the next ones the wait.

    `CacheUnavailable` is raised at once while the breaker is open, and after `deadline_s` at the latest. A caller that is
    cancelled says nothing about the cache, so the breaker hears of neither success nor failure.

    `for_one_request` has one deadline for all its calls together: a layer that answers each of five calls just in time would
    otherwise cost a request five deadlines. Only the time spent waiting for the layer counts.
    """

    def __init__(self, inner: SharedCache[V], breaker: Breaker, deadline_s: float, *, adds_up: bool = False) -> None:
        self._inner = inner
        self._breaker = breaker
        self._deadline_s = deadline_s
        self._adds_up = adds_up
        self._spent_s = 0.0

    def for_one_request(self) -> "GuardedSharedCache[V]":
        return GuardedSharedCache(self._inner, self._breaker, self._deadline_s, adds_up=True)

    async def get(self, key: str) -> Entry[V] | None:
        return await self._guard(lambda: self._inner.get(key))

    async def fill(self, key: str, entry: Entry[V]) -> bool:
        return await self._guard(lambda: self._inner.fill(key, entry))

    async def invalidate(self, key: str, version: int) -> None:
        await self._guard(lambda: self._inner.invalidate(key, version))

    async def acquire(self, key: str, token: str, ttl_ms: int) -> bool:
        return await self._guard(lambda: self._inner.acquire(key, token, ttl_ms))

    async def release(self, key: str, token: str) -> None:
        await self._guard(lambda: self._inner.release(key, token))

    async def _guard(self, ask: Callable[[], Awaitable[T]]) -> T:
        if not self._breaker.allow():
            raise CacheUnavailable("the shared cache failed lately and is left alone for now", maybe_done=False)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            async with Deadline(began_s + self._deadline_s - self._spent_s):
                answer = await ask()
        except TimeoutError as error:
            self._breaker.failure()
            raise CacheUnavailable(f"no answer from the shared cache within {self._deadline_s} s") from error
        except CacheUnavailable:
            self._breaker.failure()
            raise
        finally:
            if self._adds_up:
                self._spent_s += loop.time() - began_s
        self._breaker.success()
        return answer


def for_one_request(shared: SharedCache[V]) -> SharedCache[V]:
    """The layer with one deadline for all the calls of a request, where it has a deadline at all."""
    return shared.for_one_request() if isinstance(shared, GuardedSharedCache) else shared
