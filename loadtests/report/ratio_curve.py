"""The ratio function as marks to draw: how much longer each quantile of latency takes with one variant than with the baseline.

One percentile hides a crossing: a cache that halves the median may double the tail. Plain data, in per cent of the plot; the
template turns it into SVG, which needs no script. Source: Doksum, "Empirical probability plots and statistical inference for
nonlinear models in the two-sample case", Annals of Statistics 2 (1974), whose shift function this is, on ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from loadtests.report.number_format import change, interval
from loadtests.report.ratio_scale import ratio_scale
from loadtests.result import QuantileRatio, Result

QUANTILE_TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999)


def ratio_curve(result: Result) -> RatioCurve | None:
    """None where no quantile was compared, as in a run whose variants were overloaded."""
    functions = [sorted(function, key=lambda point: point.q) for function in result.ratio_functions]
    points = [point for function in functions for point in function]
    if not points:
        return None
    ends = [end for p in points for end in (p.ratio.low, p.ratio.estimate, p.ratio.high) if end]
    scale = ratio_scale(ends, result.manifest.margin)
    first, last = tail(min(p.q for p in points)), tail(max(p.q for p in points))

    def across(q: float) -> float:
        return round(8.0 + 89.0 * (tail(q) - first) / (last - first), 2) if last > first else 50.0

    def up(ratio: float) -> float:
        return round(100.0 - scale.at(ratio), 2)

    curves = []
    for i, function in enumerate(functions):
        name = result.variants[i + 1].name
        dots = [_dot(point, name, across, up) for point in function]
        curves.append(Curve(i + 1, name, dots, _stretches(dots)))
    return RatioCurve(
        curves=curves,
        quantiles=[(across(q), percentile_name(q)) for q in QUANTILE_TICKS if first <= tail(q) <= last],
        ticks=[(100.0 - y, label) for y, label in scale.ticks],
        band=(up(1.0 + scale.margin), up(1.0 - scale.margin)),
    )


@dataclass(frozen=True, slots=True)
class RatioCurve:
    """From the fastest requests on the left to the slowest on the right; above "equal" the variant is slower."""

    curves: list[Curve]
    quantiles: list[tuple[float, str]]
    ticks: list[tuple[float, str]]
    band: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """One variant's ratio function."""

    variant: int
    name: str
    dots: list[QuantileDot]
    stretches: list[Stretch]


@dataclass(frozen=True, slots=True)
class QuantileDot:
    """The ratio at one quantile. `settled`: its interval excludes "equal"."""

    x: float
    y: float
    ends: tuple[float, float] | None
    settled: bool
    quantile: str
    label: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring quantiles of one kind: the line through them and the outline of their intervals, "x,y x,y ..." of the plot."""

    settled: bool
    line: str
    outline: str


def tail(q: float) -> float:
    """Where a quantile stands: p90 at 1, p99 at 2, p99.9 at 3, so that each tenth of the tail gets the same room."""
    return -math.log10(1.0 - q)


def percentile_name(q: float) -> str:
    """0.999 -> "p99.9"."""
    return f"p{q * 100:.6g}"


def _dot(point: QuantileRatio, name: str, across: Callable[[float], float], up: Callable[[float], float]) -> QuantileDot:
    low, high = point.ratio.low, point.ratio.high
    settled = low is not None and high is not None and not low <= 1.0 <= high
    told = interval(point.ratio) or "no interval"
    return QuantileDot(
        x=across(point.q),
        y=up(point.ratio.estimate),
        ends=(up(high), up(low)) if low and high else None,
        settled=settled,
        quantile=percentile_name(point.q),
        label=f"{percentile_name(point.q)}, {name}: {change(point.ratio.estimate)} {told}",
    )


def _stretches(dots: Sequence[QuantileDot]) -> list[Stretch]:
    """A piece between two quantiles is settled when both are; pieces of one kind are drawn in one go, without seams."""
    pieces = [(a.settled and b.settled, a, b) for a, b in pairwise(dots)]
    stretches = []
    for settled, group in groupby(pieces, key=lambda piece: piece[0]):
        together = list(group)
        along = [together[0][1], *(after for _, _, after in together)]
        with_ends = [(dot.x, dot.ends) for dot in along if dot.ends]
        outline = [(x, ends[0]) for x, ends in with_ends] + [(x, ends[1]) for x, ends in reversed(with_ends)]
        stretches.append(Stretch(settled, _places([(dot.x, dot.y) for dot in along]), _places(outline)))
    return stretches


def _places(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
