"""Two latencies of each request of an open-loop run, and their table: from the intended start, and from the actual send.

The first is what somebody waits who comes when the plan says; the second leaves out the wait for a free connection, and so hides
what a stall does to those who come during it. Kept to the microsecond: Locust's own buckets are whole milliseconds. They could be
made finer (`locust.stats.bucket_response_time` may be replaced), but in the master and each worker alike, and Locust's tables and
CSV files would still cut off the fraction: 0.9 would read 0. So its buckets stay as they are, and the exact figures are here.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtests.analysis.statistics import percentile

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
LATE_S = 0.002


@dataclass(slots=True)
class Latencies:
    """What became of a plan. Seconds; one entry for each answer that was no failure, in the order of the answers.

    lateness_s   how late Locust itself was, for each request that found a free place among the concurrent ones
    in_line      requests that were due while all places were taken; their wait is in `from_intended_s`
    """

    planned: int = 0
    failed: int = 0
    in_line: int = 0
    from_intended_s: array[float] = field(default_factory=lambda: array("d"))
    from_sent_s: array[float] = field(default_factory=lambda: array("d"))
    lateness_s: array[float] = field(default_factory=lambda: array("d"))

    def answered(self, from_intended_s: float, from_sent_s: float) -> None:
        self.from_intended_s.append(from_intended_s)
        self.from_sent_s.append(from_sent_s)

    def table(self, rate_per_s: float, concurrency: int) -> str:
        """A few lines for the terminal; `-` for a percentile that so few answers do not carry."""
        answers = len(self.from_intended_s)
        rows = [("", *QUANTILES, "max")]
        rows += [
            (name, *(in_ms(figure(ordered)) for figure in FIGURES))
            for name, ordered in (
                ("from the intended start", sorted(self.from_intended_s)),
                ("from the actual send", sorted(self.from_sent_s)),
            )
        ]
        late_s = percentile(sorted(self.lateness_s), 0.99)
        return "\n".join(
            [
                f"open loop, {rate_per_s:g}/s: {self.planned} planned, {answers} answered, {self.failed} failed, "
                f"{self.planned - answers - self.failed} without an end",
                *(f"  {name:<24}" + "".join(f"{figure:>14}" for figure in figures) for name, *figures in rows),
                f"  Locust itself was late by {in_ms(late_s)} (p99){'; too late to trust' * ((late_s or 0.0) > LATE_S)}; "
                f"{self.in_line} requests waited in line for one of {concurrency} connections",
            ]
        )


FIGURES: tuple[Callable[[list[float]], float | None], ...] = (
    *((lambda ordered, q=q: percentile(ordered, q)) for q in QUANTILES.values()),
    lambda ordered: ordered[-1] if ordered else None,
)


def in_ms(value_s: float | None) -> str:
    return "-" if value_s is None else f"{value_s * 1e3:.2f} ms"
