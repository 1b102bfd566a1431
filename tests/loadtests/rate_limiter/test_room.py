"""The arithmetic of intervals against the slowest way to say the same, and against a bucket that knows when each was decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.algorithms import ALGORITHMS
from designs.rate_limiter.limits import Limit, State
from loadtests.rate_limiter.promises import promises
from loadtests.rate_limiter.room import SLEW, Interval, PossibleUse, excess, most_at_once, over_rate, over_span, over_window

BURST, RATE = 5, 4.0
spans = st.tuples(st.integers(0, 60), st.integers(0, 8), st.integers(1, 4)).map(
    lambda drawn: (drawn[0] / 10, (drawn[0] + drawn[1]) / 10, drawn[2])
)
intervals = st.lists(spans, max_size=25)


def limit(algorithm: str = "gcra", **changed: Any) -> Any:
    [met] = promises({"algorithm": algorithm}).met({"user": "u"})
    return replace(met, **changed)


def passed(admitted: list[Interval], given_back: list[Interval], from_s: float, to_s: float) -> int:
    """Units that certainly passed in a span, less what may have been given back in it."""
    inside = sum(units for sent_s, end_s, units in admitted if sent_s >= from_s and end_s <= to_s)
    return inside - sum(units for sent_s, end_s, units in given_back if sent_s <= to_s and end_s >= from_s)


@given(admitted=intervals, given_back=st.lists(spans, max_size=4))
def test_the_excess_over_a_rate_is_the_worst_of_all_spans(admitted: list[Interval], given_back: list[Interval]) -> None:
    worst = max(
        (
            passed(admitted, given_back, sent_s, end_s) - BURST - RATE * (1 + SLEW) * (end_s - sent_s)
            for sent_s, _, _ in admitted
            for _, end_s, _ in admitted
            if sent_s <= end_s
        ),
        default=0.0,
    )
    found = over_rate(admitted, given_back, BURST, RATE)
    assert (found is not None) == (worst > 1e-6)
    if found is not None:
        assert found.units - 1 < worst + 1e-6 <= found.units + 1e-5
        assert passed(admitted, given_back, found.from_s, found.to_s) > BURST


@given(admitted=intervals, given_back=st.lists(spans, max_size=4))
def test_the_excess_over_a_span_is_the_worst_of_all_spans_of_that_length(
    admitted: list[Interval], given_back: list[Interval]
) -> None:
    worst = 0
    for from_s, _, _ in admitted:
        to_s = from_s + 1.0 * (1 - SLEW)
        inside = sum(units for sent_s, end_s, units in admitted if sent_s >= from_s and end_s < to_s)
        returned = sum(units for sent_s, end_s, units in given_back if sent_s < to_s and end_s >= from_s)
        worst = max(worst, inside - returned - 3)
    found = over_span(admitted, given_back, 3, 1.0)
    assert (found.units if found else 0) == worst


def test_a_window_of_the_wall_clock_is_judged_where_it_is_sure_and_not_at_its_edges() -> None:
    inside = [(0.1, 0.2, 3), (0.3, 0.4, 3)]
    assert over_window(inside, [], 5, 1.0, clock=1_000.0) is not None
    assert over_window([(0.1, 0.2, 3), (0.9, 1.2, 3)], [], 5, 1.0, clock=1_000.0) is None, "nobody knows in which it was"
    assert over_window(inside, [(0.5, 0.6, 1)], 5, 1.0, clock=1_000.0) is None
    assert over_window(inside, [], 5, 1.0, clock=1_000.75) is None, "the edge lies between them"


@pytest.mark.parametrize("algorithm", ["gcra", "token_bucket", "fixed_window", "sliding_window", "sliding_log"])
@given(
    asks=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 6), st.integers(0, 6), st.integers(1, 4)), min_size=1, max_size=40)
)
def test_never_more_is_used_than_may_have_been_used_whenever_each_was_decided(
    algorithm: str, asks: list[tuple[int, int, int, int]]
) -> None:
    """A limiter that decides each request at some moment of its interval never has less room than `most` leaves."""
    met = limit(algorithm, quota=4, burst=6 if algorithm in ("gcra", "token_bucket") else 4)
    real = Limit(algorithm, met.quota, 1_000_000, met.burst)  # type: ignore[arg-type]
    functions = ALGORITHMS[real.algorithm]
    state: State = ()
    taken: list[Interval] = []
    answers: list[tuple[float, float, int]] = []
    timed = [(at / 20, (at + before) / 20, (at + before + after) / 20, cost) for at, before, after, cost in asks]
    for sent_s, decided_s, end_s, cost in sorted(timed, key=lambda each: each[1]):
        now_us = 1_000_000_000 + round(decided_s * 1e6)
        after = functions.take(real, state, now_us, cost)
        if after is not None:
            state = after
            taken.append((sent_s, end_s, cost))
        view = functions.view(real, state, now_us, cost)
        answers.append((sent_s, end_s, functions.decide(real, view, now_us, cost, after is not None).remaining))
    use = PossibleUse(met, taken)
    for sent_s, end_s, remaining in answers:
        assert remaining >= met.capacity - use.most(sent_s, end_s) - 1.5
    assert excess(met, taken, [], 0, clock=1_000.0) is None


def test_what_was_given_back_makes_room_and_never_more_than_was_taken() -> None:
    met = limit(quota=1, period_s=1_000.0, burst=10)
    assert PossibleUse(met, [(0.0, 0.1, 6)]).most(1.0, 1.1) == pytest.approx(6, abs=0.01)
    assert PossibleUse(met, [(0.0, 0.1, 6)], [(0.2, 0.3, 4)]).most(1.0, 1.1) == pytest.approx(2, abs=0.01)
    assert PossibleUse(met, [(0.0, 0.1, 6)], [(0.2, 0.3, 40)]).most(1.0, 1.1) == 0


def test_what_may_happen_later_counts_until_then() -> None:
    met = limit("sliding_log", quota=10)
    assert PossibleUse(met, [(0.0, 5.0, 3)]).most(4.0, 4.1) == 3
    assert PossibleUse(met, [(0.0, 5.0, 3)]).most(6.1, 6.2) == 0


@given(held=intervals)
def test_most_at_once_is_the_deepest_point(held: list[Interval]) -> None:
    points = [from_s for from_s, to_s, _ in held if from_s < to_s]
    deepest = max((sum(from_s <= at_s < to_s for from_s, to_s, _ in held) for at_s in points), default=0)
    assert most_at_once(held)[0] == deepest


def test_a_hot_key_costs_no_square_of_its_requests() -> None:
    """Counted in comparisons of whole histories, not in seconds: 40,000 admissions would be 1.6 thousand million pairs."""
    admitted = [(at / 1_000, at / 1_000 + 0.01, 1) for at in range(40_000)]
    assert over_rate(admitted, [], 100, 1_001.0) is None
    assert over_span(admitted, [], 1_001, 1.0) is None
    use = PossibleUse(limit(), admitted)
    assert all(use.most(at / 1_000, at / 1_000 + 0.01) > 0 for at in range(0, 40_000, 7))
