"""Turns and rules. What they are worth on a noisy machine is in `test_simulated_noise`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.comparison.schedule import (
    LAG_CEILING_MS,
    STEAL_CEILING,
    Disturbance,
    MeasureBlock,
    Round,
    Rules,
    Turn,
    block_order,
    plan_indexes,
    run_blocks,
    void_because,
)

CPU = "cpu_us_per_request"


async def calm(variant: int, plan_index: int) -> Round:
    return Round(variant, 0.0, {CPU: 1.0}, Disturbance())


def in_turn(measure: Callable[[int, int], Awaitable[Round]]) -> MeasureBlock:
    """A block whose rounds are measured one after the other."""

    async def block(index: int, turns: Sequence[Turn]) -> list[Round]:
        return [await measure(variant, plan_index) for variant, plan_index in turns]

    return block


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
        asyncio.run(run_blocks(in_turn(calm), variants=2, planned=0, seed=1, rules=Rules()))


def test_void_blocks_are_done_again_under_the_same_index_and_plans() -> None:
    plans: list[int] = []

    async def measure(variant: int, plan_index: int) -> Round:
        plans.append(plan_index)
        return Round(variant, 0.0, {CPU: 1.0}, Disturbance(steal_ratio=0.5 if 5 <= len(plans) <= 8 else 0.0))

    blocks = asyncio.run(run_blocks(in_turn(measure), variants=2, planned=3, seed=1, rules=Rules()))

    assert [(block.index, block.accepted) for block in blocks] == [(0, True), (1, False), (1, True), (2, True)]
    assert plans == [0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_machine_that_is_always_disturbed_stops_the_run_at_twice_the_planned_blocks() -> None:
    async def measure(variant: int, plan_index: int) -> Round:
        return Round(variant, 0.0, {CPU: 1.0}, Disturbance(steal_ratio=0.5))

    blocks = asyncio.run(run_blocks(in_turn(measure), variants=2, planned=4, seed=1, rules=Rules()))

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


def test_how_much_a_host_may_take_is_set_by_what_it_usually_takes_up_to_a_ceiling() -> None:
    def stolen(steal_ratio: float) -> Round:
        return Round(0, 0.0, {}, Disturbance(steal_ratio=steal_ratio))

    assert Rules().calibrated([stolen(0.001), stolen(0.002)]).steal_ratio == 0.01
    assert Rules().calibrated([stolen(0.005), stolen(0.01)]).steal_ratio == pytest.approx(0.0225)
    assert Rules().calibrated([stolen(0.5)]).steal_ratio == STEAL_CEILING
