"""From measured blocks to sentences: figures per block, comparisons with the baseline, what a choice buys and what it costs.

Pure functions over plain data. Figures stand from least to most noisy: counted work, CPU time, memory, latency.
"""

from __future__ import annotations

import statistics as stdlib_statistics
from collections.abc import Mapping, Sequence

from loadtests.analysis.figures import figure
from loadtests.analysis.latencies import merged_latencies_s
from loadtests.analysis.sentences import number, sentence
from loadtests.analysis.statistics import (
    HolmStep,
    holm,
    paired_log_ratios,
    percentile,
    ratio,
    sign_flip_p,
    signed_rank_p,
    theil_sen,
    verdict,
)
from loadtests.comparison.schedule import MeasuredBlock
from loadtests.result import Comparison, SafetyCheck, Steadiness

CARD_LINES = 8
MEAN_DISAGREES = "; the mean over blocks does not show it, because single blocks lie far out"


def block_figures(block: MeasuredBlock, variant: int) -> dict[str, float]:
    """Mean over the variant's two rounds; latency percentiles of their merged samples, as far as the samples carry them."""
    rounds = [measured for measured in block.rounds if measured.variant == variant]
    figures = {
        name: stdlib_statistics.fmean(measured.figures[name] for measured in rounds)
        for name in rounds[0].figures
        if all(name in measured.figures for measured in rounds)
    }
    if not any(measured.overloaded for measured in rounds):
        merged_s = merged_latencies_s(block, variant)
        for name, q in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99)):
            value_s = percentile(merged_s, q)
            if value_s is not None:
                figures[name] = value_s * 1e3
    return figures


def comparisons(blocks: Sequence[MeasuredBlock], names: Sequence[str], margin: float, primary: str) -> list[list[Comparison]]:
    """A list for each variant after the baseline: every figure that both have in every block, except counts that stay 0 on both.

    The verdicts on one figure are given together, by Holm's procedure over the variants that have a ratio of it.
    """
    per_block = [[block_figures(block, variant) for block in blocks] for variant in range(len(names))]
    columns = [
        {
            name: [figures[name] for figures in rows]
            for name in (rows[0] if rows else {})
            if all(name in figures for figures in rows)
        }
        for rows in per_block
    ]
    steps = {name: holm_steps(name, columns) for name in columns[0]}
    return [
        [
            compare_figure(name, base, column[name], names[variant], names[0], margin, steps[name].get(variant)).model_copy(
                update={"primary": name == primary}
            )
            for name, base in columns[0].items()
            if name in column and (any(base) or any(column[name]))
        ]
        for variant, column in enumerate(columns)
        if variant
    ]


def holm_steps(name: str, columns: Sequence[Mapping[str, Sequence[float]]]) -> dict[int, HolmStep]:
    """Variant -> the step at which its ratio to the baseline in this figure stands; only for variants that have such a ratio."""
    p_values = {
        variant: signed_rank_p(paired_log_ratios(columns[0][name], column[name]))
        for variant, column in enumerate(columns)
        if variant and name in column and min((*columns[0][name], *column[name])) > 0
    }
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def compare_figure(
    name: str,
    baseline: Sequence[float],
    other: Sequence[float],
    other_name: str,
    baseline_name: str,
    margin: float,
    step: HolmStep | None = None,
) -> Comparison:
    """One figure over the blocks, with its sentence. `step`: where it stands among several variants; None: alone."""
    words = figure(name)
    base_median, other_median = stdlib_statistics.median(baseline), stdlib_statistics.median(other)
    if min((*baseline, *other)) <= 0:
        return Comparison(
            figure=name,
            title=words.title,
            unit=words.unit,
            baseline=base_median,
            other=other_median,
            ratio=None,
            verdict="count",
            sentence=f"{other_name}: {number(other_median)} {words.noun}, {number(base_median)} with {baseline_name}",
        )
    log_ratios = paired_log_ratios(baseline, other)
    step = step or holm([signed_rank_p(log_ratios)])[0]
    paired = ratio(log_ratios, step.confidence)
    found = verdict(paired, margin)
    # Ranks make little of how far out a block lies. Where the mean is far from agreeing, a reader should know.
    doubted = found in ("less", "more") and sign_flip_p(log_ratios) > 2 * (1 - step.confidence)
    return Comparison(
        figure=name,
        title=words.title,
        unit=words.unit,
        baseline=base_median,
        other=other_median,
        ratio=paired,
        verdict=found,
        sentence=sentence(other_name, words, paired, margin, step.confidence) + (MEAN_DISAGREES if doubted else ""),
        p_value=step.p_value,
    )


