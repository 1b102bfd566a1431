"""What may be said of two variants measured in turns: estimates, intervals and verdicts, as pure functions.

The unit is the block: all requests of a round share its noise, so an interval over thousands of requests would be fiction. Per
block d = ln(other / baseline); the estimate is the Hodges-Lehmann one, its interval is exact for any symmetric noise, and a
difference below a margin that was fixed beforehand is called none. Sources: Hodges and Lehmann, Annals of Mathematical
Statistics 34 (1963); Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", 3.1-3.3 (signed rank), 9.3 (slope); Holm,
Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, combinations
from typing import Literal

from loadtests.result import Ratio

Verdict = Literal["less", "more", "same", "inconclusive"]
CONFIDENCE = 0.95
ECDF_POINTS = 200
POWER = 0.8
SAMPLES_BEYOND_PERCENTILE = 10
FLIPS_COUNTED_UP_TO = 26


def paired_log_ratios(baseline: Sequence[float], other: Sequence[float]) -> list[float]:
    """ln(other / baseline) for each block. ValueError when a figure is not above 0: such a ratio has no meaning."""
    if min((*baseline, *other), default=1.0) <= 0:
        raise ValueError("a ratio needs figures above 0")
    return [math.log(b / a) for a, b in zip(baseline, other, strict=True)]


def ratio(log_ratios: Sequence[float], confidence: float = CONFIDENCE) -> Ratio:
    """Hodges-Lehmann estimate and exact signed-rank interval, as ratios. No blocks: 1, without an interval.

    The interval covers at least `confidence`; how much it really covers is the `confidence` of the answer, 0 without an interval.
    """
    n = len(log_ratios)
    averages = walsh_averages(log_ratios)
    dropped, covered = signed_rank_cut(n, confidence)
    low = high = None
    if dropped is not None:
        low, high = math.exp(averages[dropped]), math.exp(averages[-1 - dropped])
    return Ratio(
        estimate=math.exp(statistics.median(averages)) if averages else 1.0,
        low=low,
        high=high,
        confidence=covered,
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
    return _cut(rank_sums(n), 2**n, confidence)


@lru_cache(maxsize=256)
def rank_sums(n: int) -> Sequence[int]:
    """For each s = 0 .. n(n+1)/2, how many subsets of the ranks 1..n have the sum s."""
    subsets = [1]
    for rank in range(1, n + 1):
        shifted = [0] * rank + subsets
        subsets = [a + b for a, b in zip(subsets + [0] * rank, shifted, strict=True)]
    return subsets


def signed_rank_p(differences: Sequence[float]) -> float:
    """Two-sided exact p of Wilcoxon's signed-rank test that the differences are symmetric about 0.

    The counterpart of the interval: 0 lies outside the one for a confidence c exactly where p <= 1 - c. The smaller rank sum is the
    number of Walsh averages on one side of 0. An average of exactly 0 (a zero, or a tie of opposite signs) counts for both sides,
    so that p is never too small. No differences: 1.
    """
    averages = walsh_averages(differences)
    smaller = min(bisect_right(averages, 0.0), len(averages) - bisect_left(averages, 0.0))
    return min(1.0, 2 * sum(rank_sums(len(differences))[: smaller + 1]) / (1 << len(differences)))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the sign-flip (permutation) test on the mean: the share of all 2^n choices of signs with as large a mean.

    Exact up to 26 differences, by the 2^(n/2) sums of each half put together (Horowitz and Sahni, Journal of the ACM 21, 1974).
    Above, the normal approximation with the flips' own variance, the sum of squares. Unlike ranks it heeds how far out a block
    lies, so the two disagree where a few blocks make the mean. No differences: 1.
    """
    seen = abs(math.fsum(differences)) * (1 - 1e-12) - 1e-12 * math.fsum(map(abs, differences))
    if seen <= 0:
        return 1.0
    if len(differences) > FLIPS_COUNTED_UP_TO:
        return math.erfc(seen / math.sqrt(2 * math.fsum(d * d for d in differences)))
    half = len(differences) // 2
    left, right = _flipped_sums(differences[:half]), sorted(_flipped_sums(differences[half:]))
    # Flipping all signs mirrors the sums, so both tails are equal and one is counted.
    above = sum(len(right) - bisect_left(right, seen - total) for total in left)
    return min(1.0, 2 * above / (1 << len(differences)))


def _flipped_sums(differences: Sequence[float]) -> list[float]:
    sums = [0.0]
    for d in differences:
        sums = [total + signed for total in sums for signed in (d, -d)]
    return sums


@dataclass(frozen=True, slots=True)
class HolmStep:
    """What one of several tests may claim: `confidence` of its interval, and its p adjusted for the others."""

    confidence: float
    p_value: float


def holm(p_values: Sequence[float], confidence: float = CONFIDENCE) -> list[HolmStep]:
    """Holm's procedure: whatever is true, all claims together are false with a chance of at most 1 - `confidence`.

    Of k tests the one with the smallest p is held to (1 - confidence) / k, the next to (1 - confidence) / (k - 1), and so on up to
    the first that claims nothing. It and those after it share its step, so that their intervals agree: all hold "no difference".
    One test: as if alone. Of equal p the earlier test comes first.
    """
    steps = [HolmStep(confidence, 1.0)] * len(p_values)
    adjusted, stopped_at = 0.0, 0
    for position, test in enumerate(sorted(range(len(p_values)), key=lambda test: p_values[test])):
        adjusted = max(adjusted, min(1.0, p_values[test] * (len(p_values) - position)))
        step = stopped_at or len(p_values) - position
        allowed = (1 - confidence) / step
        if p_values[test] > allowed:
            stopped_at = step
        steps[test] = HolmStep(1 - allowed, adjusted)
    return steps


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


def blocks_needed(sd_log: float, effect: float, confidence: float = CONFIDENCE) -> int:
    """Blocks that find a difference of `effect` in four runs of five: 2 + 8 (SD / ln(1 + effect))^2, and never below 6.

    8 is about (z_0.975 + z_0.8)^2; an interval that must cover more than 95 % needs as much more, and more than 6 blocks to exist.
    """
    z = statistics.NormalDist().inv_cdf
    wider = (z((1 + confidence) / 2) + z(POWER)) / (z((1 + CONFIDENCE) / 2) + z(POWER))
    return max(blocks_at_least(confidence), math.ceil(2 + 8 * (wider * sd_log / math.log1p(effect)) ** 2))


def blocks_at_least(confidence: float = CONFIDENCE) -> int:
    """The fewest blocks that have an interval at all: 6 for 95 %, 7 for 97.5 %."""
    return next(n for n in range(1, 60) if signed_rank_cut(n, confidence)[0] is not None)


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
