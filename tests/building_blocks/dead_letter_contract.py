"""What every dead-letter queue promises, as checks to run on each backend.

A backend is opened, empty, by `open_queue(publish, capacity)`, an async context manager that yields the queue; the checks
bring their own source queue as `publish`. Use:

    @pytest.mark.parametrize("promise", DEAD_LETTER_CONTRACT)
    def test_dead_letters_keep_the_promise(promise: str) -> None:
        asyncio.run(DEAD_LETTER_CONTRACT[promise](open_my_queue))
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from random import Random

import pytest

from designs.building_blocks.dead_letter_queue import DeadLetter, DeadLetterQueue, DeadLettersFull

Publish = Callable[[bytes], Awaitable[None]]
OpenQueue = Callable[[Publish, int], AbstractAsyncContextManager[DeadLetterQueue]]


class SourceQueue:
    """Takes what is redriven; refuses everything after `room` messages, as a broker that goes away would."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.bodies: list[bytes] = []
        self.room = room

    async def publish(self, body: bytes) -> None:
        await asyncio.sleep(0)
        if len(self.bodies) >= self.room:
            raise ConnectionError("the source queue is away")
        self.bodies.append(body)


def letter(n: int, deliveries: int = 3) -> DeadLetter:
    # Bytes that are no text and a reason that is not ASCII: a backend has to keep both. Ids don't sort as they arrive.
    id = f"{n * 7_919 % 1_000:03}-{n}"
    return DeadLetter(id, b"\x00\xff" + str(n).encode(), f"refusé: {n}", deliveries, 1_700_000_000_000_000 + n)


async def ids_parked(queue: DeadLetterQueue) -> list[str]:
    return [parked.id for parked in await queue.list(1_000)]


async def what_is_parked_is_listed_in_order_and_unchanged(open_queue: OpenQueue) -> None:
    async with open_queue(SourceQueue().publish, 100) as queue:
        assert await queue.count() == 0
        assert [*await queue.list(10)] == []
        letters = [letter(n) for n in range(12)]
        for parked in letters:
            await queue.park(parked)
        assert await queue.count() == 12
        assert [*await queue.list(100)] == letters


async def pages_join_without_a_gap_or_an_overlap(open_queue: OpenQueue) -> None:
    async with open_queue(SourceQueue().publish, 100) as queue:
        letters = [letter(n) for n in range(11)]
        for parked in letters:
            await queue.park(parked)
        seen: list[DeadLetter] = []
        while page := await queue.list(4, after=seen[-1].id if seen else None):
            assert len(page) <= 4
            seen.extend(page)
        assert seen == letters
        assert [*await queue.list(0)] == []


async def a_page_behind_a_letter_that_left_starts_at_the_oldest(open_queue: OpenQueue) -> None:
    async with open_queue(SourceQueue().publish, 100) as queue:
        for n in range(6):
            await queue.park(letter(n))
        assert await queue.redrive(ids=[letter(3).id]) == 1
        assert [parked.id for parked in await queue.list(2, after=letter(3).id)] == [letter(0).id, letter(1).id]


async def a_letter_parked_again_is_replaced_and_keeps_its_place(open_queue: OpenQueue) -> None:
    async with open_queue(SourceQueue().publish, 3) as queue:
        for n in range(3):
            await queue.park(letter(n))
        await queue.park(letter(1, deliveries=9))
        assert [*await queue.list(10)] == [letter(0), letter(1, deliveries=9), letter(2)]
        assert await queue.count() == 3


async def a_full_queue_refuses_and_keeps_what_it_has(open_queue: OpenQueue) -> None:
    async with open_queue(SourceQueue().publish, 3) as queue:
        for n in range(3):
            await queue.park(letter(n))
        with pytest.raises(DeadLettersFull) as full:
            await queue.park(letter(3))
        assert full.value.capacity == 3
        assert await ids_parked(queue) == [letter(n).id for n in range(3)]
        assert await queue.redrive(limit=1) == 1
        await queue.park(letter(3))
        assert await ids_parked(queue) == [letter(n).id for n in (1, 2, 3)]


async def a_redrive_moves_the_oldest_up_to_its_limit(open_queue: OpenQueue) -> None:
    source = SourceQueue()
    async with open_queue(source.publish, 100) as queue:
        for n in range(5):
            await queue.park(letter(n))
        assert await queue.redrive(limit=0) == 0
        assert await queue.redrive(limit=2) == 2
        assert source.bodies == [letter(0).body, letter(1).body]
        assert await ids_parked(queue) == [letter(n).id for n in (2, 3, 4)]
        assert await queue.redrive() == 3
        assert source.bodies == [letter(n).body for n in range(5)]
        assert await queue.redrive() == await queue.count() == 0


async def a_redrive_by_id_moves_those_that_are_parked_and_no_other(open_queue: OpenQueue) -> None:
    source = SourceQueue()
    async with open_queue(source.publish, 100) as queue:
        for n in range(5):
            await queue.park(letter(n))
        wanted = [letter(3).id, "never parked", letter(1).id, letter(3).id]
        assert await queue.redrive(ids=wanted) == 2
        assert sorted(source.bodies) == [letter(1).body, letter(3).body]
        assert await queue.redrive(ids=wanted) == 0
        assert await queue.redrive(ids=[]) == 0
        assert await queue.redrive(ids=[letter(0).id, letter(2).id], limit=1) == 1
        assert await queue.count() == 2


