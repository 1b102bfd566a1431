"""Schedules that have a name: files in TOML, those of `schedules/` by their name, anybody's by its path.

what = "The click worker is killed again and again."

[[fault]]
kind = "kill"                 # see FAULTS.md
target = "click-worker"       # or "redis", "kafka@replica-1", "host"; with a *: one that fits, drawn for each strike
pick = "one"                  # or "all": every one that fits, at the same time
attributes = { }              # numbers, or [least, most] to draw from for each strike
stream = "downstream"         # for what spoils connections: from the server, "upstream" to it, or "both"
toxicity = 1.0                # share of the connections that are spoilt
first_s = 0.6                 # seconds since the load began
every_s = 1.7                 # again and again; left out: once
for_s = 0.3                   # how long, or [least, most]
jitter_s = 0.3                # each start is moved by up to this, either way
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.faults.pattern import MAX_FOR_S, Amount, FaultPattern, strike
from loadtests.faults.schedule import BadSchedule, Fault

FOLDER = Path(__file__).parent / "schedules"
RANDOM = "random"  # the name of the schedule that is drawn from a design's menu
MAX_FILE_BYTES = 1 << 20
MAX_FAULTS = 64
MIN_EVERY_S = 0.1

SCHEDULE_KEYS = ("what", "fault")
FAULT_KEYS = (
    "kind",
    "target",
    "pick",
    "attributes",
    "stream",
    "toxicity",
    "first_s",
    "every_s",
    "for_s",
    "jitter_s",
)


@dataclass(frozen=True, slots=True)
class TimedFault:
    """A pattern with its times: at `first_s`, and every `every_s` after it (None: once), each moved by up to `jitter_s`."""

    pattern: FaultPattern
    first_s: float
    every_s: float | None = None
    jitter_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NamedSchedule:
    """One file. `what` is the sentence for people."""

    name: str
    what: str
    faults: tuple[TimedFault, ...]


def schedule_names() -> list[str]:
    """The schedules there are, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_schedule(word: str) -> NamedSchedule:
    """A schedule by its name, or by its path where the word has a `/` or ends in `.toml`. Raises `BadSchedule`."""
    if "/" in word or word.endswith(".toml"):
        path = Path(word)
        return parse_schedule(path.stem, _text_of(path, word))
    if word not in schedule_names():
        raise BadSchedule(
            f"there is no schedule {word!r}; there is {', '.join([*schedule_names(), RANDOM])}, or a file of your own, such as "
            "./mine.toml"
        )
    return parse_schedule(word, _text_of(FOLDER / f"{word}.toml", word))


def parse_schedule(name: str, text: str) -> NamedSchedule:
    """The schedule that is written in TOML. `BadSchedule` with its name, the place and what would be right."""
    try:
        written = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSchedule(f"{name}: not TOML: {error}") from None
    place = name
    try:
        _refuse_unknown(written, SCHEDULE_KEYS)
        what = written.get("what")
        if not isinstance(what, str) or not what.strip():
            raise BadSchedule('what: write a sentence that says what happens, such as what = "Redis is killed."')
        tables = written.get("fault")
        if not isinstance(tables, list) or not 1 <= len(tables) <= MAX_FAULTS:
            raise BadSchedule(f"fault: write one to {MAX_FAULTS} faults, each under [[fault]], in two pairs of brackets")
        faults = []
        for number, table in enumerate(tables, start=1):
            place = f"{name}, fault {number}"
            faults.append(_timed_fault(table))
    except BadSchedule as mistake:
        raise BadSchedule(f"{place}: {mistake}") from None
    return NamedSchedule(name, what.strip(), tuple(faults))


def strikes(schedule: NamedSchedule, *, seed: int, nodes: Sequence[str], until_s: float) -> Iterator[Fault]:
    """All strikes that are due before `until_s`, before any rule has looked at them. `BadSchedule` where nothing fits a target.

    Each fault of the file has draws of its own, so that neither a longer run nor another schedule beside it changes them.
    """
    for number, timed in enumerate(schedule.faults):
        rng = random.Random(f"{seed}/{schedule.name}/{number}")  # text: seeded by its hash, the same on every machine
        due_s = timed.first_s
        while due_s < until_s:
            at_s = due_s + timed.jitter_s * (2 * rng.random() - 1)
            struck = strike(timed.pattern, max(at_s, 0.0), rng, nodes, schedule.name)
            if not struck:
                raise BadSchedule(
                    f"{schedule.name}: {timed.pattern.kind} finds no {timed.pattern.target!r} here; there is "
                    f"{', '.join(nodes) or 'nothing'}"
                )
            yield from struck
            if timed.every_s is None:
                break
            due_s += timed.every_s


def _text_of(path: Path, word: str) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadSchedule(f"{word} is larger than {MAX_FILE_BYTES:,} bytes, too large for a schedule")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadSchedule(f"{word} can't be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise BadSchedule(f"{word} is not UTF-8 text") from None


def _timed_fault(table: object) -> TimedFault:
    if not isinstance(table, dict):
        raise BadSchedule("should be a table")
    _refuse_unknown(table, FAULT_KEYS)
    for key in ("kind", "target", "first_s", "for_s"):
        if key not in table:
            raise BadSchedule(f"{key} is missing")
    for key in ("kind", "target", "pick", "stream"):
        if not isinstance(table.get(key, ""), str):
            raise BadSchedule(f"{key}: should be text; it is {table[key]!r}")
    attributes = table.get("attributes", {})
    if not isinstance(attributes, dict):
        raise BadSchedule(f"attributes: should be a table, such as {{ latency = 20 }}; it is {attributes!r}")
    pattern = FaultPattern(
        kind=table["kind"],
        target=table["target"],
        for_s=_amount("for_s", table["for_s"]),
        attributes={name: _amount(name, given) for name, given in attributes.items()},
        stream=table.get("stream", "downstream"),
        toxicity=_amount("toxicity", table.get("toxicity", 1.0)),
        pick=table.get("pick", "one"),
    )
    return TimedFault(
        pattern,
        first_s=_seconds(table, "first_s", least=0.0),
        every_s=_seconds(table, "every_s", least=MIN_EVERY_S) if "every_s" in table else None,
        jitter_s=_seconds(table, "jitter_s", least=0.0) if "jitter_s" in table else 0.0,
    )


def _amount(name: str, given: object) -> Amount:
    """A number as it is, [least, most] as a pair; whether they are possible is for the pattern to say."""
    if isinstance(given, list) and len(given) == 2 and all(map(_is_number, given)):
        return (float(given[0]), float(given[1]))
    if not _is_number(given):
        raise BadSchedule(f"{name}: should be a number or [least, most]; it is {given!r}")
    assert isinstance(given, (int, float))
    return given


def _seconds(table: Mapping[str, Any], key: str, *, least: float) -> float:
    given = table[key]
    if not _is_number(given) or not least <= given <= MAX_FOR_S:
        raise BadSchedule(f"{key}: should be a number of seconds from {least:g} to {MAX_FOR_S:g}; it is {given!r}")
    return float(given)


def _is_number(given: object) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool)


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = next((key for key in table if key not in known), None)
    if unknown is not None:
        raise BadSchedule(f"there is no {unknown!r} here; there is {', '.join(known)}")
