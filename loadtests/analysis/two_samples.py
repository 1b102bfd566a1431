"""How far two unpaired samples lie apart: the Hodges-Lehmann shift with its exact Mann-Whitney interval.

For runs of different days, whose blocks have no partner. It supposes that the two samples differ by a shift and nothing else; what
differs from day to day counts as such a shift, so the interval says how sure the blocks are, not what caused the difference.
Sources: Mann and Whitney, Annals of Mathematical Statistics 18 (1947); Hollander, Wolfe and Chicken, "Nonparametric Statistical
Methods", 4.2-4.3; the counting after Harding, Applied Statistics 33 (1984).
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from loadtests.analysis.statistics import CONFIDENCE
from loadtests.result import Ratio


def ratio_of(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Ratio:
    """`second / first` of figures above 0, through the shift of their logarithms. ValueError where one is not above 0.

    `Ratio.blocks` is the size of the smaller sample, `Ratio.sd_log` the pooled deviation within the samples.
    """
    if min((*first, *second), default=1.0) <= 0:
        raise ValueError("a ratio needs figures above 0")
    return shift([math.log(a) for a in first], [math.log(b) for b in second], confidence)


def shift(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Ratio:
    """As `ratio_of`, of values that are logarithms already. An empty sample: 1, without an interval."""
    differences = sorted(b - a for a in first for b in second)
    dropped, covered = mann_whitney_cut(len(first), len(second), confidence)
    low = high = None
    if dropped is not None:
        low, high = math.exp(differences[dropped]), math.exp(differences[-1 - dropped])
    return Ratio(
        estimate=math.exp(statistics.median(differences)) if differences else 1.0,
        low=low,
        high=high,
        confidence=covered,
        blocks=min(len(first), len(second)),
        sd_log=_pooled_sd(first, second),
    )


@lru_cache(maxsize=256)
def mann_whitney_cut(m: int, n: int, confidence: float = CONFIDENCE) -> tuple[int | None, float]:
    """How many of the m n differences to drop at each end so that the rest cover at least `confidence`, and what they cover.

    The interval without the K outermost differences misses with probability 2 P(U <= K). (None, 0.0) where even K = 0 covers too
    little: two samples of 4 are the smallest equal ones with a 95 % interval.
    """
    total = math.comb(m + n, m)
    below = list(accumulate(mann_whitney_counts(m, n)))
    dropped = bisect_right(below, (1 - confidence) * total / 2) - 1
    return (None, 0.0) if dropped < 0 else (dropped, 1 - 2 * below[dropped] / total)


def mann_whitney_counts(m: int, n: int) -> list[int]:
    """For each u = 0 .. m n, in how many of the C(m + n, m) orders of two samples u pairs stand the wrong way round.

    They are the coefficients of the Gaussian binomial: the product of (1 - x^(n+i)) / (1 - x^i) for i = 1 .. m.
    """
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for u in range(m * n, n + i - 1, -1):
            counts[u] -= counts[u - n - i]
        for u in range(i, m * n + 1):
            counts[u] += counts[u - i]
    return counts


def _pooled_sd(first: Sequence[float], second: Sequence[float]) -> float:
    freedom = len(first) + len(second) - 2
    if min(len(first), len(second)) == 0 or freedom < 1:
        return 0.0
    squares = sum((len(each) - 1) * statistics.variance(each) for each in (first, second) if len(each) > 1)
    return math.sqrt(squares / freedom)
