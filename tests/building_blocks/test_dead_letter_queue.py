import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.dead_letter_queue import DeadLetter, DeadLetterQueue, MemoryDeadLetterQueue, should_park
from tests.building_blocks.dead_letter_contract import DEAD_LETTER_CONTRACT, Publish


@asynccontextmanager
async def open_memory(publish: Publish, capacity: int) -> AsyncIterator[DeadLetterQueue]:
    yield MemoryDeadLetterQueue(publish, capacity)


@pytest.mark.parametrize("promise", DEAD_LETTER_CONTRACT)
def test_the_memory_dead_letter_queue_keeps_the_promise(promise: str) -> None:
    asyncio.run(DEAD_LETTER_CONTRACT[promise](open_memory))


class RemovesFirst(MemoryDeadLetterQueue):
    """Loses letters: what is removed and not published yet is nowhere when the process dies."""

    async def redrive(self, *, limit: int = 100, ids: Sequence[str] | None = None) -> int:
        leaving = [*self._letters][:limit] if ids is None else [id for id in dict.fromkeys(ids) if id in self._letters][:limit]
        for id in leaving:
            await self._publish(self._letters.pop(id).body)
        return len(leaving)


class RemovesBlindly(MemoryDeadLetterQueue):
    """Loses letters: removes by id what a fast consumer has parked again meanwhile."""

    async def redrive(self, *, limit: int = 100, ids: Sequence[str] | None = None) -> int:
        leaving = [*self._letters][:limit] if ids is None else [id for id in dict.fromkeys(ids) if id in self._letters][:limit]
        for id in leaving:
            await self._publish(self._letters[id].body)
            self._letters.pop(id, None)
        return len(leaving)


@pytest.mark.parametrize(
    ("known_bad", "promise"),
    [
        (RemovesFirst, "a_letter_that_cannot_be_published_stays_parked"),
        (RemovesFirst, "a_redrive_that_dies_after_publishing_loses_nothing"),
        (RemovesBlindly, "a_letter_parked_again_while_it_is_redriven_stays_parked"),
    ],
)
def test_known_bad_a_redrive_that_can_lose_a_letter_breaks_the_promise(
    known_bad: type[MemoryDeadLetterQueue], promise: str
) -> None:
    @asynccontextmanager
    async def open_known_bad(publish: Publish, capacity: int) -> AsyncIterator[DeadLetterQueue]:
        yield known_bad(publish, capacity)

    with pytest.raises(AssertionError):
        asyncio.run(DEAD_LETTER_CONTRACT[promise](open_known_bad))


@given(st.integers(1, 100), st.integers(1, 100))
def test_a_message_is_delivered_exactly_as_often_as_allowed_before_it_is_parked(max_deliveries: int, until: int) -> None:
    parked_at = next(n for n in range(1, 101) if should_park(n, max_deliveries))
    assert parked_at == max_deliveries
    assert should_park(max_deliveries + until, max_deliveries)


def test_a_message_that_is_never_delivered_and_a_queue_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="at least once"):
        should_park(1, 0)
    with pytest.raises(ValueError, match="at least one letter"):
        MemoryDeadLetterQueue(_nowhere, capacity=0)


def test_a_negative_page_or_redrive_is_refused_and_moves_nothing() -> None:
    async def run() -> None:
        queue = MemoryDeadLetterQueue(_nowhere)
        await queue.park(DeadLetter("a", b"", "", 1, 0))
        with pytest.raises(ValueError, match="Stop argument"):
            await queue.list(-1)
        with pytest.raises(ValueError, match="Stop argument"):
            await queue.redrive(limit=-1)
        assert await queue.count() == 1

    asyncio.run(run())


async def _nowhere(body: bytes) -> None:
    """Publish to nobody."""
