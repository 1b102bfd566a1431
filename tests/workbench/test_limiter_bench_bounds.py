import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter import gcra, sliding_log
from designs.rate_limiter.limits import NEVER_SEEN, Limit
from workbench.limiter_bench.bounds import Admission, excess, race_bound
from workbench.limiter_bench.candidates import Promise

SECOND_US = 1_000_000
L = 10


def at(*moments_us: int) -> list[Admission]:
    """Decisions of a client that had its answer a tenth of a millisecond after it asked."""
    return [(moment, moment + 100) for moment in moments_us]


def burst(start_us: int, count: int) -> list[int]:
    return [start_us + 200 * number for number in range(count)]


def test_a_limiter_that_gives_a_whole_second_back_at_its_edge_is_caught_with_the_count() -> None:
    # 10 a second: all of it a moment before the edge, and all of it again 50 ms later, when half a unit has come back.
    admitted = at(*burst(950_000, L), *burst(1_000_000, L))
    assert excess("burst and rate", admitted, L, SECOND_US) == 10
    assert excess("any window", admitted, L, SECOND_US) == 10
    assert excess("window edges", admitted, L, SECOND_US) == 0


@pytest.mark.parametrize("promise", ["any window", "burst and rate"])
def test_one_unit_too_much_is_one_too_much(promise: Promise) -> None:
    assert excess(promise, at(*burst(0, L)), L, SECOND_US) == 0
    assert excess(promise, at(*burst(0, L + 1)), L, SECOND_US) == 1


def test_what_two_windows_allow_where_they_meet_is_no_breach_and_one_more_is() -> None:
    assert excess("window edges", at(*burst(990_000, 2 * L)), L, SECOND_US) == 0
    assert excess("window edges", at(*burst(990_000, 2 * L + 1)), L, SECOND_US) == 1


def test_a_bucket_owes_what_has_come_back_since() -> None:
    admitted = at(*burst(0, L), 100_000, 200_000, 300_000)
    assert excess("burst and rate", admitted, L, SECOND_US) == 0
    assert excess("burst and rate", [*admitted, *at(301_500)], L, SECOND_US) == 1


def test_a_window_that_has_passed_counts_no_more() -> None:
    assert excess("any window", at(*burst(0, L), *burst(SECOND_US + 3_000, L)), L, SECOND_US) == 0


def test_nobody_is_blamed_for_what_the_client_could_not_see() -> None:
    # Each answer was long on its way, so all of them may have been decided a second apart.
    slow = [(number * SECOND_US // L, (number + L) * SECOND_US // L) for number in range(3 * L)]
    assert excess("any window", slow, L, SECOND_US) == 0
    assert excess("burst and rate", slow, L, SECOND_US) == 0


@pytest.mark.parametrize("late_us", [0, 800])
def test_a_clock_of_whole_milliseconds_is_no_breach(late_us: int) -> None:
    assert excess("any window", at(*burst(0, L), SECOND_US - late_us), L, SECOND_US) == 0


@given(st.lists(st.integers(min_value=0, max_value=400_000), min_size=1, max_size=60), st.integers(1, 8))
def test_what_our_own_algorithms_admit_is_never_called_a_breach(gaps_us: list[int], quota: int) -> None:
    for algorithm, promise in ((gcra, "burst and rate"), (sliding_log, "any window")):
        limit = Limit("gcra" if algorithm is gcra else "sliding_log", quota=quota, period_us=SECOND_US, burst=quota)
        state, now_us, admitted = NEVER_SEEN, 1_700_000_000_000_000, []
        for gap_us in gaps_us:
            now_us += gap_us
            after = algorithm.take(limit, state, now_us, 1)
            if after is not None:
                state = after
                admitted.append((now_us - 50, now_us + 50))
        assert excess(promise, admitted, quota, SECOND_US) == 0  # type: ignore[arg-type]


def test_a_race_is_bounded_by_the_limit_and_by_two_of_them_only_where_a_window_ends() -> None:
    day = 86_400
    assert race_bound("any window", L, day, day * 3 - 0.5, day * 3 + 0.5) == L
    assert race_bound("window edges", L, day, day * 3 + 0.5, day * 3 + 1.0) == L
    assert race_bound("window edges", L, day, day * 3 - 0.5, day * 3 + 0.5) == 2 * L
    assert race_bound("burst and rate", L, day, 0.0, 2.0) == L
    assert race_bound("burst and rate", L, 10, 0.0, 2.0) == L + 2
