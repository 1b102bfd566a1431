"""A history as a file: JSON lines, the header first, then events in the order of time. HISTORY.md documents the format.

An operation is two events, its invocation and its completion; reading pairs them again. What is read is what was written, in the
order in which it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from loadtests.history.operation import HistoryItem, Json, Observation, Operation, Struck

FORMAT = "system-designs/history"
VERSION = 1
OBSERVER, NEMESIS = "observer", "nemesis"
NEVER_ANSWERED = "the history ends before the answer"
COMPLETIONS = frozenset({"ok", "fail", "info"})


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: what was asked, of whom, and on which clock.

    `clock` is the wall clock, in seconds since the epoch, at second 0 of the history. `bounds` are the design's promises as numbers
    (such as `staleness_s`), `ops` the operations of the mix: what it never asks for is not judged.
    """

    design: str
    mix: str
    seed: int
    knobs: Mapping[str, str | int | float | bool]
    started_at: str  # RFC 3339, UTC
    clock: float
    nodes: tuple[str, ...]
    bounds: Mapping[str, float] = field(default_factory=dict)
    ops: tuple[str, ...] = ()


class BadHistory(ValueError):
    """A file that is no history: the number of the line, and a sentence that says what is wrong there."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


def write_history(path: Path, header: Header, items: Iterable[HistoryItem]) -> None:
    """Write the whole file, or leave none. Items may come in any order. Raises OSError."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(orjson.dumps({"format": FORMAT, "version": VERSION, **asdict(header)}) + b"\n")
            for event in events(items):
                file.write(orjson.dumps(event) + b"\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_history(path: Path) -> tuple[Header, list[HistoryItem]]:
    """The header and the items in the order in which they began. Raises `BadHistory`, and OSError when there is no such file."""
    with path.open("rb") as file:
        lines = enumerate(file, start=1)
        header = _header(_object(*next(lines, (1, b""))))
        return header, list(_items((number, _object(number, line)) for number, line in lines if line.strip()))


def in_order(items: Iterable[HistoryItem]) -> list[HistoryItem]:
    """By the time each began; of two that began at once, the one that ended first."""
    return sorted(items, key=_began_and_ended_s)


def events(items: Iterable[HistoryItem]) -> Iterator[dict[str, Any]]:
    """The lines after the header. At one moment, each process ends what it does before it begins anew."""
    timed: list[tuple[int, int, dict[str, Any]]] = []  # time, place among those of one time, event
    for place, item in enumerate(in_order(items)):
        if isinstance(item, Operation):
            about = {"f": item.f, "key": item.key, "node": item.node, "process": item.process}
            error = {"error": item.result["error"]} if "error" in item.result else {}
            result = {name: value for name, value in item.result.items() if name != "error"}
            timed.append((_ns(item.invoked_s), 2 * place, {**about, "type": "invoke", "value": dict(item.value)}))
            timed.append((_ns(item.ended_s), 2 * place + 1, {**about, "type": item.outcome, "value": result, **error}))
        elif isinstance(item, Observation):
            said = {"f": item.f, "key": "", "node": item.node, "process": OBSERVER, "type": "info", "value": dict(item.value)}
            timed.append((_ns(item.at_s), 2 * place, said))
        else:
            broken = {"f": item.kind, "key": "", "node": item.target, "process": NEMESIS, "type": "info"}
            told = {"value": dict(item.attributes), "until": _ns(item.ended_s), "schedule": item.schedule, "detail": item.detail}
            timed.append((_ns(item.began_s), 2 * place, {**broken, **told}))
    for index, (time_ns, _, event) in enumerate(sorted(timed, key=lambda each: each[:2])):
        yield {"index": index, "time": time_ns, **event}


def _began_and_ended_s(item: HistoryItem) -> tuple[float, float]:
    if isinstance(item, Operation):
        return item.invoked_s, item.ended_s
    return (item.at_s, item.at_s) if isinstance(item, Observation) else (item.began_s, item.ended_s)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _items(lines: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[HistoryItem]:
    """Operations come out in the order of their invocations, so each waits here until those before it have ended."""
    begun: list[HistoryItem | None] = []
    open_at: dict[int, tuple[int, int, Mapping[str, Any]]] = {}  # process -> place in `begun`, line, its invocation
    gone: set[int] = set()
    last_ns = 0
    for number, event in lines:
        process, kind = event.get("process"), _text(number, event, "type")
        time_ns = _whole(number, event, "time")
        if begun and time_ns < last_ns:
            raise BadHistory(number, "events stand in the order of time, and this one is older than the one before it")
        last_ns = time_ns
        if process in (OBSERVER, NEMESIS):
            begun.append(_seen(number, event, time_ns) if process == OBSERVER else _struck(number, event, time_ns))
        elif isinstance(process, bool) or not isinstance(process, int):
            raise BadHistory(number, f'a process is a number, "{OBSERVER}" or "{NEMESIS}", not {process!r}')
        elif kind == "invoke":
            if process in open_at:
                raise BadHistory(number, f"process {process} has asked in line {open_at[process][1]} and has no answer yet")
            if process in gone:
                raise BadHistory(number, f"process {process} asks again, although what it asked before ended as info")
            open_at[process] = (len(begun), number, event)
            begun.append(None)
        elif kind in COMPLETIONS:
            if process not in open_at:
                raise BadHistory(number, f"process {process} is answered, and has not asked")
            place, _, invocation = open_at.pop(process)
            if _text(number, event, "f") != invocation["f"]:
                raise BadHistory(number, f"process {process} has asked for {invocation['f']}, and is answered {event['f']}")
            begun[place] = _operation(number, invocation, event, time_ns)
            if kind == "info":
                gone.add(process)
        else:
            raise BadHistory(number, f"a type is invoke, ok, fail or info, not {kind!r}")
    for place, number, invocation in open_at.values():
        unanswered = {"type": "info", "value": {}, "error": NEVER_ANSWERED}
        begun[place] = _operation(number, invocation, unanswered, last_ns)
    return (item for item in begun if item is not None)


def _operation(number: int, invocation: Mapping[str, Any], completion: Mapping[str, Any], ended_ns: int) -> Operation:
    error = {"error": completion["error"]} if "error" in completion else {}
    return Operation(
        process=invocation["process"],
        f=_text(number, invocation, "f"),
        key=_text(number, invocation, "key"),
        value=_map(number, invocation, "value"),
        node=_text(number, invocation, "node"),
        invoked_s=invocation["time"] / 1e9,
        ended_s=ended_ns / 1e9,
        outcome=completion["type"],
        result={**_map(number, completion, "value"), **error},
    )


def _seen(number: int, event: Mapping[str, Any], at_ns: int) -> Observation:
    return Observation(_text(number, event, "f"), _text(number, event, "node"), at_ns / 1e9, _map(number, event, "value"))


def _struck(number: int, event: Mapping[str, Any], began_ns: int) -> Struck:
    attributes = {name: float(value) for name, value in _map(number, event, "value").items() if isinstance(value, int | float)}
    if len(attributes) < len(event["value"]):
        raise BadHistory(number, "what a fault is given are numbers")
    return Struck(
        kind=_text(number, event, "f"),
        target=_text(number, event, "node"),
        began_s=began_ns / 1e9,
        ended_s=_whole(number, event, "until") / 1e9,
        schedule=str(event.get("schedule", "")),
        attributes=attributes,
        detail=str(event.get("detail", "")),
    )


def _object(number: int, line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise BadHistory(number, "this is no JSON object" if line.strip() else "the file is empty")
    return found


def _header(found: dict[str, Any]) -> Header:
    if found.pop("format", None) != FORMAT:
        raise BadHistory(1, f'the first line of a history says "format": "{FORMAT}"')
    if (version := found.pop("version", None)) != VERSION:
        raise BadHistory(1, f"this reads version {VERSION}, and the file has version {version!r}")
    known = {each.name for each in fields(Header)}
    missing = {"design", "mix", "seed", "knobs", "started_at", "clock", "nodes"} - found.keys()
    if missing:
        raise BadHistory(1, f"the header lacks {', '.join(sorted(missing))}")
    header = {name: value for name, value in found.items() if name in known}
    for name in ("knobs", "bounds"):
        if not isinstance(header.get(name, {}), dict):
            raise BadHistory(1, f"{name} is an object")
    for name in ("nodes", "ops"):
        if not isinstance(header.get(name, []), list):
            raise BadHistory(1, f"{name} is a list")
        header[name] = tuple(header.get(name, ()))
    return Header(**header)


def _text(number: int, event: Mapping[str, Any], name: str) -> str:
    found = event.get(name)
    if not isinstance(found, str):
        raise BadHistory(number, f"{name} is a string, not {found!r}")
    return found


def _whole(number: int, event: Mapping[str, Any], name: str) -> int:
    found = event.get(name)
    if isinstance(found, bool) or not isinstance(found, int):
        raise BadHistory(number, f"{name} is a whole number of nanoseconds, not {found!r}")
    return found


def _map(number: int, event: Mapping[str, Any], name: str) -> dict[str, Json]:
    found = event.get(name)
    if not isinstance(found, dict):
        raise BadHistory(number, f"{name} is an object, not {found!r}")
    return found
