"""Where a ratio stands on a drawn axis: logarithmic, with "equal" marked and the margin as a band around it.

Promises. Order is kept, half and double stand equally far from "equal", and every position is within the axis: what lies beyond
its ends stands at the end, and can be told by `beyond`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from loadtests.report.number_format import change


@dataclass(frozen=True, slots=True)
class RatioScale:
    """A logarithmic axis around "equal", so that half and double stand equally far from it.

    Positions are per cent of the axis, 0 the smallest ratio and 100 the largest.
    """

    low_log: float
    high_log: float
    margin: float

    def at(self, ratio: float) -> float:
        """Where this ratio stands; what lies beyond the axis stands at its end."""
        log = math.log(ratio) if ratio > 0 else self.low_log
        share = (log - self.low_log) / (self.high_log - self.low_log)
        return round(2.0 + 96.0 * max(0.0, min(1.0, share)), 2)

    def beyond(self, ratio: float) -> str:
        """An arrow where the axis ends before the ratio does."""
        log = math.log(ratio)
        return "◂" if log < self.low_log else "▸" if log > self.high_log else ""

    @property
    def band(self) -> tuple[float, float]:
        """Both ends of the margin: differences inside it are called none."""
        return self.at(1.0 - self.margin), self.at(1.0 + self.margin)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The outermost round ratio on either side, where one fits, and "equal" between them."""
        steps = (1.05, 1.1, 1.25, 1.5, 2.0, 4.0)
        down = [(self.at(1 / c), change(1 / c)) for c in steps if -math.log(c) >= self.low_log][-1:]
        up = [(self.at(c), change(c)) for c in steps if math.log(c) <= self.high_log][-1:]
        return [*down, (self.at(1.0), "equal"), *up]


def ratio_scale(ratios: Iterable[float], margin: float) -> RatioScale:
    """The axis that holds all these ratios and the margin; it ends at a third and at three times, lest one giant flatten all."""
    logs = [math.log(ratio) for ratio in ratios if ratio > 0]
    room = 2.0 * math.log1p(margin)
    end = math.log(3.0)
    return RatioScale(max(-end, 1.08 * min(logs, default=0.0) - room), min(end, 1.08 * max(logs, default=0.0) + room), margin)
