"""Latencies of a variant: their distribution, their course over time, and how they differ from the baseline's.

Samples are merged, percentiles never averaged; a percentile that the samples do not carry is left out.
"""

from __future__ import annotations

import statistics as stdlib_statistics
from array import array
from collections.abc import Sequence
from itertools import chain

from loadtests.analysis.statistics import ecdf_points, paired_log_ratios, percentile, ratio
from loadtests.comparison.schedule import MeasuredBlock, Round
from loadtests.result import LatencySummary, QuantileRatio

QUANTILES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
SLICES_PER_ROUND = 4
SLICES_SHOWN = 240


def merged_latencies_s(block: MeasuredBlock, variant: int) -> list[float]:
    """Both rounds' latencies from the intended start, sorted."""
    return sorted(chain.from_iterable(measured.latency_intended_s for measured in block.rounds if measured.variant == variant))


def ratio_function(blocks: Sequence[MeasuredBlock], variant: int) -> list[QuantileRatio]:
    """Latency from the intended start, other / baseline, at quantile after quantile, as far as every block's samples carry them.

    A shift is a constant, a slower tail rises, and where the two distributions cross it passes 1. Each interval stands for itself:
    95 % hold at one quantile, not at all of them together. Empty where a variant was overloaded. Doksum, "Empirical probability
    plots and statistical inference for nonlinear models", Annals of Statistics 2 (1974), for the idea as differences.
    """
    if any(measured.overloaded for block in blocks for measured in block.rounds if measured.variant in (0, variant)):
        return []
    base = [merged_latencies_s(block, 0) for block in blocks]
    other = [merged_latencies_s(block, variant) for block in blocks]
    found = []
    for q in QUANTILES:
        # A low quantile needs its 10 values below it.
        if any(percentile(ordered, max(q, 1 - q)) is None for ordered in base + other):
            continue
        at_base, at_other = ([percentile(ordered, q) or 0.0 for ordered in side] for side in (base, other))
        if min(at_base + at_other, default=0.0) > 0:
            found.append(QuantileRatio(q=q, ratio=ratio(paired_log_ratios(at_base, at_other))))
    return found


def latency_summary(samples_s: Sequence[array[float]], overloaded: bool) -> LatencySummary:
    """Merged samples. An overloaded variant has no percentiles: they would only say how long the run was."""
    ordered_ms = [value_s * 1e3 for value_s in sorted(chain.from_iterable(samples_s))]

    def at(q: float) -> float | None:
        return None if overloaded else percentile(ordered_ms, q)

    return LatencySummary(
        samples=len(ordered_ms),
        p50_ms=at(0.5),
        p90_ms=at(0.9),
        p99_ms=at(0.99),
        p999_ms=at(0.999),
        max_ms=ordered_ms[-1] if ordered_ms else None,
        ecdf=ecdf_points(ordered_ms),
    )


def over_time(rounds: Sequence[Round], round_s: float) -> list[tuple[float, float, float, float]]:
    """(seconds since the variant's first round, p50_ms, p99_ms or the maximum, answers/s), a row a slice, by intended start."""
    slices = SLICES_PER_ROUND if len(rounds) * SLICES_PER_ROUND <= SLICES_SHOWN else 1
    slice_s = round_s / slices
    rows: list[tuple[float, float, float, float]] = []
    for measured in rounds:
        parts: list[list[float]] = [[] for _ in range(slices)]
        for intended_s, latency_s in zip(measured.intended_s, measured.latency_intended_s, strict=True):
            parts[min(slices - 1, int(intended_s / slice_s))].append(latency_s)
        for position, part in enumerate(parts):
            if part:
                part.sort()
                rows.append(
                    (
                        measured.started_s - rounds[0].started_s + position * slice_s,
                        stdlib_statistics.median(part) * 1e3,
                        (percentile(part, 0.99) or part[-1]) * 1e3,
                        len(part) / slice_s,
                    )
                )
    return rows
