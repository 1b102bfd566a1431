import asyncio
import gc
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.stampede import SingleFlight, jittered_ttl_us, monotonic_us, refresh_early
from tests.virtual_time import now_us, run

unit = st.floats(0, 1, exclude_max=True)


@given(ttl_us=st.integers(1, 10**12), jitter=unit, chance=unit)
def test_jitter_only_ever_shortens_a_life_and_by_no_more_than_its_share(ttl_us: int, jitter: float, chance: float) -> None:
    life_us = jittered_ttl_us(ttl_us, jitter, lambda: chance)
    assert ttl_us * (1 - jitter) - 1 <= life_us <= ttl_us


def test_jitter_spreads_lives_evenly() -> None:
    rng = random.Random(1).random
    lives = [jittered_ttl_us(1_000_000, 0.4, rng) for _ in range(20_000)]
    quarters = [sum(lo <= life < lo + 100_000 for life in lives) for lo in range(600_000, 1_000_000, 100_000)]
    assert sum(quarters) == 20_000
    assert all(4_700 < count < 5_300 for count in quarters)


@pytest.mark.parametrize(("left_s", "chance"), [(2.0, 0.00674), (0.4, 0.36788), (0.1, 0.77880)])
def test_a_refresh_comes_early_with_the_chance_the_paper_gives(left_s: float, chance: float) -> None:
    """Load of 0.4 s, beta 1: exp(-t / 0.4)."""
    assert math.exp(-left_s / 0.4) == pytest.approx(chance, abs=1e-5)

    def refreshes(draw: float) -> bool:
        return refresh_early(7_000_000, 7_000_000 + int(left_s * 1e6), 400_000, 1.0, lambda: draw)

    assert refreshes(1 - chance + 1e-4)
    assert not refreshes(1 - chance - 1e-4)
    rng = random.Random(2).random
    drawn = sum(refreshes(rng()) for _ in range(20_000)) / 20_000
    assert drawn == pytest.approx(chance, abs=0.012)


@given(left_us=st.integers(-(10**9), 0), cost_us=st.integers(0, 10**7), chance=unit)
def test_an_expired_entry_is_always_renewed(left_us: int, cost_us: int, chance: float) -> None:
    assert refresh_early(10**10, 10**10 + left_us, cost_us, 1.0, lambda: chance)


@given(left_us=st.integers(1, 10**8), cost_us=st.integers(0, 10**7), beta=st.floats(0.01, 100), chance=unit)
def test_the_shortcut_for_entries_far_from_expiry_never_changes_the_answer(
    left_us: int, cost_us: int, beta: float, chance: float
) -> None:
    whole_formula = -math.log(1 - chance) * (beta * cost_us) >= left_us
    assert refresh_early(0, left_us, cost_us, beta, lambda: chance) == whole_formula


def test_a_value_that_cost_nothing_is_not_renewed_early() -> None:
    assert not refresh_early(0, 1, 0, 1.0, lambda: 1 - 2**-53)


def test_the_default_clock_counts_microseconds_and_never_goes_back() -> None:
    before_us = monotonic_us()
    assert monotonic_us() >= before_us


class Call:
    """A load of one second that counts how often it ran; `error` makes it fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started = 0
        self.ended = 0
        self.error = error

    async def __call__(self) -> int:
        self.started += 1
        run_number = self.started
        await asyncio.sleep(1)
        self.ended += 1
        if self.error is not None:
            raise self.error
        return run_number


def test_callers_of_one_key_share_one_call_and_other_keys_have_their_own() -> None:
    async def scene() -> None:
        flights, call, other = SingleFlight[int](), Call(), Call()
        assert "k" not in flights
        answers = await asyncio.gather(*(flights.do("k", call) for _ in range(50)), flights.do("j", other))
        assert answers == [1] * 51
        assert (call.started, other.started) == (1, 1)
        assert await flights.do("k", call) == 2
        assert len(flights) == 0
        assert "k" not in flights

    run(scene())


def test_a_cancelled_leader_takes_nothing_from_its_followers() -> None:
    async def scene() -> None:
        flights, call = SingleFlight[int](), Call()
        leader = asyncio.create_task(flights.do("k", call))
        await asyncio.sleep(0.1)
        followers = [asyncio.create_task(flights.do("k", call)) for _ in range(3)]
        await asyncio.sleep(0.1)
        leader.cancel()
        followers[0].cancel()
        outcomes = await asyncio.gather(leader, *followers, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[:2]] == [asyncio.CancelledError] * 2
        assert outcomes[2:] == [1, 1]
        assert call.started == 1

    run(scene())


def test_an_error_reaches_everybody_who_waits_and_the_next_caller_tries_anew() -> None:
    async def scene() -> None:
        flights, call = SingleFlight[int](), Call(OSError("store is down"))
        outcomes = await asyncio.gather(*(flights.do("k", call) for _ in range(5)), return_exceptions=True)
        assert outcomes == [call.error] * 5
        assert call.started == 1
        call.error = None
        assert await flights.do("k", call) == 2
        assert len(flights) == 0

    run(scene())


@pytest.mark.parametrize("error", [None, OSError("store is down")])
def test_a_call_whose_callers_all_left_ends_and_leaves_nothing_behind(error: Exception | None) -> None:
    async def scene() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        flights, call = SingleFlight[int](), Call(error)

        async def come_and_go() -> None:
            callers = [asyncio.create_task(flights.do("k", call)) for _ in range(3)]
            await asyncio.sleep(0.5)
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)

        await come_and_go()
        assert len(flights) == 1
        gc.collect()
        await asyncio.sleep(1)
        assert (call.ended, len(flights)) == (1, 0)
        gc.collect()
        assert complaints == []

    run(scene())


def test_after_a_write_nobody_joins_a_call_from_before_it() -> None:
    async def scene() -> None:
        flights, call = SingleFlight[int](), Call()
        before = asyncio.create_task(flights.do("k", call))
        await asyncio.sleep(0.5)
        flights.forget("k")
        after = asyncio.create_task(flights.do("k", call))
        await asyncio.sleep(0.6)
        # The first call has ended, and has not taken the second one's place in the air.
        assert "k" in flights
        assert (await before, await after, await flights.do("k", call)) == (1, 2, 3)
        assert len(flights) == 0

    run(scene())


def test_a_call_is_joined_only_while_it_is_young_enough() -> None:
    async def scene() -> None:
        flights, call = SingleFlight[int](now_us, join_for_us=300_000), Call()
        callers = []
        for _ in range(10):
            callers.append(asyncio.create_task(flights.do("k", call)))
            await asyncio.sleep(0.1)
        assert await asyncio.gather(*callers) == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]

    run(scene())
