"""Caches as many a tutorial has them. Each has one flaw, which tests/building_blocks/test_caching.py catches in the act."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from designs.building_blocks.cache_layers import Entry, LocalCache, MemorySharedCache
from designs.building_blocks.caching import LayeredCache, Lookup
from workbench.museum.building_block_flaws import RearmingLocalCache as RearmingLocalCache

V = TypeVar("V")


class UnversionedSharedCache(MemorySharedCache[V]):
    """Fill is SET, invalidate is DEL: who read before the DEL and fills after it puts the old value back."""

    async def fill(self, key: str, entry: Entry[V]) -> bool:
        await self._hop()
        self._entries._entries[key] = entry
        await self._hop()
        return True

    async def invalidate(self, key: str, version: int) -> None:
        await self._hop()
        self._entries._entries.pop(key, None)
        await self._hop()


class CreateLeavesCacheAlone(LayeredCache[V]):
    """Cache-aside by the book: the first read will fill the cache, so a create need not. But "absent" is cached already."""

    async def write(self, key: str, version: int, value: V) -> None:
        return None


class PlainTtlCache(Generic[V]):
    """Get, else load and set: everybody who comes while the load runs loads as well."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[tuple[int, V | None]]],
        ttl_us: int,
        clock_us: Callable[[], int],
    ) -> None:
        self._entries: LocalCache[V] = LocalCache(1000, clock_us)
        self._load = load
        self._ttl_us = ttl_us
        self._clock_us = clock_us

    async def get(self, key: str) -> Lookup[V]:
        entry = self._entries.get(key)
        if entry is not None:
            return Lookup(entry.version, entry.value, "local")
        version, value = await self._load(key)
        self._entries.fill(key, Entry(version, value, self._clock_us() + self._ttl_us))
        return Lookup(version, value, "store")
