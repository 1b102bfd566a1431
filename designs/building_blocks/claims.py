"""Claims: what a chapter says of its trade-offs, each bound to a run that can prove it wrong.

A `Run` is one `designs compare` command and a `Bench` one `designs bench` command; each leaves one record under the design. A
`Claim` says in a sentence what one figure of one variant is expected to be, as a range of the ratio variant / baseline. The
range is written down before the run, so the run may disagree:

    holds          the measured interval lies inside the range
    contradicted   it lies outside
    unsettled      it lies across an end: this run can't tell

Two more expectations have no range: that a run is safe, and that a bench's requirement is met.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SAFETY = "safety"  # the figure of a claim about what the checkers found; its variant is "", every side of the run
# The nearest ratios that are a difference at all: a claim of "less" is not kept by "no difference".
LESS_THAN_ONE, MORE_THAN_ONE = math.nextafter(1.0, 0.0), math.nextafter(1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Run:
    """One comparison: the values of a knob, the baseline first, under one mix. `rate_per_s` None: the mix's own.

    `faults`: names of schedules that strike every variant in each round.
    """

    knob: str
    values: tuple[str, ...]
    mix: str
    assignments: tuple[str, ...] = ()  # knobs that all sides share, as "cache=aside"
    rate_per_s: float | None = None
    blocks: int = 10
    round_s: float = 1.0
    faults: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its record is called."""
        return ".".join([self.knob, self.mix, *self.faults])


@dataclass(frozen=True, slots=True)
class Bench:
    """One bench of the design, and about how long it takes."""

    bench: str
    about_s: float

    @property
    def name(self) -> str:
        return f"bench-{self.bench}"


@dataclass(frozen=True, slots=True)
class Expectation:
    """The ratio variant / baseline lies in [low, high]. `words` are for whoever reads the list of claims."""

    words: str
    low: float = -math.inf
    high: float = math.inf


VALID = Expectation("every safety check valid")
MET = Expectation("requirement met")


def less(at_least: float = 0.0) -> Expectation:
    """`less()`: the sign alone. `less(0.3)`: 30 % less or better."""
    if not at_least:
        return Expectation("less", high=LESS_THAN_ONE)
    return Expectation(f"at least {at_least * 100:g} % less", high=1 - at_least)


def more(at_least: float = 0.0) -> Expectation:
    """`more()`: the sign alone. `more(0.3)`: 30 % more or above."""
    if not at_least:
        return Expectation("more", low=MORE_THAN_ONE)
    return Expectation(f"at least {at_least * 100:g} % more", low=1 + at_least)


def at_most(more: float) -> Expectation:
    """`at_most(0.1)`: costs at most 10 % more, and may cost less."""
    return Expectation(f"at most {more * 100:g} % more", high=1 + more)


def same(within: float = 0.05) -> Expectation:
    """No difference above `within`, either way."""
    return Expectation(f"the same within {within * 100:g} %", low=1 / (1 + within), high=1 + within)


def between(low: float, high: float) -> Expectation:
    """The ratio itself, where theory says what it is."""
    return Expectation(f"{low:g} to {high:g} times", low=low, high=high)


@dataclass(frozen=True, slots=True)
class Claim:
    """`variant` is a value of the run's knob, measured against the first. Of a bench, `figure` is the requirement's sentence."""

    sentence: str
    run: Run | Bench
    variant: str
    figure: str
    expects: Expectation
