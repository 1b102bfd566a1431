"""The click queue against a real Kafka: the contract it shares, what it promises instead, and what it does while Kafka is away."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from designs.url_shortener.backends.kafka import KafkaClickQueue
from designs.url_shortener.backends.memory import MemoryClickQueue, MemoryClickStore, MemoryVisitorCounter
from designs.url_shortener.click_worker import MAX_DELIVERIES, ClickWorker
from designs.url_shortener.clicks import Click, ClickBatch, encode_batch
from designs.url_shortener.ports import ClickCount, ClickQueue, Delivery, QueueError, QueueFull, StoreError
from tests.building_blocks.kafka_scene import own_topics, wire_to
from tests.url_shortener import click_queue_contract
from tests.url_shortener.click_queue_contract import CLICK_QUEUE_CONTRACT, KAFKA_PROMISES_INSTEAD, OpenQueue, bodies, published
from tests.url_shortener.replicas import Wire, eventually
from tests.url_shortener.test_click_worker import DAY, POINTS, POISON, Fault, FaultyPort, batch, clicks_counted

SOON_MS = (1, 2)


class CaughtUp(KafkaClickQueue):
    """A queue whose `receive` first fetches all that is there, as the contract's steps suppose. It waits for no clock."""

    async def receive(self, consumer: str, limit: int, wait_ms: int) -> Sequence[Delivery]:
        await super().receive(consumer, 0, 0)
        member = self._members[consumer]

        async def reached_the_end() -> bool:
            await member.fetch(0.02, 1_000)
            driver = member._kept.made
            if driver is None or member._handing_over or not driver.assignment():
                return False
            ends = await self._reader.ends()
            return all([await driver.position(place) >= ends[place] for place in driver.assignment()])

        await eventually(reached_the_end)
        return await super().receive(consumer, limit, wait_ms)


@asynccontextmanager
async def opened(bootstrap: str, namespace: str, kind: type[KafkaClickQueue] = CaughtUp, **options: Any) -> AsyncIterator[Any]:
    settings: dict[str, Any] = {"look_every_s": 0, "partitions": 1, "retry_delays_ms": SOON_MS}
    queue = kind(bootstrap, namespace, **settings | options)
    try:
        yield queue
    finally:
        await queue.close()


@asynccontextmanager
async def behind_a_wire(
    bootstrap: str, namespace: str, kind: type[KafkaClickQueue] = CaughtUp, **options: Any
) -> AsyncIterator[tuple[Wire, Any]]:
    async with (
        own_topics(bootstrap, namespace),
        wire_to(bootstrap) as (wire, through),
        opened(through, namespace, kind, brokers_at=through, **options) as queue,
    ):
        yield wire, queue


@pytest.mark.parametrize("promise", [promise for promise in CLICK_QUEUE_CONTRACT if promise not in KAFKA_PROMISES_INSTEAD])
def test_kafka_keeps_the_contract(promise: str, kafka_bootstrap: str, namespace: str) -> None:
    async def no_time(ms: int) -> None:
        raise AssertionError("Kafka notices silence by the session")

    @asynccontextmanager
    async def open_queue(bound: int) -> AsyncIterator[OpenQueue]:
        async with opened(kafka_bootstrap, namespace, bound=bound) as queue:
            yield OpenQueue(queue, no_time, None)

    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace):
            await CLICK_QUEUE_CONTRACT[promise](open_queue)

    asyncio.run(scene())


def test_every_promise_that_differs_has_a_test_of_what_is_promised_instead() -> None:
    assert set(KAFKA_PROMISES_INSTEAD) <= set(CLICK_QUEUE_CONTRACT)
    assert all(name in globals() for name in KAFKA_PROMISES_INSTEAD.values())


@pytest.mark.parametrize("seed", range(2))
def test_one_consumer_gets_the_same_answers_as_from_memory(seed: int, kafka_bootstrap: str, namespace: str) -> None:
    choose = random.Random(seed)
    # Finished in order: what is finished behind something else counts until that is done, which is another test.
    verbs = {"publish": (0, 9), "receive": (1, 4), "done": (0, 3), "park": (0, 0), "redrive": (0, 2)}
    history = [(verb, choose.randint(*verbs[verb])) for verb in choose.choices([*verbs], [4, 4, 2, 1, 1], k=40)]

    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace), opened(kafka_bootstrap, namespace, bound=5) as queue:
            expected = await click_queue_contract.replayed(MemoryClickQueue(bound=5), history)
            assert await click_queue_contract.replayed(queue, history) == expected

    asyncio.run(scene())


