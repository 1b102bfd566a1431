"""The knee: the highest rate that still meets an objective, bracketed by open steps. Knows no process, no clock and no load.

A search asks for a rate, is told how the step went, and asks for the next: it doubles while steps pass, halves while they fail,
and once it has both it asks for the geometric middle until a failed rate is within `resolution` of a passed one. It never asks
for a rate above one that failed or below one that passed, and ends after `MAX_STEPS` in any case. A void step says nothing of the
service: it is done again, and a rate that is void `MAX_VOID_IN_A_ROW` times can't be tested here. The search goes on below it, and
ends with the best rate that passed and no failure: the generator was the limit.

    search = Search(start_per_s=8_000)
    while (rate := search.next_rate) is not None:
        search = search.after("pass" if meets_the_objective(rate) else "fail")
    search.last_pass_per_s, search.first_fail_per_s, search.ended

One search on a noisy machine is one draw of luck, so it is repeated, and all brackets are shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

RESOLUTION = 0.05
MAX_STEPS = 24
MAX_VOID_IN_A_ROW = 2
MIN_RATE_PER_S = 1.0

Outcome = Literal["pass", "fail", "void"]
Ended = Literal["", "found", "void", "floor", "ceiling", "steps"]


@dataclass(frozen=True, slots=True)
class Search:
    """`ended`: "found" a bracket narrow enough; "void" where its upper end could not be tested; failed at the "floor", below which
    steps are too small to judge; passed at the "ceiling", the most that is planned; "steps" used up. "" while it goes on."""

    start_per_s: float
    factor: float = 2.0  # between steps, until there are both ends
    resolution: float = RESOLUTION
    floor_per_s: float = MIN_RATE_PER_S
    ceiling_per_s: float = math.inf
    last_pass_per_s: float | None = None
    first_fail_per_s: float | None = None
    untestable_per_s: float = math.inf
    steps: int = 0
    void_in_a_row: int = 0

    @property
    def ended(self) -> Ended:
        passed, failed, above = self.last_pass_per_s, self.first_fail_per_s, self._above_per_s
        if passed is not None and above <= passed * (1 + self.resolution):
            return "found" if above == failed else "void"
        if passed is not None and passed >= self.ceiling_per_s:
            return "ceiling"
        if above <= self.floor_per_s:
            return "floor" if above == failed else "void"
        return "steps" if self.steps >= MAX_STEPS else ""

    @property
    def next_rate(self) -> float | None:
        """Requests per second to try now, None at the end."""
        if self.ended:
            return None
        passed, above = self.last_pass_per_s, self._above_per_s
        if passed is not None and above < math.inf:
            return math.sqrt(passed * above)
        if passed is not None:
            return min(passed * self.factor, self.ceiling_per_s)
        if above < math.inf:
            return max(above / self.factor, self.floor_per_s)
        return min(max(self.start_per_s, self.floor_per_s), self.ceiling_per_s)

    def after(self, outcome: Outcome) -> Search:
        """The search once it knows how the step at `next_rate` went."""
        rate = self.next_rate
        if rate is None:
            raise ValueError(f"the search has ended: {self.ended}")
        known = replace(self, steps=self.steps + 1, void_in_a_row=0)
        if outcome == "pass":
            return replace(known, last_pass_per_s=rate)
        if outcome == "fail":
            return replace(known, first_fail_per_s=rate)
        if self.void_in_a_row + 1 >= MAX_VOID_IN_A_ROW:
            return replace(known, untestable_per_s=rate)
        return replace(known, void_in_a_row=self.void_in_a_row + 1)

    @property
    def _above_per_s(self) -> float:
        """The lowest rate that did not pass, whether it failed or could not be tested."""
        return min(self.untestable_per_s, self.first_fail_per_s or math.inf)

    @property
    def estimate_per_s(self) -> float | None:
        """The geometric middle of the bracket, or the one end it has."""
        ends = [rate for rate in (self.last_pass_per_s, self.first_fail_per_s) if rate is not None]
        return statistics.geometric_mean(ends) if ends else None


def start_again(searches: Sequence[Search]) -> Search:
    """The next repetition starts where the ones before ended and looks around in smaller steps; it trusts no verdict of theirs."""
    first = searches[0]
    found = [search.estimate_per_s for search in searches if search.last_pass_per_s is not None]
    start_per_s = statistics.median([rate for rate in found if rate is not None] or [first.start_per_s])
    return Search(
        start_per_s, factor=1.15, resolution=first.resolution, floor_per_s=first.floor_per_s, ceiling_per_s=first.ceiling_per_s
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """All repetitions together: the lowest rate that was the last to pass, the highest that was the first to fail, the middle.

    None where no repetition has such an end: then the knee is not bounded on that side.
    """

    low_per_s: float | None
    estimate_per_s: float | None
    high_per_s: float | None


def spread(searches: Sequence[Search]) -> Spread:
    """A repetition that did not pass at all leaves no lower bound, and one that never failed no upper bound."""
    passed = [search.last_pass_per_s for search in searches]
    failed = [search.first_fail_per_s for search in searches]
    lows = [rate for rate in passed if rate is not None]
    highs = [rate for rate in failed if rate is not None]
    return Spread(
        min(lows) if lows and len(lows) == len(passed) else None,
        statistics.median(lows) if lows else None,
        max(highs) if highs and len(highs) == len(failed) else None,
    )
