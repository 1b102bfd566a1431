"""The click queue as Kafka topics:

    <namespace>.clicks                4 partitions  batches of clicks, no key
    <namespace>.clicks.retry.<delay>  1 partition   batches that could not be counted for a reason of their own, until they are due
    <namespace>.clicks.dead           1 partition   dead letters, compacted: one key per parked letter
    group <namespace>.click-workers   what is committed in it is counted

What is different from Redis Streams:

    order        per partition, and the batches of a replica are spread over all. Clicks need none: counts add up in any order, so
                 there is no key. Where order matters (edits of one document), the key is the entity.
    deliveries   are counted in the consumer that has the partition. A killed worker's batches come to the next as new; so a batch
                 that kills its worker is never parked. How often one was put off (`retry_later`) travels with it.
    silence      a worker that stops without a word is missed after its session timeout (10 s), and its partitions go to others. One
                 that lives and does not finish a batch keeps it, and its partition commits nothing behind it.
    depth        is what is not committed: what is done behind a batch that is not counts until that is done as well.
    the bound    Kafka has none, and retention would drop what nobody has read. `publish` looks at the backlog once a second,
                 adds what this process has published since, and refuses at the bound: the overshoot is what the other replicas
                 publish within that second.
    retention    3 days, a day more for the segment: far above any outage that the bound allows, and below the week for which the
                 click store remembers what it has counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence

from designs.building_blocks.dead_letter_queue import DeadLetter
from designs.building_blocks.kafka_connection import CALL_S, Brokers, KafkaFailed
from designs.building_blocks.kafka_dead_letters import KafkaDeadLetterQueue
from designs.building_blocks.kafka_group import SESSION_TIMEOUT_MS, GroupConsumer, Taken
from designs.building_blocks.kafka_producer import KafkaProducer
from designs.building_blocks.kafka_reader import KafkaReader, Place
from designs.building_blocks.kafka_retry import attempts_of, delay_after, delay_name, due_ms, put_off
from designs.building_blocks.kafka_topics import Topic, ensure_topics
from designs.url_shortener.ports import Delivery, QueueError, QueueFull

PARTITIONS = 4
RETRY_DELAYS_MS = (1_000, 10_000, 60_000)
LOOK_EVERY_S = 1.0


class KafkaClickQueue:
    """`ClickQueue` on Kafka. Connects when first used, and again after an outage; `close()` leaves the group."""

    def __init__(
        self,
        bootstrap: str,
        namespace: str,
        *,
        brokers_at: str | None = None,
        replication_factor: int = 1,
        bound: int = 10_000,
        partitions: int = PARTITIONS,
        retry_delays_ms: Sequence[int] = RETRY_DELAYS_MS,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        look_every_s: float = LOOK_EVERY_S,
        call_s: float = CALL_S,
    ) -> None:
        self._brokers = Brokers(bootstrap, brokers_at)
        self._call_s, self._bound, self._session_timeout_ms, self._look_every_s = call_s, bound, session_timeout_ms, look_every_s
        self._delays_ms = tuple(retry_delays_ms)
        clicks = f"{namespace}.clicks"
        self._group = f"{namespace}.click-workers"
        self._clicks = Topic(clicks, partitions, replication_factor)
        self._retries = {ms: Topic(f"{clicks}.retry.{delay_name(ms)}", 1, replication_factor) for ms in self._delays_ms}
        dead = Topic(f"{clicks}.dead", 1, replication_factor, cleanup="compact")
        self.topics = (self._clicks, *self._retries.values(), dead)
        self._worked = (self._clicks, *self._retries.values())
        self._producer = KafkaProducer(self._brokers, self._ensure_topics, call_s=call_s)
        self._reader = KafkaReader(self._brokers, self._worked, self._ensure_topics, group=self._group, call_s=call_s)
        self._members: dict[str, GroupConsumer] = {}
        self.dead_letters = _DeadLetters(self._brokers, dead, self._ensure_topics, self._producer, self.publish, call_s=call_s)
        self._waiting, self._looked_at_s = 0, -1e9
        self._looking = asyncio.Lock()

    async def publish(self, body: bytes) -> None:
        async with self._looking:
            if time.monotonic() - self._looked_at_s >= self._look_every_s:
                self._waiting = sum(end - first for first, end in (await self._left()).values())
                self._looked_at_s = time.monotonic()
            if self._waiting >= self._bound:
                raise QueueFull
            self._waiting += 1
        with as_queue_error():
            await self._producer.send(self._clicks.name, body)

    async def receive(self, consumer: str, limit: int, wait_ms: int) -> Sequence[Delivery]:
        if consumer not in self._members:
            self._members[consumer] = self._member()
        with as_queue_error():
            return [_delivery(taken) for taken in await self._members[consumer].receive(limit, wait_ms)]

    async def done(self, deliveries: Sequence[Delivery]) -> None:
        places = [_place_of(delivery.id) for delivery in deliveries]
        with as_queue_error():
            for member in self._members.values():
                if held := [place for place in places if member.held(*place) is not None]:
                    await member.finish(held)

    async def retry_later(self, delivery: Delivery) -> None:
        """Into a retry topic, and done here: the batches behind it in its partition can be committed."""
        attempts = delivery.put_off or 0
        delay_ms = delay_after(attempts, self._delays_ms)
        headers = put_off(self._headers_of(delivery), delay_ms, int(time.time() * 1000))
        with as_queue_error():
            await self._producer.send(self._retries[delay_ms].name, delivery.body, headers=headers)
        await self.done([delivery])

    async def park(self, delivery: Delivery, reason: str) -> None:
        letter = DeadLetter(delivery.id, delivery.body, reason, delivery.deliveries, time.time_ns() // 1000)
        await self.dead_letters.park(letter)
        await self.done([delivery])

    async def depth(self) -> tuple[int, float]:
        """Batches that are not committed, those in the retry topics included, and the age of the oldest by its record's time."""
        left = {place: (first, end) for place, (first, end) in (await self._left()).items() if end > first}
        if not left:
            return 0, 0.0
        with as_queue_error():
            oldest = await self._reader.first({place: first for place, (first, _) in left.items()})
        born_ms = min((record.timestamp for record in oldest), default=time.time() * 1000)
        return sum(end - first for first, end in left.values()), max(0.0, time.time() - born_ms / 1000)

    async def lag(self) -> dict[int, int]:
        """Batches that are not committed, by partition of the main topic."""
        left = await self._left()
        return {number: end - first for (topic, number), (first, end) in sorted(left.items()) if topic == self._clicks.name}

    async def ping(self) -> bool:
        """True, or QueueError when the brokers can't be used."""
        with as_queue_error():
            await self._reader.ends()
        return True

    async def close(self) -> None:
        await asyncio.gather(*(member.close() for member in self._members.values()))
        await asyncio.gather(self._producer.close(), self._reader.close(), self.dead_letters.close())

    async def _left(self) -> dict[Place, tuple[int, int]]:
        with as_queue_error():
            return await self._reader.left()

    async def _ensure_topics(self) -> None:
        await ensure_topics(self._brokers, self.topics)

    def _member(self) -> GroupConsumer:
        names = [topic.name for topic in self._worked]
        return GroupConsumer(
            self._brokers,
            names,
            self._group,
            self._ensure_topics,
            due_ms=due_ms,
            session_timeout_ms=self._session_timeout_ms,
            call_s=self._call_s,
        )

    def _headers_of(self, delivery: Delivery) -> dict[str, bytes]:
        place = _place_of(delivery.id)
        for member in self._members.values():
            if (taken := member.held(*place)) is not None:
                return dict(taken.headers)
        return {}


class _DeadLetters(KafkaDeadLetterQueue):
    """With the errors of this port."""

    async def park(self, letter: DeadLetter) -> None:
        with as_queue_error():
            await super().park(letter)

    async def list(self, limit: int, after: str | None = None) -> Sequence[DeadLetter]:
        with as_queue_error():
            return await super().list(limit, after)

    async def redrive(self, *, limit: int = 100, ids: Sequence[str] | None = None) -> int:
        with as_queue_error():
            return await super().redrive(limit=limit, ids=ids)

    async def count(self) -> int:
        with as_queue_error():
            return await super().count()


@contextlib.contextmanager
def as_queue_error() -> Iterator[None]:
    """Kafka's failures as the port's error."""
    try:
        yield
    except KafkaFailed as error:
        raise QueueError(str(error), may_have_happened=error.may_have_happened) from error


def _delivery(taken: Taken) -> Delivery:
    attempts = attempts_of(taken.headers)
    place = f"{taken.topic}/{taken.partition}/{taken.offset}"
    return Delivery(place, taken.body, taken.handed_out + attempts, put_off=attempts)


def _place_of(identity: str) -> tuple[str, int, int]:
    topic, partition, offset = identity.rsplit("/", 2)
    return topic, int(partition), int(offset)
