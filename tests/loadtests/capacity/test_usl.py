"""The scalability law: recovered from noisy points, and silent where they hold no peak."""

from __future__ import annotations

import importlib.util
import math
import random

import pytest

from loadtests.capacity.usl import FitImpossible, Point, ScipyMissing, fit, peak_clients, throughput

CLIENTS = (1, 2, 3, 4, 8, 16, 24, 32, 64)


def points(rate: float, sigma: float, kappa: float, *, noise: float, seed: int) -> list[Point]:
    """Three repetitions with lognormal noise."""
    rng = random.Random(seed)
    return [(n, throughput(n, (rate, sigma, kappa)) * math.exp(rng.gauss(0, noise))) for _ in range(3) for n in CLIENTS]


def test_the_law_is_one_over_contention_and_crosstalk() -> None:
    assert throughput(1, (500.0, 0.3, 0.01)) == 500.0
    assert throughput(10, (500.0, 0.0, 0.0)) == 5_000.0, "without either, twice the clients is twice the throughput"
    assert throughput(1e9, (500.0, 0.25, 0.0)) == pytest.approx(2_000, rel=0.01), "contention alone: a ceiling of lambda / sigma"
    assert peak_clients(0.0, 0.01) == 10.0


@pytest.mark.parametrize(("sigma", "kappa"), [(0.1, 0.002), (0.05, 0.0005), (0.4, 0.005)])
def test_known_parameters_lie_in_the_intervals_of_a_noisy_run(sigma: float, kappa: float) -> None:
    found = fit(points(3_000, sigma, kappa, noise=0.03, seed=6), seed=1, resamples=80)

    assert found.lambda_per_s.low < 3_000 < found.lambda_per_s.high
    assert found.sigma.low < sigma < found.sigma.high
    assert found.kappa.low < kappa < found.kappa.high
    assert found.kappa.estimate == pytest.approx(kappa, rel=0.25)
    assert found.peak_clients is not None
    assert found.peak_clients.low < peak_clients(sigma, kappa) < found.peak_clients.high
    assert found.peak_per_s == pytest.approx(throughput(peak_clients(sigma, kappa), (3_000, sigma, kappa)), rel=0.1)


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.8])
def test_without_crosstalk_no_peak_is_found_and_none_is_made_up(sigma: float) -> None:
    found = fit(points(3_000, sigma, 0.0, noise=0.03, seed=7), seed=1, resamples=80)
    assert found.kappa.low < 1e-6
    assert found.peak_clients is None
    assert found.peak_per_s is None


def test_the_curve_ends_where_nothing_was_measured_and_its_band_holds_it() -> None:
    found = fit(points(3_000, 0.2, 0.001, noise=0.05, seed=3), seed=1, resamples=40)
    assert found.curve[0][0] == pytest.approx(1)
    assert found.curve[-1][0] == pytest.approx(64)
    assert all(low <= fitted <= high for _, low, fitted, high in found.curve)


def test_the_same_points_and_seed_give_the_same_intervals() -> None:
    seen = points(3_000, 0.2, 0.001, noise=0.05, seed=3)
    assert fit(seen, seed=1, resamples=20) == fit(seen[::-1], seed=1, resamples=20)
    assert fit(seen, seed=1, resamples=20) != fit(seen, seed=2, resamples=20)


def test_fewer_than_six_numbers_of_clients_are_not_fitted() -> None:
    five = [point for point in points(3_000, 0.2, 0.001, noise=0.05, seed=3) if point[0] <= 8]
    assert len({n for n, _ in five}) == 5
    with pytest.raises(FitImpossible, match="6 numbers of clients"):
        fit(five, seed=1)
    with pytest.raises(FitImpossible):
        fit([(n, 0.0) for n in CLIENTS], seed=1)


def test_without_scipy_a_sentence_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ScipyMissing, match="scipy is not installed"):
        fit(points(3_000, 0.2, 0.001, noise=0.05, seed=3), seed=1)
