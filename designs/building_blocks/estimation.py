"""What every back-of-envelope estimate has: rows for people, and a sentence for each assumption that can't be.

>>> above_zero(years=10.0, links_per_month=0.0)
Traceback (most recent call last):
ValueError: links_per_month=0.0 must be a number above 0
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an estimate: the figure for people, and how it came about."""

    figure: str
    value: str
    how: str


def above_zero(**assumptions: float) -> None:
    for name, value in assumptions.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value} must be a number above 0")


def zero_or_above(**assumptions: float) -> None:
    for name, value in assumptions.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value} must be a number, 0 or above")


def shares(**assumptions: float) -> None:
    for name, value in assumptions.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value} must be between 0 and 1")


def shares_above_zero(**assumptions: float) -> None:
    """Such as how busy a core may be: at 0 no number of them would do."""
    for name, value in assumptions.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name}={value} must be above 0 and at most 1")


def peak_over_mean(peak_factor: float) -> None:
    if not (math.isfinite(peak_factor) and peak_factor >= 1):
        raise ValueError(f"peak_factor={peak_factor} must be 1 or above: a peak is not below the mean")
