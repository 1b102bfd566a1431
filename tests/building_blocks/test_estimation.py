"""Assumptions that can't be: each is refused with its name and what would be right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from designs.building_blocks.estimation import above_zero, peak_over_mean, shares, shares_above_zero, zero_or_above


@pytest.mark.parametrize(
    ("check", "right", "wrong", "sentence"),
    [
        (above_zero, [0.1, 1e300], [0, -1, float("nan"), float("inf")], "years=.* must be a number above 0"),
        (zero_or_above, [0, 1e300], [-0.1, float("nan"), float("inf")], "years=.* must be a number, 0 or above"),
        (shares, [0, 0.5, 1], [-0.1, 1.1, float("nan")], "years=.* must be between 0 and 1"),
        (shares_above_zero, [0.1, 1], [0, 1.1, float("nan")], "years=.* must be above 0 and at most 1"),
    ],
)
def test_each_kind_of_assumption_has_its_bounds(
    check: Callable[..., None], right: list[float], wrong: list[float], sentence: str
) -> None:
    for value in right:
        check(years=value, cores=0.5)
    for value in wrong:
        with pytest.raises(ValueError, match=sentence):
            check(cores=0.5, years=value)


@pytest.mark.parametrize("peak_factor", [0.9, float("nan"), float("inf")])
def test_a_peak_is_not_below_the_mean(peak_factor: float) -> None:
    peak_over_mean(1.0)
    with pytest.raises(ValueError, match="a peak is not below the mean"):
        peak_over_mean(peak_factor)
