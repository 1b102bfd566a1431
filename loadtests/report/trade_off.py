"""The trade-off card as plain data: what each variant buys and what it pays, a number and what it is the number of.

Promises. Every sentence of the record is on the card once, under the variant it speaks of, the primary figure first; a sentence
that belongs to no compared figure is shown as it is. The page and the terminal read the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.report.number_format import change, interval, number
from loadtests.result import Comparison, Result

LINES_AT_FIRST = 4  # so many are read at a glance; the others are one click away
UNITS_SHOWN = ("us", "ms", "MB")  # what is counted says so in its title


@dataclass(frozen=True, slots=True)
class CardLine:
    """`figure` is empty where the record has only a sentence; then `words` is all of it."""

    figure: str
    words: str
    interval: str
    sentence: str
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Trade:
    """What one variant buys and pays against the baseline. `variant` is its index; None for sentences about no single one."""

    variant: int | None
    name: str
    bought: list[CardLine]
    paid: list[CardLine]


def trades(result: Result) -> list[Trade]:
    """One trade for each other variant, also one that changed nothing; what speaks of none of them comes last."""
    lines = {side: _lines(result, sentences) for side, sentences in (("bought", result.bought), ("paid", result.paid))}
    found = [
        Trade(i, result.variants[i].name, *([line for whose, line in lines[side] if whose == i] for side in ("bought", "paid")))
        for i in range(1, len(result.variants))
    ]
    rest = Trade(None, "", *([line for whose, line in lines[side] if whose is None] for side in ("bought", "paid")))
    return [*found, rest] if rest.bought or rest.paid else found


def _lines(result: Result, sentences: Sequence[str]) -> list[tuple[int | None, CardLine]]:
    """(index of the variant, its line), primary figures first, else in the record's order."""
    compared = {c.sentence: (i, c) for i, comparisons in enumerate(result.comparisons, start=1) for c in comparisons}
    lines: list[tuple[int | None, CardLine]] = []
    for sentence in sentences:
        if sentence in compared:
            i, comparison = compared[sentence]
            lines.append((i, _compared(comparison)))
        else:
            whose = _spoken_of(sentence, [variant.name for variant in result.variants])
            lines.append((whose, CardLine("", sentence, "", sentence)))
    return sorted(lines, key=lambda line: not line[1].primary)


def _compared(c: Comparison) -> CardLine:
    unit = f"\N{NO-BREAK SPACE}{c.unit}" if c.unit in UNITS_SHOWN else ""
    if c.ratio is not None:
        return CardLine(change(c.ratio.estimate), c.title, interval(c.ratio), c.sentence, c.primary)
    return CardLine(f"{number(c.other)}{unit}", f"{c.title}, was {number(c.baseline)}{unit}", "", c.sentence, c.primary)


def _spoken_of(sentence: str, names: Sequence[str]) -> int | None:
    """The variant whose name the sentence begins with, the longest where one name begins another. The baseline does not trade."""
    fitting = [(len(name), i) for i, name in enumerate(names) if i and sentence.startswith(name)]
    if fitting:
        return max(fitting)[1]
    return 1 if len(names) == 2 else None
