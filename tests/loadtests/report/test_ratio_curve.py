"""The drawn ratio function: where each quantile stands, what is grey, and what is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.report.ratio_curve import RatioCurve, percentile_name, ratio_curve, tail
from loadtests.result import QuantileRatio, Ratio
from tests.loadtests.sample_result import sample_result

SAMPLE = sample_result()
THREE = ("cache=none", "cache=aside", "cache=refresh-ahead")


def at(q: float, low: float | None, estimate: float, high: float | None) -> QuantileRatio:
    return QuantileRatio(q=q, ratio=Ratio(estimate=estimate, low=low, high=high, confidence=0.95, blocks=10, sd_log=0.1))


def curve_of(*points: QuantileRatio) -> RatioCurve:
    drawn = ratio_curve(SAMPLE.model_copy(update={"ratio_functions": [list(points)]}))
    assert drawn is not None
    return drawn


def test_each_tenth_of_the_tail_gets_the_same_room() -> None:
    assert [tail(q) for q in (0.9, 0.99, 0.999)] == [pytest.approx(1.0), pytest.approx(2.0), pytest.approx(3.0)]
    drawn = curve_of(at(0.5, 0.8, 0.9, 1.1), at(0.9, 0.8, 0.9, 1.1), at(0.99, 0.8, 0.9, 1.1), at(0.999, 0.8, 0.9, 1.1))
    places = {label: x for x, label in drawn.quantiles}
    assert list(places) == ["p50", "p90", "p99", "p99.9"]
    assert places["p99"] - places["p90"] == pytest.approx(places["p99.9"] - places["p99"], abs=0.05)


def test_what_the_interval_does_not_settle_is_grey_and_the_rest_is_not() -> None:
    drawn = curve_of(at(0.1, 0.5, 0.6, 0.7), at(0.5, 0.6, 0.7, 0.8), at(0.9, 0.8, 1.0, 1.2), at(0.99, 1.1, 1.5, 1.9))
    assert [dot.settled for dot in drawn.curves[0].dots] == [True, True, False, True]
    assert [stretch.settled for stretch in drawn.curves[0].stretches] == [True, False]
    settled, grey = drawn.curves[0].stretches
    assert (len(settled.line.split()), len(grey.line.split())) == (2, 3)
    assert len(settled.outline.split()) == 4


def test_a_quantile_without_an_interval_is_grey_and_has_no_haze() -> None:
    drawn = curve_of(at(0.5, None, 0.7, None), at(0.9, None, 0.7, None))
    assert not any(dot.settled or dot.ends for dot in drawn.curves[0].dots)
    assert drawn.curves[0].stretches[0].outline == ""
    assert "no interval" in drawn.curves[0].dots[0].label


def test_slower_is_above_the_line_and_quicker_below() -> None:
    drawn = curve_of(at(0.5, 0.6, 0.7, 0.8), at(0.9, 1.2, 1.5, 1.9))
    quicker, slower = drawn.curves[0].dots
    equal = next(y for y, label in drawn.ticks if label == "equal")
    assert slower.y < equal < quicker.y
    assert drawn.band[0] < equal < drawn.band[1]


@given(st.lists(st.tuples(st.floats(0.01, 0.9999), st.floats(0.01, 50.0)), min_size=1, max_size=12))
def test_everything_stands_within_the_plot_whatever_was_measured(points: list[tuple[float, float]]) -> None:
    drawn = curve_of(*(at(q, estimate * 0.9, estimate, estimate * 1.1) for q, estimate in points))
    for dot in drawn.curves[0].dots:
        assert 0 <= dot.x <= 100
        assert all(0 <= y <= 100 for y in (dot.y, *(dot.ends or ())))
    assert [dot.x for dot in drawn.curves[0].dots] == sorted(dot.x for dot in drawn.curves[0].dots)


def test_each_other_variant_has_a_curve_of_its_own() -> None:
    drawn = ratio_curve(sample_result(THREE))
    assert drawn is not None
    assert [curve.variant for curve in drawn.curves] == [1, 2]
    assert [curve.name for curve in drawn.curves] == list(THREE[1:])


def test_a_run_without_quantiles_has_no_curve() -> None:
    assert ratio_curve(sample_result().model_copy(update={"ratio_functions": []})) is None
    assert ratio_curve(sample_result().model_copy(update={"ratio_functions": [[]]})) is None


def test_a_percentile_is_called_as_people_call_it() -> None:
    assert [percentile_name(q) for q in (0.5, 0.99, 0.999, 0.995)] == ["p50", "p99", "p99.9", "p99.5"]
