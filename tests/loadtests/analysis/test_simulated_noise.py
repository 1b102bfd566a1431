"""The scheduler and the statistics where the truth is known: how often they are right, and how often the known-bad ways are wrong.

Every run has its seed, so the counts are the same each time. A run is a whole comparison of ten blocks.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from dataclasses import replace

import pytest

from loadtests.analysis.findings import comparisons
from loadtests.analysis.simulated_noise import (
    FIGURE,
    MARGIN,
    SHAPES,
    Noise,
    SimulatedMachine,
    in_turns,
    interval,
    one_after_the_other,
    same_processes,
    simulate,
)
from loadtests.analysis.statistics import paired_log_ratios
from loadtests.comparison.schedule import MeasuredBlock, Round, Rules, run_blocks

ALIKE = (1.0, 1.0)
A_FIFTH_MORE = (1.0, 1.2)


def compared(seed: int, noise: Noise, effects: tuple[float, ...] = ALIKE) -> list[MeasuredBlock]:
    return asyncio.run(in_turns(SimulatedMachine(seed, effects, noise), len(effects), 10, seed))


def accepted(blocks: list[MeasuredBlock]) -> list[MeasuredBlock]:
    return [block for block in blocks if block.accepted]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_holds_the_truth_and_a_fifth_more_is_found_under_every_noise(shape: str) -> None:
    rates = simulate(range(1_000 if shape == "lognormal" else 400), A_FIFTH_MORE, SHAPES[shape])

    assert 0.93 <= rates.share(rates.held) <= 0.97
    assert rates.share(rates.more) >= 0.95
    assert rates.claimed == rates.more, "nobody says that it costs less"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_variant_against_itself_is_called_different_as_seldom_as_promised(shape: str) -> None:
    """5 % claim a difference by construction; the bounds leave what a count over so many runs may be off by."""
    runs = 600 if shape == "lognormal" else 300
    slack = 2.5 * math.sqrt(0.05 * 0.95 / runs)
    rates = simulate(range(runs), ALIKE, SHAPES[shape])

    assert 0.05 - slack <= rates.share(rates.claimed) <= 0.05 + slack
    assert rates.share(rates.beyond_margin) <= 0.005, "that it differs by more than the margin is as good as never said"


def test_three_copies_together_are_called_different_no_more_often_than_one_alone() -> None:
    rates = simulate(range(600), (1.0, 1.0, 1.0, 1.0), SHAPES["drift"])

    assert rates.share(rates.claimed) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 600)
    assert rates.share(rates.claimed_alone) >= 0.10, "each judged as if alone: about one run in eight claims something"


def test_one_variant_after_the_other_is_fooled_by_drift_and_always_by_a_trend() -> None:
    drift = simulate(range(300), ALIKE, SHAPES["drift"], protocol=one_after_the_other)
    trend = simulate(range(100), ALIKE, SHAPES["trend"], protocol=one_after_the_other)

    assert drift.share(drift.claimed) >= 0.35
    assert drift.share(drift.beyond_margin) >= 0.25
    assert trend.claimed == 100


def test_many_blocks_against_the_same_processes_take_the_luck_of_a_start_for_a_difference() -> None:
    luck = simulate(range(300), ALIKE, SHAPES["starts"], protocol=same_processes)

    assert luck.share(luck.claimed) >= 0.4


@pytest.mark.parametrize("seed", range(20))
def test_calling_the_baseline_the_other_turns_every_interval_round(seed: int) -> None:
    def swapped(measured: Round) -> Round:
        return replace(measured, variant=1 - measured.variant)

    blocks = accepted(compared(seed, SHAPES["all at once"], A_FIFTH_MORE))
    mirrored = [replace(block, rounds=[swapped(measured) for measured in block.rounds]) for block in blocks]
    low, high = interval(comparisons(blocks, ["a", "b"], MARGIN, FIGURE)[0][0])
    low_back, high_back = interval(comparisons(mirrored, ["b", "a"], MARGIN, FIGURE)[0][0])

    assert (low_back, high_back) == (pytest.approx(1 / high), pytest.approx(1 / low))


def test_bursts_that_show_void_their_block_for_each_of_the_reasons() -> None:
    blocks = [block for seed in range(60) for block in compared(seed, SHAPES["bursts"])]
    reasons = {block.void_because.partition(":")[0] for block in blocks}

    assert reasons == {"", "generator late", "CPU stolen", "waited for a CPU"}
    assert 0.08 <= sum(not block.accepted for block in blocks) / len(blocks) <= 0.25


def test_what_the_rules_throw_away_makes_the_rest_quieter() -> None:
    noise = replace(SHAPES["bursts"], round_sd=0.03, burst_cost=2.0, burst_shows=1.0)
    no_rules = Rules(math.inf, math.inf, math.inf, math.inf, math.inf, math.inf)

    def spread(blocks: list[MeasuredBlock]) -> float:
        sides = [[sum(r.figures[FIGURE] for r in block.rounds if r.variant == side) for block in blocks] for side in (0, 1)]
        return statistics.stdev(paired_log_ratios(sides[0], sides[1]))

    def without_rules(seed: int) -> list[MeasuredBlock]:
        machine = SimulatedMachine(seed, ALIKE, noise)
        return asyncio.run(run_blocks(machine.measure_block, variants=2, planned=10, seed=seed, rules=no_rules))

    judged = statistics.fmean(spread(accepted(compared(seed, noise))) for seed in range(40))
    assert judged < 0.6 * statistics.fmean(spread(without_rules(seed)) for seed in range(40))


def test_a_machine_with_neighbours_all_the_time_gets_no_verdict() -> None:
    busy = replace(SHAPES["bursts"], burst_ratio=0.5, burst_shows=1.0)
    rates = simulate(range(20), A_FIFTH_MORE, busy)

    assert rates.too_noisy == 20
    assert rates.claimed == 0


def test_the_drift_has_the_spread_and_the_memory_that_were_asked_for() -> None:
    machine = SimulatedMachine("drift", (1.0,), Noise(round_sd=0.0, start_sd=0.0, drift_sd=0.3, drift_memory=0.9))
    logs = [math.log(machine.measure_round(0).figures[FIGURE]) for _ in range(20_000)]

    assert statistics.stdev(logs) == pytest.approx(0.3, rel=0.1)
    assert statistics.correlation(logs[:-1], logs[1:]) == pytest.approx(0.9, abs=0.02)


def test_the_same_seed_gives_the_same_machine_and_its_time_passes_only_in_it() -> None:
    def rounds(seed: int) -> list[tuple[float, float]]:
        blocks = compared(seed, SHAPES["all at once"])
        return [(measured.started_s, measured.figures[FIGURE]) for block in blocks for measured in block.rounds]

    assert rounds(1) == rounds(1)
    assert rounds(1) != rounds(2)
    assert rounds(1)[-1][0] > 60
