import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.locust_engine.shapes import SHAPES, users_at

shapes = st.sampled_from(sorted(SHAPES))
peaks = st.integers(min_value=1, max_value=10_000)
run_times_s = st.floats(min_value=1.0, max_value=86_400.0)
parts = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)


@given(shapes, peaks, run_times_s, parts)
def test_a_shape_keeps_between_one_user_and_the_peak_until_the_run_ends(
    shape: str, users: int, run_time_s: float, part: float
) -> None:
    there = users_at(shape, part * run_time_s, users, run_time_s)

    assert there is None or 1 <= there <= users
    assert (there is None) == (part * run_time_s >= run_time_s)


@given(shapes, peaks, run_times_s, st.floats(min_value=0.0, max_value=1e6))
def test_a_shape_ends_with_the_run_time(shape: str, users: int, run_time_s: float, over_s: float) -> None:
    assert users_at(shape, run_time_s + over_s, users, run_time_s) is None


@given(st.sampled_from(["steps", "ramp", "soak"]), peaks, st.lists(parts, min_size=2, max_size=20))
def test_steps_ramp_and_soak_send_nobody_away(shape: str, users: int, moments: list[float]) -> None:
    there = [users_at(shape, part * 100, users, 100) or 0 for part in sorted(moments)]

    assert all(before <= after for before, after in itertools.pairwise(there))


@given(shapes, peaks)
def test_every_shape_reaches_its_peak(shape: str, users: int) -> None:
    assert max(users_at(shape, t_s, users, 100) or 0 for t_s in range(100)) == users


@pytest.mark.parametrize(
    ("shape", "there"),
    [
        ("steps", [20, 20, 40, 40, 60, 60, 80, 80, 100, 100, None]),
        ("spike", [10, 10, 10, 10, 100, 100, 10, 10, 10, 10, None]),
        ("ramp", [1, 11, 22, 33, 44, 56, 67, 78, 89, 100, None]),
        ("soak", [1, 100, 100, 100, 100, 100, 100, 100, 100, 100, None]),
    ],
)
def test_a_shape_by_hand(shape: str, there: list[int | None]) -> None:
    assert [users_at(shape, t_s, 100, 10) for t_s in range(11)] == there
