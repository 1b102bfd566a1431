"""The blocks of a comparison as marks to draw: each variant's ratio to the baseline, block by block, beside what they add up to.

Plain data, in per cent of the plot; the template turns it into SVG, which needs no script. Rejected blocks keep their place and
are drawn with their reason, since a reader should see what was left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loadtests.report.number_format import change, interval
from loadtests.report.ratio_scale import ratio_scale
from loadtests.result import Block, Ratio, Result


def block_chart(result: Result) -> BlockChart:
    primary = result.manifest.primary_figure
    ratios = [[block_ratio(block, primary, result.baseline, v.name) for v in result.variants[1:]] for block in result.blocks]
    totals = [next((c for c in comparisons if c.figure == primary), None) for comparisons in result.comparisons]
    ends = [end for c in totals if c and c.ratio for end in (c.ratio.low, c.ratio.high) if end]
    floor = [end for end in (result.noise_floor.low, result.noise_floor.high) if end]
    counted = [r for block, row in zip(result.blocks, ratios, strict=True) for r in row if r and block.accepted]
    scale = ratio_scale(counted + ends + floor, result.manifest.margin)

    def up(ratio: float) -> float:
        return round(100.0 - scale.at(ratio), 2)

    dots = []
    others = max(1, len(result.variants) - 1)
    for place, (block, row) in enumerate(zip(result.blocks, ratios, strict=True)):
        for i, ratio in enumerate(row):
            if ratio is not None:
                aside = (i - (others - 1) / 2) * min(1.6, 50.0 / len(result.blocks) / others)
                x = 14.0 + 60.0 * (place + 0.5) / len(result.blocks) + aside
                why = "" if block.accepted else f", rejected: {block.rejected_because}"
                label = f"block {block.index}, {result.variants[i + 1].name}: {change(ratio)}{why}"
                dots.append(Dot(place, i + 1, round(x, 2), up(ratio), block.accepted, label))
    spans = [
        _span(i + 1, round(76.0 + 14.0 * (i + 0.5) / others, 2), c.ratio, f"{result.variants[i + 1].name}, all blocks", up)
        for i, c in enumerate(totals)
        if c and c.ratio
    ]
    spans.append(_span(0, 95.5, result.noise_floor, f"A/A control, {result.baseline} against itself", up))
    title = next((c.title for c in totals if c), primary)
    ticks = [(100.0 - x, label) for x, label in scale.ticks]
    return BlockChart(title, dots, spans, ticks, (up(1.0 + scale.margin), up(1.0 - scale.margin)))


@dataclass(frozen=True, slots=True)
class BlockChart:
    """The blocks from left to right, then what they add up to, then the A/A control."""

    title: str
    dots: list[Dot]
    spans: list[Span]
    ticks: list[tuple[float, str]]
    band: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Dot:
    """One variant's ratio to the baseline in one block, on the primary figure. Positions in per cent of the plot.

    `place` counts blocks as they were measured: a rejected block and its repetition share an index, not a place.
    """

    place: int
    variant: int
    x: float
    y: float
    accepted: bool
    label: str


@dataclass(frozen=True, slots=True)
class Span:
    """An estimate with its interval, standing beside the dots it came from; variant 0 is the A/A control."""

    variant: int
    x: float
    y: float
    ends: tuple[float, float] | None
    label: str


def _span(variant: int, x: float, ratio: Ratio, label: str, up: Callable[[float], float]) -> Span:
    ends = (up(ratio.high), up(ratio.low)) if ratio.low and ratio.high else None
    return Span(variant, x, up(ratio.estimate), ends, f"{label}: {change(ratio.estimate)} {interval(ratio)}".rstrip())


def block_ratio(block: Block, figure: str, baseline: str, other: str) -> float | None:
    """`other / baseline` in this block; None where one side has no such figure or counted nothing."""
    below, above = (block.figures.get(name, {}).get(figure, 0.0) for name in (baseline, other))
    return above / below if below > 0 and above > 0 else None