def test_consumers_share_the_partitions_and_never_hold_the_same_batch(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace), opened(kafka_bootstrap, namespace, partitions=4) as queue:
            names = [f"w{number}" for number in range(3)]
            await asyncio.gather(*(queue.receive(name, 9, 0) for name in names))
            made = await published(queue, 30)
            # All have joined, and none leaves: each gets what is in its partitions, and all is in somebody's.
            taken = [await queue.receive(name, 30, 0) for name in names]
            assert sorted(body for some in taken for body in bodies(some)) == sorted(made)
            partitions = [{each.id.rsplit("/", 1)[0] for each in some} for some in taken]
            assert sum(map(len, partitions)) == len(set().union(*partitions))

    asyncio.run(scene())


def test_what_a_consumer_left_unfinished_is_found_by_the_next(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace):
            async with opened(kafka_bootstrap, namespace) as queue:
                made = await published(queue, 5)
                taken = await queue.receive("w", 4, 0)
                await queue.done(taken[:1])
            async with opened(kafka_bootstrap, namespace) as queue:
                # Not its name counts, and its deliveries are counted anew.
                taken = await queue.receive("another", 3, 0)
                assert [(each.body, each.deliveries) for each in taken] == [(body, 1) for body in made[1:4]]

    asyncio.run(scene())


def test_what_a_killed_consumer_held_goes_to_another_once_its_session_timed_out(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        # The least that a broker allows, as it comes; the only test that waits for it.
        session = {"session_timeout_ms": 6_000}
        async with (
            behind_a_wire(kafka_bootstrap, namespace, **session) as (wire, killed),
            opened(kafka_bootstrap, namespace, **session) as alive,
        ):
            made = await published(killed, 2)
            lost = await killed.receive("killed", 10, 0)
            assert bodies(lost) == made
            await wire.cut()  # no goodbye, no more heartbeats
            taken: list[Delivery] = []

            async def has_them() -> bool:
                with contextlib.suppress(QueueError):
                    taken[:] = await KafkaClickQueue.receive(alive, "alive", 10, 100)
                return len(taken) == 2

            await eventually(has_them)
            assert bodies(taken) == made
            await alive.done(taken)
            assert await alive.depth() == (0, 0.0)
            await wire.mend()
            with contextlib.suppress(QueueError):
                await killed.done(lost)  # it finishes what is another's now; nobody is harmed

            async def knows_that_it_lost_them() -> bool:
                with contextlib.suppress(QueueError):
                    return not await KafkaClickQueue.receive(killed, "killed", 10, 50)
                return False

            await eventually(knows_that_it_lost_them)

    asyncio.run(scene())


def test_the_bound_is_looked_at_now_and_then_and_what_this_process_adds_counts_at_once(
    kafka_bootstrap: str, namespace: str
) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace):
            options = {"bound": 3, "look_every_s": 3_600}
            async with opened(kafka_bootstrap, namespace, **options) as one, opened(kafka_bootstrap, namespace, **options) as two:
                await one.publish(b"one")
                await two.publish(b"two")  # it sees one there, from here on it looks no more
                await two.publish(b"three")
                with pytest.raises(QueueFull):
                    await two.publish(b"is at the bound")
                await one.publish(b"four")  # one too many: what two has added since it looked
                assert (await one.depth())[0] == 4

    asyncio.run(scene())


def test_a_batch_put_off_holds_up_nobody_waits_longer_each_time_and_says_how_often(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace), opened(kafka_bootstrap, namespace, kind=KafkaClickQueue) as queue:
            made = await published(queue, 3)
            held: list[Delivery] = []

            async def holds(count: int) -> bool:
                held[:] = await queue.receive("w", 10, 50)
                return len(held) == count

            await eventually(lambda: holds(3))
            await queue.retry_later(held[0])
            await queue.done(held[1:])
            assert await queue.lag() == {0: 0}  # its partition is committed to the end
            assert (await queue.depth())[0] == 1
            for times in (1, 2, 3):
                await eventually(lambda: holds(1))
                assert (held[0].body, held[0].put_off, held[0].tries) == (made[0], times, times + 1)
                assert f".retry.{SOON_MS[min(times, 2) - 1]}ms/" in held[0].id
                await queue.retry_later(held[0])
            await eventually(lambda: holds(1))
            await queue.park(held[0], "at last")
            assert await queue.depth() == (0, 0.0)
            assert [letter.body for letter in await queue.dead_letters.list(9)] == [made[0]]

    asyncio.run(scene())


