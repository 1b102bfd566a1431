"""Turns and rules, on a machine that is simulated: drift, trend, bursts and stolen time, all from a seed."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.findings import comparisons, self_comparison
from loadtests.schedule import (
    LAG_CEILING_MS,
    Disturbance,
    MeasuredBlock,
    Round,
    Rules,
    block_order,
    plan_indexes,
    run_blocks,
    void_because,
)

CPU = "cpu_us_per_request"


class NoisyMachine:
    """Rounds as a small shared machine gives them: lognormal noise, a drift that remembers (AR(1)), a trend, and bursts.

    A burst makes a round dearer by half, and shows: its requests waited for a CPU.
    """

    def __init__(self, seed: object, true_us: tuple[float, ...], trend: float = 0.005, burst: float = 0.05) -> None:
        self.rounds = 0
        self._rng = random.Random(f"machine {seed}")
        self._true_us = true_us
        self._trend = trend
        self._burst = burst
        self._drift = 0.0

    async def measure(self, variant: int, plan_index: int) -> Round:
        rng = self._rng
        self.rounds += 1
        self._drift = 0.9 * self._drift + rng.gauss(0, 0.1) * math.sqrt(1 - 0.9**2)
        log_us = math.log(self._true_us[variant]) + self._drift + self._trend * self.rounds + rng.gauss(0, 0.05)
        burst = rng.random() < self._burst
        if burst:
            log_us += math.log(1.5)
        wait_us = rng.lognormvariate(math.log(60), 0.3) * (10 if burst else 1)
        return Round(variant, float(self.rounds), {CPU: math.exp(log_us)}, Disturbance(run_queue_wait_us=wait_us, lag_p99_ms=1.0))


def run_on(machine: NoisyMachine, planned: int = 12, variants: int = 2) -> list[MeasuredBlock]:
    return asyncio.run(run_blocks(machine.measure, variants=variants, planned=planned, seed=1, rules=Rules()))


def verdict_on(machine: NoisyMachine) -> str:
    accepted = [block for block in run_on(machine) if block.accepted]
    return comparisons(accepted, 1, ["baseline", "other"], margin=0.05, primary=CPU)[0].verdict


def test_a_variant_that_costs_a_fifth_more_is_found_on_a_noisy_machine() -> None:
    verdicts = [verdict_on(NoisyMachine(seed, (80.0, 96.0))) for seed in range(60)]

    assert verdicts.count("more") >= 57
    assert "less" not in verdicts


def test_a_variant_against_itself_is_seldom_called_different() -> None:
    verdicts = [verdict_on(NoisyMachine(seed, (80.0, 80.0))) for seed in range(300)]

    assert (verdicts.count("more") + verdicts.count("less")) / len(verdicts) <= 0.06


def test_one_after_the_other_would_have_been_fooled_by_the_same_machine() -> None:
    """What turns are for: all of one variant, then all of the other, takes the trend for a difference."""

    async def in_sequence(seed: int) -> float:
        machine = NoisyMachine(seed, (80.0, 80.0))
        first = [(await machine.measure(0, i)).figures[CPU] for i in range(24)]
        second = [(await machine.measure(1, i)).figures[CPU] for i in range(24)]
        return sum(second) / sum(first)

    ratios = [asyncio.run(in_sequence(seed)) for seed in range(60)]

    assert sum(ratio > 1.05 for ratio in ratios) > 40


def test_the_self_comparison_does_not_take_a_trend_for_a_difference() -> None:
    machine = NoisyMachine("calm", (80.0, 80.0), trend=0.02, burst=0.0)
    floor = self_comparison(run_on(machine, planned=40), CPU)
    assert floor.low is not None
    assert floor.high is not None

    assert floor.low < 1 < floor.high


@given(st.integers(min_value=2, max_value=6), st.integers(min_value=0, max_value=50), st.integers())
def test_a_block_gives_each_variant_two_turns_that_no_steady_drift_favours(variants: int, index: int, seed: int) -> None:
    order = block_order(variants, index, seed)

    assert sorted(order) == sorted([*range(variants)] * 2)
    assert order == order[::-1], "so the mean position of each variant is the same"


@given(st.integers(min_value=2, max_value=6), st.integers(min_value=0, max_value=50))
def test_every_variant_replays_the_same_two_plans_in_the_same_sequence(variants: int, index: int) -> None:
    turns = list(zip(block_order(variants, index, 1), plan_indexes(variants, index), strict=True))

    for variant in range(variants):
        assert [plan for turn, plan in turns if turn == variant] == [2 * index, 2 * index + 1]


def test_two_variants_take_the_first_turn_in_turn() -> None:
    assert [block_order(2, index, 1) for index in range(3)] == [[0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0]]


def test_a_comparison_with_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        block_order(1, 0, 1)
    with pytest.raises(ValueError, match="at least one block"):
        run_on(NoisyMachine(1, (1.0, 1.0)), planned=0)


def test_void_blocks_are_done_again_under_the_same_index_and_plans() -> None:
    plans: list[int] = []

    async def measure(variant: int, plan_index: int) -> Round:
        plans.append(plan_index)
        return Round(variant, 0.0, {CPU: 1.0}, Disturbance(steal_ratio=0.5 if 5 <= len(plans) <= 8 else 0.0))

    blocks = asyncio.run(run_blocks(measure, variants=2, planned=3, seed=1, rules=Rules()))

    assert [(block.index, block.accepted) for block in blocks] == [(0, True), (1, False), (1, True), (2, True)]
    assert plans == [0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_machine_that_is_always_disturbed_stops_the_run_at_twice_the_planned_blocks() -> None:
    async def measure(variant: int, plan_index: int) -> Round:
        return Round(variant, 0.0, {CPU: 1.0}, Disturbance(steal_ratio=0.5))

    blocks = asyncio.run(run_blocks(measure, variants=2, planned=4, seed=1, rules=Rules()))

    assert len(blocks) == 8
    assert not any(block.accepted for block in blocks)


@pytest.mark.parametrize(
    ("disturbance", "says"),
    [
        (Disturbance(lag_p99_ms=5.1), "generator late"),
        (Disturbance(generator_cpu_ratio=0.81), "generator busy"),
        (Disturbance(steal_ratio=0.011), "CPU stolen"),
        (Disturbance(idle_cpu_ratio=0.06), "idle variant at work"),
        (Disturbance(run_queue_wait_us=310.0), "waited for a CPU"),
    ],
)
def test_each_rule_voids_the_block_it_is_for(disturbance: Disturbance, says: str) -> None:
    calm = Round(0, 0.0, {}, Disturbance(run_queue_wait_us=100.0))
    disturbed = Round(1, 0.0, {}, disturbance)

    assert void_because([calm, calm], [[100.0], [100.0]], Rules()) == ""
    assert void_because([calm, disturbed], [[100.0], [100.0]], Rules()).startswith(says)


def test_waiting_is_judged_against_the_same_variant_and_only_where_it_matters() -> None:
    wait = Round(1, 0.0, {}, Disturbance(run_queue_wait_us=400.0))
    little = Round(1, 0.0, {}, Disturbance(run_queue_wait_us=49.0))

    assert void_because([wait], [[10.0], [200.0, 150.0]], Rules()) == ""
    assert void_because([wait], [[200.0], [100.0, 110.0]], Rules()) != ""
    assert void_because([wait], [[], []], Rules()) == "", "the first block has nothing to be judged against"
    assert void_because([little], [[1.0], [1.0]], Rules()) == ""


def test_the_limit_on_lag_is_raised_by_the_warm_up_and_only_so_far() -> None:
    def late(lag_p99_ms: float) -> Round:
        return Round(0, 0.0, {}, Disturbance(lag_p99_ms=lag_p99_ms))

    assert Rules().calibrated([late(0.1), late(0.2)]).lag_p99_ms == 5.0
    assert Rules().calibrated([late(3.0), late(5.0)]).lag_p99_ms == 12.0
    assert Rules().calibrated([late(500.0)]).lag_p99_ms == LAG_CEILING_MS
