"""Ways to make ids that are often written down and each wrong in one respect; the flaw is in the docstring."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable

from designs.building_blocks.id_generation import BASE62, Snowflake, encode_base62


def md5_prefix_code(text: str, length: int) -> str:
    """Biased: 2**128 is 7.9 times 62**21, so the leading one of 22 symbols is nearly always 1 to 7."""
    return encode_base62(int.from_bytes(hashlib.md5(text.encode()).digest(), "big"))[:length]


def byte_modulo_code(length: int, randbytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Biased: 256 is 4 * 62 + 8, so the first eight symbols come up five times for four of each other."""
    return "".join(BASE62[byte % 62] for byte in randbytes(length))


def counter_code(number: int, length: int) -> str:
    """Guessable: whoever makes two links knows everybody's next one."""
    return encode_base62(number, length)


def multiplied_code(number: int, length: int) -> str:
    """Guessable: a bijection without a key; consecutive numbers differ by the same amount, modulo the code space."""
    return encode_base62(number * 1_580_030_173 % 62**length, length)


class UncheckedSnowflake(Snowflake):
    """Repeats: trusts the clock, and makes the ids of a millisecond again when it comes by a second time."""

    def next(self) -> int:
        now_ms = self._clock_ms()
        self._sequence = self._sequence + 1 if now_ms == self._last_ms else 0
        self._last_ms = now_ms
        # Wraps, too: the 4,097th id of a millisecond is its first.
        sequence = self._sequence & self._last_sequence
        return ((now_ms - self._epoch_ms) << self.WORKER_BITS | self._worker) << self.SEQUENCE_BITS | sequence


class NonAtomicCounter:
    """Repeats: two callers read the same value before either writes, and both own the same numbers."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    async def lease(self, size: int) -> int:
        value = self.value
        await asyncio.sleep(0)
        self.value = value + size
        return value


class OverwritingTable:
    """Loses links: believes the counter, so a counter restored from a backup hands old codes to new links."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}

    async def insert_if_absent(self, number: int, url: str) -> bool:
        await asyncio.sleep(0)
        self.rows[number] = url
        return True
