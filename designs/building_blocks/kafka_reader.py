"""Look into topics without being a member of a group: where they begin and end, how far a group has come, and what is written.

The lag of a partition is what its group has not committed. It says how much is left to do, and nothing about since when: for
that, look at the time of the first record that is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from designs.building_blocks.deadline import within
from designs.building_blocks.kafka_connection import CALL_S, Brokers, Kept, as_kafka_failed, stop_consumer
from designs.building_blocks.kafka_topics import Topic

T = TypeVar("T")
Place: TypeAlias = tuple[str, int]  # topic, partition


class KafkaReader:
    """Reads these topics, on behalf of a group where its progress is asked for. Connects when first used, after `prepare()`."""

    def __init__(
        self,
        brokers: Brokers,
        topics: Sequence[Topic],
        prepare: Callable[[], Awaitable[None]],
        *,
        group: str | None = None,
        call_s: float = CALL_S,
    ) -> None:
        self._brokers, self._group, self._prepare, self._call_s = brokers, group, prepare, call_s
        self._places = [(topic.name, partition) for topic in topics for partition in range(topic.partitions)]
        self._kept: Kept[Any] = Kept(self._connect, stop_consumer)
        self._reading = asyncio.Lock()

    async def ends(self) -> dict[Place, int]:
        """The offset behind the last record of each partition. Raises `KafkaFailed`."""

        async def ask(consumer: Any) -> dict[Place, int]:
            return dict(await consumer.end_offsets(self._partitions()))

        return await self._ask("say where its topics end", ask)

    async def left(self) -> dict[Place, tuple[int, int]]:
        """(first, end) offsets of what the group has not committed, by partition. Raises `KafkaFailed`."""

        async def ask(consumer: Any) -> dict[Place, tuple[int, int]]:
            partitions = self._partitions()
            starts, ends, *committed = await asyncio.gather(
                consumer.beginning_offsets(partitions),
                consumer.end_offsets(partitions),
                *(consumer.committed(partition) for partition in partitions),
            )
            # What retention has removed can't be done any more, whatever was committed.
            firsts = {each: max(starts[each], done or 0) for each, done in zip(partitions, committed, strict=True)}
            return {each: (firsts[each], max(firsts[each], ends[each])) for each in partitions}

        return await self._ask("say how far its group is", ask)

    async def first(self, froms: Mapping[Place, int]) -> list[Any]:
        """The first record at or behind each offset, where there is one (`ConsumerRecord`). Raises `KafkaFailed`."""
        ends = await self.ends()
        found: list[Any] = []

        async def ask(consumer: Any, places: Mapping[Any, int]) -> None:
            left = set(places)
            while left:
                page = await consumer.getmany(*left, timeout_ms=100, max_records=1)
                found.extend(record for records in page.values() for record in records)
                left = {each for each in left - set(page) if await consumer.position(each) < ends[each]}

        await self._read(froms, ask)
        return found

    async def all_from(self, froms: Mapping[Place, int]) -> tuple[list[Any], dict[Place, int]]:
        """Every record from these offsets to the end as it is now, and the offsets to go on from. Raises `KafkaFailed`."""
        ends = await self.ends()
        found: list[Any] = []
        left = {place: offset for place, offset in froms.items() if offset < ends[place]}

        async def ask(consumer: Any, places: Mapping[Any, int]) -> None:
            unread = set(places)
            while unread:
                page = await consumer.getmany(*unread, timeout_ms=100)
                found.extend(record for records in page.values() for record in records)
                unread = {each for each in unread if await consumer.position(each) < ends[each]}
            left.update({each: await consumer.position(each) for each in places})

        if left:
            await self._read(left, ask)
        return found, {**froms, **left}

    async def close(self) -> None:
        await self._kept.close()

    async def _read(self, froms: Mapping[Place, int], ask: Callable[[Any, Mapping[Any, int]], Awaitable[None]]) -> None:
        from aiokafka import TopicPartition

        async def read(consumer: Any) -> None:
            places = {TopicPartition(*place): offset for place, offset in froms.items()}
            async with self._reading:
                for place, offset in places.items():
                    consumer.seek(place, offset)
                consumer.resume(*places)
                try:
                    await ask(consumer, places)
                finally:
                    consumer.pause(*places)

        await self._ask("hand out records", read)

    async def _ask(self, what: str, call: Callable[[Any], Awaitable[T]]) -> T:
        consumer: Any = None
        with as_kafka_failed(what, may_have_happened=False):
            try:
                async with within(self._call_s):
                    consumer = await self._kept.get()
                    return await call(consumer)
            except Exception:
                if consumer is not None:
                    self._kept.drop(consumer)
                raise

    def _partitions(self) -> list[Any]:
        from aiokafka import TopicPartition

        return [TopicPartition(*place) for place in self._places]

    async def _connect(self) -> Any:
        await self._prepare()
        consumer = await self._brokers.consumer(group_id=self._group)
        # All of them, and paused until they are read: a driver that is assigned others forgets who leads the rest.
        consumer.assign(self._partitions())
        consumer.pause(*self._partitions())
        return consumer
