"""One round: counted work per request, costs by role, and what counts as failed."""

from __future__ import annotations

from array import array

import pytest

from loadtests.comparison.experiment import Experiment
from loadtests.comparison.rounds import (
    Reading,
    fold_round,
    idle_pids,
    is_failed,
    is_overloaded,
    plan_hash,
    plan_of,
    work_per_request,
)
from loadtests.cpu_clock import MachineTimes
from loadtests.generator.arrivals import Plan
from loadtests.workload import NOT_SENT, Exchange, Mix, Target

MIX = Mix(name="reads", who="readers", ratios={"get": 1.0}, keys=100, zipf_s=1.0, rate_per_s=500)


def exchange(status: int, intended_s: float = 10.0, took_s: float = 0.002) -> Exchange:
    return Exchange("get", 0, 0, intended_s, intended_s + 0.001, intended_s + took_s, intended_s + took_s, status, b"")


def reading(service_ms: int, store_ms: int = 0, idle_ms: int = 0, wait_ms: int = 0, steal: int = 0, total: int = 0) -> Reading:
    return Reading(
        cpu_ns={"service": service_ms * 1_000_000, "store": store_ms * 1_000_000},
        idle_cpu_ns=idle_ms * 1_000_000,
        run_queue_wait_ns=wait_ms * 1_000_000,
        rss_bytes=50_000_000,
        machine=MachineTimes(total, steal),
    )


def test_idle_are_the_processes_of_the_others_but_for_a_server_that_is_shared() -> None:
    def target(name: str, pids: dict[str, list[int]], shared: frozenset[int] = frozenset()) -> Target:
        return Target(name, {}, [], "", [], pids, shared_pids=shared)

    streams = target("clicks=redis_streams", {"service": [1], "store": [2]})
    kafka = target("clicks=kafka", {"service": [3], "worker": [4], "store": [5], "broker": [9]}, frozenset({9}))
    again = target("clicks=kafka (second copy)", {"service": [6], "broker": [9]}, frozenset({9}))
    assert idle_pids(streams, [streams, kafka]) == {3, 4, 5}
    assert idle_pids(kafka, [streams, kafka, again]) == {1, 2, 6}


def test_a_round_costs_what_the_clocks_moved_by_role_and_per_request() -> None:
    plan = Plan(
        ("get",),
        array("d", [0.1, 0.2, 0.3, 0.4]),
        array("B", [0] * 4),
        array("Q", [0] * 4),
        array("q", [-1] * 4),
        array("I", [0] * 4),
    )
    exchanges = [exchange(200), exchange(404), exchange(503, took_s=0.0001), exchange(0, took_s=5.0)]
    measured = fold_round(
        1,
        100.0,
        plan,
        exchanges,
        {"store_reads": 2.5},
        reading(1_000, 500, 100, 10, 5, 1_000),
        reading(1_001, 502, 300, 50, 7, 1_400),
        elapsed_s=2.0,
        lag_p99_s=0.0015,
        generator_cpu_ratio=0.1,
    )

    assert measured.figures == {
        "store_reads": 2.5,
        "cpu_us_per_request": 750.0,
        "cpu_us_per_request_service": 250.0,
        "cpu_us_per_request_store": 500.0,
        "rss_mb": 50.0,
        "failed_per_100": 50.0,
    }
    assert measured.statuses == {"200": 1, "404": 1, "503": 1, "error": 1}
    assert measured.disturbance.run_queue_wait_us == 10_000.0
    assert measured.disturbance.steal_ratio == 0.005
    assert measured.disturbance.idle_cpu_ratio == pytest.approx(0.1)
    assert measured.disturbance.lag_p99_ms == 1.5
    assert list(measured.intended_s) == [0.1, 0.2], "neither a fast failure nor a time-out is a latency"
    assert list(measured.latency_intended_s) == pytest.approx([0.002, 0.002])
    assert list(measured.latency_sent_s) == pytest.approx([0.001, 0.001])


