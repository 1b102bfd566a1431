"""Which variant runs when, and which blocks count: the part of a comparison that knows no process and no clock.

Variants take turns in short rounds. A block gives each variant two, in an order that a drift of the machine cannot favour:
baseline, other, other, baseline, and the next block the other way round; with more variants a random order, then its reverse.
Both variants replay the same plans. The rules that void a block are fixed before the run and the same for every variant; a
void block is done again, and after twice the planned blocks the machine is called too noisy and the run stops.
"""

from __future__ import annotations

import random
import statistics
from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loadtests.history.operation import Struck

LAG_MEDIANS = 3.0
LAG_CEILING_MS = 25.0
STEAL_MEDIANS, STEAL_CEILING = 3.0, 0.04

Turn = tuple[int, int]  # variant, index of the plan
MeasureBlock = Callable[[int, Sequence[Turn]], Awaitable[Sequence["Round"]]]  # index of the block, its turns in order


@dataclass(frozen=True, slots=True)
class Rules:
    """When a block is void."""

    lag_p99_ms: float = 5.0  # the generator was late by itself, by more than a neighbour's scheduler slice; see `calibrated`
    generator_cpu_ratio: float = 0.8  # of one CPU
    run_queue_wait_medians: float = 3.0  # waiting for a CPU, against the median of the variant's rounds before
    run_queue_wait_floor_us: float = 50.0  # per request, waiting that never matters
    steal_ratio: float = 0.01  # of all CPU time; see `calibrated`
    idle_cpu_ratio: float = 0.05  # of one CPU, used by variants whose turn it was not

    def calibrated(self, warm_up: Sequence[Round]) -> Rules:
        """The rules for this machine today, from rounds that do not count, so that they stand before the first that does.

        A neighbour on the generator's CPU holds it for a scheduler's slice, 3 to 4 ms, and two for longer. That is no reason to
        void every block of a busy machine: three times the usual lag is, and 25 ms in any case. Nor is a host that always takes one
        or two per cent: that is no CPU time of a process, and is taken from all variants alike. Three times the usual is, and 4 %
        in any case.
        """
        usual_ms = statistics.median(measured.disturbance.lag_p99_ms for measured in warm_up)
        usual_steal = statistics.median(measured.disturbance.steal_ratio for measured in warm_up)
        return replace(
            self,
            lag_p99_ms=max(self.lag_p99_ms, min(LAG_MEDIANS * usual_ms, LAG_CEILING_MS)),
            steal_ratio=max(self.steal_ratio, min(STEAL_MEDIANS * usual_steal, STEAL_CEILING)),
        )


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What the rules judge of one round."""

    lag_p99_ms: float = 0.0
    generator_cpu_ratio: float = 0.0
    run_queue_wait_us: float = 0.0  # per request
    steal_ratio: float = 0.0
    idle_cpu_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """One variant under one plan. Latencies are those of answers below status 500; failures are counted, not timed."""

    variant: int
    started_s: float
    figures: Mapping[str, float]  # name -> value, per request where the name says so
    disturbance: Disturbance
    statuses: Mapping[str, int] = field(default_factory=dict)
    intended_s: array[float] = field(default_factory=lambda: array("d"))  # since the start of the round
    latency_intended_s: array[float] = field(default_factory=lambda: array("d"))
    latency_sent_s: array[float] = field(default_factory=lambda: array("d"))
    overloaded: bool = False
    struck: Sequence[Struck] = ()  # what was broken on purpose; on the clock of `started_s`


@dataclass(frozen=True, slots=True)
class MeasuredBlock:
    """The statistical unit. `index` counts from 0; a void block and its repetitions share theirs."""

    index: int
    rounds: Sequence[Round]
    void_because: str

    @property
    def accepted(self) -> bool:
        return not self.void_because


def block_order(variants: int, index: int, seed: int) -> list[int]:
    """Variants in the order of their turns, each twice. With two, ABBA and BAAB alternate."""
    if variants < 2:
        raise ValueError("a comparison needs at least two variants")
    if variants == 2:
        return [0, 1, 1, 0] if index % 2 == 0 else [1, 0, 0, 1]
    order = list(range(variants))
    random.Random(f"{seed} order of block {index}").shuffle(order)
    return order + order[::-1]


def plan_indexes(variants: int, index: int) -> list[int]:
    """For each turn of a block the plan to replay: one for everybody's first turn, another for the second."""
    return [2 * index] * variants + [2 * index + 1] * variants


async def run_blocks(
    measure_block: MeasureBlock,
    *,
    variants: int,
    planned: int,
    seed: int,
    rules: Rules,
    on_block: Callable[[Sequence[MeasuredBlock]], None] = lambda blocks: None,
) -> list[MeasuredBlock]:
    """Blocks until `planned` are accepted, at most twice as many: fewer accepted than planned means "machine too noisy"."""
    if planned < 1:
        raise ValueError("a comparison needs at least one block")
    blocks: list[MeasuredBlock] = []
    waits_us: list[list[float]] = [[] for _ in range(variants)]
    accepted = 0
    while accepted < planned and len(blocks) < 2 * planned:
        turns = list(zip(block_order(variants, accepted, seed), plan_indexes(variants, accepted), strict=True))
        rounds = await measure_block(accepted, turns)
        blocks.append(MeasuredBlock(accepted, rounds, void_because(rounds, waits_us, rules)))
        for measured in rounds:
            waits_us[measured.variant].append(measured.disturbance.run_queue_wait_us)
        accepted += blocks[-1].accepted
        on_block(blocks)
    return blocks


def void_because(rounds: Sequence[Round], waits_before_us: Sequence[Sequence[float]], rules: Rules) -> str:
    """The first rule that a round of this block breaks, as a phrase; "" for a block that counts."""
    for measured in rounds:
        seen = measured.disturbance
        if seen.lag_p99_ms > rules.lag_p99_ms:
            return f"generator late: p99 {seen.lag_p99_ms:.1f} ms"
        if seen.generator_cpu_ratio > rules.generator_cpu_ratio:
            return f"generator busy: {seen.generator_cpu_ratio:.0%} of a CPU"
        if seen.steal_ratio > rules.steal_ratio:
            return f"CPU stolen: {seen.steal_ratio:.1%}"
        if seen.idle_cpu_ratio > rules.idle_cpu_ratio:
            return f"idle variant at work: {seen.idle_cpu_ratio:.0%} of a CPU"
        before_us = waits_before_us[measured.variant]
        if before_us:
            limit_us = rules.run_queue_wait_medians * statistics.median(before_us)
            if seen.run_queue_wait_us > max(limit_us, rules.run_queue_wait_floor_us):
                return f"waited for a CPU: {seen.run_queue_wait_us:.0f} us a request"
    return ""
