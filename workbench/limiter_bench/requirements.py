"""What is asked of our own limiter in the run that also measures the others; each becomes a sentence that says met or MISSED."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from loadtests.result import Ratio
from workbench.bench_verdicts import met_or_missed
from workbench.limiter_bench.candidates import FLOOR, GCRA, GCRA_AGAIN, OURS, THREE, Candidate
from workbench.limiter_bench.figures import Figures, compared

GCRA_US = 4.5
# On the machine that the figure was set on, with nothing beside it, a script that returns 1 cost so much.
ANCHOR_FLOOR_US = 0.58
GCRA_FLOORS = GCRA_US / ANCHOR_FLOOR_US
GCRA_BYTES = 72
# What each of our other algorithms may cost: in scripts that return 1, and bytes beside the key of a client who used ten units. The
# scripts of all ask Redis for the time, which is two floors of these. A sketch has one table for all clients.
COSTS: Mapping[str, tuple[float, int | None]] = {
    "leaky_queue": (8.0, 72),
    "fixed_window": (9.0, 100),
    "sliding_window": (9.0, 100),
    "leaky_bucket": (9.5, 100),
    "token_bucket": (9.5, 100),
    "sliding_log": (12.5, 300),
    "sketch": (30.0, None),
}


def verdicts(found: Mapping[Candidate, Figures]) -> list[str]:
    """A sentence for each requirement."""
    judged = [
        one_trip(found),
        gcra_time(found),
        gcra_in_floors(found),
        gcra_bytes(found),
        *(algorithm_costs(found, candidate) for candidate in _ours(found) if candidate.how in COSTS),
        exact_races(found),
        own_bounds(found),
    ]
    return [met_or_missed(met, sentence) for met, sentence in judged]


def one_trip(found: Mapping[Candidate, Figures]) -> tuple[bool, str]:
    more = [
        f"{candidate.name} {max(figures.trips_allowed, figures.trips_refused):.2f}"
        for candidate, figures in _ours(found).items()
        if (figures.trips_allowed, figures.trips_refused) != (1.0, 1.0)
    ]
    said = "1.00 for all, counted by Redis" if not more else ", ".join(more)
    return not more, f"one round trip per decision, header fields and three limits at once included: {said}"


def gcra_time(found: Mapping[Candidate, Figures]) -> tuple[bool, str]:
    us, floor_us = median(found[GCRA].allowed_us), median(found[FLOOR].allowed_us)
    sentence = (
        f"an allowed GCRA decision takes at most {GCRA_US} us of Redis: {us:.1f} us, beside {floor_us:.2f} us "
        "for a script that only returns 1"
    )
    if us > GCRA_US and floor_us > ANCHOR_FLOOR_US:
        sentence += (
            f"; where the figure was set such a script took {ANCHOR_FLOOR_US} us, so Redis is "
            f"{floor_us / ANCHOR_FLOOR_US:.1f} times slower here, and by the same measure it would be "
            f"{us * ANCHOR_FLOOR_US / floor_us:.1f} us there"
        )
    return us <= GCRA_US, sentence


def gcra_in_floors(found: Mapping[Candidate, Figures]) -> tuple[bool, str]:
    """The same on any machine: what a decision takes, in scripts that return 1."""
    times = compared(found, FLOOR, GCRA)
    asked = f"an allowed GCRA decision takes at most {GCRA_FLOORS:.1f} times what a script that only returns 1 takes beside it"
    return times.estimate <= GCRA_FLOORS, f"{asked}: {times.estimate:.1f} times{_interval(times)}"


def gcra_bytes(found: Mapping[Candidate, Figures]) -> tuple[bool, str]:
    used = found[GCRA].bytes_beside_keys
    return used <= GCRA_BYTES, f"a client costs GCRA at most {GCRA_BYTES} bytes beside its key: {used:.0f} by MEMORY USAGE"


def algorithm_costs(found: Mapping[Candidate, Figures], candidate: Candidate) -> tuple[bool, str]:
    floors, most_bytes = COSTS[candidate.how]
    times, used = compared(found, FLOOR, candidate), found[candidate].bytes_beside_keys
    asked, got = f"an allowed decision of {candidate.how} takes at most {floors:g} scripts that return 1", f"{times.estimate:.1f}"
    met = times.estimate <= floors
    if most_bytes is not None:
        asked, got = f"{asked}, and a client {most_bytes} bytes beside its key", f"{got}{_interval(times)}, and {used:.0f} bytes"
        met = met and used <= most_bytes
    else:
        got += _interval(times)
    return met, f"{asked}: {got}"


def exact_races(found: Mapping[Candidate, Figures]) -> tuple[bool, str]:
    ours = _ours(found)
    wrong = [
        f"{candidate.name} {figures.race_admitted} of {figures.race_limit}"
        for candidate, figures in ours.items()
        if figures.race_admitted != figures.race_limit
    ]
    return not wrong, f"8 processes racing on one key get exactly its limit: {', '.join(wrong) or f'all {len(ours)} of ours'}"


def own_bounds(found: Mapping[Candidate, Figures]) -> tuple[bool, str]:
    broken = [f"{candidate.name}: {figures.disqualified}" for candidate, figures in _ours(found).items() if figures.disqualified]
    return not broken, f"none of ours lets in more than it promises: {'; '.join(broken) or 'none did'}"


def remarks(found: Mapping[Candidate, Figures]) -> list[str]:
    """What a reader of the table has to know, and nothing is asked of: the noise, and who is not ranked and why."""
    again = compared(found, GCRA, GCRA_AGAIN)
    said = [
        f"the same GCRA measured twice differs by a factor of {again.estimate:.2f}{_interval(again)}: "
        "what differs by less is not told apart"
    ]
    for candidate, figures in found.items():
        if candidate.promise is not None and candidate.peer != OURS and figures.disqualified:
            said.append(f"{'failed' if figures.failed else 'disqualified'}: {candidate.name}: {figures.disqualified}")
    three = compared(found, GCRA, THREE)
    said.append(f"three limits at once take {three.estimate:.1f} times{_interval(three)} the time of one")
    return said


def _ours(found: Mapping[Candidate, Figures]) -> dict[Candidate, Figures]:
    return {candidate: each for candidate, each in found.items() if candidate.peer == OURS and candidate.promise is not None}


def _interval(times: Ratio) -> str:
    return f" [{times.low:.2f}, {times.high:.2f}]" if times.low is not None and times.high is not None else ""
