"""One member of a consumer group: takes records, lets them be finished in any order, and commits the finished prefix.

    receive   what this member holds unfinished first, then new records of its partitions, each once it is due
    finish    these are done: the prefix moves on, and is committed

At least once. What was not committed comes again, to whoever has the partition then: after a crash once the session has timed out,
after a rebalance at once. A rebalance waits for the work in hand (no new records, at most `drain_s`), commits, and hands over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from designs.building_blocks.deadline import within
from designs.building_blocks.finished_prefix import FinishedPrefix
from designs.building_blocks.kafka_connection import CALL_S, Brokers, KafkaFailed, Kept, as_kafka_failed, stop_consumer
from designs.building_blocks.kafka_reader import Place

DRAIN_S = 5.0
SESSION_TIMEOUT_MS = 10_000
HEARTBEAT_MS = 1_000  # by the answer a member learns that another wants to join, so this is how long a hand-over takes to begin
SILENT_MS = 2_000  # fetches are answered several times a second, data or not
MOMENT_S = 0.05


@dataclass(slots=True)
class Taken:
    """A record that this member holds. `handed_out` counts how often `receive` has answered with it."""

    topic: str
    partition: int
    offset: int
    body: bytes
    headers: Mapping[str, bytes]
    handed_out: int = 0


@dataclass(slots=True)
class _Partition:
    """One assigned partition: what was fetched and is not handed out yet, and how far it is done."""

    waiting: deque[Any] = field(default_factory=deque)
    prefix: FinishedPrefix = field(default_factory=FinishedPrefix)
    committed: int | None = None


class GroupConsumer:
    """Joins when first used, after `prepare()`, and again after an outage. `due_ms(headers)` says when a record may be taken."""

    def __init__(
        self,
        brokers: Brokers,
        topics: Sequence[str],
        group: str,
        prepare: Callable[[], Awaitable[None]],
        *,
        due_ms: Callable[[Mapping[str, bytes]], int] = lambda headers: 0,
        drain_s: float = DRAIN_S,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        call_s: float = CALL_S,
        clock_ms: Callable[[], float] = lambda: time.time() * 1000,
    ) -> None:
        self._brokers, self._topics, self._group, self._prepare = brokers, topics, group, prepare
        self._due_ms, self._drain_s, self._session_timeout_ms, self._clock_ms = due_ms, drain_s, session_timeout_ms, clock_ms
        self._call_s = call_s
        self._kept: Kept[Any] = Kept(self._connect, stop_consumer)
        self._partitions: dict[Place, _Partition] = {}
        self._in_hand: dict[tuple[str, int, int], Taken] = {}
        self._nothing_in_hand = asyncio.Event()
        self._handing_over = False
        self._session = object()  # a driver that was dropped may still tell of its partitions

    def held(self, topic: str, partition: int, offset: int) -> Taken | None:
        """The record at this place, if it was handed out here and is not finished."""
        return self._in_hand.get((topic, partition, offset))

    async def receive(self, limit: int, wait_ms: int) -> list[Taken]:
        """Up to `limit` records, waiting `wait_ms` for the first. Raises `KafkaFailed`."""
        await self._commit()  # what an earlier commit has failed to say
        taken = [*self._in_hand.values()][:limit]
        until_s = time.monotonic() + (0 if taken else wait_ms / 1000)
        taken += self._hand_out(limit - len(taken))
        while len(taken) < limit:
            left_s = until_s - time.monotonic()
            await self.fetch(max(0.0, 0.0 if taken else left_s), limit - len(taken))
            taken += self._hand_out(limit - len(taken))
            if taken or time.monotonic() >= until_s:
                break
        if not taken:
            await self._check_that_it_lives()
        for record in taken:
            record.handed_out += 1
        return taken

    async def finish(self, records: Iterable[tuple[str, int, int]]) -> None:
        """These (topic, partition, offset) are done. What is not held here, or not any more, is left out.

        When the commit fails with `KafkaFailed` they are done all the same, and the next commit says so: that of the next
        `receive` at the latest.
        """
        for topic, partition, offset in records:
            if self._in_hand.pop((topic, partition, offset), None) is not None:
                self._partitions[topic, partition].prefix.finish(offset)
        if not self._in_hand:
            self._nothing_in_hand.set()
        await self._commit()

    async def close(self) -> None:
        """Commit what is done and leave the group, so that others have the partitions at once."""
        with contextlib.suppress(KafkaFailed):
            await self._commit()
        self._forget()
        await self._kept.close()

    async def fetch(self, wait_s: float, limit: int) -> None:
        """Fetch up to `limit` records, to be handed out when they are due; waits no longer than `wait_s` and a moment."""
        with as_kafka_failed("admit a consumer", may_have_happened=False):
            async with within(self._call_s):
                consumer = await self._kept.get()
        heads = [partition.waiting[0] for partition in self._partitions.values() if partition.waiting]
        due_in_s = [(self._due(head) - self._clock_ms()) / 1000 for head in heads]
        wait_s = max(0.0, min([wait_s, *due_in_s]))
        with as_kafka_failed("hand out records", may_have_happened=False):
            try:
                async with within(wait_s + MOMENT_S) as deadline:  # while the group rebalances the driver waits for its end
                    pages = await consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=limit)
            except Exception as error:
                if isinstance(error, TimeoutError) and deadline.expired:
                    return
                self._drop(consumer)
                raise
        for place, records in pages.items():
            partition = self._partitions.setdefault(place, _Partition())
            partition.waiting.extend(records)
            if self._due(partition.waiting[0]) > self._clock_ms():
                consumer.pause(place)

    def _hand_out(self, room: int) -> list[Taken]:
        handed: list[Taken] = []
        if self._handing_over:
            return handed
        now_ms, consumer = self._clock_ms(), self._kept.made
        for place, partition in self._partitions.items():
            while partition.waiting and len(handed) < room and self._due(partition.waiting[0]) <= now_ms:
                record = partition.waiting.popleft()
                partition.prefix.take(record.offset)
                taken = Taken(record.topic, record.partition, record.offset, record.value or b"", dict(record.headers))
                self._in_hand[record.topic, record.partition, record.offset] = taken
                handed.append(taken)
            if not partition.waiting and consumer is not None:
                consumer.resume(place)
        if handed:
            self._nothing_in_hand.clear()
        return handed

    def _due(self, record: Any) -> int:
        return self._due_ms(dict(record.headers))

    async def _commit(self) -> None:
        from aiokafka.errors import CommitFailedError, IllegalStateError

        consumer = self._kept.made
        owed = {
            place: partition.prefix.committable
            for place, partition in self._partitions.items()
            if partition.prefix.committable is not None and partition.prefix.committable != partition.committed
        }
        if consumer is None or not owed:
            return
        with as_kafka_failed("take a commit", may_have_happened=True):
            try:
                async with within(self._call_s):
                    await consumer.commit(_by_partition(owed))
            except (CommitFailedError, IllegalStateError):
                return  # the group has moved on, and whoever has these partitions now does the work again
        for place, offset in owed.items():
            if place in self._partitions:
                self._partitions[place].committed = offset

    async def _check_that_it_lives(self) -> None:
        """Nothing to do and nobody there look the same to the driver. Raises `KafkaFailed` for the latter."""
        consumer = self._kept.made
        if consumer is None:
            return
        polls = [consumer.last_poll_timestamp(place) or 0 for place in consumer.assignment()]
        if polls and time.time() * 1000 - max(polls) < SILENT_MS:
            return
        with as_kafka_failed("answer", may_have_happened=False):
            async with within(self._call_s):
                known = await consumer.topics()
        if missing := sorted(set(self._topics) - known):
            self._drop(consumer)  # whoever joins next creates them
            raise KafkaFailed(f"Kafka has no topic {missing[0]}", may_have_happened=False)

    async def _revoked(self) -> None:
        self._handing_over = True
        for partition in self._partitions.values():
            partition.waiting.clear()
        if self._in_hand:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain_s):
                    await self._nothing_in_hand.wait()
        with contextlib.suppress(KafkaFailed):
            await self._commit()
        self._forget()

    def _assigned(self, places: Iterable[Place]) -> None:
        for place in places:
            self._partitions.setdefault(place, _Partition())  # its first records may be here already
        self._handing_over = False

    def _forget(self) -> None:
        self._partitions.clear()
        self._in_hand.clear()
        self._nothing_in_hand.set()

    def _drop(self, consumer: Any) -> None:
        self._session = object()
        self._forget()
        self._kept.drop(consumer)

    async def _connect(self) -> Any:
        from aiokafka import ConsumerRebalanceListener

        member, session = self, object()

        class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the driver has no types
            async def on_partitions_revoked(self, revoked: Any) -> None:
                if member._session is session:
                    await member._revoked()

            async def on_partitions_assigned(self, assigned: Any) -> None:
                if member._session is session:
                    member._assigned(assigned)

        await self._prepare()
        rebalance_ms = int(self._drain_s * 1000) + 3_000
        consumer = await self._brokers.consumer(
            group_id=self._group,
            session_timeout_ms=self._session_timeout_ms,
            heartbeat_interval_ms=min(HEARTBEAT_MS, self._session_timeout_ms // 3),
            rebalance_timeout_ms=rebalance_ms,
            # The answer to "let me join" comes when all others have handed over.
            request_timeout_ms=rebalance_ms + 2_000,
        )
        self._session, self._handing_over = session, False
        consumer.subscribe(self._topics, listener=Listener())
        return consumer


def _by_partition(offsets: Mapping[Place, int]) -> dict[Any, int]:
    from aiokafka import TopicPartition

    return {TopicPartition(*place): offset for place, offset in offsets.items()}
