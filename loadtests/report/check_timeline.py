"""The course of a check as marks to draw: when which fault struck what, what each node said of itself, how the load went.

Plain data; positions and widths are in per cent of the time shown, so that the template can draw them without a script. Faults on
one target that overlap are drawn below one another. Each different fault has a letter and a pattern, so that no colour has to be
told from another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.check.record import CheckRecord, NodeState, Slice
from loadtests.report.number_format import number
from loadtests.report.offline_page import inlined_json
from loadtests.result import Band

NARROWEST = 0.4  # per cent: a shorter fault would be less than a dot
NAME_FITS = 0.75  # per cent of the width of a plot on a wide screen that one letter of a name takes
MARGIN_OF_NAME = 4.0  # per cent: its key and the space around
TICKS_AT_MOST = 7
PATTERNS = 6
DRAWN_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """A fault. `key` is its letter; `told` names it where there is room, and is empty where only the letter fits."""

    key: str
    pattern: int
    start: float
    width: float
    told: str
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """All faults on one target; those of one row do not overlap."""

    target: str
    rows: Sequence[Sequence[Bar]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """How long a node or its breaker stayed as it was. `state` is a state of `NodeState`, or of a breaker with "-" for no space."""

    state: str
    start: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    """What a node said of itself. `breaker` is empty where it has none."""

    node: str
    states: Sequence[Stretch]
    breaker: Sequence[Stretch]
    told: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything on one time axis of `seconds`.

    `keys`: letter and pattern of each different fault. `load_end`: per cent, None where nothing is shown beyond it. `data`: JSON
    for check.js.
    """

    seconds: float
    ticks: Sequence[tuple[float, str]]
    lanes: Sequence[Lane]
    keys: Mapping[str, tuple[str, int]]
    strips: Sequence[Strip]
    states_seen: Sequence[str]
    breakers_seen: Sequence[str]
    load_end: float | None
    data: str


def timeline(record: CheckRecord) -> Timeline:
    seconds = shown_seconds(record)
    strips = [_strip(node, rows, seconds) for node, rows in _by_node(record.states).items()]
    states = {stretch.state for strip in strips for stretch in strip.states}
    breakers = {stretch.state for strip in strips for stretch in strip.breaker}
    return Timeline(
        seconds=seconds,
        ticks=ticks(seconds),
        lanes=lanes(record.bands, seconds),
        keys=keys(record.bands),
        strips=strips,
        states_seen=[state for state in ("ready", "degraded", "down", "gone") if state in states],
        breakers_seen=[state for state in ("closed", "half-open", "open") if state in breakers],
        load_end=_percent(record.seconds, seconds) if record.seconds < seconds else None,
        data=chart_data(record, seconds),
    )


def shown_seconds(record: CheckRecord) -> float:
    """The load, and as much after it as a fault or a change of a node lasted. Never 0."""
    ends = [
        record.seconds,
        *(band.end_s for band in record.bands),
        *(state.at_s for state in record.states),
        *(each.at_s for each in record.slices),
    ]
    return max(ends) or 1.0


def ticks(seconds: float) -> list[tuple[float, str]]:
    """Round moments, at most seven steps: (per cent, "5 s")."""
    step = 10.0 ** math.floor(math.log10(seconds / TICKS_AT_MOST))
    step *= next(factor for factor in (1, 2, 5, 10) if seconds / (step * factor) <= TICKS_AT_MOST)
    return [(_percent(i * step, seconds), f"{number(i * step)}\N{NO-BREAK SPACE}s") for i in range(math.floor(seconds / step) + 1)]


def keys(bands: Sequence[Band]) -> dict[str, tuple[str, int]]:
    """Name of a fault -> its letter and its pattern, in the order they struck first: A to Z, then AA and so on."""
    names = dict.fromkeys(band.name for band in sorted(bands, key=lambda band: band.start_s))
    return {name: (_letters(place), place % PATTERNS) for place, name in enumerate(names)}


def lanes(bands: Sequence[Band], seconds: float) -> list[Lane]:
    """One for each target, in the order they were struck first."""
    known = keys(bands)
    by_target: dict[str, list[Band]] = {}
    for band in sorted(bands, key=lambda band: (band.start_s, band.end_s)):
        by_target.setdefault(band.variant or "all", []).append(band)
    return [
        Lane(target, [[_bar(band, *known[band.name], seconds) for band in row] for row in packed(mine)])
        for target, mine in by_target.items()
    ]


