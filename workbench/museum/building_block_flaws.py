"""Bad variants of what several designs share; the flaw is in each docstring. Tests catch each in the small as well."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from designs.building_blocks.cache_layers import Entry, LocalCache
from designs.building_blocks.id_generation import Snowflake, encode_base62
from designs.building_blocks.stampede import monotonic_us

V = TypeVar("V")


def md5_prefix_code(text: str, length: int) -> str:
    """Biased: 2**128 is 7.9 times 62**21, so the leading one of 22 symbols is nearly always 1 to 7. And two texts may share it."""
    return encode_base62(int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest(), "big"))[:length]


class UncheckedSnowflake(Snowflake):
    """Repeats: trusts the clock, and makes the ids of a tick again when it comes by a second time."""

    TICK_MS = 1

    def next(self) -> int:
        now_ms = self._clock_ms() // self.TICK_MS * self.TICK_MS
        self._sequence = self._sequence + 1 if now_ms == self._last_ms else 0
        self._last_ms = now_ms
        # Wraps, too: the 4,097th id of a tick is its first.
        sequence = self._sequence & self._last_sequence
        return ((now_ms - self._epoch_ms) << self.WORKER_BITS | self._worker) << self.SEQUENCE_BITS | sequence


class UncheckedSecondsSnowflake(UncheckedSnowflake):
    """The same on a clock that counts seconds, as many a time stamp does: one step back is enough to meet an old id."""

    TICK_MS = 1000


class RearmingLocalCache(LocalCache[V]):
    """A hit renews the life of its entry ("update age on get"), so a key that is hit often enough never dies."""

    def __init__(self, max_entries: int, clock_us: Callable[[], int] = monotonic_us) -> None:
        super().__init__(max_entries, clock_us)
        self._life_us = 0

    def fill(self, key: str, entry: Entry[V]) -> bool:
        self._life_us = max(self._life_us, entry.fresh_until_us - self._clock_us())
        return super().fill(key, entry)

    def get(self, key: str) -> Entry[V] | None:
        entry = super().get(key)
        if entry is not None:
            super().fill(key, replace(entry, fresh_until_us=self._clock_us() + self._life_us))
        return entry
