"""From measured blocks to sentences: figures per block, comparisons with the baseline, what a choice buys and what it costs.

Pure functions over plain data. Figures stand from least to most noisy: counted work, CPU time, memory, latency.
"""

from __future__ import annotations

import math
import statistics as stdlib_statistics
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from loadtests.result import Comparison, LatencySummary, Ratio, SafetyCheck
from loadtests.schedule import MeasuredBlock, Round
from loadtests.statistics import (
    blocks_needed,
    ecdf_points,
    paired_log_ratios,
    percentile,
    ratio,
    theil_sen,
    verdict,
)

MORE_BLOCKS_SHOWN = 200
CARD_LINES = 8
SLICES_PER_ROUND = 4
SLICES_SHOWN = 240


@dataclass(frozen=True, slots=True)
class Figure:
    """How a figure is spoken of. `cost` is False where more is better."""

    title: str
    noun: str
    unit: str
    verb: str = "needs"
    less: str = "less"
    more: str = "more"
    cost: bool = True
    noisy: bool = False


def figure(name: str) -> Figure:
    """The measuring's own figures by name; any other is counted work, per request, and its name says what is counted."""
    if name == "cpu_us_per_request":
        return Figure("CPU per request, all processes", "CPU per request", "us", "uses")
    if name.startswith("cpu_us_per_request_"):
        role = name.removeprefix("cpu_us_per_request_")
        return Figure(f"CPU per request, {role}", f"{role} CPU per request", "us", "uses")
    if name == "rss_mb":
        return Figure("memory, all processes", "memory", "MB", "holds")
    if name.startswith("latency_"):
        which = name.removeprefix("latency_").removesuffix("_ms")
        return Figure(
            f"{which} latency, from the intended start",
            f"{which} latency",
            "ms",
            "has",
            "lower",
            "higher",
            noisy=True,
        )
    if name == "failed_per_100":
        return Figure("failed requests per 100", "failed requests per 100", "per 100", "has", "fewer")
    words = name.replace("_", " ")
    if name.endswith("_ratio"):
        return Figure(words, words, "", "has", "lower", "higher", cost="hit" not in name)
    noun = f"{words} per request"
    return Figure(noun, noun, "per request", "has", "fewer", cost=not name.endswith("hits"))


def block_figures(block: MeasuredBlock, variant: int) -> dict[str, float]:
    """Mean over the variant's two rounds; latency percentiles of their merged samples, as far as the samples carry them."""
    rounds = [measured for measured in block.rounds if measured.variant == variant]
    figures = {
        name: stdlib_statistics.fmean(measured.figures[name] for measured in rounds)
        for name in rounds[0].figures
        if all(name in measured.figures for measured in rounds)
    }
    if not any(measured.overloaded for measured in rounds):
        merged_s = sorted(chain.from_iterable(measured.latency_intended_s for measured in rounds))
        for name, q in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99)):
            value_s = percentile(merged_s, q)
            if value_s is not None:
                figures[name] = value_s * 1e3
    return figures


def self_comparison(blocks: Sequence[MeasuredBlock], primary: str) -> Ratio:
    """A/A control: the baseline's two rounds of each block against each other.

    Which of the two is the numerator alternates from block to block, so a steady drift does not pass for a difference.
    """
    first, second = [], []
    for block in blocks:
        values = [measured.figures.get(primary, 0.0) for measured in block.rounds if measured.variant == 0]
        earlier, later = values if block.index % 2 == 0 else values[::-1]
        first.append(earlier)
        second.append(later)
    return ratio(paired_log_ratios(first, second) if min(first + second, default=0.0) > 0 else [])


def noise_sentence(floor: Ratio, noun: str) -> str:
    """What the A/A control means for a reader. A single round is sqrt(2) noisier than the mean of two that blocks compare."""
    if floor.low is None or floor.high is None:
        return f"Noise floor unknown: {floor.blocks} blocks are too few, 6 are needed."
    half = math.expm1(math.log(floor.high / floor.low) / 2 / math.sqrt(2))
    return (
        f"The baseline against itself: {noun} {signed(floor.estimate)} % "
        f"[{signed(floor.low)}, {signed(floor.high)}]; "
        f"differences below about {number(half * 100)} % could not have been seen."
    )


def comparisons(
    blocks: Sequence[MeasuredBlock], variant: int, names: Sequence[str], margin: float, primary: str
) -> list[Comparison]:
    """Every figure that both sides have in every accepted block, except counts that stay 0 on both."""
    if not blocks:
        return []
    base = [block_figures(block, 0) for block in blocks]
    other = [block_figures(block, variant) for block in blocks]
    shared = [name for name in {**base[0], **other[0]} if all(name in figures for figures in base + other)]
    found = [
        compare_figure(name, [f[name] for f in base], [f[name] for f in other], names[variant], names[0], margin) for name in shared
    ]
    return [
        comparison.model_copy(update={"primary": comparison.figure == primary})
        for comparison in found
        if comparison.baseline or comparison.other
    ]


