"""The trade-off card for the terminal: verdict, what you buy, what you pay, safety, noise floor. Plain, or side by side in colour.

Promises. Both say the same sentences. Plain lines fit the width they are given, 20 columns at least; no control character of a
record reaches the terminal, and no name in it is read as a style.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtests.report.trade_off import CardLine, trades
from loadtests.report.verdict import MARKS, safety_findings, verdict
from loadtests.result import Result

NOTHING = "nothing this run could see"
LINES_OF_ONE = 8  # of a single variant that is compared
LINES_OF_EACH = 3  # of each of several: the first say most, and the page has them all


def render_card(result: Result, width: int) -> str:
    """The trade-off card as plain text: verdict, what you buy, what you pay, safety, noise floor. Lines fit `width` columns."""
    said = verdict(result)
    lines = [*(wrapped for line in said.lines for wrapped in _wrap(line, width)), *_wrap(said.subline, width)]
    sections = [
        ("What you buy", [line for buys, _ in _sides(result) for line in buys] or [("+", NOTHING)]),
        ("What you pay", [line for _, pays in _sides(result) for line in pays] or [("-", NOTHING)]),
        (f"Safety: {result.safety_verdict().upper()}", _safety_sentences(result)),
        ("Noise floor", [("~", result.noise_sentence)]),
    ]
    for title, sentences in sections:
        lines += ["", title]
        for mark, sentence in sentences:
            lines += _wrap(sentence, width, first=f"  {mark} ", rest="    ")
    return "\n".join(lines) + "\n"


def rich_card(result: Result) -> RenderableType:
    """The same card for a terminal with colours: buy, pay and safety side by side."""
    said = verdict(result)
    colour = {"valid": "green", "invalid": "red", "unknown": "yellow"}[result.safety_verdict()]
    card = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1), show_edge=False)
    card.add_column(Text("What you buy", style="bold"), ratio=1)
    card.add_column(Text("What you pay", style="bold"), ratio=1)
    card.add_column(Text(f"Safety: {result.safety_verdict().upper()}", style=f"bold {colour}"), ratio=1)
    safety = _paragraphs(_safety_sentences(result))
    for place, (buys, pays) in enumerate(_sides(result)):
        if place:
            card.add_row()
        card.add_row(_paragraphs(buys or [("+", NOTHING)]), _paragraphs(pays or [("-", NOTHING)]), "" if place else safety)
    headline = Text("\n".join(map(_printable, said.lines)), style=f"bold {colour}" if colour == "red" else "bold")
    noise = Text(_printable(result.noise_sentence), style="dim")
    body = Group(headline, Text(_printable(said.subline), style="dim"), Text(), card, Text(), noise)
    title = Text(_printable(f" {result.manifest.design}: {result.manifest.knob} "))
    return Panel(body, title=title, title_align="left", border_style=colour, padding=(1, 2))


def _sides(result: Result) -> list[tuple[list[tuple[str, str]], list[tuple[str, str]]]]:
    """What each variant buys and what it pays, as (mark, sentence); how many more there are stands below the first."""
    several = len(result.variants) > 2
    limit = LINES_OF_EACH if several else LINES_OF_ONE

    def marked(mark: str, name: str, lines: Sequence[CardLine]) -> list[tuple[str, str]]:
        more = [(" ", f"{name}: {len(lines) - limit} more in the report".lstrip(": "))] if len(lines) > limit else []
        return [*((mark, line.sentence) for line in lines[:limit]), *more]

    return [(marked("+", trade.name, trade.bought), marked("-", trade.name, trade.paid)) for trade in trades(result)]


def _paragraphs(sentences: Sequence[tuple[str, str]]) -> Table:
    """A hanging indent, so that the marks stand free in front of wrapped sentences."""
    grid = Table.grid(padding=(0, 1))
    for mark, sentence in sentences:
        grid.add_row(Text(mark), Text(_printable(sentence)))
    return grid


def _safety_sentences(result: Result) -> list[tuple[str, str]]:
    told = []
    for finding in safety_findings(result):
        whose = "" if finding.verdict == "valid" and finding.everywhere else f"{finding.variants}: "
        verdict = "" if finding.verdict == "valid" else f"{finding.verdict}, "
        told.append((MARKS[finding.verdict], f"{whose}{verdict}{finding.invariant} ({finding.counts}) {finding.detail}".rstrip()))
    return told or [(MARKS["unknown"], "nothing was checked")]


def _wrap(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(_printable(text), max(20, width), initial_indent=first, subsequent_indent=rest)


def _printable(text: str) -> str:
    """Without control characters: a name in a record must not be able to steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
