"""What was found of each candidate, and what follows from it: who broke its promise, who is cheaper than whom, the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from loadtests.analysis.statistics import paired_log_ratios, ratio
from loadtests.result import Ratio
from workbench.limiter_bench.candidates import OURS, Candidate

ROUNDS_FOR_AN_INTERVAL = 6  # of 95 %; with fewer nobody is ranked
COLUMNS = (
    "limiter",
    "promise",
    "rank",
    "Redis us, allowed",
    "Redis us, refused",
    "in floors",
    "trips, allowed",
    "trips, refused",
    "bytes beside keys",
    "8 racing",
    "greedy",
    "server CPU us",
    "client CPU us",
    "decisions/s",
)


@dataclass(slots=True)
class Figures:
    """Of one candidate. Lists have a value for each round.

    `allowed_us`, `refused_us`: Redis's time per decision, replayed. `server_us`, `client_us`, `per_s`: with its own client, one
    decision after the other, half of them allowed. `trips_*`: round trips per decision. `race_admitted` of `race_limit`, at most
    `race_bound`. `greedy_excess`: units above the promise.
    """

    allowed_us: list[float] = field(default_factory=list)
    refused_us: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    trips_allowed: float = 0.0
    trips_refused: float = 0.0
    bytes_beside_keys: float = 0.0
    race_admitted: int = 0
    race_limit: int = 0
    race_bound: int = 0
    greedy_asked: int = 0
    greedy_admitted: int = 0
    greedy_excess: int = 0
    failed: str = ""

    @property
    def disqualified(self) -> str:
        """Why it is not ranked: it let in more than it promises, or could not be run. "" when it kept its promise."""
        if self.failed:
            return self.failed
        if self.race_admitted > self.race_bound:
            return f"8 racing processes passed {self.race_admitted} times where {self.race_bound} may at most"
        if self.greedy_excess:
            return (
                f"of a greedy client's {self.greedy_asked:,} requests {self.greedy_admitted} passed, in one stretch "
                f"{self.greedy_excess} more than it promises"
            )
        return ""


def ranks(found: Mapping[Candidate, Figures]) -> dict[Candidate, int]:
    """Among those with one promise and one limit: 1 + how many are cheaper beyond doubt, so those who can't be told apart share it.

    Cheaper beyond doubt: the whole interval of the paired ratio of Redis's time per allowed decision lies below 1.
    """
    return {
        candidate: 1 + sum(_cheaper(found[other], figures) for other in found if _comparable(other, candidate, found))
        for candidate, figures in found.items()
        if _comparable(candidate, candidate, found)
    }


def compared(found: Mapping[Candidate, Figures], baseline: Candidate, other: Candidate) -> Ratio:
    """Redis's time per allowed decision, other / baseline, paired by rounds."""
    return ratio(paired_log_ratios(found[baseline].allowed_us, found[other].allowed_us))


def rows(found: Mapping[Candidate, Figures], floor: Candidate) -> list[list[str]]:
    """A row for each, floors first, then ours, then the others, the cheaper one first among those of a limiter."""
    places = ranks(found)
    order = {candidate: number for number, candidate in enumerate(found)}

    def place(candidate: Candidate) -> tuple[bool, bool, str, float, int]:
        us = found[candidate].allowed_us
        cost = median(us) if us and candidate.promise is not None else 0.0
        return candidate.promise is not None, candidate.peer != OURS, candidate.peer, cost, order[candidate]

    table = []
    for candidate in sorted(found, key=place):
        figures = found[candidate]
        if figures.failed:
            table.append([candidate.name, _promise(candidate), "failed", *[""] * (len(COLUMNS) - 3)])
            continue
        rank = "disqualified" if figures.disqualified else str(places.get(candidate, ""))
        limits = candidate.promise is not None
        table.append(
            [
                candidate.name,
                _promise(candidate),
                rank,
                _spread(figures.allowed_us),
                _spread(figures.refused_us) if limits else "",
                f"{compared(found, floor, candidate).estimate:.1f}",
                f"{figures.trips_allowed:.2f}",
                f"{figures.trips_refused:.2f}" if limits else "",
                f"{figures.bytes_beside_keys:,.0f}" if limits else "",
                f"{figures.race_admitted} of {figures.race_limit}" if figures.race_limit else "",
                _greedy(figures) if figures.greedy_asked else "",
                _spread(figures.server_us),
                _spread(figures.client_us, 0),
                _spread(figures.per_s, 0),
            ]
        )
    return table


def _promise(candidate: Candidate) -> str:
    if candidate.promise is None:
        return ""
    return candidate.promise if candidate.limits == 1 else f"{candidate.promise}, {candidate.limits} limits"


def _greedy(figures: Figures) -> str:
    return f"{figures.greedy_excess} too many" if figures.greedy_excess else "kept"


def _comparable(candidate: Candidate, to: Candidate, found: Mapping[Candidate, Figures]) -> bool:
    if len(found[candidate].allowed_us) < ROUNDS_FOR_AN_INTERVAL:
        return False
    alike = (candidate.promise, candidate.limits, candidate.again) == (to.promise, to.limits, False)
    return alike and to.promise is not None and not found[candidate].disqualified and to.limits == 1


def _cheaper(one: Figures, other: Figures) -> bool:
    high = ratio(paired_log_ratios(other.allowed_us, one.allowed_us)).high
    return one is not other and high is not None and high < 1.0


def _spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and range over the rounds: "8.9 (8.6 to 11.2)"."""
    low, middle, high = (f"{each:,.{digits}f}" for each in (min(values), median(values), max(values)))
    return f"{middle} ({low} to {high})"
