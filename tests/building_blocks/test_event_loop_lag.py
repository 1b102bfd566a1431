from __future__ import annotations

import asyncio

import pytest

from designs.building_blocks.event_loop_lag import LOOKS_KEPT, EventLoopLag, LoopDelay
from tests.virtual_time import now_s, run


def test_a_loop_that_nobody_holds_up_is_never_late() -> None:
    async def story() -> float:
        lag = EventLoopLag()
        watching = asyncio.create_task(lag.watch(now_s))
        await asyncio.sleep(30)
        watching.cancel()
        return lag.worst_s

    assert run(story()) == 0


def test_the_worst_of_the_last_looks_is_told_and_forgotten_after_them() -> None:
    async def story() -> list[float]:
        lag = EventLoopLag()
        late_s = iter([0.0, 0.25, 0.125] + [0.0] * 100)

        async def oversleep(seconds: float) -> None:
            await asyncio.sleep(seconds + next(late_s))

        watching = asyncio.create_task(lag.watch(now_s, oversleep))
        told = []
        for until_s in (1.5, 2.5, 2 + LOOKS_KEPT, 3 + LOOKS_KEPT, 4 + LOOKS_KEPT):
            await asyncio.sleep(until_s - now_s())
            told.append(lag.worst_s)
        watching.cancel()
        return told

    assert run(story()) == [0, 0.25, 0.25, 0.125, 0]


def test_the_delay_of_a_loop_is_what_a_ready_callback_waits_and_is_soon_forgotten() -> None:
    async def scene() -> None:
        now_s = 100.0
        delay = LoopDelay(lambda: now_s)
        assert delay.seconds() == 0
        now_s += 0.3
        assert delay.seconds() == pytest.approx(0.3), "the one on its way waits already"
        await asyncio.sleep(0)
        now_s += 0.9
        assert delay.seconds() == pytest.approx(0.3)
        await asyncio.sleep(0)
        assert delay.seconds() == pytest.approx(0), "the next one had its turn at once"
        await asyncio.sleep(0)
        delay.seconds()
        now_s += 0.5
        await asyncio.sleep(0)
        now_s += 1.1
        assert delay.seconds() == 0, "what was a while ago is not now"

    asyncio.run(scene())
