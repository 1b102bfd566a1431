"""Dead letters on a compacted topic: the contract, and what several processes at one topic can do to each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.dead_letter_queue import DeadLetter
from designs.building_blocks.kafka_connection import Brokers
from designs.building_blocks.kafka_dead_letters import KafkaDeadLetterQueue, decode, encode, table_of
from designs.building_blocks.kafka_producer import KafkaProducer
from designs.building_blocks.kafka_topics import Topic, ensure_topics
from tests.building_blocks.dead_letter_contract import DEAD_LETTER_CONTRACT, Publish, SourceQueue, letter
from tests.building_blocks.kafka_scene import own_topics


@asynccontextmanager
async def opened(brokers: Brokers, topic: str, publish: Publish, capacity: int = 100) -> AsyncIterator[KafkaDeadLetterQueue]:
    dead = Topic(topic, 1, cleanup="compact")
    prepare = partial(ensure_topics, brokers, [dead])
    producer = KafkaProducer(brokers, prepare)
    queue = KafkaDeadLetterQueue(brokers, dead, prepare, producer, publish, capacity)
    try:
        yield queue
    finally:
        await asyncio.gather(producer.close(), queue.close())


@pytest.mark.parametrize("promise", DEAD_LETTER_CONTRACT)
def test_dead_letters_in_kafka_keep_the_promise(promise: str, kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        number = count()
        async with own_topics(kafka_bootstrap, namespace) as brokers:
            await DEAD_LETTER_CONTRACT[promise](
                lambda publish, capacity: opened(brokers, f"{namespace}.{next(number)}", publish, capacity)
            )

    asyncio.run(scene())


def test_two_processes_see_each_others_letters_and_one_that_comes_later_sees_them_all(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        source = SourceQueue()
        async with own_topics(kafka_bootstrap, namespace) as brokers, AsyncExitStack() as stack:
            one, two = [await stack.enter_async_context(opened(brokers, namespace, source.publish)) for _ in range(2)]
            await one.park(letter(1))
            await two.park(letter(2))
            assert [*await one.list(9)] == [*await two.list(9)] == [letter(1), letter(2)]
            assert await two.redrive(ids=[letter(1).id]) == 1
            later = await stack.enter_async_context(opened(brokers, namespace, source.publish))
            assert [*await one.list(9)] == [*await later.list(9)] == [letter(2)]

    asyncio.run(scene())


def test_a_letter_that_another_process_parks_again_while_it_is_redriven_stays_parked(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace) as brokers, AsyncExitStack() as stack:
            worker = await stack.enter_async_context(opened(brokers, namespace, SourceQueue().publish))

            async def a_worker_that_fails_at_once(body: bytes) -> None:
                await worker.park(letter(int(body[2:]), deliveries=4))

            operator = await stack.enter_async_context(opened(brokers, namespace, a_worker_that_fails_at_once))
            for number in range(3):
                await worker.park(letter(number))
            assert await operator.redrive() == 3
            assert [*await worker.list(9)] == [letter(number, deliveries=4) for number in range(3)]

    asyncio.run(scene())


@given(st.integers(0, 9), st.binary(max_size=20), st.text(max_size=20), st.one_of(st.none(), st.integers(0, 2**40)))
def test_a_letter_survives_its_journey_with_every_field_and_its_place(id: int, body: bytes, reason: str, place: int | None) -> None:
    parked = DeadLetter(f"{id}", body, reason, 3, 1_700_000_000_000_000)
    assert decode(encode(parked, place), 77) == (77 if place is None else place, parked)


def test_an_id_parked_by_two_at_once_is_one_letter_with_two_keys_at_the_first_place() -> None:
    parkings = {b"a/1": (5, letter(1)), b"b/1": (6, letter(2)), b"a/2": (9, letter(1, deliveries=8))}
    table = table_of(parkings)
    assert [parked.letter for parked in table.values()] == [letter(1, deliveries=8), letter(2)]
    assert table[letter(1).id].keys == (b"a/1", b"a/2")


def test_a_dead_letter_topic_that_would_forget_letters_or_order_is_refused() -> None:
    brokers = Brokers("127.0.0.1:1")

    async def nothing() -> None:
        pass

    for wrong in (Topic("a", 1), Topic("a", 2, cleanup="compact")):
        with pytest.raises(ValueError, match="compacted and has one partition"):
            KafkaDeadLetterQueue(brokers, wrong, nothing, KafkaProducer(brokers, nothing), SourceQueue().publish)
