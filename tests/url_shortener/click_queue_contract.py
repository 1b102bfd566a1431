"""What every click queue promises, as checks. A backend is opened, empty, with a bound and a time until it reclaims."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from hypothesis import strategies as st

from designs.url_shortener.ports import ClickQueue, Delivery, QueueFull

RECLAIM_MS = 100


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """A queue, how to let time pass for it, and how to open it again as another process would (None: it has but one)."""

    queue: ClickQueue
    advance_ms: Callable[[int], Awaitable[None]]
    reopen: Callable[[], ClickQueue] | None


Open: TypeAlias = Callable[[int], AbstractAsyncContextManager[OpenQueue]]
Check: TypeAlias = Callable[[Open], Coroutine[Any, Any, None]]


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


async def published(queue: ClickQueue, count: int) -> list[bytes]:
    made = [b"\x00\xff batch %d" % number for number in range(count)]
    for body in made:
        await queue.publish(body)
    return made


async def what_was_published_is_received_once_in_order(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        made = await published(opened.queue, 5)
        first = await opened.queue.receive("w", 3, 0)
        assert bodies(first) == made[:3]
        assert [delivery.deliveries for delivery in first] == [1, 1, 1]
        await opened.queue.done(first)
        second = await opened.queue.receive("w", 3, 0)
        assert bodies(second) == made[3:]
        await opened.queue.done(second)
        assert bodies(await opened.queue.receive("w", 3, 0)) == []
        assert await opened.queue.depth() == (0, 0.0)


async def what_is_not_done_is_delivered_again_and_counted(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        made = await published(opened.queue, 2)
        for deliveries in (1, 2, 3):
            taken = await opened.queue.receive("w", 10, 0)
            assert [(each.body, each.deliveries) for each in taken] == [(body, deliveries) for body in made]
        await opened.queue.done(taken[:1])
        assert [(each.body, each.deliveries) for each in await opened.queue.receive("w", 10, 0)] == [(made[1], 4)]


async def two_consumers_never_hold_the_same_batch(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        made = await published(opened.queue, 20)
        taken = await asyncio.gather(*(opened.queue.receive(f"w{number}", 5, 0) for number in range(4)))
        assert sorted(body for some in taken for body in bodies(some)) == sorted(made)


async def what_a_silent_consumer_holds_goes_to_another(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        made = await published(opened.queue, 2)
        assert bodies(await opened.queue.receive("dead", 10, 0)) == made
        assert bodies(await opened.queue.receive("alive", 10, 0)) == []
        await opened.advance_ms(2 * RECLAIM_MS)
        taken = await opened.queue.receive("alive", 10, 0)
        assert [(each.body, each.deliveries) for each in taken] == [(body, 2) for body in made]
        await opened.queue.done(taken)
        assert await opened.queue.depth() == (0, 0.0)
        assert bodies(await opened.queue.receive("dead", 10, 0)) == []


async def a_consumer_restarted_under_its_name_finds_what_it_had(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        if opened.reopen is None:
            return
        made = await published(opened.queue, 5)
        await opened.queue.receive("w", 4, 0)
        queue = opened.reopen()
        taken = await queue.receive("w", 3, 0)
        assert [(each.body, each.deliveries) for each in taken] == [(body, 2) for body in made[:3]]
        await queue.done(taken)
        # The rest of what its predecessor held, then what is new.
        assert [(each.body, each.deliveries) for each in await queue.receive("w", 3, 0)] == [(made[3], 2), (made[4], 1)]


async def at_its_bound_it_refuses_and_keeps_what_it_has(open_queue: Open) -> None:
    async with open_queue(3) as opened:
        made = await published(opened.queue, 3)
        with pytest.raises(QueueFull) as full:
            await opened.queue.publish(b"one more")
        assert full.value.may_have_happened is False
        taken = await opened.queue.receive("w", 2, 0)
        with pytest.raises(QueueFull):
            await opened.queue.publish(b"what is taken counts as well")
        await opened.queue.done(taken)
        await opened.queue.publish(b"now there is room")
        assert bodies(await opened.queue.receive("w", 9, 0)) == [made[2], b"now there is room"]


async def a_parked_batch_leaves_the_queue_and_can_be_put_back(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        made = await published(opened.queue, 2)
        poison, good = await opened.queue.receive("w", 10, 0)
        await opened.queue.park(poison, "no batch")
        assert bodies(await opened.queue.receive("w", 10, 0)) == [good.body]
        await opened.queue.done([good])
        assert (await opened.queue.depth())[0] == 0
        letters = await opened.queue.dead_letters.list(10)
        assert [(each.id, each.body, each.reason, each.deliveries) for each in letters] == [(poison.id, made[0], "no batch", 1)]
        assert await opened.queue.dead_letters.redrive() == 1
        assert bodies(await opened.queue.receive("w", 10, 0)) == made[:1]
        assert await opened.queue.dead_letters.count() == 0


async def who_has_work_in_hand_is_given_more_up_to_the_limit(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        made = await published(opened.queue, 5)
        await opened.queue.receive("w", 2, 0)
        taken = await opened.queue.receive("w", 4, 0)
        assert [(each.body, each.deliveries) for each in taken] == [
            *((body, 2) for body in made[:2]),
            *((body, 1) for body in made[2:4]),
        ]


async def what_lies_behind_a_full_page_is_delivered_again_at_once(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        made = await published(opened.queue, 4)
        assert sorted(bodies(await opened.queue.receive("w", 4, 0))) == made
        page = await opened.queue.receive("w", 2, 0)
        await opened.queue.done(page)
        rest = await opened.queue.receive("w", 4, 0)
        assert sorted(bodies(rest)) == sorted(set(made) - set(bodies(page)))
        assert {each.deliveries for each in rest} == {2}


async def done_twice_is_done_once(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        await published(opened.queue, 1)
        taken = await opened.queue.receive("w", 10, 0)
        await opened.queue.done(taken)
        await opened.queue.done(taken)
        await opened.queue.done([])
        assert (await opened.queue.depth())[0] == 0


async def the_depth_counts_what_is_taken_and_not_done(open_queue: Open) -> None:
    async with open_queue(100) as opened:
        await published(opened.queue, 3)
        assert (await opened.queue.depth())[0] == 3
        taken = await opened.queue.receive("w", 2, 0)
        assert (await opened.queue.depth())[0] == 3
        await opened.queue.done(taken)
        waiting, age_s = await opened.queue.depth()
        assert waiting == 1
        assert age_s >= 0


CLICK_QUEUE_CONTRACT: dict[str, Check] = {
    check.__name__: check
    for check in (
        what_was_published_is_received_once_in_order,
        what_is_not_done_is_delivered_again_and_counted,
        two_consumers_never_hold_the_same_batch,
        what_a_silent_consumer_holds_goes_to_another,
        a_consumer_restarted_under_its_name_finds_what_it_had,
        at_its_bound_it_refuses_and_keeps_what_it_has,
        a_parked_batch_leaves_the_queue_and_can_be_put_back,
        who_has_work_in_hand_is_given_more_up_to_the_limit,
        what_lies_behind_a_full_page_is_delivered_again_at_once,
        done_twice_is_done_once,
        the_depth_counts_what_is_taken_and_not_done,
    )
}

# What Kafka promises instead, by the name of the test that holds it to that (`backends/test_kafka.py`). The others hold for a queue
# of one partition; between partitions there is no order.
KAFKA_PROMISES_INSTEAD: dict[str, str] = {
    # Partitions are shared out, not batches: who has none gets nothing, whatever its limit.
    "two_consumers_never_hold_the_same_batch": "test_consumers_share_the_partitions_and_never_hold_the_same_batch",
    # Silence is noticed by the session, not by what is held; and the next consumer counts deliveries from one.
    "what_a_silent_consumer_holds_goes_to_another": "test_what_a_killed_consumer_held_goes_to_another_once_its_session_timed_out",
    # A name means nothing to Kafka. What a consumer had goes to whoever gets its partitions, counted from one.
    "a_consumer_restarted_under_its_name_finds_what_it_had": "test_what_a_consumer_left_unfinished_is_found_by_the_next",
}

# One consumer; how batches are dealt to several at once is a backend's own.
HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 9)),
        st.tuples(st.just("receive"), st.integers(1, 4)),
        st.tuples(st.just("done"), st.integers(0, 3)),
        st.tuples(st.just("park"), st.integers(0, 3)),
        st.tuples(st.just("redrive"), st.integers(0, 2)),
    ),
    max_size=40,
)


async def replayed(queue: ClickQueue, history: Sequence[tuple[str, int]]) -> list[Any]:
    """What the queue answers to each step, ids left out."""
    answers: list[Any] = []
    held: list[Delivery] = []
    for verb, number in history:
        if verb == "publish":
            try:
                await queue.publish(b"%d" % number)
            except QueueFull:
                answers.append("full")
        elif verb == "receive":
            taken = await queue.receive("w", number, 0)
            held = [*taken]
            answers.append([(each.body, each.deliveries) for each in taken])
        elif verb == "done":
            await queue.done(held[:number])
            held = held[number:]
        elif verb == "park" and number < len(held):
            await queue.park(held.pop(number), f"reason {number}")
        elif verb == "redrive":
            try:
                answers.append(await queue.dead_letters.redrive(limit=number))
            except QueueFull:
                answers.append("full")
        letters = await queue.dead_letters.list(100)
        answers.append(((await queue.depth())[0], [(each.body, each.reason, each.deliveries) for each in letters]))
    return answers
