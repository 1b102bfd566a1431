"""A service level objective on latency, as one writes it on a command line: `p99<50ms`.

    objective   percentile "<" number unit
    percentile  p50 | p90 | p99 | p99.9
    unit        ms | s

Blanks and case do not matter. The latency meant is that from the intended start: what a user waits.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, cast

from loadtests.analysis.statistics import SAMPLES_BEYOND_PERCENTILE
from loadtests.report.number_format import number

Percentile = Literal["p50", "p90", "p99", "p99.9"]
PERCENTILES: dict[Percentile, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
UNITS_S = {"ms": 1e-3, "s": 1.0}
EXAMPLE = "p99<50ms"
GRAMMAR = re.compile(r"(?P<percentile>p[\d.]+)<(?P<limit>\d+(?:\.\d+)?)(?P<unit>[a-z]+)")


class BadSlo(ValueError):
    """Not an objective. The message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Slo:
    """`percentile` is a key of `PERCENTILES`; the objective holds while that latency is below `limit_s` seconds."""

    percentile: Percentile
    limit_s: float

    @property
    def q(self) -> float:
        return PERCENTILES[self.percentile]

    @property
    def samples_needed(self) -> int:
        """So many samples carry the percentile: ten lie beyond it (p99: 1,000)."""
        return math.ceil(SAMPLES_BEYOND_PERCENTILE / (1 - self.q) - 1e-9)

    def __str__(self) -> str:
        limit = f"{number(self.limit_s * 1e3)} ms" if self.limit_s < 1 else f"{number(self.limit_s)} s"
        return f"{self.percentile} < {limit}"


def parse_slo(text: str) -> Slo:
    """`p99<50ms`, `p99.9 < 0.2 s`. Raises `BadSlo`."""
    found = GRAMMAR.fullmatch("".join(text.split()).lower())
    if found is None:
        raise BadSlo(f"{text!r} is no objective: write a percentile, <, and a limit with its unit, for example {EXAMPLE}")
    if found["percentile"] not in PERCENTILES:
        raise BadSlo(f"{text!r}: there is no percentile {found['percentile']}; the percentiles are {', '.join(PERCENTILES)}")
    if found["unit"] not in UNITS_S:
        raise BadSlo(f"{text!r}: {found['unit']} is no unit here; the units are {' and '.join(UNITS_S)}")
    limit_s = float(found["limit"]) * UNITS_S[found["unit"]]
    if limit_s <= 0:
        raise BadSlo(f"{text!r}: no answer takes no time; the limit must be above 0")
    return Slo(cast(Percentile, found["percentile"]), limit_s)
