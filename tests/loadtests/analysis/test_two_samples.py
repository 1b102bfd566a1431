"""The shift between two unpaired samples, against brute force and against what it promises."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.analysis.two_samples import mann_whitney_counts, mann_whitney_cut, ratio_of, shift

sizes = st.integers(0, 6)
logs = st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=12)


@settings(deadline=None)
@given(sizes, sizes)
def test_the_null_distribution_is_the_one_that_counting_all_orders_gives(m: int, n: int) -> None:
    seen = Counter(sum(place - i for i, place in enumerate(places)) for places in combinations(range(m + n), m))
    assert mann_whitney_counts(m, n) == [seen[u] for u in range(m * n + 1)]


@given(st.integers(1, 20), st.integers(1, 20))
def test_the_null_distribution_is_whole_and_symmetric(m: int, n: int) -> None:
    counts = mann_whitney_counts(m, n)
    assert sum(counts) == math.comb(m + n, m)
    assert counts == counts[::-1] == mann_whitney_counts(n, m)


@pytest.mark.parametrize(("m", "n", "dropped"), [(3, 3, None), (4, 4, 0), (5, 5, 2), (8, 8, 13), (10, 10, 23), (20, 20, 127)])
def test_the_cut_is_the_one_of_the_tables(m: int, n: int, dropped: int | None) -> None:
    found, covered = mann_whitney_cut(m, n)
    assert found == dropped
    assert covered >= 0.95 if dropped is not None else covered == 0.0


@given(logs, logs)
def test_swapping_the_samples_turns_the_ratio_over(first: list[float], second: list[float]) -> None:
    there, back = shift(first, second), shift(second, first)
    assert there.estimate == pytest.approx(1 / back.estimate)
    assert (there.low is None) == (back.low is None)
    if there.low is not None and there.high is not None and back.low is not None and back.high is not None:
        assert (there.low, there.high) == (pytest.approx(1 / back.high), pytest.approx(1 / back.low))
        assert there.low <= there.estimate <= there.high


@given(logs, st.floats(-1.0, 1.0))
def test_a_shift_that_was_put_in_is_found(values: list[float], moved: float) -> None:
    found = shift(values, [value + moved for value in values])
    if found.low is not None and found.high is not None:
        assert found.low - 1e-9 <= math.exp(moved) <= found.high + 1e-9
    assert shift(values, values).estimate == pytest.approx(1.0)


def test_the_interval_covers_what_it_says() -> None:
    rng = Random(3)
    missed = 0
    for _ in range(1000):
        first, second = ([rng.gauss(place, 0.08) for _ in range(8)] for place in (0.0, 0.1))
        found = shift(first, second)
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= math.exp(0.1) <= found.high
    # 8 and 8 blocks cover 95.0 %; four standard errors of 1,000 runs are 2.8 %.
    assert 0.022 <= missed / 1000 <= 0.078


@settings(max_examples=30)
@given(logs, logs)
def test_the_ratio_of_figures_is_the_shift_of_their_logarithms(first: list[float], second: list[float]) -> None:
    found = ratio_of([math.exp(a) for a in first], [math.exp(b) for b in second])
    assert found.estimate == pytest.approx(shift(first, second).estimate)


def test_a_figure_of_zero_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="above 0"):
        ratio_of([1.0, 0.0], [2.0, 3.0])


def test_a_sample_of_nothing_has_no_interval() -> None:
    found = shift([], [1.0, 2.0])
    assert (found.estimate, found.low, found.blocks, found.sd_log) == (1.0, None, 0, 0.0)