def test_what_is_done_behind_something_unfinished_counts_until_that_is_done(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace), opened(kafka_bootstrap, namespace) as queue:
            await published(queue, 3)
            taken = await queue.receive("w", 3, 0)
            await queue.done(taken[1:])
            assert (await queue.depth())[0] == 3
            assert [each.id for each in await queue.receive("w", 3, 0)] == [taken[0].id]
            await queue.done(taken[:1])
            assert await queue.depth() == (0, 0.0)

    asyncio.run(scene())


def test_the_age_is_that_of_the_oldest_batch_that_is_not_done(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace), opened(kafka_bootstrap, namespace) as queue:
            assert await queue.depth() == (0, 0.0)
            producer = await queue._producer._kept.get()
            long_ago_ms = 1_000_000
            await producer.send_and_wait(queue._clicks.name, b"old", timestamp_ms=long_ago_ms)
            await queue.publish(b"new")
            waiting, age_s = await queue.depth()
            assert waiting == 2
            assert age_s > 1e9
            await queue.done(await queue.receive("w", 1, 0))
            waiting, age_s = await queue.depth()
            assert waiting == 1
            assert age_s < 3_600

    asyncio.run(scene())


# -- the worker on it ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [fault for fault in POINTS if fault.verb in ("apply", "done")], ids=str)
def test_every_click_is_counted_once_whichever_call_of_the_worker_fails(fault: Fault, kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace):
            lives: list[CaughtUp] = []

            async with opened(kafka_bootstrap, namespace) as queue:

                def make(faulty_queue: FaultyPort, *rest: Any) -> ClickWorker:
                    lives.append(queue)
                    return ClickWorker(faulty_queue, *rest)  # type: ignore[arg-type]

                store, visitors = MemoryClickStore(), MemoryVisitorCounter()
                assert await clicks_counted([3, 4, 5], [fault], queue, store, visitors, make) == 12
                assert await visitors.count("abc", [DAY]) == 12

    asyncio.run(scene())


async def worked_off(queue: CaughtUp, worker: ClickWorker) -> None:
    """The worker works until nothing is left, errors and retry topics included."""

    async def nothing_left() -> bool:
        with contextlib.suppress(StoreError):
            await worker.work_once(0)
        return (await queue.depth())[0] == 0

    await eventually(nothing_left, tries=200)


def test_a_batch_that_cannot_be_counted_is_tried_as_often_as_stated_and_then_parked(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace), opened(kafka_bootstrap, namespace) as queue:
            store = MemoryClickStore()
            worker = ClickWorker(queue, store, MemoryVisitorCounter(), "worker")
            for body in (batch(1, 2), POISON, batch(2, 3)):
                await queue.publish(body)
            await worker.work_once(0)
            assert (await store.stats("abc", 1, DAY)).clicks == 5  # nobody waits for the poison
            assert await queue.lag() == {0: 0}
            await worked_off(queue, worker)
            (letter,) = await queue.dead_letters.list(10)
            assert (letter.body, letter.deliveries) == (POISON, MAX_DELIVERIES)
            assert worker.totals.applied_clicks + worker.totals.dead_lettered_clicks == 9

    asyncio.run(scene())


class AwayThenBroken(MemoryClickStore):
    """Away for ten calls, then it trips once over what it is given."""

    calls = 0

    async def apply(self, batches: Mapping[str, Sequence[ClickCount]]) -> Collection[str]:
        self.calls += 1
        if self.calls <= 10:
            raise StoreError("away", may_have_happened=False)
        if self.calls == 11:
            raise ValueError("a bug that is gone the next time")
        return await super().apply(batches)


def test_an_outage_of_the_store_uses_up_no_try_however_long_it_lasts(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace), opened(kafka_bootstrap, namespace) as queue:
            store = AwayThenBroken()
            await queue.publish(batch(1, 2))
            await worked_off(queue, ClickWorker(queue, store, MemoryVisitorCounter(), "worker"))
            assert store.calls == 12
            assert await queue.dead_letters.count() == 0
            assert (await store.stats("abc", 1, DAY)).clicks == 2

    asyncio.run(scene())


# -- Kafka away ----------------------------------------------------------------------------------------------------------------


async def refused(queue: ClickQueue) -> list[QueueError]:
    """Every verb ends in an error of the port."""
    letters, held = queue.dead_letters, Delivery("x/0/0", b"", 1)
    errors = []
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: queue.publish(b"x"),
        lambda: queue.receive("w", 1, 0),
        lambda: queue.retry_later(held),
        lambda: queue.park(held, ""),
        queue.depth,
        letters.count,
        lambda: letters.list(1),
        letters.redrive,
    ]
    for call in calls:
        with pytest.raises(QueueError) as failed:
            await call()
        errors.append(failed.value)
    return errors


