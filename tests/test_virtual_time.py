import asyncio

import pytest

from tests.virtual_time import Deadlock, now_s, now_us, run


def test_an_hour_passes_at_once_and_to_the_microsecond() -> None:
    async def nap() -> tuple[float, int]:
        await asyncio.sleep(3600)
        await asyncio.sleep(0.000_001)
        return now_s(), now_us()

    seconds, micros = run(nap())
    assert seconds == pytest.approx(3600.000_001)
    assert micros == 3_600_000_001


def test_timers_fire_in_order_and_time_stands_still_while_anything_can_run() -> None:
    async def scene() -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []

        async def actor(name: str, wait_s: float) -> None:
            await asyncio.sleep(wait_s)
            for _ in range(1000):
                await asyncio.sleep(0)
            seen.append((name, now_us()))

        await asyncio.gather(actor("late", 0.2), actor("early", 0.1), actor("latest", 0.3))
        return seen

    expected = [("early", 100_000), ("late", 200_000), ("latest", 300_000)]
    assert run(scene()) == expected


def test_a_deadline_passes_for_what_never_ends() -> None:
    async def wait_for_nothing() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        return now_us()

    assert run(wait_for_nothing()) == 5_000_000


def test_a_wait_that_nothing_can_end_is_reported_and_not_hung() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(wait_for_nothing())
