"""A made-up but plausible capacity test, the same on every call. Its numbers come from a formula: they belong in tests alone."""

from __future__ import annotations

from loadtests.capacity.result import (
    Bracket,
    CapacityManifest,
    CapacityResult,
    CapacityVariant,
    ClosedStep,
    Interval,
    Knee,
    Limiter,
    OpenStep,
    ScalabilityFit,
    Usage,
)
from loadtests.capacity.usl import throughput
from loadtests.result import SafetyCheck

CLIENTS = (1, 2, 4, 8, 16, 32)
LAW = (2_000.0, 0.3, 0.001)


def sample_usage(service: float) -> Usage:
    return Usage(
        cpu_us_per_request={"service": 150.0, "store": 20.0},
        cpu_ratio={"service": service, "store": service / 8},
        waited_ratio=0.05,
        generator_cpu_ratio=0.3,
        steal_ratio=0.0,
    )


def open_step(rate_per_s: float, p99_ms: float, outcome: str = "pass", purpose: str = "knee", repetition: int = 0) -> OpenStep:
    return OpenStep(
        purpose=purpose,  # type: ignore[arg-type]
        repetition=repetition,
        planned_per_s=rate_per_s,
        achieved_per_s=rate_per_s * (1.0 if outcome == "pass" else 0.9),
        duration_s=3.0,
        requests=round(rate_per_s * 3),
        failed=0,
        p50_ms=p99_ms / 9,
        p90_ms=p99_ms / 3,
        p99_ms=p99_ms,
        p999_ms=None,
        objective_ms=p99_ms,
        in_flight_growth_per_s=0.0 if outcome == "pass" else 300.0,
        in_flight_most=round(rate_per_s * p99_ms / 3e3),
        lag_p99_ms=0.7,
        usage=sample_usage(rate_per_s / 6_000),
        outcome=outcome,  # type: ignore[arg-type]
        because=f"p99 was {p99_ms:g} ms",
    )


def sample_variant(name: str = "url_shortener", speed: float = 1.0) -> CapacityVariant:
    closed = [
        ClosedStep(
            clients=n,
            repetition=repetition,
            requests=4_000,
            failed=0,
            throughput_per_s=speed * throughput(n, LAW) * (1 + 0.03 * (repetition - 1)),
            mean_response_ms=1e3 * n / throughput(n, LAW) / speed,
            littles_law_clients=n * 0.99,
            usage=sample_usage(min(0.98, 0.4 + n / 40)),
        )
        for repetition in range(3)
        for n in CLIENTS
    ]
    steps = [
        open_step(speed * rate, p99, purpose="curve") for rate, p99 in ((1_350, 3.0), (2_250, 5.0), (3_150, 9.0), (3_800, 15.0))
    ]
    steps += [
        open_step(speed * rate, p99, outcome, repetition=repetition)
        for repetition in range(3)
        for rate, p99, outcome in ((4_300 + 50 * repetition, 30.0, "pass"), (4_500 + 50 * repetition, 80.0, "fail"))
    ]
    brackets = [
        Bracket(
            last_pass_per_s=speed * (4_300 + 50 * repetition),
            first_fail_per_s=speed * (4_500 + 50 * repetition),
            first_fail_because="p99 was 80 ms",
            ended="found",
            steps=6,
            void_steps=0,
        )
        for repetition in range(3)
    ]
    law = ScalabilityFit(
        lambda_per_s=Interval(low=1_900, estimate=2_000, high=2_100),
        sigma=Interval(low=0.27, estimate=0.3, high=0.33),
        kappa=Interval(low=0.0005, estimate=0.001, high=0.0015),
        peak_clients=Interval(low=22, estimate=26.5, high=37),
        peak_per_s=speed * throughput(26.5, LAW),
        curve=[(n, *(speed * part * throughput(n, LAW) for part in (0.96, 1, 1.04))) for n in CLIENTS],
        most_clients=32,
    )
    return CapacityVariant(
        name=name,
        knobs={"cache": "aside", "ids": "lease"},
        closed=closed,
        open=steps,
        fit=law,
        most_per_s=speed * throughput(32, LAW),
        most_at_clients=32,
        one_core_per_s=speed * 5_880,
        knee=Knee(low_per_s=speed * 4_300, estimate_per_s=speed * 4_350, high_per_s=speed * 4_600, brackets=brackets),
        limiter=Limiter(what="service CPU", sentence="the service's process used 97 % of a core"),
    )


def sample_capacity(*variants: CapacityVariant, note: str = "a note") -> CapacityResult:
    shown = list(variants or (sample_variant(),))
    return CapacityResult(
        headline=f"{shown[0].name} serves 4,350 requests/s [4,300, 4,600] within p99 < 50 ms",
        variants=shown,
        safety={
            variant.name: [SafetyCheck(name="no acknowledged link is lost", verdict="valid", counts={"links": 8_000, "lost": 0})]
            for variant in shown
        },
        manifest=CapacityManifest(
            design="url_shortener",
            knob="" if len(shown) == 1 else "cache",
            mix="mixed",
            mix_description="An ordinary day.",
            objective="p99 < 50 ms",
            objective_percentile="p99",
            objective_limit_ms=50.0,
            clients=list(CLIENTS),
            repeats=3,
            step_s=2.0,
            resolution=0.05,
            connections_per_url=32,
            seed=7,
            started_at="2026-01-02T03:04:05+00:00",
            duration_s=140.0,
            command="designs capacity-test url_shortener --slo 'p99<50ms' --seed 7",
            commit="0123456789abcdef",
            dirty=False,
            versions={"python": "CPython 3.11"},
            machine={"cpu": "a CPU", "cpus": "2"},
            pinning="servers on CPU 0, generator on CPU 1",
            notes=[note],
        ),
    )
