"""Whether a service kept up with a step: judged on simulated queues and on made-up histories."""

from __future__ import annotations

import random

import pytest

from loadtests.capacity.saturation import in_flight, judge
from loadtests.capacity.slo import Slo, parse_slo
from loadtests.workload import NO_ANSWER, NOT_SENT, Exchange

SLO = parse_slo("p99<50ms")


def answered(intended_s: float, took_s: float, status: int = 200) -> Exchange:
    return Exchange("get", 0, 0, intended_s, intended_s, intended_s + took_s, intended_s + took_s, status, b"")


def queue(rate_per_s: float, service_s: float, duration_s: float = 3.0, seed: int = 1) -> list[Exchange]:
    """Poisson arrivals at one first-come-first-served server, from second 100 on."""
    rng = random.Random(seed)
    now_s, free_s, exchanges = 100.0, 0.0, []
    while (now_s := now_s + rng.expovariate(rate_per_s)) < 100.0 + duration_s:
        free_s = max(now_s, free_s) + service_s
        exchanges.append(answered(now_s, free_s - now_s))
    return exchanges


def outcome(exchanges: list[Exchange], slo: Slo = SLO, *, cpu: float = 0.3, lag_ms: float = 0.5) -> tuple[str, str]:
    judged = judge(exchanges, 3.0, slo, generator_cpu_ratio=cpu, lag_p99_ms=lag_ms)
    return judged.outcome, judged.because


@pytest.mark.parametrize("seed", range(4))
def test_a_service_with_room_passes_and_one_above_its_rate_has_a_growing_backlog(seed: int) -> None:
    passed = judge(queue(700, 0.001, seed=seed), 3.0, SLO, generator_cpu_ratio=0.3, lag_p99_ms=0.5)
    over = judge(queue(1_200, 0.001, seed=seed), 3.0, SLO, generator_cpu_ratio=0.3, lag_p99_ms=0.5)

    assert passed.outcome == "pass"
    assert passed.in_flight_growth_per_s == pytest.approx(0, abs=3)
    assert passed.achieved_per_s == pytest.approx(700, rel=0.1)
    assert over.outcome == "fail"
    assert over.because.startswith("the backlog grew by")
    assert over.in_flight_growth_per_s == pytest.approx(200, rel=0.5), "planned 1,200, served 1,000"


def test_the_requests_in_flight_are_rate_times_latency() -> None:
    steady = [answered(i * 0.01, 0.035) for i in range(300)]
    levels = in_flight(steady, 0.0, 3.0)
    assert len(levels) == 20
    assert levels[5:] == pytest.approx([3.5] * 15)


def test_one_stall_in_the_middle_is_no_growing_backlog() -> None:
    stalled = [answered(i * 0.002, 0.3 - (i * 0.002 - 1.0) if 1.0 <= i * 0.002 < 1.3 else 0.001) for i in range(1_500)]
    assert outcome(stalled, parse_slo("p50<50ms"))[0] == "pass"
    assert outcome(stalled) == ("fail", "p99 was 270 ms")


def test_an_objective_that_is_missed_without_a_backlog_fails() -> None:
    slow = [answered(i * 0.002, 0.06) for i in range(1_500)]
    assert outcome(slow) == ("fail", "p99 was 60 ms")
    assert outcome(slow, parse_slo("p99<0.1s")) == ("pass", "p99 was 60 ms")


def test_what_is_answered_long_after_the_step_was_not_achieved() -> None:
    late_end = [answered(i * 0.002, 0.001 if i < 1_425 else 0.5) for i in range(1_500)]
    assert outcome(late_end, parse_slo("p50<50ms"))[0] == "fail"


@pytest.mark.parametrize("status", [NO_ANSWER, 429, 500, 503])
def test_fast_failures_fail_the_step_and_improve_no_percentile(status: int) -> None:
    failing = [answered(i * 0.002, 0.0001, status) if i % 100 == 0 else answered(i * 0.002, 0.001) for i in range(1_500)]
    judged = judge(failing, 3.0, SLO, generator_cpu_ratio=0.3, lag_p99_ms=0.5)

    assert (judged.outcome, judged.because, judged.failed) == ("fail", "15 of 1,500 requests failed", 15)
    assert judged.percentiles_ms["p50"] == pytest.approx(1)


def test_too_few_answers_carry_no_percentile_and_none_is_made_up() -> None:
    few = [answered(i * 0.003, 0.001) for i in range(990)]
    judged = judge(few, 3.0, SLO, generator_cpu_ratio=0.3, lag_p99_ms=0.5)

    assert (judged.outcome, judged.because) == ("void", "too few answers: 990, and p99 needs 1,000")
    assert judged.percentiles_ms["p99"] is None
    assert judged.percentiles_ms["p90"] is not None


def test_what_the_client_did_not_send_is_neither_failed_nor_a_latency() -> None:
    cached = [answered(i * 0.001, 0.0, NOT_SENT) if i % 2 else answered(i * 0.001, 0.004) for i in range(3_000)]
    judged = judge(cached, 3.0, SLO, generator_cpu_ratio=0.3, lag_p99_ms=0.5)

    assert (judged.outcome, judged.requests, judged.failed) == ("pass", 1_500, 0)
    assert judged.percentiles_ms["p50"] == pytest.approx(4)


def test_a_late_or_busy_generator_makes_a_failure_void_and_a_pass_stand() -> None:
    slow, quick = [answered(i * 0.002, 0.06) for i in range(1_500)], [answered(i * 0.002, 0.03) for i in range(1_500)]

    assert outcome(slow, lag_ms=12) == ("void", "the generator was late: p99 12 ms")
    assert outcome(slow, lag_ms=9) == ("fail", "p99 was 60 ms"), "20 % of the limit is 10 ms"
    assert outcome(slow, cpu=0.85) == ("void", "the generator was busy: 85\N{NO-BREAK SPACE}% of a CPU")
    assert outcome(quick, lag_ms=12, cpu=0.85)[0] == "pass"


def test_a_backlog_far_beyond_what_the_lag_holds_back_is_the_services_own() -> None:
    over = queue(1_500, 0.001)
    assert outcome(over, lag_ms=30)[0] == "fail", "1,500 more in flight at the end; 30 ms of 1,500/s are 45"
    assert outcome(over, lag_ms=800)[0] == "void"
    assert outcome(over, cpu=0.9)[0] == "void"