def test_what_the_client_did_not_send_is_neither_a_failure_nor_a_latency() -> None:
    plan = Plan(("get",), array("d", [0.1, 0.2]), array("B", [0, 0]), array("Q", [0, 0]), array("q", [-1, 0]), array("I", [0, 0]))
    measured = fold_round(
        0,
        0.0,
        plan,
        [exchange(301), exchange(NOT_SENT)],
        {},
        reading(0),
        reading(1),
        elapsed_s=1.0,
        lag_p99_s=0.0,
        generator_cpu_ratio=0.1,
    )

    assert measured.statuses == {"301": 1, "not sent": 1}
    assert measured.figures["failed_per_100"] == 0.0
    assert measured.figures["cpu_us_per_request"] == 500.0, "per planned request: what was not sent is what was saved"
    assert len(measured.latency_intended_s) == 1


def test_a_collector_of_traces_is_shown_and_not_blamed_on_the_design() -> None:
    plan = Plan(("get",), array("d", [0.1]), array("B", [0]), array("Q", [0]), array("q", [-1]), array("I", [0]))
    before = Reading({"service": 0, "collector": 0}, 0, 0, 0, MachineTimes(0, 0))
    after = Reading({"service": 5_000, "collector": 9_000}, 0, 0, 0, MachineTimes(0, 0))
    measured = fold_round(0, 0.0, plan, [exchange(200)], {}, before, after, elapsed_s=1.0, lag_p99_s=0.0, generator_cpu_ratio=0.1)

    assert measured.figures["cpu_us_per_request"] == 5.0
    assert measured.figures["cpu_us_per_request_collector"] == 9.0


def test_a_service_whose_processes_are_unknown_has_no_cpu_rather_than_none_used() -> None:
    plan = Plan(("get",), array("d", [0.1]), array("B", [0]), array("Q", [0]), array("q", [-1]), array("I", [0]))
    nothing = Reading({}, 0, 0, 0, MachineTimes(0, 0))
    measured = fold_round(
        0, 0.0, plan, [exchange(200)], {}, nothing, nothing, elapsed_s=1.0, lag_p99_s=0.0, generator_cpu_ratio=0.1
    )

    assert measured.figures == {"failed_per_100": 0.0}


def test_a_pair_of_hits_and_misses_gives_a_hit_ratio() -> None:
    before = {"cache_hits": 10.0, "cache_misses": 10.0, "store_reads": 3.0}
    after = {"cache_hits": 100.0, "cache_misses": 20.0, "store_reads": 3.0, "new": 7.0}

    assert work_per_request(before, after, requests=100) == {
        "cache_hits": 0.9,
        "cache_misses": 0.1,
        "store_reads": 0.0,
        "new": 0.07,
        "cache_hit_ratio": 0.9,
    }
    assert "cache_hit_ratio" not in work_per_request(before, before, requests=100), "nothing was looked up"


@pytest.mark.parametrize(("status", "failed"), [(0, True), (200, False), (302, False), (404, False), (429, False), (500, True)])
def test_failed_is_what_was_not_answered_or_is_the_services_fault(status: int, failed: bool) -> None:
    assert is_failed(exchange(status)) is failed


def test_overloaded_is_a_backlog_when_the_last_request_is_due_and_not_a_slow_answer() -> None:
    punctual = [exchange(200, intended_s=i * 0.001, took_s=0.0005) for i in range(1_000)]
    few_slow = [*punctual[:-5], *(exchange(200, intended_s=0.995, took_s=1.0) for _ in range(5))]
    behind = [exchange(200, intended_s=i * 0.001, took_s=0.0005 + i * 0.0005) for i in range(1_000)]

    assert not is_overloaded(punctual)
    assert not is_overloaded(few_slow)
    assert is_overloaded(behind)


def test_the_plan_hash_covers_all_planned_rounds_and_nothing_but_the_load() -> None:
    def experiment(**changes: object) -> Experiment:
        values: dict[str, object] = {
            "design": "d",
            "knob": "k",
            "variants": ["a", "b"],
            "mix": MIX,
            "rate_per_s": 100.0,
            "round_s": 0.2,
            "blocks": 3,
            "seed": 5,
            "margin": 0.05,
            "primary": "cpu_us_per_request",
            "command": "",
        }
        return Experiment(**{**values, **changes})  # type: ignore[arg-type]

    assert plan_hash(experiment()) == plan_hash(experiment(knob="other", margin=0.1))
    assert len({plan_hash(experiment(**c)) for c in ({}, {"seed": 6}, {"blocks": 4}, {"rate_per_s": 101.0})}) == 4
    assert plan_of(experiment(), 0).hash != plan_of(experiment(), 1).hash
