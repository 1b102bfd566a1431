"""The comparison: variants that run side by side take turns under the same load, and what each turn cost is put together.

The caller starts the variants; this measures them, judges their histories, and gives back a `Result` that carries its own
conditions. The primary figure is CPU time per request, because that is what a small, shared machine can compare; see
`statistics` for what is claimed from it and `schedule` for which blocks count.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtests.findings import (
    block_figures,
    bought_and_paid,
    comparisons,
    drift_note,
    figure,
    headline,
    latency_summary,
    noise_sentence,
    over_time,
    self_comparison,
    without_verdict,
)
from loadtests.manifest import Conditions, conditions, pinning
from loadtests.open_loop import CONNECTIONS_PER_URL, TIMEOUT_S, LoadGenerator
from loadtests.result import Block, Comparison, Manifest, Ratio, Result, SafetyCheck, Variant
from loadtests.rounds import WARM_UP_PLAN, Experiment, RoundTaker, plan_hash
from loadtests.schedule import MeasuredBlock, Round, Rules, run_blocks
from loadtests.statistics import paired_log_ratios, ratio
from loadtests.workload import Mix, Target, Workload

SETTLE_S = 0.15
FAILURES_NOTED_ABOVE_PER_100 = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after each step. `ratio` is the primary figure of the first other variant so far, None before the first block."""

    phase: Literal["seed", "warm-up", "block", "check"]
    variant: str
    blocks_accepted: int
    blocks_planned: int
    blocks_void: int
    void_because: str
    elapsed_s: float
    ratio: Ratio | None


