from __future__ import annotations

import asyncio

from designs.building_blocks.event_loop_lag import LOOKS_KEPT, EventLoopLag
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
