"""Two recorded runs of the same experiment, before and after a change: what became of each figure, and of each verdict.

The runs are not paired. A neighbour's load on one of the days moves every block of that day, and an interval over blocks can't tell
that from a change of the code. Two answers are therefore given: each variant against its former self, which the weather touches,
and each paired ratio against its former self, from which the weather of either day has cancelled out.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from loadtests.analysis.comparable import blocks_of, differences, reasons
from loadtests.analysis.figures import figure
from loadtests.analysis.statistics import Verdict, paired_log_ratios, verdict
from loadtests.analysis.two_samples import ratio_of, shift
from loadtests.result import Comparison, Ratio, Record, Result

Agreement = Literal["agree", "compatible", "moved", "unknown"]

UNPAIRED = (
    "The runs are not paired: what else the machine did on either day counts as a difference. "
    "Trust the paired ratios first, and a figure by itself only where the machine was as quiet both times."
)
ONE_IN_TWENTY = "Each line stands alone at about 95 %: of twenty lines without any change, one claims one."
COMPACT = "At least one of the records keeps no blocks, so that only the paired ratios can be compared."


class FigureChange(Record):
    """One figure of one variant in the second run against the first, unpaired."""

    variant: str
    figure: str
    title: str
    unit: str
    first: float = Field(description="median over the blocks")
    second: float
    ratio: Ratio | None = Field(description="second / first; None where a block counted nothing")
    verdict: Literal["less", "more", "same", "inconclusive", "count"]


class RatioChange(Record):
    """One paired ratio (variant / baseline) in both runs."""

    variant: str
    figure: str
    title: str
    primary: bool
    first: Ratio
    second: Ratio
    first_verdict: str
    second_verdict: str
    agreement: Agreement = Field(
        description="agree: the same word and overlapping intervals; compatible: other words, overlapping intervals; "
        "moved: the intervals lie apart; unknown: one has none"
    )
    change: Ratio | None = Field(description="second ratio / first ratio, from the blocks of both runs; None without blocks")
    change_verdict: Literal["less", "more", "same", "inconclusive"] | None


class RunDiff(Record):
    """Everything `designs diff` knows. Where `comparable` is false only `reasons` and `differences` are filled."""

    comparable: bool
    reasons: list[str] = Field(description="why the runs can't be compared")
    differences: list[str] = Field(description="what differs and may: commit, versions, load of the day")
    ratios: list[RatioChange]
    figures: list[FigureChange]
    notes: list[str]


def compare_runs(first: Result, second: Result) -> RunDiff:
    """The second run against the first."""
    why = reasons(first, second)
    if why:
        return RunDiff(comparable=False, reasons=why, differences=differences(first, second), ratios=[], figures=[], notes=[])
    with_blocks = bool(first.blocks and second.blocks)
    notes = [UNPAIRED, ONE_IN_TWENTY] if with_blocks else [COMPACT]
    notes += [
        f"safety of the {which} run is unknown"
        for which, run in (("first", first), ("second", second))
        if run.safety_verdict() == "unknown"
    ]
    return RunDiff(
        comparable=True,
        reasons=[],
        differences=differences(first, second),
        ratios=ratio_changes(first, second),
        figures=figure_changes(first, second) if with_blocks else [],
        notes=notes,
    )


def ratio_changes(first: Result, second: Result) -> list[RatioChange]:
    """Every paired ratio that both runs have."""
    changes = []
    for variant, before, after in zip(first.variants[1:], first.comparisons, second.comparisons, strict=True):
        later = {comparison.figure: comparison for comparison in after}
        for comparison in before:
            other = later.get(comparison.figure)
            if other is not None and comparison.ratio is not None and other.ratio is not None:
                changes.append(_ratio_change(first, second, variant.name, comparison, other, comparison.ratio, other.ratio))
    return changes


def _ratio_change(
    first: Result, second: Result, variant: str, before: Comparison, after: Comparison, before_ratio: Ratio, after_ratio: Ratio
) -> RatioChange:
    earlier, later = (_log_ratios(run, variant, before.figure) for run in (first, second))
    change = shift(earlier, later) if earlier and later else None
    return RatioChange(
        variant=variant,
        figure=before.figure,
        title=before.title,
        primary=before.primary,
        first=before_ratio,
        second=after_ratio,
        first_verdict=before.verdict,
        second_verdict=after.verdict,
        agreement=agreement(before_ratio, after_ratio, before.verdict == after.verdict),
        change=change,
        change_verdict=None if change is None else verdict(change, first.manifest.margin),
    )


def agreement(first: Ratio, second: Ratio, same_word: bool) -> Agreement:
    """Whether two intervals of the same ratio can both be right."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return "unknown"
    if first.high < second.low or second.high < first.low:
        return "moved"
    return "agree" if same_word else "compatible"


def figure_changes(first: Result, second: Result) -> list[FigureChange]:
    """Every figure that every accepted block of both runs has, a variant at a time, except counts that stay 0."""
    changes = []
    for variant in first.variants:
        before, after = (_figures(run, variant.name) for run in (first, second))
        for name in before:
            if name in after and any((*before[name], *after[name])):
                changes.append(_figure_change(variant.name, name, before[name], after[name], first.manifest.margin))
    return changes


def _figure_change(variant: str, name: str, before: Sequence[float], after: Sequence[float], margin: float) -> FigureChange:
    words = figure(name)
    ratio = ratio_of(before, after) if min((*before, *after)) > 0 else None
    said: Verdict | Literal["count"] = "count" if ratio is None else verdict(ratio, margin)
    return FigureChange(
        variant=variant,
        figure=name,
        title=words.title,
        unit=words.unit,
        first=statistics.median(before),
        second=statistics.median(after),
        ratio=ratio,
        verdict=said,
    )


def _figures(run: Result, variant: str) -> dict[str, list[float]]:
    """Figure -> its value in each accepted block, for the figures that all of them have."""
    rows = [block.figures.get(variant, {}) for block in run.blocks if block.accepted]
    return {name: [row[name] for row in rows] for name in rows[0] if all(name in row for row in rows)} if rows else {}


def _log_ratios(run: Result, variant: str, name: str) -> list[float]:
    baseline, other = (_figures(run, each).get(name, []) for each in (run.baseline, variant))
    return paired_log_ratios(baseline, other) if baseline and other and min((*baseline, *other)) > 0 else []


def summary(diff: RunDiff, first: Result, second: Result) -> str:
    """What became of the primary figure's verdicts, in one sentence."""
    primary = [change for change in diff.ratios if change.primary]
    if not primary:
        return "The primary figure has no ratio in both runs."
    words = {
        "agree": "the verdicts agree",
        "compatible": "the verdicts differ in words, but the intervals overlap",
        "moved": "the ratio has moved: the intervals lie apart",
        "unknown": "one run has too few blocks for an interval",
    }
    told = "; ".join(f"{change.variant}: {words[change.agreement]}" for change in primary)
    return f"{primary[0].title}, {blocks_of(first)} and {blocks_of(second)} blocks. {told}."
