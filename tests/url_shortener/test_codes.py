from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count, cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.id_generation import KeyedPermutation, decode_base62
from designs.url_shortener.backends.memory import MemoryLinkStore
from designs.url_shortener.codes import (
    TRIES,
    CodeSource,
    HashedCodes,
    NumberedCodes,
    RandomCodes,
    SnowflakeCodes,
    code_source,
    length_at,
    next_code,
)
from designs.url_shortener.urls import RESERVED, is_code, is_reserved
from tests.url_shortener.replicas import knobs

KEY = b"k" * 32
SCHEMES = ["lease", "counter", "snowflake", "random", "hash"]


def source_of(ids: str, store: MemoryLinkStore, length: int = 7) -> CodeSource:
    async def counter(size: int) -> int:
        return await store.lease_range("counter", size)

    turned = knobs(ids=ids, code_length=length, lease_size=10, cache="none")
    return code_source(turned, store.lease_range, counter, KEY)


@pytest.mark.parametrize("ids", SCHEMES)
def test_every_scheme_makes_codes_that_can_be_visited(ids: str) -> None:
    async def scene() -> None:
        source = source_of(ids, MemoryLinkStore())
        codes = [await next_code(source, f"alice\nhttps://example.org/{number}", 0) for number in range(200)]
        assert len({*codes}) == 200
        assert {len(code) for code in codes} == {11 if ids == "snowflake" else 7}
        assert all(is_code(code) and code.isalnum() and not is_reserved(code) for code in codes)

    asyncio.run(scene())


@pytest.mark.parametrize("ids", ["lease", "counter", "snowflake"])
def test_processes_that_share_a_counter_never_make_the_same_code(ids: str) -> None:
    async def scene() -> None:
        store = MemoryLinkStore()
        sources = [source_of(ids, store) for _ in range(4)]
        codes = await asyncio.gather(*(source.code("", 0) for source in sources for _ in range(100)))
        assert len({*codes}) == 400

    asyncio.run(scene())


def test_numbers_next_to_each_other_make_codes_that_are_not() -> None:
    async def scene() -> None:
        source = source_of("lease", MemoryLinkStore())
        numbers = [decode_base62(await source.code("", 0)) for _ in range(300)]
        steps = {(later - earlier) % 62**7 for earlier, later in pairwise(numbers)}
        assert len(steps) == 299

    asyncio.run(scene())


def test_a_code_space_that_is_used_up_gives_way_to_the_next_length() -> None:
    async def scene() -> None:
        numbers = count(62**4 - 2)

        async def lease(size: int) -> int:
            return next(numbers)

        source = NumberedCodes(lease, 1, 4, KEY)
        assert [len(await source.code("", 0)) for _ in range(4)] == [4, 4, 5, 5]

    asyncio.run(scene())


def test_a_code_that_was_taken_is_told_to_the_lease_by_its_number() -> None:
    async def scene() -> None:
        source = source_of("lease", MemoryLinkStore())
        code = await source.code("", 0)
        source.collided(code)
        assert KeyedPermutation(62**7, KEY).decode(decode_base62(code)) == 0

    asyncio.run(scene())


@given(st.integers(4, 10), st.integers(0, 8))
def test_codes_grow_by_one_after_every_three_failures(length: int, attempt: int) -> None:
    assert length_at(length, attempt) == length + attempt // 3
    assert len(asyncio.run(RandomCodes(length).code("", attempt))) == length_at(length, attempt)
    assert TRIES == 3


def test_equal_urls_of_one_owner_have_equal_hashes_and_another_key_or_owner_has_others() -> None:
    async def scene() -> None:
        codes = HashedCodes(7, KEY)
        assert await codes.code("alice\nu", 0) == await codes.code("alice\nu", 0)
        others = [
            await codes.code("bob\nu", 0),
            await codes.code("alice\nu", 1),
            await HashedCodes(7, b"x" * 32).code("alice\nu", 0),
        ]
        assert len({await codes.code("alice\nu", 0), *others}) == 4

    asyncio.run(scene())


class Scripted:
    """A source that makes the words it is told."""

    def __init__(self, words: Iterator[str]) -> None:
        self._words = words

    async def code(self, seed: str, attempt: int) -> str:
        return next(self._words)

    def collided(self, code: str) -> None: ...

    def accepted(self) -> None: ...


@pytest.mark.parametrize("word", sorted(word for word in RESERVED if word.isalnum() and len(word) >= 4))
def test_a_code_that_happens_to_be_a_reserved_word_is_passed_over(word: str) -> None:
    assert asyncio.run(next_code(Scripted(iter([word, word.title(), "goodone"])), "seed", 0)) == "goodone"


def test_a_source_that_makes_nothing_but_reserved_words_is_broken_and_not_asked_for_ever() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(next_code(Scripted(cycle(["metrics"])), "seed", 0))


def test_snowflakes_started_together_lease_one_worker_number() -> None:
    async def scene() -> None:
        leased: list[int] = []

        async def lease(size: int) -> int:
            await asyncio.sleep(0)
            leased.append(size)
            return 1024 * 7 + 5

        source = SnowflakeCodes(lease, clock_ms=count(1_800_000_000_000).__next__)
        codes = await asyncio.gather(*(source.code("", 0) for _ in range(50)))
        assert len({*codes}) == 50
        assert len(leased) == 1

    asyncio.run(scene())