async def a_letter_that_cannot_be_published_stays_parked(open_queue: OpenQueue) -> None:
    source = SourceQueue(room=2)
    async with open_queue(source.publish, 100) as queue:
        letters = [letter(n) for n in range(5)]
        for parked in letters:
            await queue.park(parked)
        with pytest.raises(ConnectionError):
            await queue.redrive()
        assert source.bodies == [letter(0).body, letter(1).body]
        assert [*await queue.list(10)] == letters[2:]
        source.room = 5
        assert await queue.redrive() == 3
        assert source.bodies == [parked.body for parked in letters]


async def a_redrive_that_dies_after_publishing_loses_nothing(open_queue: OpenQueue) -> None:
    published: list[bytes] = []
    at_third = asyncio.Event()

    async def publish(body: bytes) -> None:
        published.append(body)
        if len(published) == 3:
            at_third.set()
            await asyncio.Event().wait()

    async with open_queue(publish, 100) as queue:
        for n in range(5):
            await queue.park(letter(n))
        redrive = asyncio.create_task(queue.redrive())
        await at_third.wait()
        redrive.cancel()
        await asyncio.gather(redrive, return_exceptions=True)
        # The third is in both places, which is what at-least-once means; none is in neither.
        assert published == [letter(n).body for n in range(3)]
        assert await ids_parked(queue) == [letter(n).id for n in (2, 3, 4)]
        assert await queue.redrive() == 3
        assert {*published} == {letter(n).body for n in range(5)}


async def a_letter_parked_again_while_it_is_redriven_stays_parked(open_queue: OpenQueue) -> None:
    queues: list[DeadLetterQueue] = []

    async def publish_to_a_fast_consumer_that_fails(body: bytes) -> None:
        await queues[0].park(letter(int(body[2:]), deliveries=4))

    async with open_queue(publish_to_a_fast_consumer_that_fails, 100) as queue:
        queues.append(queue)
        for n in range(3):
            await queue.park(letter(n))
        assert await queue.redrive() == 3
        assert [*await queue.list(10)] == [letter(n, deliveries=4) for n in range(3)]


async def redrives_side_by_side_lose_nothing(open_queue: OpenQueue) -> None:
    source = SourceQueue()
    async with open_queue(source.publish, 100) as queue:
        for n in range(20):
            await queue.park(letter(n))
        await asyncio.gather(*(queue.redrive(limit=8) for _ in range(4)))
        gone = {letter(n).body for n in range(20)} - {parked.body for parked in await queue.list(100)}
        assert gone <= {*source.bodies}
        assert len(gone) >= 8


async def seeded_histories_end_as_in_a_plain_list(open_queue: OpenQueue) -> None:
    for seed in range(5):
        random = Random(seed)
        source = SourceQueue()
        model: list[DeadLetter] = []
        moved: list[bytes] = []
        async with open_queue(source.publish, 12) as queue:
            for _ in range(80):
                match random.choice(("park", "park", "park", "list", "oldest", "ids")):
                    case "park":
                        new = letter(random.randrange(30), random.randrange(1, 9))
                        known = [parked.id for parked in model]
                        if new.id in known:
                            model[known.index(new.id)] = new
                            await queue.park(new)
                        elif len(model) < 12:
                            model.append(new)
                            await queue.park(new)
                        else:
                            with pytest.raises(DeadLettersFull):
                                await queue.park(new)
                    case "list":
                        start, limit = random.randrange(13), random.randrange(6)
                        after = model[start].id if start < len(model) else None
                        expected = model[start + 1 :] if after else model
                        assert [*await queue.list(limit, after)] == expected[:limit]
                    case "oldest":
                        limit = random.randrange(4)
                        moved += [parked.body for parked in model[:limit]]
                        assert await queue.redrive(limit=limit) == len(model[:limit])
                        model = model[limit:]
                    case "ids":
                        wanted = {letter(random.randrange(30)).id for _ in range(4)}
                        leaving = [parked for parked in model if parked.id in wanted]
                        moved += [parked.body for parked in leaving]
                        assert await queue.redrive(ids=sorted(wanted)) == len(leaving)
                        model = [parked for parked in model if parked.id not in wanted]
                assert await queue.count() == len(model)
            assert [*await queue.list(100)] == model
            assert sorted(source.bodies) == sorted(moved)


DEAD_LETTER_CONTRACT: dict[str, Callable[[OpenQueue], Coroutine[None, None, None]]] = {
    check.__name__: check
    for check in (
        what_is_parked_is_listed_in_order_and_unchanged,
        pages_join_without_a_gap_or_an_overlap,
        a_page_behind_a_letter_that_left_starts_at_the_oldest,
        a_letter_parked_again_is_replaced_and_keeps_its_place,
        a_full_queue_refuses_and_keeps_what_it_has,
        a_redrive_moves_the_oldest_up_to_its_limit,
        a_redrive_by_id_moves_those_that_are_parked_and_no_other,
        a_letter_that_cannot_be_published_stays_parked,
        a_redrive_that_dies_after_publishing_loses_nothing,
        a_letter_parked_again_while_it_is_redriven_stays_parked,
        redrives_side_by_side_lose_nothing,
        seeded_histories_end_as_in_a_plain_list,
    )
}
