"""How much certainly passed one limit, and how much may have been used of it: arithmetic on intervals, for the checks.

A client knows of a request only that it was decided between its sending and its answer. So there are two questions, and each
errs on the limiter's side:

    certainly admitted   what was sent after s and answered before t passed between s and t, and no limit lets more through
    possibly used        what was sent before an answer came may have been decided before it, each as late as can be

Pure, and in O(n log n) however hot the key: nobody compares each request with each other.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from loadtests.rate_limiter.promises import Met

# (sent, answered, units). Of what may have happened later than it was answered, the second is until when.
Interval: TypeAlias = tuple[float, float, int]

SLEW = 0.001  # between the clock of the limiter and ours, which NTP may pull apart by half of this
EDGE_SLACK_S = 0.05  # by which a window of the wall clock may lie elsewhere for us
TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Excess:
    """`units` beyond the bound between `from_s` and `to_s`; what passed there is the proof."""

    units: int
    from_s: float
    to_s: float


def excess(limit: Met, admitted: Sequence[Interval], given_back: Sequence[Interval], allowance: int, clock: float) -> Excess | None:
    """The most that certainly passed beyond what the limit's algorithm promises, None when nothing did.

    `given_back` widens it wherever it may have happened, `allowance` is added to every span. `clock`: the wall clock at second 0.
    """
    found: list[Excess | None]
    if limit.kind == "bucket":
        found = [over_rate(admitted, given_back, limit.burst + allowance, 1 / limit.gap_s)]
    elif limit.kind == "log":
        found = [over_span(admitted, given_back, limit.quota + allowance, limit.period_s)]
    else:
        found = [
            over_span(admitted, given_back, 2 * limit.quota + allowance, limit.period_s),
            over_window(admitted, given_back, limit.quota + allowance, limit.period_s, clock),
        ]
    return max((each for each in found if each is not None), key=lambda each: each.units, default=None)


def over_rate(admitted: Sequence[Interval], given_back: Sequence[Interval], burst: int, rate_per_s: float) -> Excess | None:
    """Beyond `burst + rate x (t - s)` over any span.

    Sweeps t over the answers and asks a tree for the s that is worst: the units sent since s, and the rate that s forgoes.
    """
    rate = rate_per_s * (1 + SLEW)
    starts = [(sent_s, place) for place, (sent_s, _, _) in enumerate(admitted)]
    starts += [(end_s, len(admitted) + place) for place, (_, end_s, _) in enumerate(given_back)]
    rank = {place: position for position, (_, place) in enumerate(sorted(starts))}
    # At one moment what was given back comes first: it may have made the room.
    steps = [(end_s, 1, place) for place, (_, end_s, _) in enumerate(admitted)]
    steps += [(sent_s, 0, len(admitted) + place) for place, (sent_s, _, _) in enumerate(given_back)]
    tree = _WorstStart(len(starts))
    worst: Excess | None = None
    for at_s, admits, place in sorted(steps):
        if not admits:
            tree.add(rank[place], -given_back[place - len(admitted)][2], -math.inf, -math.inf)
            continue
        sent_s, _, units = admitted[place]
        tree.add(rank[place], units, units + rate * sent_s, sent_s)
        most, from_s = tree.worst()
        beyond = most - rate * at_s - burst
        if beyond > TINY and (worst is None or math.ceil(beyond - TINY) > worst.units):
            worst = Excess(math.ceil(beyond - TINY), from_s, at_s)
    return worst


class _WorstStart:
    """For positions in order of time: the largest (value of a start + units at it and after it), under additions."""

    def __init__(self, positions: int) -> None:
        self._leaves = 1 << max(0, (positions - 1).bit_length())
        self._units = [0.0] * (2 * self._leaves)
        self._best = [(-math.inf, -math.inf)] * (2 * self._leaves)

    def add(self, position: int, units: float, best: float, start_s: float) -> None:
        node = self._leaves + position
        self._units[node], self._best[node] = units, (best, start_s)
        while node > 1:
            node //= 2
            left, right = 2 * node, 2 * node + 1
            self._units[node] = self._units[left] + self._units[right]
            earlier, since_s = self._best[left]
            self._best[node] = max(self._best[right], (earlier + self._units[right], since_s))

    def worst(self) -> tuple[float, float]:
        return self._best[1]


def over_span(admitted: Sequence[Interval], given_back: Sequence[Interval], most: int, period_s: float) -> Excess | None:
    """Beyond `most` in any span that is shorter than the period."""
    length_s = period_s * (1 - SLEW)
    ends = sorted(end_s for _, end_s, _ in admitted)
    tree = [0] * (len(ends) + 1)
    begun_before, over_before = _sums(given_back, 0), _sums(given_back, 1)
    worst: Excess | None = None
    for sent_s, end_s, units in sorted(admitted, reverse=True):
        position = bisect_left(ends, end_s) + 1
        while position <= len(ends):
            tree[position] += units
            position += position & -position
        position, within = bisect_left(ends, sent_s + length_s), 0
        while position > 0:
            within += tree[position]
            position -= position & -position
        beyond = within - most - (begun_before(sent_s + length_s) - over_before(sent_s))
        if beyond > 0 and (worst is None or beyond > worst.units):
            worst = Excess(beyond, sent_s, sent_s + length_s)
    return worst


def over_window(
    admitted: Sequence[Interval], given_back: Sequence[Interval], most: int, period_s: float, clock: float
) -> Excess | None:
    """Beyond `most` in a window of the wall clock that begins at a multiple of the period. Near an edge nobody knows."""
    windows: Counter[int] = Counter()
    for sent_s, end_s, units in admitted:
        number = math.floor((clock + sent_s - EDGE_SLACK_S) / period_s)
        if number == math.floor((clock + end_s + EDGE_SLACK_S) / period_s):
            windows[number] += units
    for sent_s, end_s, units in given_back:
        first = math.floor((clock + sent_s - EDGE_SLACK_S) / period_s)
        for number in range(first, math.floor((clock + end_s + EDGE_SLACK_S) / period_s) + 1):
            windows[number] -= units
    number, units = max(windows.items(), key=lambda each: each[1], default=(0, 0))
    return Excess(units - most, number * period_s - clock, (number + 1) * period_s - clock) if units > most else None


class PossibleUse:
    """The most that may have been used of one limit, for any moment. `given_back` certainly was, at its end at the latest."""

    def __init__(self, limit: Met, taken: Sequence[Interval], given_back: Sequence[Interval] = ()) -> None:
        self._limit = limit
        self._begun_by = _sums(taken, 0, until=True)
        by_latest = sorted((latest_s, units) for _, latest_s, units in taken)
        self._latest = [latest_s for latest_s, _ in by_latest]
        self._units = [0, *accumulate(units for _, units in by_latest)]
        self._weighed = [0.0, *accumulate(units * latest_s for latest_s, units in by_latest)]
        self._fills_at: list[float] = []
        self._fills: list[float] = []
        if limit.kind == "bucket":
            level, last_s = 0.0, 0.0
            # At one moment what is given back comes first, since that gives less.
            returned = sorted((end_s, -units) for _, end_s, units in given_back)
            for at_s, units in sorted([*by_latest, *returned]):
                level = max(0.0, max(0.0, level - (at_s - last_s) / limit.gap_s) + units)
                last_s = at_s
                self._fills_at.append(at_s)
                self._fills.append(level)

    def begun_between(self, sent_s: float, end_s: float) -> int:
        """Units of what was sent by `end_s` and may have been decided after `sent_s`."""
        return self._begun_by(end_s) - self._until(sent_s)

    def most(self, sent_s: float, end_s: float) -> float:
        """Units used when a request was decided that was sent and answered then, its own among them if it took any."""
        limit = self._limit
        if limit.kind == "bucket":
            place = bisect_right(self._fills_at, sent_s)
            level = self._fills[place - 1] - (sent_s - self._fills_at[place - 1]) / limit.gap_s if place else 0.0
            return max(0.0, level) + self.begun_between(sent_s, end_s)
        recent_s = sent_s - limit.period_s * (1 + SLEW)
        used = float(self._begun_by(end_s) - self._until(recent_s))
        if limit.kind == "log" or limit.kind == "fixed":
            return used
        # Of the window before as much counts as may still lie within a period.
        first = bisect_right(self._latest, recent_s - limit.period_s * (1 + SLEW))
        last = bisect_right(self._latest, recent_s)
        units = self._units[last] - self._units[first]
        fading = units * (2 - sent_s / limit.period_s) + (self._weighed[last] - self._weighed[first]) / limit.period_s
        return used + max(0.0, fading + 2 * SLEW * units)

    def _until(self, at_s: float) -> int:
        return self._units[bisect_right(self._latest, at_s)]


def _sums(intervals: Sequence[Interval], by: int, *, until: bool = False) -> Callable[[float], int]:
    """Units of those whose first or second time lies before a moment; with `until` also at it."""
    ordered = sorted((each[by], each[2]) for each in intervals)
    times = [at_s for at_s, _ in ordered]
    sums = [0, *accumulate(units for _, units in ordered)]
    place = bisect_right if until else bisect_left
    return lambda at_s: sums[place(times, at_s)]


def most_at_once(held: Sequence[Interval]) -> tuple[int, float]:
    """How many of these intervals overlap at worst, and when; one that ends when another begins does not overlap it."""
    moments = sorted([(from_s, 1) for from_s, to_s, _ in held if from_s < to_s] + [(to_s, 0) for f, to_s, _ in held if f < to_s])
    now = most = 0
    at_s = 0.0
    for moment_s, begins in moments:
        now += 1 if begins else -1
        if now > most:
            most, at_s = now, moment_s
    return most, at_s
