"""What may be said of two variants measured in turns: estimates, intervals and verdicts, as pure functions.

The unit is the block: all requests of a round share its noise, so an interval over thousands of requests would be fiction. Per
block d = ln(other / baseline); the estimate is the Hodges-Lehmann one, its interval is exact for any symmetric noise, and a
difference below a margin that was fixed beforehand is called none. Sources: Hodges and Lehmann, Annals of Mathematical
Statistics 34 (1963); Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", 3.2-3.3 (signed rank), 9.3 (slope).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, combinations
from typing import Literal

from loadtests.result import Ratio

Verdict = Literal["less", "more", "same", "inconclusive"]
CONFIDENCE = 0.95
ECDF_POINTS = 200
SAMPLES_BEYOND_PERCENTILE = 10


def paired_log_ratios(baseline: Sequence[float], other: Sequence[float]) -> list[float]:
    """ln(other / baseline) for each block. ValueError when a figure is not above 0: such a ratio has no meaning."""
    if min((*baseline, *other), default=1.0) <= 0:
        raise ValueError("a ratio needs figures above 0")
    return [math.log(b / a) for a, b in zip(baseline, other, strict=True)]


def ratio(log_ratios: Sequence[float]) -> Ratio:
    """Hodges-Lehmann estimate and exact signed-rank interval, as ratios. No blocks: 1, without an interval."""
    n = len(log_ratios)
    averages = walsh_averages(log_ratios)
    dropped, confidence = signed_rank_cut(n)
    low = high = None
    if dropped is not None:
        low, high = math.exp(averages[dropped]), math.exp(averages[-1 - dropped])
    return Ratio(
        estimate=math.exp(statistics.median(averages)) if averages else 1.0,
        low=low,
        high=high,
        confidence=confidence,
        blocks=n,
        sd_log=statistics.stdev(log_ratios) if n > 1 else 0.0,
    )


def walsh_averages(differences: Sequence[float]) -> list[float]:
    """(d_i + d_j) / 2 for all i <= j, sorted: n(n+1)/2 of them."""
    return sorted((a + b) / 2 for i, a in enumerate(differences) for b in differences[i:])


@lru_cache(maxsize=256)
def signed_rank_cut(n: int, confidence: float = CONFIDENCE) -> tuple[int | None, float]:
    """How many Walsh averages to drop at each end so that the rest cover at least `confidence`, and what they really cover.

    The interval without the K outermost averages misses with probability 2 P(W+ <= K); W+ is the sum of a random subset of the
    ranks 1..n. (None, 0.0) where even K = 0 covers too little: below 6 blocks there is no 95 % interval.
    """
    subsets = [1]  # subsets[s]: how many subsets of the ranks so far have the sum s
    for rank in range(1, n + 1):
        shifted = [0] * rank + subsets
        subsets = [a + b for a, b in zip(subsets + [0] * rank, shifted, strict=True)]
    return _cut(subsets, 2**n, confidence)


def verdict(ratio: Ratio, margin: float) -> Verdict:
    """What the interval says about a difference of `margin` (0.05 is 5 %) or more.

    Inside the margin: same. Else without 1 inside: less or more. Else, or without an interval: inconclusive.
    """
    if ratio.low is None or ratio.high is None:
        return "inconclusive"
    if ratio.low >= 1 / (1 + margin) and ratio.high <= 1 + margin:
        return "same"
    if ratio.high < 1:
        return "less"
    if ratio.low > 1:
        return "more"
    return "inconclusive"


def blocks_needed(sd_log: float, effect: float) -> int:
    """Blocks that find a difference of `effect` in four runs of five: 2 + 8 (SD / ln(1 + effect))^2, and never below 6."""
    return max(6, math.ceil(2 + 8 * (sd_log / math.log1p(effect)) ** 2))


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """The q-quantile (0 < q < 1) of sorted values by nearest rank, None unless at least 10 values lie beyond it.

    So p50 needs 20 values, p90 100, p99 1,000, p99.9 10,000.
    """
    if len(ordered) * (1 - q) < SAMPLES_BEYOND_PERCENTILE * (1 - 1e-9):
        return None
    return ordered[max(0, math.ceil(q * len(ordered) - 1e-9) - 1)]


def ecdf_points(ordered: Sequence[float], limit: int = ECDF_POINTS) -> list[tuple[float, float]]:
    """At most `limit` points (value, fraction at or below) of sorted values, first and last included.

    Half of the points are spread evenly, half thin out the upper tail by equal factors, where the interesting part lies.
    """
    n = len(ordered)
    if n <= limit:
        ranks = set(range(1, n + 1))
    else:
        half = limit // 2
        ranks = {1 + round(i * (n - 1) / (half - 1)) for i in range(half)}
        ranks |= {n + 1 - max(1, round(n ** (i / (limit - half - 1)))) for i in range(limit - half)}
    return [(ordered[rank - 1], rank / n) for rank in sorted(ranks)]


def theil_sen(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Slope per step of values in order (the median slope of all pairs) and its exact 95 % interval from Kendall's statistic.

    The interval is None below 5 values. One that excludes 0 says that warm-up was not over, or that something grows.
    """
    slopes = sorted((b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(values), 2))
    if not slopes:
        return 0.0, None, None
    dropped = kendall_cut(len(values))[0]
    if dropped is None:
        return statistics.median(slopes), None, None
    return statistics.median(slopes), slopes[dropped], slopes[-1 - dropped]


@lru_cache(maxsize=256)
def kendall_cut(n: int, confidence: float = CONFIDENCE) -> tuple[int | None, float]:
    """As `signed_rank_cut`, for the slopes of all pairs of n values: it counts permutations by their inversions."""
    permutations = [1]  # permutations[k]: how many orders of the values so far have k inversions
    for size in range(2, n + 1):
        # The new value, put before k others, adds k inversions, 0 <= k < size: a sliding sum over the shorter orders.
        sums = list(accumulate(permutations + [0] * (size - 1)))
        permutations = [total - (sums[k - size] if k >= size else 0) for k, total in enumerate(sums)]
    return _cut(permutations, math.factorial(n), confidence)


def _cut(counts: Sequence[int], total: int, confidence: float) -> tuple[int | None, float]:
    """The largest K with 1 - 2 P(statistic <= K) >= confidence, and that coverage."""
    below = 0
    cut: tuple[int | None, float] = (None, 0.0)
    for k, count in enumerate(counts):
        below += count
        covered = 1 - 2 * below / total
        if covered < confidence:
            return cut
        cut = (k, covered)
    return cut
