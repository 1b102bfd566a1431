"""What every shared cache layer must do, as checks: `for check in CHECKS: await check(layer)`.

The layer holds strings and starts empty; its markers live `MARKER_TTL_MS`. Where the clock cannot be moved `advance` sleeps,
so lives that must end are short, and lives that must not end are a minute.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from designs.building_blocks.cache_layers import Entry, SharedCache

MARKER_TTL_MS = 200
SHORT_MS = 100
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Layer:
    """A shared layer, the clock its entries are stamped with, and how to let `ms` milliseconds pass for it."""

    cache: SharedCache[str]
    clock_us: Callable[[], int]
    advance: Callable[[int], Awaitable[None]]

    def entry(self, version: int, value: str | None, ttl_ms: int = MINUTE_MS, cost_us: int = 0) -> Entry[str]:
        return Entry(version, value, self.clock_us() + ttl_ms * 1000, cost_us)

    async def held(self, key: str) -> tuple[int, str | None] | None:
        """Version and value of a hit."""
        entry = await self.cache.get(key)
        return None if entry is None else (entry.version, entry.value)


async def what_was_filled_is_read_back(layer: Layer) -> None:
    filled = layer.entry(7, "héllo\n\x00", cost_us=1234)
    assert await layer.held("k") is None
    assert await layer.cache.fill("k", filled)
    entry = await layer.cache.get("k")
    assert entry is not None
    assert (entry.version, entry.value, entry.cost_us) == (7, "héllo\n\x00", 1234)
    assert await layer.held("another") is None


async def a_life_is_never_longer_than_filled(layer: Layer) -> None:
    filled, began_us = layer.entry(1, "v"), layer.clock_us()
    await layer.cache.fill("k", filled)
    took_us = layer.clock_us() - began_us
    entry = await layer.cache.get("k")
    assert entry is not None
    # A layer that keeps whole milliseconds may lose a few, and gain none but the rounding, of the life and of its own clock, and
    # the time that the fill was on its way.
    assert filled.fresh_until_us - 5_000_000 < entry.fresh_until_us <= filled.fresh_until_us + 2_000 + took_us


async def an_entry_is_gone_after_its_time_however_often_it_was_read(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(1, "v", SHORT_MS))
    for _ in range(6):
        await layer.held("k")
        await layer.advance(SHORT_MS // 5)
    assert await layer.held("k") is None


async def an_entry_that_has_expired_is_refused(layer: Layer) -> None:
    assert not await layer.cache.fill("k", layer.entry(1, "v", 0))
    assert not await layer.cache.fill("k", layer.entry(1, "v", -5))
    assert await layer.held("k") is None


async def a_negative_entry_is_a_hit_without_a_value(layer: Layer) -> None:
    assert await layer.cache.fill("k", layer.entry(0, None))
    assert await layer.held("k") == (0, None)


async def a_create_replaces_a_negative_entry_and_not_the_reverse(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(0, None))
    assert await layer.cache.fill("k", layer.entry(1, "v"))
    assert not await layer.cache.fill("k", layer.entry(0, None))
    assert await layer.held("k") == (1, "v")


async def an_empty_value_is_a_value(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(3, ""))
    assert await layer.held("k") == (3, "")


async def a_late_writer_loses(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(10, "new"))
    assert not await layer.cache.fill("k", layer.entry(9, "old"))
    assert await layer.held("k") == (10, "new")


async def the_same_or_a_higher_version_replaces(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(9, "nine", SHORT_MS))
    assert await layer.cache.fill("k", layer.entry(9, "nine"))
    await layer.advance(2 * SHORT_MS)
    assert await layer.held("k") == (9, "nine")
    assert await layer.cache.fill("k", layer.entry(10, "ten"))
    assert await layer.held("k") == (10, "ten")


async def an_expired_entry_refuses_nobody(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(10, "new", SHORT_MS))
    await layer.advance(2 * SHORT_MS)
    assert await layer.cache.fill("k", layer.entry(0, None))
    assert await layer.held("k") == (0, None)


async def an_invalidated_entry_is_a_miss_and_older_fills_are_refused(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(1, "old"))
    await layer.cache.invalidate("k", 2)
    assert await layer.held("k") is None
    assert not await layer.cache.fill("k", layer.entry(1, "old"))
    assert not await layer.cache.fill("k", layer.entry(0, None))
    assert await layer.held("k") is None
    assert await layer.cache.fill("k", layer.entry(2, "new"))
    assert await layer.held("k") == (2, "new")


async def a_key_nobody_cached_can_be_invalidated(layer: Layer) -> None:
    await layer.cache.invalidate("k", 2)
    assert not await layer.cache.fill("k", layer.entry(1, "old"))


async def a_late_invalidation_leaves_what_is_newer(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(5, "new"))
    await layer.cache.invalidate("k", 5)
    await layer.cache.invalidate("k", 4)
    assert await layer.held("k") == (5, "new")


async def a_lower_marker_does_not_replace_a_higher(layer: Layer) -> None:
    await layer.cache.invalidate("k", 9)
    await layer.cache.invalidate("k", 3)
    assert not await layer.cache.fill("k", layer.entry(8, "old"))


async def a_marker_ends(layer: Layer) -> None:
    await layer.cache.invalidate("k", 2)
    await layer.advance(MARKER_TTL_MS + SHORT_MS)
    assert await layer.cache.fill("k", layer.entry(1, "v"))


async def large_versions_compare_as_numbers(layer: Layer) -> None:
    await layer.cache.fill("k", layer.entry(2**53 - 1, "new"))
    assert not await layer.cache.fill("k", layer.entry(2**53 - 2, "old"))
    assert not await layer.cache.fill("k", layer.entry(9, "older"))
    assert await layer.held("k") == (2**53 - 1, "new")


async def of_many_who_want_a_lease_one_gets_it(layer: Layer) -> None:
    taken = await asyncio.gather(*(layer.cache.acquire("k", f"token-{i}", MINUTE_MS) for i in range(10)))
    assert sum(taken) == 1
    assert await layer.cache.acquire("another", "token-0", MINUTE_MS)


async def a_lease_is_given_back_only_by_its_token(layer: Layer) -> None:
    assert await layer.cache.acquire("k", "mine", MINUTE_MS)
    await layer.cache.release("k", "yours")
    assert not await layer.cache.acquire("k", "yours", MINUTE_MS)
    await layer.cache.release("k", "mine")
    assert await layer.cache.acquire("k", "yours", MINUTE_MS)
    await layer.cache.release("k", "mine")
    assert not await layer.cache.acquire("k", "mine", MINUTE_MS)


async def a_lease_whose_holder_died_ends(layer: Layer) -> None:
    assert await layer.cache.acquire("k", "dead", SHORT_MS)
    await layer.advance(2 * SHORT_MS)
    assert await layer.cache.acquire("k", "alive", MINUTE_MS)
    await layer.cache.release("k", "dead")
    assert not await layer.cache.acquire("k", "third", MINUTE_MS)


async def leases_and_entries_do_not_meet(layer: Layer) -> None:
    assert await layer.cache.acquire("k", "token", MINUTE_MS)
    assert await layer.held("k") is None
    assert await layer.cache.fill("k", layer.entry(1, "v"))
    assert not await layer.cache.acquire("k", "other", MINUTE_MS)
    await layer.cache.release("k", "token")
    assert await layer.held("k") == (1, "v")


CHECKS: tuple[Callable[[Layer], Awaitable[None]], ...] = (
    what_was_filled_is_read_back,
    a_life_is_never_longer_than_filled,
    an_entry_is_gone_after_its_time_however_often_it_was_read,
    an_entry_that_has_expired_is_refused,
    a_negative_entry_is_a_hit_without_a_value,
    a_create_replaces_a_negative_entry_and_not_the_reverse,
    an_empty_value_is_a_value,
    a_late_writer_loses,
    the_same_or_a_higher_version_replaces,
    an_expired_entry_refuses_nobody,
    an_invalidated_entry_is_a_miss_and_older_fills_are_refused,
    a_key_nobody_cached_can_be_invalidated,
    a_late_invalidation_leaves_what_is_newer,
    a_lower_marker_does_not_replace_a_higher,
    a_marker_ends,
    large_versions_compare_as_numbers,
    of_many_who_want_a_lease_one_gets_it,
    a_lease_is_given_back_only_by_its_token,
    a_lease_whose_holder_died_ends,
    leases_and_entries_do_not_meet,
)
