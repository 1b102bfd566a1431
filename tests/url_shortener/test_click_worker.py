"""A worker may die between any two of its calls, and each call may fail before or after it took effect: every click counts once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.dead_letter_queue import MemoryDeadLetterQueue
from designs.building_blocks.redis_connection import connect
from designs.url_shortener.backends.memory import MemoryClickQueue, MemoryClickStore, MemoryVisitorCounter
from designs.url_shortener.backends.redis import RedisVisitorCounter
from designs.url_shortener.backends.redis_streams import RedisClickQueue
from designs.url_shortener.click_worker import MAX_DELIVERIES, ClickWorker
from designs.url_shortener.clicks import Click, ClickBatch, encode_batch
from designs.url_shortener.ports import ClickQueue, ClickStore, Delivery, StoreError, VisitorCounter
from tests.known_bad.url_shortener import AckBeforeWriteWorker, AddsBlindlyStore
from tests.virtual_time import run

DAY = "2027-01-15"
NOON_S = 1_800_014_400


class Killed(BaseException):
    """What a kill looks like from inside: nothing that comes after it runs."""


class Fault(NamedTuple):
    """At the `call`-th call of the verb, counted over all workers."""

    verb: Literal["receive", "add", "apply", "done"]
    call: int
    when: Literal["before", "after"]
    kills: bool


class FaultyPort:
    """A port that keeps its promises except where a fault was planned."""

    def __init__(self, port: Any, faults: Sequence[Fault]) -> None:
        self._port = port
        self._faults: dict[tuple[str, int], Fault] = {(fault.verb, fault.call): fault for fault in faults}
        self._calls: dict[str, int] = {}

    def __getattr__(self, verb: str) -> Any:
        healthy = getattr(self._port, verb)
        if verb not in ("receive", "add", "apply", "done"):
            return healthy

        async def call(*arguments: Any) -> Any:
            number = self._calls[verb] = self._calls.get(verb, 0) + 1
            fault = self._faults.get((verb, number))
            if fault is None:
                return await healthy(*arguments)
            if fault.when == "after":
                await healthy(*arguments)
            raise Killed if fault.kills else StoreError(verb, may_have_happened=True)

        return call


def batch(number: int, clicks: int) -> bytes:
    return encode_batch(ClickBatch(f"batch-{number}", [Click("abc", NOON_S, "", f"v{number}-{n}", False) for n in range(clicks)]))


async def clicks_counted(
    sizes: Sequence[int],
    faults: Sequence[Fault],
    queue: ClickQueue,
    store: ClickStore,
    visitors: VisitorCounter,
    make_worker: Callable[..., ClickWorker] = ClickWorker,
    name_of: Callable[[int], str] = lambda lives: "worker",
    pass_time: Callable[[], None] = lambda: None,
) -> int:
    """Publish batches of these sizes, work through the faults, begin anew after each kill; the clicks the store has at the end."""
    for number, clicks in enumerate(sizes):
        await queue.publish(batch(number, clicks))
    faulty_queue, faulty_store, faulty_visitors = (FaultyPort(port, faults) for port in (queue, store, visitors))
    lives = 0
    worker = make_worker(faulty_queue, faulty_store, faulty_visitors, name_of(lives))
    for _ in range(len(faults) + len(sizes) + 3):
        try:
            await worker.work_once(0)
        except StoreError:
            pass_time()
        except Killed:
            lives += 1
            pass_time()
            worker = make_worker(faulty_queue, faulty_store, faulty_visitors, name_of(lives))
    assert (await queue.depth())[0] == 0
    assert await queue.dead_letters.count() == 0
    return (await store.stats("abc", 1, DAY)).clicks


faults = st.lists(
    st.builds(
        Fault,
        verb=st.sampled_from(["receive", "add", "apply", "done"]),
        call=st.integers(1, 6),
        when=st.sampled_from(["before", "after"]),
        kills=st.booleans(),
    ),
    max_size=4,  # a batch is given up after five deliveries; what is tested here is that none is lost before
)


@given(st.lists(st.integers(0, 5), max_size=8), faults, st.booleans())
def test_every_click_is_counted_once_whatever_fails_and_whoever_dies(
    sizes: list[int], planned: list[Fault], another_name: bool
) -> None:
    now_ms = 0.0

    def an_hour() -> None:
        nonlocal now_ms
        now_ms += 3_600_000

    queue, store, visitors = MemoryClickQueue(clock_ms=lambda: now_ms), MemoryClickStore(), MemoryVisitorCounter()

    async def scene() -> None:
        names = (lambda lives: f"worker-{lives}") if another_name else (lambda lives: "worker")
        counted = await clicks_counted(sizes, planned, queue, store, visitors, name_of=names, pass_time=an_hour)
        assert counted == sum(sizes)
        assert await visitors.count("abc", [DAY]) == sum(sizes)

    run(scene())


POINTS = [
    Fault(verb, 1, when, kills)
    for verb in ("receive", "add", "apply", "done")
    for when in ("before", "after")
    for kills in (True, False)
]


@pytest.mark.parametrize("fault", POINTS, ids=lambda fault: f"{fault.when}-{fault.verb}-{'kill' if fault.kills else 'error'}")
def test_every_click_is_counted_once_on_a_real_redis_whichever_call_fails(fault: Fault, redis_url: str) -> None:
    async def scene() -> None:
        client = connect(redis_url, 5.0)
        try:
            queue, visitors = RedisClickQueue(client), RedisVisitorCounter(client)
            # A worker that starts anew under its name opens the queue anew as well.
            lives: list[RedisClickQueue] = [queue]

            def make(faulty_queue: FaultyPort, *rest: Any) -> ClickWorker:
                lives.append(RedisClickQueue(client))
                faulty_queue._port = lives[-1]
                return ClickWorker(faulty_queue, *rest)

            assert await clicks_counted([3, 4, 5], [fault], queue, MemoryClickStore(), visitors, make) == 12
            assert await visitors.count("abc", [DAY]) == 12
        finally:
            await client.aclose()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("make_worker", "store", "fault"),
    [
        (AckBeforeWriteWorker, MemoryClickStore, Fault("apply", 1, "before", kills=True)),
        (ClickWorker, AddsBlindlyStore, Fault("done", 1, "before", kills=True)),
    ],
    ids=["acknowledges before it writes", "adds without ids"],
)
def test_the_same_check_catches_a_worker_or_a_store_with_the_usual_flaw(
    make_worker: Callable[..., ClickWorker], store: Callable[[], ClickStore], fault: Fault
) -> None:
    async def counted(planned: Sequence[Fault]) -> int:
        return await clicks_counted([3, 4], planned, MemoryClickQueue(), store(), MemoryVisitorCounter(), make_worker)

    assert run(counted([])) == 7  # nobody sees the flaw while nothing goes wrong
    assert run(counted([fault])) != 7


def worker_on(queue: ClickQueue, store: ClickStore) -> ClickWorker:
    return ClickWorker(queue, store, MemoryVisitorCounter(), "worker")


def test_what_is_no_batch_is_parked_at_once_and_its_neighbours_are_counted() -> None:
    async def scene() -> None:
        queue, store = MemoryClickQueue(), MemoryClickStore()
        worker = worker_on(queue, store)
        for body in (batch(1, 2), b"\x00 not a batch", batch(2, 3)):
            await queue.publish(body)
        assert await worker.work_once(0) == 2
        assert (await store.stats("abc", 1, DAY)).clicks == 5
        (letter,) = await queue.dead_letters.list(10)
        assert (letter.body, letter.deliveries) == (b"\x00 not a batch", 1)
        assert (worker.totals.dead_lettered_batches, worker.totals.applied_clicks) == (1, 5)
        assert (await queue.depth())[0] == 0

    run(scene())


# A time beyond the calendar: it can be read, and not be counted.
POISON = encode_batch(ClickBatch("poison", [Click("abc", 10**15, "", "v", False)] * 4))


def test_a_batch_that_cannot_be_counted_is_tried_as_often_as_stated_alone_and_then_parked() -> None:
    async def scene() -> None:
        queue, store = MemoryClickQueue(), MemoryClickStore()
        worker = worker_on(queue, store)
        for body in (batch(1, 2), POISON, batch(2, 3)):
            await queue.publish(body)
        await worker.work_once(0)
        assert (await store.stats("abc", 1, DAY)).clicks == 5  # nobody waits for the poison
        for _ in range(MAX_DELIVERIES - 1):
            assert await queue.dead_letters.count() == 0
            await worker.work_once(0)
        (letter,) = await queue.dead_letters.list(10)
        assert (letter.body, letter.deliveries) == (POISON, MAX_DELIVERIES)
        assert worker.totals.dead_lettered_clicks == 4
        # Accepted = stored + dead-lettered.
        assert worker.totals.applied_clicks + worker.totals.dead_lettered_clicks == 9
        assert (await queue.depth())[0] == 0

    run(scene())


def test_only_what_fails_for_a_reason_of_its_own_is_put_off_and_that_alone() -> None:
    async def scene() -> None:
        queue, put_off = MemoryClickQueue(), []

        async def retry_later(delivery: Delivery) -> None:
            put_off.append((delivery.body, delivery.deliveries))

        queue.retry_later = retry_later  # type: ignore[method-assign]
        store = MemoryClickStore()
        outage = FaultyPort(store, [Fault("apply", 1, "before", kills=False)])
        worker = ClickWorker(queue, outage, MemoryVisitorCounter(), "worker")  # type: ignore[arg-type]
        await queue.publish(batch(1, 2))
        with pytest.raises(StoreError):
            await worker.work_once(0)
        assert put_off == []
        await queue.publish(POISON)
        for _ in range(MAX_DELIVERIES):
            await worker.work_once(0)
        # The last time it is parked.
        assert put_off == [(POISON, deliveries) for deliveries in range(1, MAX_DELIVERIES)]
        assert await queue.dead_letters.count() == 1

    run(scene())


def test_where_the_queue_can_tell_only_what_was_put_off_counts_against_a_batch() -> None:
    assert Delivery("a", b"", 30).tries == 30
    assert Delivery("a", b"", 30, put_off=0).tries == 1
    assert Delivery("a", b"", 30, put_off=4).tries == MAX_DELIVERIES


def test_when_no_more_can_be_parked_the_batch_stays_in_the_queue() -> None:
    async def scene() -> None:
        queue = MemoryClickQueue()
        queue.dead_letters = MemoryDeadLetterQueue(queue.publish, capacity=1)
        worker = worker_on(queue, MemoryClickStore())
        for body in (b"bad 1", b"bad 2"):
            await queue.publish(body)
        with pytest.raises(StoreError, match="1 letters are parked"):
            await worker.work_once(0)
        assert await queue.dead_letters.count() == 1
        assert (await queue.depth())[0] == 1

    run(scene())


def test_a_batch_published_twice_counts_once_whether_both_come_together_or_not() -> None:
    async def scene() -> None:
        queue, store = MemoryClickQueue(), MemoryClickStore()
        worker = worker_on(queue, store)
        for _ in range(2):
            await queue.publish(batch(1, 3))
        await worker.work_once(0)
        await queue.publish(batch(1, 3))
        await worker.work_once(0)
        assert (await store.stats("abc", 1, DAY)).clicks == 3
        assert (worker.totals.applied_batches, worker.totals.repeated_batches) == (1, 2)
        assert (await queue.depth())[0] == 0

    run(scene())


def test_a_worker_waits_an_outage_out_and_gives_nothing_up_for_it() -> None:
    async def scene() -> None:
        queue, store = MemoryClickQueue(), MemoryClickStore()
        outage = FaultyPort(store, [Fault("apply", call, "before", kills=False) for call in range(1, 31)])
        waits_s: list[float] = []

        async def sleep(wait_s: float) -> None:
            waits_s.append(wait_s)
            await asyncio.sleep(wait_s)

        worker = ClickWorker(queue, outage, MemoryVisitorCounter(), "worker", sleep=sleep)
        await queue.publish(batch(1, 3))
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(30 * 5.0 + 1)  # thirty of the longest waits; the clock jumps
        assert (await queue.depth())[0] == 0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert worker.totals.failures == len(waits_s) == 30
        assert max(waits_s) <= 5.0
        assert (await store.stats("abc", 1, DAY)).clicks == 3
        assert await queue.dead_letters.count() == 0

    run(scene())