def compare_figure(
    name: str, baseline: Sequence[float], other: Sequence[float], other_name: str, baseline_name: str, margin: float
) -> Comparison:
    """One figure over the blocks, with its sentence."""
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
    paired = ratio(paired_log_ratios(baseline, other))
    return Comparison(
        figure=name,
        title=words.title,
        unit=words.unit,
        baseline=base_median,
        other=other_median,
        ratio=paired,
        verdict=verdict(paired, margin),
        sentence=sentence(other_name, words, paired, margin),
    )


def sentence(name: str, words: Figure, paired: Ratio, margin: float) -> str:
    """ "aside uses 38 % less CPU per request [36, 41]"."""
    low, high = paired.low, paired.high
    noisy = " (a noisy figure)" if words.noisy else ""
    if low is None or high is None:
        return f"{name}: {words.noun} inconclusive, {paired.blocks} blocks are too few (6 needed){noisy}"
    found = verdict(paired, margin)
    if found == "same":
        return f"{name}: no difference above {number(margin * 100)} % in {words.noun}{noisy}"
    if found == "inconclusive":
        half = math.expm1(math.log(high / low) / 2) * 100
        missing = max(2, blocks_needed(paired.sd_log, margin) - paired.blocks)
        more = f"about {missing} more blocks" if missing <= MORE_BLOCKS_SHOWN else "only very many more blocks"
        return f"{name}: {words.noun} inconclusive, ±{number(half)} %; {more} would tell{noisy}"
    if found == "less":
        span = f"[{percent(1 - high)}, {percent(1 - low)}]"
        return f"{name} {words.verb} {percent(1 - paired.estimate)} % {words.less} {words.noun} {span}{noisy}"
    if paired.estimate >= 2:
        span = f"[{times(low)}, {times(high)}]"
        return f"{name} {words.verb} {times(paired.estimate)} times the {words.noun} {span}{noisy}"
    span = f"[{percent(low - 1)}, {percent(high - 1)}]"
    return f"{name} {words.verb} {percent(paired.estimate - 1)} % {words.more} {words.noun} {span}{noisy}"


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


def latency_summary(samples_s: Sequence[array[float]], overloaded: bool) -> LatencySummary:
    """Merged samples. An overloaded variant has no percentiles: they would only say how long the run was."""
    ordered_ms = [value_s * 1e3 for value_s in sorted(chain.from_iterable(samples_s))]

    def at(q: float) -> float | None:
        return None if overloaded else percentile(ordered_ms, q)

    return LatencySummary(
        samples=len(ordered_ms),
        p50_ms=at(0.5),
        p90_ms=at(0.9),
        p99_ms=at(0.99),
        p999_ms=at(0.999),
        max_ms=ordered_ms[-1] if ordered_ms else None,
        ecdf=ecdf_points(ordered_ms),
    )


def over_time(rounds: Sequence[Round], round_s: float) -> list[tuple[float, float, float, float]]:
    """(seconds since the variant's first round, p50_ms, p99_ms or the maximum, answers/s), a row a slice, by intended start."""
    slices = SLICES_PER_ROUND if len(rounds) * SLICES_PER_ROUND <= SLICES_SHOWN else 1
    slice_s = round_s / slices
    rows: list[tuple[float, float, float, float]] = []
    for measured in rounds:
        parts: list[list[float]] = [[] for _ in range(slices)]
        for intended_s, latency_s in zip(measured.intended_s, measured.latency_intended_s, strict=True):
            parts[min(slices - 1, int(intended_s / slice_s))].append(latency_s)
        for position, part in enumerate(parts):
            if part:
                part.sort()
                rows.append(
                    (
                        measured.started_s - rounds[0].started_s + position * slice_s,
                        stdlib_statistics.median(part) * 1e3,
                        (percentile(part, 0.99) or part[-1]) * 1e3,
                        len(part) / slice_s,
                    )
                )
    return rows


def drift_note(name: str, per_block: Sequence[float], margin: float) -> str:
    """A sentence when the primary figure rose or fell over the run by more than the margin; "" when it can't be said to."""
    slope, low, high = theil_sen(per_block)
    if low is None or high is None or low <= 0 <= high:
        return ""
    change = slope * (len(per_block) - 1) / stdlib_statistics.median(per_block)
    if abs(change) <= margin:
        return ""
    return f"{name}: the primary figure moved by {change * 100:+.0f} % from the first block to the last; warm-up may not be over"


def number(value: float) -> str:
    """Two or three figures that count: 41, 4.1, 0.41, 1,234."""
    if value >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def percent(share: float) -> str:
    """0.184 -> "18"; close to all or nothing with a digit more, so that 99.7 does not read as everything."""
    value = share * 100
    return f"{value:.1f}" if abs(value) < 9.5 or 99 < value < 100 else f"{value:.0f}"


def signed(value: float) -> str:
    return f"{(value - 1) * 100:+.1f}"


def times(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