async def compare(
    targets: Sequence[Target],
    workload: Workload,
    mix: Mix,
    *,
    design: str,
    knob: str,
    rate_per_s: float,
    blocks: int,
    round_s: float,
    seed: int,
    margin: float = 0.05,
    primary: str = "cpu_us_per_request",
    command: str = "",
    rules: Rules | None = None,
    cpus: Collection[int] | None = None,
    connections_per_url: int = CONNECTIONS_PER_URL,
    timeout_s: float = TIMEOUT_S,
    settle_s: float = SETTLE_S,
    versions: Mapping[str, str] | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> Result:
    """Measure `targets`, the first being the baseline. Best run on uvloop (`open_loop.run`).

    `cpus` are the generator's, held for the length of the run where the system allows it. `versions` are those only the caller
    knows, such as a Redis server's. `cpu_clock.Unreadable` when a process of a variant has ended; ValueError for fewer than two
    variants, two of one name, or an address that is not this machine's.
    """
    names = [target.name for target in targets]
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(f"a comparison needs two or more variants with different names, not {names}")
    experiment = Experiment(design, knob, mix, rate_per_s, round_s, blocks, seed, margin, primary, command)
    around = conditions()
    around.versions.update(versions or {})
    started_at, started_s = now(), clock()
    generators: list[LoadGenerator] = []
    measured: list[MeasuredBlock] = []

    def tell(phase: Literal["seed", "warm-up", "block", "check"], variant: str = "") -> None:
        accepted = [block for block in measured if block.accepted]
        last_void = measured[-1].void_because if measured else ""
        so_far = primary_ratio(accepted, primary)
        void = len(measured) - len(accepted)
        progress(Progress(phase, variant, len(accepted), blocks, void, last_void, clock() - started_s, so_far))

    def on_block(so_far: Sequence[MeasuredBlock]) -> None:
        measured[:] = so_far
        tell("block")

    with held_to(cpus):
        try:
            for target in targets:
                generators.append(LoadGenerator(target.urls, connections_per_url=connections_per_url, timeout_s=timeout_s))
            rounds = RoundTaker(targets, generators, workload, experiment, settle_s, clock, sleep)
            for target in targets:
                tell("seed", target.name)
                await workload.seed(target, mix, seed)
            warm_up: list[Round] = []
            for variant, target in enumerate(targets):
                tell("warm-up", target.name)
                warm_up.append(await rounds.measure(variant, WARM_UP_PLAN))
            limits = (rules or Rules()).calibrated(warm_up)
            tell("block")
            await run_blocks(
                rounds.measure,
                variants=len(targets),
                planned=blocks,
                seed=seed,
                rules=limits,
                on_block=on_block,
            )
        finally:
            for generator in generators:
                await generator.close()
        safety: dict[str, list[SafetyCheck]] = {}
        for target in targets:
            tell("check", target.name)
            safety[target.name] = list(await workload.check(target))
        pinned = pinning(current_cpus(), (pid for target in targets for pids in target.pids.values() for pid in pids))

    cards = [workload.card(knob, names[0], other) for other in names[1:]]
    return fold(experiment, limits, targets, measured, safety, cards, around, pinned, started_at.isoformat(), clock() - started_s)


def primary_ratio(accepted: Sequence[MeasuredBlock], primary: str) -> Ratio | None:
    """The first other variant against the baseline so far."""
    pairs = [(block_figures(block, 0), block_figures(block, 1)) for block in accepted]
    if not pairs or any(min(a.get(primary, 0.0), b.get(primary, 0.0)) <= 0 for a, b in pairs):
        return None
    return ratio(paired_log_ratios([a[primary] for a, _ in pairs], [b[primary] for _, b in pairs]))


def fold(
    experiment: Experiment,
    limits: Rules,
    targets: Sequence[Target],
    measured: Sequence[MeasuredBlock],
    safety: Mapping[str, list[SafetyCheck]],
    cards: Sequence[Sequence[str]],
    around: Conditions,
    pinned: str,
    started_at: str,
    duration_s: float,
) -> Result:
    """Everything that was measured, as the record that reports read. Pure, but for the plans drawn again for their hash."""
    names = [target.name for target in targets]
    accepted = [block for block in measured if block.accepted]
    too_noisy = noise_verdict(measured, experiment.blocks)
    found: list[list[Comparison]] = []
    bought: list[str] = []
    paid: list[str] = []
    for variant, card in enumerate(cards, start=1):
        compared = comparisons(accepted, variant, names, experiment.margin, experiment.primary)
        if too_noisy:
            compared = without_verdict(compared, too_noisy)
        found.append(compared)
        for lines, more in zip((bought, paid), bought_and_paid(compared, card), strict=True):
            lines.extend(more)
    floor = self_comparison(accepted, experiment.primary)
    variants = [fold_variant(variant, target, accepted, experiment) for variant, target in enumerate(targets)]
    return Result(
        headline=headline(found, names, safety, too_noisy),
        baseline=names[0],
        variants=variants,
        comparisons=found,
        noise_floor=floor,
        noise_sentence=noise_sentence(floor, figure(experiment.primary).noun),
        bought=bought,
        paid=paid,
        safety=dict(safety),
        blocks=[
            Block(
                index=block.index,
                order=[names[measured_round.variant] for measured_round in block.rounds],
                accepted=block.accepted,
                rejected_because=block.void_because,
                figures={name: block_figures(block, variant) for variant, name in enumerate(names)},
            )
            for block in measured
        ],
        manifest=Manifest(
            design=experiment.design,
            knob=experiment.knob,
            mix=experiment.mix.name,
            mix_description=experiment.mix.who,
            seed=experiment.seed,
            plan_hash=plan_hash(experiment),
            rate_per_s=experiment.rate_per_s,
            round_s=experiment.round_s,
            blocks_planned=experiment.blocks,
            blocks_rejected=len(measured) - len(accepted),
            margin=experiment.margin,
            primary_figure=experiment.primary,
            started_at=started_at,
            duration_s=duration_s,
            command=experiment.command,
            commit=around.commit,
            dirty=around.dirty,
            versions=around.versions,
            machine=around.machine,
            pinning=pinned,
            notes=notes(experiment, limits, names, accepted, safety, too_noisy),
        ),
    )


def fold_variant(variant: int, target: Target, accepted: Sequence[MeasuredBlock], experiment: Experiment) -> Variant:
    rounds = [measured for block in accepted for measured in block.rounds if measured.variant == variant]
    per_block = [block_figures(block, variant) for block in accepted]
    shared = [name for name in (per_block[0] if per_block else {}) if all(name in figures for figures in per_block)]
    statuses: Counter[str] = Counter()
    for measured in rounds:
        statuses.update(measured.statuses)
    overloaded = 2 * sum(measured.overloaded for measured in rounds) > len(rounds)
    return Variant(
        name=target.name,
        knobs=dict(target.knobs),
        requests=statuses.total(),
        statuses=dict(statuses),
        figures={name: statistics.median([figures[name] for figures in per_block]) for name in shared},
        latency_intended=latency_summary([measured.latency_intended_s for measured in rounds], overloaded),
        latency_sent=latency_summary([measured.latency_sent_s for measured in rounds], overloaded),
        over_time=over_time(rounds, experiment.round_s),
    )


def noise_verdict(measured: Sequence[MeasuredBlock], planned: int) -> str:
    """Why no verdict is given, "" when all planned blocks were accepted."""
    void = [block for block in measured if not block.accepted]
    if len(measured) - len(void) >= planned:
        return ""
    kinds = Counter(block.void_because.partition(":")[0] for block in void)
    return f"machine too noisy, {len(void)} of {len(measured)} blocks were void (mostly: {kinds.most_common(1)[0][0]})"


def notes(
    experiment: Experiment,
    limits: Rules,
    names: Sequence[str],
    accepted: Sequence[MeasuredBlock],
    safety: Mapping[str, Sequence[SafetyCheck]],
    too_noisy: str,
) -> list[str]:
    """What a reader of the figures must know."""
    found = [too_noisy]
    lags_ms = [measured.disturbance.lag_p99_ms for block in accepted for measured in block.rounds]
    if lags_ms:
        found.append(
            f"the generator's own lag: p99 {statistics.median(lags_ms):.1f} ms in the median round, "
            f"a block was void above {limits.lag_p99_ms:.1f} ms"
        )
    for variant, name in enumerate(names):
        rounds = [measured for block in accepted for measured in block.rounds if measured.variant == variant]
        if 2 * sum(measured.overloaded for measured in rounds) > len(rounds):
            found.append(f"{name}: overloaded at {experiment.rate_per_s:g}/s, so it has no percentiles")
        failed = [measured.figures.get("failed_per_100", 0.0) for measured in rounds]
        if failed and statistics.fmean(failed) > FAILURES_NOTED_ABOVE_PER_100:
            found.append(f"{name}: {statistics.fmean(failed):.1f} % of its requests failed; no latency counts them")
        per_block = [block_figures(block, variant).get(experiment.primary, 0.0) for block in accepted]
        if per_block and min(per_block) > 0:
            found.append(drift_note(name, per_block, experiment.margin))
        unknown = [check.name for check in safety.get(name, ()) if check.verdict == "unknown"]
        if unknown:
            found.append(f"{name}: not established: {', '.join(unknown)}")
    return [note for note in found if note]


@contextlib.contextmanager
def held_to(cpus: Collection[int] | None) -> Iterator[None]:
    """Keep this process on these CPUs for a while, where the system can; elsewhere, or with None, nothing changes."""
    before = current_cpus()
    if cpus and before:
        with contextlib.suppress(OSError):  # CPUs that do not exist; `pinning` then says "unpinned"
            os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)


def current_cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
