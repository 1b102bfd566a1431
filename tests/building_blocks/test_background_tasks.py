from __future__ import annotations

import asyncio

from designs.building_blocks.background_tasks import START_AGAIN_S, end, kept_running
from tests.virtual_time import run


def test_a_task_that_fails_is_started_again_after_a_pause_and_its_error_is_told_each_time() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        started_s: list[float] = []
        told: list[str] = []

        async def work() -> None:
            started_s.append(loop.time())
            if len(started_s) < 3:
                raise ValueError(f"failure {len(started_s)}")
            await asyncio.sleep(3_600)

        task = asyncio.create_task(kept_running(work, lambda error: told.append(str(error))))
        await asyncio.sleep(10)
        assert told == ["failure 1", "failure 2"]
        assert [round(later - started_s[0], 3) for later in started_s] == [0, START_AGAIN_S, 2 * START_AGAIN_S]
        await end([task])
        assert task.cancelled()
        assert len(started_s) == 3

    run(scene())


def test_a_task_that_returns_is_over() -> None:
    async def scene() -> None:
        started = 0

        async def work() -> None:
            nonlocal started
            started += 1

        await kept_running(work, lambda error: None)
        assert started == 1

    run(scene())
