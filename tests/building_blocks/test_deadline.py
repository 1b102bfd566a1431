"""A time limit holds, also where what runs under it swallows the first cancellation, and it never swallows somebody else's."""

from __future__ import annotations

import asyncio

import pytest

from designs.building_blocks.deadline import AGAIN_S, Deadline, within
from tests.virtual_time import now_s, run


async def stubborn(seconds: float, swallows: int) -> str:
    """Waits, and takes no notice of as many cancellations."""
    until_s = now_s() + seconds
    while True:
        try:
            await asyncio.sleep(until_s - now_s())
            return "done"
        except asyncio.CancelledError:
            if not swallows:
                raise
            swallows -= 1


def test_what_is_done_in_time_is_not_disturbed() -> None:
    async def scene() -> None:
        async with within(1) as deadline:
            assert await stubborn(0.5, 0) == "done"
        assert not deadline.expired
        await asyncio.sleep(5)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(scene())


@pytest.mark.parametrize("swallows", [0, 1, 3])
def test_it_ends_what_is_late_however_often_that_has_to_be_said(swallows: int) -> None:
    async def scene() -> None:
        with pytest.raises(TimeoutError):
            async with within(1) as deadline:
                await stubborn(60, swallows)
        assert deadline.expired
        assert now_s() <= 1 + (swallows + 0.5) * AGAIN_S
        await asyncio.sleep(5)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(scene())


def test_what_asyncio_offers_does_not_say_it_twice() -> None:
    async def scene() -> None:
        async with asyncio.timeout(1):
            assert await stubborn(60, 1) == "done"
        assert now_s() == 60

    run(scene())


def test_an_answer_that_came_in_spite_of_it_is_an_answer() -> None:
    async def scene() -> None:
        async with within(1):
            assert await stubborn(1 + AGAIN_S / 2, 9) == "done"
        await asyncio.sleep(1)

    run(scene())


@pytest.mark.parametrize("limit_s", [None, 5.0])
def test_a_cancellation_from_elsewhere_goes_through(limit_s: float | None) -> None:
    async def scene() -> None:
        async def limited() -> None:
            async with within(limit_s):
                await asyncio.sleep(60)

        task = asyncio.create_task(limited())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now_s() == 1

    run(scene())


def test_a_deadline_that_has_passed_already_ends_the_first_wait() -> None:
    async def scene() -> None:
        await asyncio.sleep(3)
        with pytest.raises(TimeoutError):
            async with Deadline(2.0):
                await asyncio.sleep(60)
        assert now_s() == 3

    run(scene())
