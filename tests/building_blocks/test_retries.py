import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designs.building_blocks.retries import RetryPolicy, full_jitter_s, retry


class Refused(Exception):
    """The work did not happen."""


class Unknown(Exception):
    """The work may have happened."""


def refused(error: Exception) -> bool:
    return isinstance(error, Refused)


class MovedClock:
    """Time passes in calls and in sleeps; each wake-up may come late."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s = 100.0
        self.late_s = late_s
        self.waits_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        self.waits_s.append(delay_s)
        self.now_s += delay_s + self.late_s


def failing(
    clock: MovedClock, errors: list[Exception], call_s: float = 0.0, starts_s: list[float] | None = None
) -> Callable[[], Awaitable[str]]:
    """A call that raises each of the errors in turn, then answers "done"."""

    async def call() -> str:
        if starts_s is not None:
            starts_s.append(clock.now_s - 100.0)
        clock.now_s += call_s
        if errors:
            raise errors.pop(0)
        return "done"

    return call


FOUR = RetryPolicy(attempts=4, total_s=60.0, base_s=0.1, cap_s=1.0)


@given(st.integers(0, 5_000), st.floats(0, 100), st.floats(0, 100), st.floats(0, 1, exclude_max=True))
def test_full_jitter_lies_between_zero_and_the_capped_exponential(attempt: int, base_s: float, cap_s: float, chance: float) -> None:
    wait_s = full_jitter_s(attempt, base_s, cap_s, lambda: chance)
    assert 0 <= wait_s <= cap_s
    if attempt < 1_000:
        assert wait_s <= base_s * 2.0**attempt


def test_full_jitter_doubles_until_the_cap() -> None:
    assert [full_jitter_s(n, 1.0, 10.0, lambda: 0.5) for n in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_those_who_failed_together_spread_over_the_whole_interval() -> None:
    rng = Random(1)
    waits_s = [full_jitter_s(3, 0.1, 10.0, rng.random) for _ in range(8_000)]
    tenths = [sum(n / 10 <= wait_s / 0.8 < (n + 1) / 10 for wait_s in waits_s) for n in range(10)]
    assert min(tenths) > 650
    assert max(tenths) < 950


def test_the_value_of_the_first_call_that_succeeds_is_returned() -> None:
    clock = MovedClock()
    told: list[tuple[int, float, Exception]] = []
    errors: list[Exception] = [Refused("a"), Refused("b")]
    first, second = errors
    call = failing(clock, errors)
    value = asyncio.run(retry(call, FOUR, refused, clock, clock.sleep, lambda: 0.5, lambda *seen: told.append(seen)))
    assert value == "done"
    assert clock.waits_s == [0.05, 0.1]
    assert told == [(1, 0.05, first), (2, 0.1, second)]


def test_a_call_that_succeeds_is_made_once_and_nobody_waits() -> None:
    clock = MovedClock()
    assert asyncio.run(retry(failing(clock, []), FOUR, refused, clock, clock.sleep)) == "done"
    assert clock.waits_s == []


def test_the_last_error_is_raised_when_the_attempts_are_used_up() -> None:
    clock = MovedClock()
    errors: list[Exception] = [Refused(n) for n in range(10)]
    with pytest.raises(Refused) as caught:
        asyncio.run(retry(failing(clock, errors), FOUR, refused, clock, clock.sleep, lambda: 0.0))
    assert caught.value.args == (3,)
    assert len(errors) == 6
    assert len(clock.waits_s) == 3


def test_work_that_may_have_happened_is_not_tried_again() -> None:
    clock = MovedClock()
    errors: list[Exception] = [Refused(), Unknown(), Refused()]
    with pytest.raises(Unknown):
        asyncio.run(retry(failing(clock, errors), FOUR, refused, clock, clock.sleep))
    assert len(errors) == 1


def test_one_attempt_is_no_retry() -> None:
    clock = MovedClock()
    errors: list[Exception] = [Refused(), Refused()]
    with pytest.raises(Refused):
        asyncio.run(retry(failing(clock, errors), RetryPolicy(1, 60, 0, 0), refused, clock, clock.sleep))
    assert len(errors) == 1


def test_nobody_waits_for_a_retry_that_would_come_too_late() -> None:
    clock = MovedClock()
    with pytest.raises(Refused):
        asyncio.run(retry(failing(clock, [Refused()]), RetryPolicy(4, 1.0, 3.0, 3.0), refused, clock, clock.sleep, lambda: 0.5))
    assert clock.waits_s == []


def test_a_cancelled_call_is_not_tried_again() -> None:
    clock = MovedClock()
    calls = []

    async def call() -> None:
        calls.append(1)
        raise asyncio.CancelledError

    async def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            await retry(call, FOUR, lambda _: True, clock, clock.sleep)

    asyncio.run(run())
    assert calls == [1]


@settings(deadline=None)
@given(
    attempts=st.integers(1, 8),
    total_s=st.floats(0, 5),
    call_s=st.floats(0, 2),
    late_s=st.floats(0, 2),
    failures=st.integers(0, 12),
    seed=st.integers(0, 2**32),
)
def test_retries_are_bounded_by_attempts_and_by_time(
    attempts: int, total_s: float, call_s: float, late_s: float, failures: int, seed: int
) -> None:
    clock = MovedClock(late_s)
    starts_s: list[float] = []
    policy = RetryPolicy(attempts, total_s, base_s=0.1, cap_s=1.0)
    call = failing(clock, [Refused() for _ in range(failures)], call_s, starts_s)
    told: list[int] = []
    try:
        asyncio.run(retry(call, policy, refused, clock, clock.sleep, Random(seed).random, lambda attempt, *_: told.append(attempt)))
        assert len(starts_s) == failures + 1
    except Refused:
        assert len(starts_s) <= failures
        assert len(starts_s) == attempts or clock.now_s - 100.0 + 1.0 > total_s
    assert len(starts_s) <= attempts
    assert max(starts_s) <= total_s + 1e-9
    assert told == [*range(1, len(clock.waits_s) + 1)]


@pytest.mark.parametrize(
    "policy",
    [
        {"attempts": 0, "total_s": 1, "base_s": 0, "cap_s": 0},
        {"attempts": 1, "total_s": -1, "base_s": 0, "cap_s": 0},
        {"attempts": 1, "total_s": 1, "base_s": 2, "cap_s": 1},
        {"attempts": 1, "total_s": 1, "base_s": -1, "cap_s": 1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"attempt|total_s|base_s"):
        RetryPolicy(**policy)
