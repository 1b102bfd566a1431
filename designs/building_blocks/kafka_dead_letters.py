"""Dead letters in Kafka: a compacted topic read as a table.

    key    letter id / nonce      one per parking
    value  the letter as JSON, with its place in the order; nothing (a tombstone) once it has left

Kafka has no conditional delete. So each parking has a key of its own, and a redrive removes the keys that it has seen: a letter
that is parked again meanwhile has another key, and stays. Who parks an id that is parked already carries its place over and then
removes the keys that it has seen.

Reading goes on from where the last one ended; the table is in memory, and bounded as the queue is. With several processes parking
at once there may be as many letters too many as there are processes.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace

import orjson

from designs.building_blocks.dead_letter_queue import DeadLetter, DeadLettersFull
from designs.building_blocks.kafka_connection import CALL_S, Brokers
from designs.building_blocks.kafka_producer import KafkaProducer
from designs.building_blocks.kafka_reader import KafkaReader
from designs.building_blocks.kafka_topics import Topic

# Kafka keeps a tombstone for a day after it compacted what was before it. Who has not looked for so long reads all again.
BEGIN_AGAIN_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Parked:
    """The letters of one id: the last one parked, its place in the order, and every key that stands for them."""

    letter: DeadLetter
    place: int
    keys: tuple[bytes, ...]


class KafkaDeadLetterQueue:
    """`DeadLetterQueue` on a compacted topic of one partition. Raises `KafkaFailed`. `publish(body)` is the source queue's."""

    def __init__(
        self,
        brokers: Brokers,
        topic: Topic,
        prepare: Callable[[], Awaitable[None]],
        producer: KafkaProducer,
        publish: Callable[[bytes], Awaitable[None]],
        capacity: int = 10_000,
        *,
        call_s: float = CALL_S,
    ) -> None:
        if topic.partitions != 1 or topic.cleanup != "compact":
            raise ValueError("a dead-letter topic is compacted and has one partition")
        self._topic, self._producer, self._publish, self._capacity = topic.name, producer, publish, capacity
        self._reader = KafkaReader(brokers, [topic], prepare, call_s=call_s)
        self._reading = asyncio.Lock()
        self._parkings: dict[bytes, tuple[int, DeadLetter]] = {}  # key -> place, letter
        self._read_to = 0
        self._read_at_s = 0.0

    async def park(self, letter: DeadLetter) -> None:
        table = await self._table()
        known = table.get(letter.id)
        if known is None and len(table) >= self._capacity:
            raise DeadLettersFull(self._capacity)
        key = f"{letter.id}/{secrets.token_hex(8)}".encode()
        await self._producer.send(self._topic, encode(letter, known.place if known else None), key=key)
        if known is not None:
            await self._remove(known.keys)

    async def list(self, limit: int, after: str | None = None) -> Sequence[DeadLetter]:
        letters = [parked.letter for parked in (await self._table()).values()]
        behind = next((index + 1 for index, letter in enumerate(letters) if letter.id == after), 0)
        return letters[behind : behind + max(0, limit)]

    async def redrive(self, *, limit: int = 100, ids: Sequence[str] | None = None) -> int:
        table = await self._table()
        wanted = [table[id] for id in (table if ids is None else dict.fromkeys(ids)) if id in table]
        moved = 0
        for parked in wanted[: max(0, limit)]:
            await self._publish(parked.letter.body)
            moved += 1
            await self._remove(parked.keys)
        return moved

    async def count(self) -> int:
        return len(await self._table())

    async def close(self) -> None:
        await self._reader.close()

    async def _remove(self, keys: Sequence[bytes]) -> None:
        await asyncio.gather(*(self._producer.send(self._topic, None, key=key) for key in keys))

    async def _table(self) -> dict[str, Parked]:
        """What is parked, by id, in the order in which it was first parked."""
        async with self._reading:
            place = (self._topic, 0)
            end = (await self._reader.ends())[place]
            if end < self._read_to or time.monotonic() - self._read_at_s > BEGIN_AGAIN_S:
                self._parkings, self._read_to = {}, 0
            if end > self._read_to:
                records, ends = await self._reader.all_from({place: self._read_to})
                for record in records:
                    if record.value is None:
                        self._parkings.pop(record.key, None)
                    else:
                        self._parkings[record.key] = decode(record.value, record.offset)
                self._read_to = ends[place]
            self._read_at_s = time.monotonic()
            return table_of(self._parkings)


def table_of(parkings: dict[bytes, tuple[int, DeadLetter]]) -> dict[str, Parked]:
    """Parkings, oldest first, as a table by letter id: the last letter, the first place, all keys."""
    table: dict[str, Parked] = {}
    for key, (place, letter) in parkings.items():
        known = table.get(letter.id)
        table[letter.id] = (
            Parked(letter, place, (key,))
            if known is None
            else replace(known, letter=letter, place=min(place, known.place), keys=(*known.keys, key))
        )
    return dict(sorted(table.items(), key=lambda item: item[1].place))


def encode(letter: DeadLetter, place: int | None) -> bytes:
    """`place` None: where the record itself comes to stand."""
    return orjson.dumps(asdict(letter) | {"body": letter.body.hex(), "place": place})  # a body need not be text


def decode(value: bytes, offset: int) -> tuple[int, DeadLetter]:
    fields = orjson.loads(value)
    place = fields.pop("place")
    return offset if place is None else place, DeadLetter(**fields | {"body": bytes.fromhex(fields["body"])})
