"""A small shared machine as a seeded model: rounds with known costs under the noise that real ones have, without waiting.

What is known of such machines (CPU time per request of one service against itself): it varies from round to round, drifts by a
third over minutes and remembers where it was, gets dearer in bursts when neighbours wake up, grows with what the run itself
leaves behind, and differs from one start of a process to the next. A burst may show in what the rules look at (lag of the
generator, stolen time, waiting for a CPU) or not; both must be survived.

The real scheduler and the real statistics run on it: see `simulate`. Since the truth is known, their promises can be counted.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from loadtests.analysis.findings import comparisons
from loadtests.comparison.schedule import Disturbance, MeasuredBlock, Round, Rules, Turn, run_blocks
from loadtests.result import Comparison

FIGURE = "cpu_us_per_request"
BASELINE_US = 80.0
ROUND_S = 2.0
RESTART_S = 3.0
MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard deviations are of the logarithm of the cost, so 0.05 is about 5 %."""

    round_sd: float = 0.05  # of each round, by itself
    start_sd: float = 0.02  # of each start of a process, for all its rounds
    drift_sd: float = 0.0  # of a machine that remembers: AR(1)
    drift_memory: float = 0.9  # correlation of one round's drift with the next one's
    trend: float = 0.0  # rise per round
    burst_ratio: float = 0.0  # of rounds hit by a burst
    burst_cost: float = 0.5  # rise of a round's cost in a burst, up to
    burst_shows: float = 0.0  # of bursts that the rules can see


SHAPES: Mapping[str, Noise] = MappingProxyType(
    {
        "lognormal": Noise(round_sd=0.08),
        "drift": Noise(drift_sd=0.30),
        "bursts": Noise(burst_ratio=0.08, burst_shows=0.5),
        "trend": Noise(trend=0.02),
        "starts": Noise(round_sd=0.03, start_sd=0.05),
        "all at once": Noise(drift_sd=0.30, trend=0.005, burst_ratio=0.08, burst_shows=0.5),
    }
)


class SimulatedMachine:
    """Runs variants whose true cost is known. Time is its own and only passes in it."""

    def __init__(self, seed: object, effects: Sequence[float], noise: Noise) -> None:
        """`effects`: each variant's true cost, as a multiple of the baseline's."""
        self._rng = random.Random(f"simulated machine {seed}")
        self._noise = noise
        self._true_us = [BASELINE_US * effect for effect in effects]
        self._started = [0.0] * len(effects)
        self._drift = self._rng.gauss(0, noise.drift_sd)
        self._rounds = 0
        self._now_s = 0.0

    def restart(self) -> None:
        """All variants anew, each with the luck of its start."""
        self._started = [self._rng.gauss(0, self._noise.start_sd) for _ in self._true_us]
        self._now_s += RESTART_S

    async def measure_block(self, index: int, turns: Sequence[Turn]) -> list[Round]:
        """What the scheduler asks for: all variants started anew, then their rounds."""
        self.restart()
        return [self.measure_round(variant) for variant, _ in turns]

    def measure_round(self, variant: int) -> Round:
        rng, noise = self._rng, self._noise
        fresh = math.sqrt(1 - noise.drift_memory**2)
        self._drift = noise.drift_memory * self._drift + fresh * rng.gauss(0, noise.drift_sd)
        burst = rng.random() < noise.burst_ratio
        shows = burst and rng.random() < noise.burst_shows
        log_cost = self._started[variant] + self._drift + noise.trend * self._rounds + rng.gauss(0, noise.round_sd)
        if burst:
            log_cost += rng.uniform(0, math.log1p(noise.burst_cost))
        measured = Round(
            variant,
            started_s=self._now_s,
            figures={FIGURE: self._true_us[variant] * math.exp(log_cost)},
            disturbance=self._disturbance(shows),
        )
        self._rounds += 1
        self._now_s += ROUND_S
        return measured

    def _disturbance(self, burst: bool) -> Disturbance:
        """A burst that shows does so in one of the gauges: the neighbour takes the generator's CPU, the servers', or the host's."""
        rng = self._rng
        where = rng.choice(("generator", "servers", "host")) if burst else ""
        return Disturbance(
            lag_p99_ms=rng.lognormvariate(math.log(1.5), 0.3) * (20 if where == "generator" else 1),
            generator_cpu_ratio=0.3,
            run_queue_wait_us=rng.lognormvariate(math.log(60), 0.2) * (8 if where == "servers" else 1),
            steal_ratio=0.05 if where == "host" else 0.0,
        )


