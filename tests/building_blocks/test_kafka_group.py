"""Members of one group: a rebalance hands over what is done and nothing else, and records that are not due wait in their order."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from designs.building_blocks.kafka_connection import Brokers
from designs.building_blocks.kafka_group import GroupConsumer, Taken
from designs.building_blocks.kafka_producer import KafkaProducer
from designs.building_blocks.kafka_retry import due_ms, put_off
from designs.building_blocks.kafka_topics import Topic, ensure_topics
from tests.building_blocks.kafka_scene import own_topics
from tests.url_shortener.replicas import eventually


class Scene:
    """One topic, a producer, and members of one group."""

    def __init__(self, brokers: Brokers, name: str, partitions: int, stack: AsyncExitStack) -> None:
        self.brokers, self.topic, self._stack = brokers, Topic(name, partitions), stack
        self.prepare = partial(ensure_topics, brokers, [self.topic])
        self.producer = KafkaProducer(brokers, self.prepare)
        stack.push_async_callback(self.producer.close)
        self.now_ms = 0.0

    def member(self, **options: float) -> GroupConsumer:
        member = GroupConsumer(
            self.brokers, [self.topic.name], self.topic.name, self.prepare, due_ms=due_ms, clock_ms=lambda: self.now_ms, **options
        )
        self._stack.push_async_callback(member.close)
        return member

    async def send(self, count: int, first: int = 0) -> None:
        numbers = range(first, first + count)
        await asyncio.gather(*(self.producer.send(self.topic.name, b"%d" % number, key=b"%d" % number) for number in numbers))


@asynccontextmanager
async def scene_of(bootstrap: str, namespace: str, partitions: int = 1) -> AsyncIterator[Scene]:
    async with own_topics(bootstrap, namespace) as brokers, AsyncExitStack() as stack:
        yield Scene(brokers, namespace, partitions, stack)


def places(taken: list[Taken]) -> list[tuple[str, int, int]]:
    return [(each.topic, each.partition, each.offset) for each in taken]


def bodies(taken: list[Taken]) -> list[bytes]:
    return [each.body for each in taken]


async def taken_until(member: GroupConsumer, enough: Callable[[list[Taken]], bool]) -> list[Taken]:
    """What it holds, once that is enough."""
    held: list[Taken] = []

    async def holds_enough() -> bool:
        held[:] = await member.receive(1_000, 50)
        return enough(held)

    await eventually(holds_enough, tries=100)
    return held


def test_what_is_finished_out_of_order_is_committed_up_to_the_first_that_is_not(kafka_bootstrap: str, namespace: str) -> None:
    async def run() -> None:
        async with scene_of(kafka_bootstrap, namespace) as scene:
            await scene.send(6)
            first, second = scene.member(), scene.member()
            held = await taken_until(first, lambda held: len(held) == 6)
            await first.finish([place for place in places(held) if place[2] in (0, 1, 3, 5)])
            await first.close()
            again = await taken_until(second, lambda held: len(held) == 4)
            assert [each.offset for each in again] == [2, 3, 4, 5]

    asyncio.run(run())


def test_a_rebalance_waits_for_the_work_in_hand_and_hands_over_without_repeating_any(kafka_bootstrap: str, namespace: str) -> None:
    async def run() -> None:
        async with scene_of(kafka_bootstrap, namespace, partitions=4) as scene:
            await scene.send(40)
            members, seen = [scene.member(), scene.member()], Counter[bytes]()
            stop = asyncio.Event()

            async def work(member: GroupConsumer) -> None:
                while not stop.is_set():
                    taken = await member.receive(5, 20)
                    await asyncio.sleep(0.01)  # in hand while the other joins
                    await member.finish(places(taken))
                    seen.update(bodies(taken))

            async def seen_all(count: int) -> bool:
                return len(seen) == count

            working = [asyncio.create_task(work(members[0]))]
            await eventually(lambda: seen_all(40))
            await scene.send(400, first=40)
            working.append(asyncio.create_task(work(members[1])))  # joins in the middle of it
            await eventually(lambda: seen_all(440))

            async def both_have_some() -> bool:
                return all(member._partitions for member in members)

            await eventually(both_have_some)
            await scene.send(40, first=440)
            await eventually(lambda: seen_all(480))
            stop.set()
            await asyncio.gather(*working)
            assert set(seen.values()) == {1}
            assert not set(members[0]._partitions) & set(members[1]._partitions)

    asyncio.run(run())


def test_who_does_not_finish_in_time_is_not_waited_for_and_only_what_was_not_committed_is_repeated(
    kafka_bootstrap: str, namespace: str
) -> None:
    async def run() -> None:
        async with scene_of(kafka_bootstrap, namespace, partitions=2) as scene:
            await scene.send(20)
            slow, other = scene.member(drain_s=0.2), scene.member(drain_s=0.2)
            held = await taken_until(slow, lambda held: len(held) == 20)
            done = [each for each in held if each.offset < 2]
            await slow.finish(places(done))
            joining = asyncio.create_task(taken_until(other, lambda held: len(held) > 0))
            theirs = await joining
            mine = await taken_until(slow, lambda held: len(held) + len(theirs) == 20 - len(done))
            assert {*bodies(theirs)} | {*bodies(mine)} == {*bodies(held)} - {*bodies(done)}
            await slow.finish(places(theirs))  # what it does not hold any more is left to who does
            assert all(other.held(*place) is not None for place in places(theirs))

    asyncio.run(run())


def test_records_that_are_not_due_wait_in_their_order_and_hold_up_no_other_partition(kafka_bootstrap: str, namespace: str) -> None:
    async def run() -> None:
        async with scene_of(kafka_bootstrap, namespace, partitions=2) as scene:
            later = put_off({"traceparent": b"00-a-b-01"}, 60_000, 0)
            producer, topic = scene.producer, scene.topic.name
            # Two keys that fall on different partitions.
            waiting, passing = b"1", b"0"
            for body, key, headers in (
                (b"w1", waiting, later),
                (b"p1", passing, None),
                (b"w2", waiting, put_off({}, 60_001, 0)),
                (b"p2", passing, None),
            ):
                await producer.send(topic, body, key=key, headers=headers)
            member = scene.member()
            held = await taken_until(member, lambda held: len(held) == 2)
            assert bodies(held) == [b"p1", b"p2"]
            await member.finish(places(held))
            assert await member.receive(10, 0) == []
            scene.now_ms = 60_000
            held = await taken_until(member, lambda held: len(held) == 1)
            assert bodies(held) == [b"w1"]
            assert held[0].headers["traceparent"] == b"00-a-b-01"
            scene.now_ms = 60_001
            held = await taken_until(member, lambda held: len(held) == 2)
            assert bodies(held) == [b"w1", b"w2"]
            assert held[0].handed_out > held[1].handed_out == 1

    asyncio.run(run())