def test_a_broker_that_is_away_at_the_start_is_used_as_soon_as_it_is_there(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with behind_a_wire(kafka_bootstrap, namespace, KafkaClickQueue) as (wire, queue):
            await wire.cut()
            assert not any(error.may_have_happened for error in await refused(queue))
            for probe in (queue.ping, queue.lag):
                with pytest.raises(QueueError):
                    await probe()
            await wire.mend()
            assert await queue.ping()
            await queue.publish(b"now")
            await eventually(lambda: _received(queue, b"now"))
            # It goes through the relay and nowhere else, whatever the broker advertises.
            await wire.cut()
            with pytest.raises(QueueError):
                await queue.ping()

    asyncio.run(scene())


def test_a_wire_cut_in_flight_ends_every_call_in_time_and_once_it_is_mended_all_goes_on(
    kafka_bootstrap: str, namespace: str
) -> None:
    async def scene() -> None:
        # An interval that leaves the backlog alone, so that it is the send that meets the cut wire.
        options = {"call_s": 0.5, "look_every_s": 3_600}
        async with behind_a_wire(kafka_bootstrap, namespace, **options) as (wire, queue):
            made = await published(queue, 3)
            taken = await queue.receive("w", 2, 0)
            await wire.cut()
            with pytest.raises(QueueError) as unsure:
                await queue.publish(b"was on its way")
            assert unsure.value.may_have_happened is True
            with pytest.raises(QueueError) as never_sent:
                await queue.publish(b"was never sent")
            assert never_sent.value.may_have_happened is False
            with pytest.raises(QueueError) as unsure:
                await queue.done(taken)
            assert unsure.value.may_have_happened is True
            await wire.mend()

            async def gets_the_rest() -> bool:
                with contextlib.suppress(QueueError):
                    taken[:] = await KafkaClickQueue.receive(queue, "w", 10, 50)
                return made[2] in bodies(taken)

            await eventually(gets_the_rest)
            # Done is done, and the commit was made up for.
            assert not {*made[:2]} & {*bodies(taken)}
            assert (await queue.depth())[0] <= 2
            await queue.publish(b"after")
            await eventually(lambda: _received(queue, b"after"))
            await queue.done(await KafkaClickQueue.receive(queue, "w", 10, 0))
            assert (await queue.depth())[0] == 0

    asyncio.run(scene())


async def _received(queue: KafkaClickQueue, body: bytes) -> bool:
    return body in bodies(await KafkaClickQueue.receive(queue, "w", 10, 50))


def test_a_broker_that_falls_silent_blocks_no_call_for_ever_nor_the_end(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with behind_a_wire(kafka_bootstrap, namespace, call_s=0.5) as (wire, queue):
            await queue.publish(b"x")
            (held,) = await queue.receive("w", 10, 0)
            wire.silent = True
            with pytest.raises(QueueError) as look:
                await queue.publish(b"x")
            assert look.value.may_have_happened is False
            queue._look_every_s = 3_600
            with pytest.raises(QueueError) as unsure:
                await queue.publish(b"y")
            assert unsure.value.may_have_happened is True
            with pytest.raises(QueueError) as unsure:
                await queue.done([held])
            assert unsure.value.may_have_happened is True
            with pytest.raises(QueueError):
                await KafkaClickQueue.receive(queue, "w", 10, 100)

    asyncio.run(scene())


def test_nobody_there_is_told_from_nothing_to_do(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with behind_a_wire(kafka_bootstrap, namespace, call_s=0.5) as (wire, queue):
            assert await queue.receive("w", 10, 0) == []
            assert await KafkaClickQueue.receive(queue, "w", 10, 50) == []
            wire.silent = True

            async def is_told() -> bool:
                try:
                    assert await KafkaClickQueue.receive(queue, "w", 10, 100) == []
                except QueueError as silence:
                    return not silence.may_have_happened
                return False

            await eventually(is_told, tries=60)

    asyncio.run(scene())


def test_a_batch_of_the_largest_size_goes_through_and_a_larger_one_is_refused_for_certain(
    kafka_bootstrap: str, namespace: str
) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace), opened(kafka_bootstrap, namespace) as queue:
            with pytest.raises(QueueError, match="too large") as refusal:
                await queue.publish(b"x" * 2_000_000)
            assert refusal.value.may_have_happened is False
            body = encode_batch(ClickBatch("big", [Click("abc", 1, "", f"v{number}", False) for number in range(10_000)]))
            await queue.publish(body)
            assert bodies(await queue.receive("w", 1, 0)) == [body]

    asyncio.run(scene())
