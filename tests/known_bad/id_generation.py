"""Ways to make ids that are often written down and each wrong in one respect; the flaw is in the docstring."""

import asyncio
import secrets
from collections.abc import Callable

from designs.building_blocks.id_generation import BASE62, encode_base62
from workbench.museum.building_block_flaws import UncheckedSnowflake as UncheckedSnowflake
from workbench.museum.building_block_flaws import md5_prefix_code as md5_prefix_code


def byte_modulo_code(length: int, randbytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Biased: 256 is 4 * 62 + 8, so the first eight symbols come up five times for four of each other."""
    return "".join(BASE62[byte % 62] for byte in randbytes(length))


def counter_code(number: int, length: int) -> str:
    """Guessable: whoever makes two links knows everybody's next one."""
    return encode_base62(number, length)


def multiplied_code(number: int, length: int) -> str:
    """Guessable: a bijection without a key; consecutive numbers differ by the same amount, modulo the code space."""
    return encode_base62(number * 1_580_030_173 % 62**length, length)


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
