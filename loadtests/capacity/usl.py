"""The Universal Scalability Law: what more clients at a time buy, and what they cost.

    X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))

N clients that wait for their answers get X requests/s. `lambda` is what one gets; `sigma` the share of the work that they do one
after the other (contention); `kappa` what each pair of them adds (crosstalk), which is why a curve can bend down again, with its
peak at N* = sqrt((1 - sigma) / kappa). N. Gunther, "Guerrilla Capacity Planning" (2007); lambda as a third parameter, so that the
point at N = 1 is not taken for exact: B. Schwartz, "Practical Scalability Analysis with the Universal Scalability Law" (2015).

Noise of throughput is relative, so logarithms are fitted. Intervals: residuals around the fit are drawn anew (with the loss of
three fitted parameters made up for) and fitted again. Repetitions at one N are too few to be drawn from alone.
"""

from __future__ import annotations

import importlib.util
import math
import random
from collections.abc import Sequence
from typing import Any

from loadtests.capacity.result import Interval, ScalabilityFit

RESAMPLES = 300
MIN_DISTINCT_N = 6
CONFIDENCE = 0.95
NEGLIGIBLE = 0.01  # a kappa that takes less than this share of the throughput at the largest N tried
MISSING = "scipy is not installed, and the scalability law is fitted with it; run make setup"

Point = tuple[float, float]  # N, requests/s
Parameters = tuple[float, float, float]  # lambda, sigma, kappa


class FitImpossible(ValueError):
    """The points do not determine the law. The message says why."""


class ScipyMissing(RuntimeError):
    """The fit needs scipy, which is not installed."""


def throughput(n: float, parameters: Parameters) -> float:
    """Requests/s of `n` clients.

    >>> throughput(1, (1000.0, 0.1, 0.01))
    1000.0
    """
    rate, sigma, kappa = parameters
    return rate * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))


def peak_clients(sigma: float, kappa: float) -> float:
    """N* for a kappa above 0."""
    return math.sqrt((1 - sigma) / kappa)


def fit(points: Sequence[Point], *, seed: int, resamples: int = RESAMPLES) -> ScalabilityFit:
    """Least squares over all points, repetitions included. Raises `FitImpossible` or `ScipyMissing`.

    Where the interval of kappa touches 0 no peak was found, and none is made up. The curve ends where nothing was measured.
    """
    points = sorted((n, x) for n, x in points if x > 0)
    if len({n for n, _ in points}) < MIN_DISTINCT_N:
        raise FitImpossible(f"a scalability law needs throughput at {MIN_DISTINCT_N} numbers of clients or more")
    ns, largest_n = [n for n, _ in points], points[-1][0]
    best = fitted(points, None)
    expected = [throughput(n, best) for n in ns]
    spread = math.sqrt(len(points) / max(1, len(points) - 3))
    residuals = [spread * math.log(x / usual) for (_, x), usual in zip(points, expected, strict=True)]
    rng = random.Random(f"{seed} resamples")
    drawn = [
        fitted([(n, usual * math.exp(rng.choice(residuals))) for n, usual in zip(ns, expected, strict=True)], best)
        for _ in range(resamples)
    ]
    kappa_found = interval_of([kappa for _, _, kappa in drawn], best[2])
    peak = None
    if kappa_found.low * largest_n * (largest_n - 1) > NEGLIGIBLE:
        peak = interval_of([peak_clients(sigma, max(kappa, 1e-12)) for _, sigma, kappa in drawn], peak_clients(best[1], best[2]))
    return ScalabilityFit(
        lambda_per_s=interval_of([rate for rate, _, _ in drawn], best[0]),
        sigma=interval_of([sigma for _, sigma, _ in drawn], best[1]),
        kappa=kappa_found,
        peak_clients=peak,
        peak_per_s=throughput(peak.estimate, best) if peak else None,
        curve=[(n, *_band([throughput(n, each) for each in drawn], throughput(n, best))) for n in curve_ns(largest_n)],
        most_clients=round(largest_n),
    )


def fitted(points: Sequence[Point], start: Parameters | None) -> Parameters:
    """One fit of ln X, with its parameters bounded: lambda > 0, 0 <= sigma <= 1, kappa >= 0. `start` is where to begin."""
    require_scipy()
    import numpy
    from scipy.optimize import curve_fit

    ns = numpy.array([n for n, _ in points], dtype=float)
    logs = numpy.log([x for _, x in points])

    def log_law(n: Any, log_rate: float, sigma: float, kappa: float) -> Any:
        return log_rate + numpy.log(n / (1 + sigma * (n - 1) + kappa * n * (n - 1)))

    def slopes(n: Any, log_rate: float, sigma: float, kappa: float) -> Any:
        divisor = 1 + sigma * (n - 1) + kappa * n * (n - 1)
        return numpy.column_stack([numpy.ones_like(n), -(n - 1) / divisor, -n * (n - 1) / divisor])

    rate, sigma, kappa = start or (max(x / n for n, x in points), 0.1, 1e-3)
    first = (math.log(rate), min(max(sigma, 1e-6), 1 - 1e-6), max(kappa, 1e-8))
    bounds = ([-numpy.inf, 0.0, 0.0], [numpy.inf, 1.0, numpy.inf])
    try:
        best, _ = curve_fit(log_law, ns, logs, p0=first, bounds=bounds, jac=slopes, x_scale=(1.0, 0.1, 1e-3))
    except RuntimeError as error:
        raise FitImpossible(f"the scalability law does not fit: {error}") from None
    return math.exp(best[0]), float(best[1]), float(best[2])


def require_scipy() -> None:
    """Raises `ScipyMissing` before a long measurement rather than after it."""
    if importlib.util.find_spec("scipy") is None or importlib.util.find_spec("numpy") is None:
        raise ScipyMissing(MISSING)


def interval_of(drawn: Sequence[float], estimate: float) -> Interval:
    """The central 95 % of the resamples, widened to hold the estimate itself."""
    low, high = _ends(drawn)
    return Interval(low=min(low, estimate), estimate=estimate, high=max(high, estimate))


def curve_ns(largest_n: float, points: int = 40) -> list[float]:
    """From 1 to the largest N tried, by equal factors."""
    return [largest_n ** (i / (points - 1)) for i in range(points)]


def _band(drawn: Sequence[float], estimate: float) -> tuple[float, float, float]:
    found = interval_of(drawn, estimate)
    return found.low, found.estimate, found.high


def _ends(drawn: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(drawn)
    cut = round(len(ordered) * (1 - CONFIDENCE) / 2)
    return ordered[cut], ordered[-1 - cut]
