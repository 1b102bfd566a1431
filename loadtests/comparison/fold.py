"""Measured blocks as the record that reports read: every figure, sentence and condition of a run in one `Result`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from loadtests.analysis.figures import figure
from loadtests.analysis.findings import (
    block_figures,
    bought_and_paid,
    comparisons,
    drift_note,
    headline,
    steadiness,
    without_verdict,
)
from loadtests.analysis.latencies import latency_summary, over_time, ratio_function
from loadtests.comparison.experiment import Experiment
from loadtests.comparison.noise_floor import copies_compared, noise_sentence, rounds_compared
from loadtests.comparison.rounds import plan_hash
from loadtests.comparison.schedule import MeasuredBlock, Rules
from loadtests.manifest import Conditions
from loadtests.result import Band, Block, Manifest, Result, SafetyCheck, Variant
from loadtests.workload import Target

FAILURES_NOTED_ABOVE_PER_100 = 1.0


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
    *,
    remarks: Sequence[str] = (),
) -> Result:
    """Everything that was measured, as the record that reports read. Pure, but for the plans drawn again for their hash.

    A control, the last target where the experiment has one, is no variant: it only tells how far two copies of one thing differ.
    """
    control = len(targets) - 1 if experiment.control else None
    names = [target.name for target in targets]
    compared = names[:control]
    accepted = [block for block in measured if block.accepted]
    too_noisy = noise_verdict(measured, experiment.blocks)
    found = comparisons(accepted, compared, experiment.margin, experiment.primary)
    if too_noisy:
        found = [without_verdict(each, too_noisy) for each in found]
    bought: list[str] = []
    paid: list[str] = []
    for each, card in zip(found, cards, strict=True):
        for lines, more in zip((bought, paid), bought_and_paid(each, card), strict=True):
            lines.extend(more)
    primaries = [comparison.ratio for each in found for comparison in each if comparison.primary and comparison.ratio]
    if control is None:
        floor = rounds_compared(accepted, experiment.primary)
    else:
        floor = copies_compared(accepted, control, experiment.primary)
    variants = [fold_variant(variant, targets[variant], accepted, experiment) for variant in range(len(compared))]
    return Result(
        headline=headline(found, compared, {name: safety[name] for name in compared}, too_noisy),
        baseline=names[0],
        variants=variants,
        comparisons=found,
        noise_floor=floor,
        noise_sentence=noise_sentence(floor, figure(experiment.primary).noun, second_copy=experiment.control, found=primaries),
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
        ratio_functions=[ratio_function(accepted, variant) for variant in range(1, len(compared))],
        bands=[band for variant, name in enumerate(compared) for band in bands(variant, name, accepted)],
        manifest=Manifest(
            design=experiment.design,
            knob=experiment.knob,
            mix=experiment.mix.name,
            faults=list(experiment.faults),
            mix_description=experiment.mix.who,
            seed=experiment.seed,
            plan_hash=plan_hash(experiment),
            rate_per_s=experiment.rate_per_s,
            round_s=experiment.round_s,
            blocks_planned=experiment.blocks,
            blocks_rejected=len(measured) - len(accepted),
            margin=experiment.margin,
            experiment_hash=experiment.hash,
            rules=asdict(limits),
            primary_figure=experiment.primary,
            started_at=started_at,
            duration_s=duration_s,
            command=experiment.command,
            commit=around.commit,
            dirty=around.dirty,
            versions=around.versions,
            machine=around.machine,
            pinning=pinned,
            notes=[*remarks, *notes(experiment, limits, compared, variants, accepted, safety, too_noisy)],
        ),
    )


def fold_variant(variant: int, target: Target, accepted: Sequence[MeasuredBlock], experiment: Experiment) -> Variant:
    rounds = [measured for block in accepted for measured in block.rounds if measured.variant == variant]
    per_block = [block_figures(block, variant) for block in accepted]
    primaries = [figures.get(experiment.primary, 0.0) for figures in per_block]
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
        steadiness=steadiness(primaries, experiment.margin) if min(primaries, default=0.0) > 0 else None,
    )


def bands(variant: int, name: str, accepted: Sequence[MeasuredBlock]) -> list[Band]:
    """What was broken on purpose, on the clock of the variant's `over_time`."""
    rounds = [measured for block in accepted for measured in block.rounds if measured.variant == variant]
    return [
        Band(
            name=each.detail or f"{each.kind} {each.target}",
            variant=name,
            start_s=each.began_s - rounds[0].started_s,
            end_s=each.ended_s - rounds[0].started_s,
        )
        for measured in rounds
        for each in measured.struck
    ]


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
    variants: Sequence[Variant],
    accepted: Sequence[MeasuredBlock],
    safety: Mapping[str, Sequence[SafetyCheck]],
    too_noisy: str,
) -> list[str]:
    """What a reader of the figures must know."""
    found = [too_noisy, state_note(experiment), fault_note(experiment)]
    lags_ms = [measured.disturbance.lag_p99_ms for block in accepted for measured in block.rounds]
    if lags_ms:
        found.append(
            f"the generator's own lag: p99 {statistics.median(lags_ms):.1f} ms in the median round, "
            f"a block was void above {limits.lag_p99_ms:.1f} ms"
        )
    for variant, (name, folded) in enumerate(zip(names, variants, strict=True)):
        rounds = [measured for block in accepted for measured in block.rounds if measured.variant == variant]
        if 2 * sum(measured.overloaded for measured in rounds) > len(rounds):
            found.append(f"{name}: overloaded at {experiment.rate_per_s:g}/s, so it has no percentiles")
        failed = [measured.figures.get("failed_per_100", 0.0) for measured in rounds]
        if failed and statistics.fmean(failed) > FAILURES_NOTED_ABOVE_PER_100:
            found.append(f"{name}: {statistics.fmean(failed):.1f} % of its requests failed; no latency counts them")
        if folded.steadiness is not None:
            found.append(drift_note(name, folded.steadiness, len(accepted)))
        unknown = [check.name for check in safety.get(name, ()) if check.verdict == "unknown"]
        if unknown:
            found.append(f"{name}: not established: {', '.join(unknown)}")
    return [note for note in found if note]


def fault_note(experiment: Experiment) -> str:
    if not experiment.faults:
        return ""
    return (
        f"in every round these faults struck, at the same moments for each variant: {', '.join(experiment.faults)}; all traffic to "
        "servers passed a fault proxy, whose CPU is shown and is in no total"
    )


def state_note(experiment: Experiment) -> str:
    """What each block began with."""
    touched = ", every key asked for once" if experiment.mix.touch else ""
    dropped = f"not measured: {experiment.warm_up_s:g} s of warm-up, and {experiment.lead_in_s:g} s of load before each round"
    if experiment.fresh:
        return f"each block began with new processes and the same seeded data{touched}; {dropped}"
    return f"state was not reset between blocks: all of them measured the same processes; {dropped}"