def packed(bands: Sequence[Band]) -> list[list[Band]]:
    """As few rows as possible, none with two bands at one time; `bands` come by when they begin."""
    rows: list[list[Band]] = []
    for band in bands:
        free = next((row for row in rows if row[-1].end_s <= band.start_s), None)
        if free is None:
            rows.append([band])
        else:
            free.append(band)
    return rows


def chart_data(record: CheckRecord, seconds: float) -> str:
    """JSON for check.js: slices as (middle in s, requests/s, failed/s, p50_ms, max_ms), and when something struck."""
    width_s = record.slices[1].at_s - record.slices[0].at_s if len(record.slices) > 1 else record.seconds
    return inlined_json(
        json.dumps(
            {
                "seconds": seconds,
                "ticks": [round(seconds * x / 100, 6) for x, _ in ticks(seconds)],
                "load_s": record.seconds,
                "slices": [_row(each, _width_s(each, width_s, record.seconds)) for each in record.slices],
                "bands": [[band.start_s, band.end_s] for band in record.bands],
            },
            separators=(",", ":"),
        )
    )


def _row(each: Slice, width_s: float) -> list[float | None]:
    figures = (each.at_s + width_s / 2, each.requests / width_s, each.failed / width_s, each.p50_ms, each.max_ms)
    return [None if value is None else float(f"{value:.{DRAWN_DIGITS}g}") for value in figures]


def _width_s(each: Slice, usual_s: float, seconds: float) -> float:
    """The last slice ends with the load, where that leaves enough of it for a rate."""
    left_s = seconds - each.at_s
    return left_s if usual_s / 5 < left_s < usual_s else usual_s or 1.0


def _bar(band: Band, key: str, pattern: int, seconds: float) -> Bar:
    start, end = _percent(band.start_s, seconds), _percent(band.end_s, seconds)
    width = max(round(end - start, 3), NARROWEST)
    told = band.name if len(band.name) * NAME_FITS + MARGIN_OF_NAME <= width else ""
    return Bar(key, pattern, min(start, 100 - NARROWEST), width, told, f"{key}, {band_sentence(band)}")


def band_sentence(band: Band) -> str:
    """`1 s to 3.5 s: Redis answers nothing (redis)`."""
    return f"{number(band.start_s)} s to {number(band.end_s)} s: {band.name} ({band.variant or 'all'})"


def _by_node(states: Sequence[NodeState]) -> dict[str, list[NodeState]]:
    found: dict[str, list[NodeState]] = {}
    for state in sorted(states, key=lambda state: state.at_s):
        found.setdefault(state.node, []).append(state)
    return dict(sorted(found.items()))


def _strip(node: str, rows: Sequence[NodeState], seconds: float) -> Strip:
    said = [(row.at_s, row.state) for row in rows]
    # A node that is gone says nothing of its breaker.
    breaker = [(row.at_s, row.breaker) for row in rows] if any(row.breaker for row in rows) else []
    told = ", ".join(f"{state} from {number(at_s)} s" for at_s, state in _changes(said))
    return Strip(node, _stretches(said, seconds), _stretches(breaker, seconds, "breaker "), told)


def _stretches(rows: Sequence[tuple[float, str]], seconds: float, what: str = "") -> list[Stretch]:
    changes = _changes(rows)
    ends = [*(at_s for at_s, _ in changes[1:]), seconds][: len(changes)]
    return [
        Stretch(
            state,
            _percent(at_s, seconds),
            round(_percent(end_s, seconds) - _percent(at_s, seconds), 3),
            f"{what}{state}, {number(at_s)} s to {number(end_s)} s",
        )
        for (at_s, state), end_s in zip(changes, ends, strict=True)
        if state
    ]


def _changes(rows: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    return [row for place, row in enumerate(rows) if not place or rows[place - 1][1] != row[1]]


def _percent(at_s: float, seconds: float) -> float:
    return round(min(100.0, max(0.0, 100 * at_s / seconds)), 3)


def _letters(place: int) -> str:
    rest, letter = divmod(place, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + letter)