def bought_and_paid(found: Sequence[Comparison], card: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sentences for the two sides of the trade-off card: of the primary figure and those that `card` names, in its order."""
    rank = {name: position for position, name in enumerate(card)}
    bought: list[str] = []
    paid: list[str] = []
    for comparison in sorted(found, key=lambda comparison: rank.get(comparison.figure, len(rank))):
        change = comparison.other - comparison.baseline
        if comparison.verdict not in ("less", "more", "count") or change == 0:
            continue
        if rank and comparison.figure not in rank and not comparison.primary:
            continue
        less = comparison.verdict == "less" or (comparison.verdict == "count" and change < 0)
        (bought if less == figure(comparison.figure).cost else paid).append(comparison.sentence)
    return bought[:CARD_LINES], paid[:CARD_LINES]


def headline(
    found: Sequence[Sequence[Comparison]],
    names: Sequence[str],
    safety: Mapping[str, Sequence[SafetyCheck]],
    too_noisy: str,
) -> str:
    """The primary figure of each other variant in a sentence. A broken promise comes first: speed does not excuse it."""
    primaries = {
        name: next((comparison for comparison in list_ if comparison.primary), None)
        for name, list_ in zip(names[1:], found, strict=True)
    }
    spoken = "; ".join(comparison.sentence for comparison in primaries.values() if comparison is not None)
    if too_noisy:
        spoken = f"inconclusive: {too_noisy}"
    spoken = spoken or "inconclusive: the primary figure was not measured"
    wrong: list[str] = []
    for name, checks in safety.items():
        broken = [check for check in checks if check.verdict == "invalid"]
        if broken:
            primary = primaries.get(name)
            faster = primary is not None and primary.verdict == "less"
            wrong.append(f"{'faster, but wrong' if faster else 'wrong'}: {name} broke “{broken[0].name}”{counts(broken[0])}")
    return "; ".join([*wrong, spoken])


def counts(check: SafetyCheck) -> str:
    """ " (3 lost, 1 duplicated)", what is 0 left out."""
    shown = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in check.counts.items() if count)
    return f" ({shown})" if shown else ""


def without_verdict(found: Sequence[Comparison], reason: str) -> list[Comparison]:
    """The same figures when the machine was too noisy to judge them. Counted work stands: noise does not change counts."""
    return [
        comparison.model_copy(
            update={"verdict": "inconclusive", "sentence": f"{figure(comparison.figure).noun} inconclusive: {reason}"}
        )
        if comparison.figure.startswith(("cpu_", "latency_")) and comparison.ratio is not None
        else comparison
        for comparison in found
    ]


def steadiness(per_block: Sequence[float], margin: float) -> Steadiness:
    """Whether a figure (above 0) stayed where it was over the blocks. Below 5 blocks nothing can be shown against it."""
    slope, low, high = theil_sen(per_block)
    middle = stdlib_statistics.median(per_block)
    shown = low is not None and high is not None and not low <= 0 <= high
    return Steadiness(
        change_per_block=slope / middle,
        low=None if low is None else low / middle,
        high=None if high is None else high / middle,
        steady=not shown or abs(slope / middle) * (len(per_block) - 1) <= margin,
    )


def drift_note(name: str, found: Steadiness, blocks: int) -> str:
    """A sentence when the primary figure rose or fell over the blocks by more than the margin; "" when it can't be said to."""
    if found.steady:
        return ""
    change = found.change_per_block * (blocks - 1)
    return f"{name}: the primary figure moved by {change * 100:+.0f} % from the first block to the last; warm-up may not be over"
