"""Where codes come from: one source per value of the knob `ids`, all with the same few verbs.

A source only makes retries rare. The store's insert-if-absent is the authority: after `TRIES` codes that were taken the next
ones are one character longer.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from designs.building_blocks.id_generation import (
    KeyedPermutation,
    RangeLease,
    Snowflake,
    decode_base62,
    encode_base62,
    hash_code,
    next_id,
    random_code,
)
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.urls import is_reserved

TRIES = 3
MAX_ATTEMPTS = 9  # three lengths
SNOWFLAKE_CHARS = 11  # of a 63-bit number
WORKERS = 1024

Lease = Callable[[int], Awaitable[int]]


class CodeSource(Protocol):
    """Codes for new links. `seed` is what the hash scheme hashes: owner and URL."""

    async def code(self, seed: str, attempt: int) -> str:
        """The code to try at this attempt, counted from 0."""

    def collided(self, code: str) -> None:
        """The store said that this code was taken."""

    def accepted(self) -> None:
        """The store took it."""


def length_at(length: int, attempt: int) -> int:
    """One character more after every `TRIES` failures."""
    return length + attempt // TRIES


async def next_code(source: CodeSource, seed: str, attempt: int) -> str:
    """A code that is no reserved word ("metrics" has seven letters too)."""
    for salt in range(8):
        code = await source.code(f"{seed}\n{salt}" if salt else seed, attempt)
        if not is_reserved(code):
            return code
    raise RuntimeError("eight reserved words in a row: the code source is broken")


class NumberedCodes:
    """Numbers from a counter, scattered over the code space so that neighbours don't look like neighbours."""

    def __init__(self, lease: Lease, lease_size: int, length: int, key: bytes) -> None:
        self._numbers = RangeLease(lease, lease_size)
        self._length = length
        self._key = key
        self._permutations: dict[int, KeyedPermutation] = {}

    async def code(self, seed: str, attempt: int) -> str:
        number = await self._numbers.next()
        length = length_at(self._length, attempt)
        while number >= 62**length:  # the space of this length is used up
            length += 1
        permutation = self._permutations.get(length)
        if permutation is None:
            permutation = self._permutations[length] = KeyedPermutation(62**length, self._key)
        return encode_base62(permutation.encode(number), length)

    def collided(self, code: str) -> None:
        # By its number, so that several refusals from one spent range count as one.
        self._numbers.collided(self._permutations[len(code)].decode(decode_base62(code)))

    def accepted(self) -> None:
        self._numbers.accepted()


class RandomCodes:
    """Every code equally likely; nothing is shared, so nothing can be out of step."""

    def __init__(self, length: int, draw: Callable[[int], str] = random_code) -> None:
        self._length, self._draw = length, draw

    async def code(self, seed: str, attempt: int) -> str:
        return self._draw(length_at(self._length, attempt))

    def collided(self, code: str) -> None: ...

    def accepted(self) -> None: ...


class HashedCodes:
    """A code from the hash of owner and URL: the same link asked for twice gets the same code. Keyed, so not predictable."""

    def __init__(self, length: int, key: bytes) -> None:
        self._length, self._key = length, hashlib.blake2b(b"codes", key=key).hexdigest()

    async def code(self, seed: str, attempt: int) -> str:
        return hash_code(f"{self._key}\n{seed}", length_at(self._length, attempt), attempt)

    def collided(self, code: str) -> None: ...

    def accepted(self) -> None: ...


class SnowflakeCodes:
    """Time, worker and sequence in 63 bits. The worker number is leased once per process start, modulo 1,024 starts."""

    def __init__(self, lease: Lease, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._worker = RangeLease(lease, 1)
        self._clock_ms = clock_ms
        self._starting = asyncio.Lock()
        self._snowflake: Snowflake | None = None

    async def code(self, seed: str, attempt: int) -> str:
        if self._snowflake is None:
            # One lease, however many creates wait for it: numbers come round again, and a wasted one comes round sooner.
            async with self._starting:
                if self._snowflake is None:
                    self._snowflake = Snowflake(await self._worker.next() % WORKERS, self._clock_ms)
        return encode_base62(await next_id(self._snowflake), SNOWFLAKE_CHARS)

    def collided(self, code: str) -> None: ...

    def accepted(self) -> None: ...


def code_source(
    knobs: ShortenerKnobs,
    store_lease: Callable[[str, int], Awaitable[int]],
    counter_lease: Lease | None,
    key: bytes,
    clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> CodeSource:
    """The source the knobs ask for. `counter_lease` is Redis's INCR, `store_lease` the store's named ranges."""
    if knobs.ids == "lease":
        return NumberedCodes(lambda size: store_lease("links", size), knobs.lease_size, knobs.code_length, key)
    if knobs.ids == "counter":
        assert counter_lease is not None
        return NumberedCodes(counter_lease, 1, knobs.code_length, key)
    if knobs.ids == "snowflake":
        return SnowflakeCodes(lambda size: store_lease("workers", size), lambda: clock_us() // 1000)
    return RandomCodes(knobs.code_length) if knobs.ids == "random" else HashedCodes(knobs.code_length, key)
