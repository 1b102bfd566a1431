"""The A/A control: how far apart two measurements of one and the same thing come, and so what a run could not have seen.

Two ways to have it. The baseline's two rounds of each block cost nothing, and do not see what differs from one start of a process
to the next. A second copy of the baseline, started on its own in each block, sees that too, and costs a variant's time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from loadtests.analysis.findings import block_figures
from loadtests.analysis.sentences import number, signed
from loadtests.analysis.statistics import blocks_at_least, paired_log_ratios, ratio
from loadtests.comparison.schedule import MeasuredBlock
from loadtests.result import Ratio

SECOND_COPY = " (again)"  # ends the name of the copy


def rounds_compared(blocks: Sequence[MeasuredBlock], primary: str) -> Ratio:
    """The baseline's two rounds of each block against each other.

    Which of the two is the numerator alternates from block to block, so a steady drift does not pass for a difference.
    """
    first, second = [], []
    for block in blocks:
        alone = [MeasuredBlock(block.index, [measured], "") for measured in block.rounds if measured.variant == 0]
        values = [block_figures(each, 0).get(primary, 0.0) for each in alone]
        earlier, later = values if block.index % 2 == 0 else values[::-1]
        first.append(earlier)
        second.append(later)
    return _ratio(first, second)


def copies_compared(blocks: Sequence[MeasuredBlock], copy: int, primary: str) -> Ratio:
    """The second copy against the baseline, paired over blocks as any variant is."""
    sides = [[block_figures(block, variant).get(primary, 0.0) for block in blocks] for variant in (0, copy)]
    return _ratio(*sides)


def noise_sentence(floor: Ratio, noun: str, *, second_copy: bool = False, found: Iterable[Ratio] = ()) -> str:
    """The control, and the smallest difference that this run could have seen.

    That is half the width of the widest interval there is: the control's (that of single rounds is sqrt(2) wider than that of the
    two which blocks compare), and those of the comparisons `found`, whose processes differ in more than their knob.
    """
    if floor.low is None or floor.high is None:
        return f"Noise floor unknown: {floor.blocks} blocks are too few, {blocks_at_least()} are needed."
    halves = [math.log(floor.high / floor.low) / 2 / (1 if second_copy else math.sqrt(2))]
    halves += [math.log(each.high / each.low) / 2 for each in found if each.low is not None and each.high is not None]
    what = (
        "A second copy of the baseline, started on its own" if second_copy else "The baseline against itself, round against round"
    )
    return (
        f"{what}: {noun} {signed(floor.estimate)} % [{signed(floor.low)}, {signed(floor.high)}]; "
        f"differences below about {number(math.expm1(max(halves)) * 100)} % could not have been seen."
    )


def _ratio(first: Sequence[float], second: Sequence[float]) -> Ratio:
    return ratio(paired_log_ratios(first, second) if min([*first, *second], default=0.0) > 0 else [])
