"""Park a message that cannot be processed where it can be listed, counted and moved back.

Promises of every backend, replayed by one contract suite: a parked letter is parked until it is back in the
source queue, never lost in between; moving back is at-least-once, because it publishes first and removes
second; a letter parked again while it is being moved back stays parked; the number of letters is bounded.

The pattern is the Dead Letter Channel of Hohpe and Woolf, "Enterprise Integration Patterns", 2003.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message given up: its id in the source queue, why, after how many deliveries, and when (unix us)."""

    id: str
    body: bytes
    reason: str
    deliveries: int
    parked_at_us: int


class DeadLettersFull(Exception):
    """Nothing was parked, because `capacity` letters are; leave the message where it is and call a person."""

    def __init__(self, capacity: int) -> None:
        super().__init__(f"{capacity} letters are parked, which is the limit; redrive or remove some")
        self.capacity = capacity


def should_park(deliveries: int, max_deliveries: int) -> bool:
    """Whether a message that failed in delivery number `deliveries`, from 1, has had all its chances."""
    if max_deliveries < 1:
        raise ValueError(f"a message is delivered at least once, not {max_deliveries} times")
    return deliveries >= max_deliveries


class DeadLetterQueue(Protocol):
    async def park(self, letter: DeadLetter) -> None:
        """Keep the letter; only then acknowledge the message. Raises `DeadLettersFull`.

        Parking an id again (the consumer died between parking and acknowledging) replaces the letter, keeps
        its place, and is possible even when the queue is full.
        """

    async def list(self, limit: int, after: str | None = None) -> Sequence[DeadLetter]:
        """Up to `limit` letters in the order they were first parked, behind the one with id `after`.

        When `after` is no longer parked the page starts at the oldest, so that none is missed.
        """

    async def redrive(self, *, limit: int = 100, ids: Sequence[str] | None = None) -> int:
        """Move up to `limit` letters back to the source queue: the oldest, or of `ids` those that are parked.

        Answers how many left. When publishing fails its error is raised; letters moved before it are in the
        source queue, the one that failed and the rest are still parked.
        """

    async def count(self) -> int:
        """How many letters are parked."""


class MemoryDeadLetterQueue:
    """The reference, as durable as its process. `publish(body)` returns once the source queue has it."""

    def __init__(self, publish: Callable[[bytes], Awaitable[None]], capacity: int = 10_000) -> None:
        if capacity < 1:
            raise ValueError(f"a dead-letter queue holds at least one letter, not {capacity}")
        self._publish = publish
        self._capacity = capacity
        self._letters: dict[str, DeadLetter] = {}
        # Two redrives side by side would publish each letter twice: allowed, and easily avoided here.
        self._redriving = asyncio.Lock()

    async def park(self, letter: DeadLetter) -> None:
        if letter.id not in self._letters and len(self._letters) >= self._capacity:
            raise DeadLettersFull(self._capacity)
        self._letters[letter.id] = letter

    async def list(self, limit: int, after: str | None = None) -> Sequence[DeadLetter]:
        letters = iter(self._letters.values())
        if after in self._letters:
            while next(letters).id != after:
                pass
        return [*islice(letters, limit)]

    async def redrive(self, *, limit: int = 100, ids: Sequence[str] | None = None) -> int:
        async with self._redriving:
            wanted = self._letters if ids is None else dict.fromkeys(id for id in ids if id in self._letters)
            moved = 0
            for letter in [self._letters[id] for id in islice(wanted, limit)]:
                await self._publish(letter.body)
                moved += 1
                # A fast consumer may have parked it again before we get here: that one has not been moved.
                if self._letters.get(letter.id) is letter:
                    del self._letters[letter.id]
            return moved

    async def count(self) -> int:
        return len(self._letters)