Protocol = Callable[[SimulatedMachine, int, int, int], Awaitable[list[MeasuredBlock]]]  # machine, variants, blocks, seed


async def in_turns(machine: SimulatedMachine, variants: int, blocks: int, seed: int) -> list[MeasuredBlock]:
    """The protocol of a comparison: rules calibrated by a warm-up that does not count, then the scheduler."""
    machine.restart()
    rules = Rules().calibrated([machine.measure_round(variant) for variant in range(variants)])
    return await run_blocks(machine.measure_block, variants=variants, planned=blocks, seed=seed, rules=rules)


async def one_after_the_other(machine: SimulatedMachine, variants: int, blocks: int, seed: int) -> list[MeasuredBlock]:
    """Known-bad: all rounds of one variant, then all of the next. What the machine does meanwhile passes for their difference."""
    rounds: list[list[Round]] = [[] for _ in range(blocks)]
    for variant in range(variants):
        for each in rounds:
            machine.restart()
            each += [machine.measure_round(variant), machine.measure_round(variant)]
    return [MeasuredBlock(index, each, "") for index, each in enumerate(rounds)]


async def same_processes(machine: SimulatedMachine, variants: int, blocks: int, seed: int) -> list[MeasuredBlock]:
    """Known-bad: turns, but every block on the same processes. The luck of one start passes for a difference of the variants."""
    machine.restart()

    async def measure_block(index: int, turns: Sequence[Turn]) -> list[Round]:
        return [machine.measure_round(variant) for variant, _ in turns]

    return await run_blocks(measure_block, variants=variants, planned=blocks, seed=seed, rules=Rules())


@dataclass(frozen=True, slots=True)
class Rates:
    """How many of the simulated comparisons came out how. Those that the machine was too noisy for have no verdict to count."""

    runs: int = 0
    too_noisy: int = 0
    held: int = 0  # the first variant's interval holds its true ratio
    claimed: int = 0  # a variant was said to cost more or less
    more: int = 0  # a variant was said to cost more
    claimed_alone: int = 0  # a variant would have been said to differ, had there been no others
    beyond_margin: int = 0  # an interval lies wholly beyond the margin
    void_blocks: int = 0

    def __add__(self, other: Rates) -> Rates:
        return Rates(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def share(self, count: int) -> float:
        """Of the comparisons with a verdict; 0 where there are none."""
        return count / max(1, self.runs - self.too_noisy)


def simulate(
    seeds: Sequence[int], effects: Sequence[float], noise: Noise, blocks: int = 10, protocol: Protocol = in_turns
) -> Rates:
    """A comparison per seed. `effects`: the true costs, the baseline's first; equal ones make every claim a false one."""

    async def run_all() -> list[list[MeasuredBlock]]:
        return [await protocol(SimulatedMachine(seed, effects, noise), len(effects), blocks, seed) for seed in seeds]

    return sum((judged(measured, effects, blocks) for measured in asyncio.run(run_all())), Rates())


def judged(measured: Sequence[MeasuredBlock], effects: Sequence[float], planned: int) -> Rates:
    """One simulated comparison against the truth."""
    accepted = [block for block in measured if block.accepted]
    void = len(measured) - len(accepted)
    if len(accepted) < planned:
        return Rates(runs=1, too_noisy=1, void_blocks=void)
    found = [each[0] for each in comparisons(accepted, [str(variant) for variant in range(len(effects))], MARGIN, FIGURE)]
    alone = [comparisons(only(accepted, variant), ["0", "1"], MARGIN, FIGURE)[0][0] for variant in range(1, len(effects))]
    low, high = interval(found[0])
    return Rates(
        runs=1,
        held=low <= effects[1] / effects[0] <= high,
        claimed=any(each.verdict in ("more", "less") for each in found),
        more=any(each.verdict == "more" for each in found),
        claimed_alone=any(each.verdict in ("more", "less") for each in alone),
        beyond_margin=any(low > 1 + MARGIN or high < 1 / (1 + MARGIN) for low, high in map(interval, found)),
        void_blocks=void,
    )


def only(blocks: Sequence[MeasuredBlock], variant: int) -> list[MeasuredBlock]:
    """The same blocks as if the baseline and this variant had been alone; the variant is then number 1."""
    return [
        replace(block, rounds=[replace(each, variant=each.variant and 1) for each in block.rounds if each.variant in (0, variant)])
        for block in blocks
    ]


def interval(comparison: Comparison) -> tuple[float, float]:
    """Without an interval everything is possible."""
    paired = comparison.ratio
    return (0.0, math.inf) if paired is None or paired.low is None or paired.high is None else (paired.low, paired.high)
