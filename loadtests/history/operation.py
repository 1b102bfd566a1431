"""The three things a history consists of: what a client did, what was observed from outside, and what was broken on purpose.

The words are those of Jepsen's histories (process, f, value, ok / fail / info, nemesis), so that whoever knows one can read the
other. All times are seconds of one monotonic clock, that of the process that made the load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

# ok: it happened. fail: it certainly did not. info: nobody knows; it may have happened, and may still happen.
Outcome = Literal["ok", "fail", "info"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One request of a client, from before it was sent until its answer was there, or given up.

    `process` numbers who asked; each asks one thing at a time, and one whose operation ended as `info` never asks again. `f` is
    what was asked, `key` what it is about (such as a link's code, "" while it has none), `value` what it was asked with, `node`
    the process of the design that was asked, `result` what it answered. Values written are unique, so that a read tells its write.
    """

    process: int
    f: str
    key: str
    value: Mapping[str, Json]
    node: str
    invoked_s: float
    ended_s: float
    outcome: Outcome
    result: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a node said of itself, such as how many clicks it has dropped. `f` names it; counts restart at 0 with their process."""

    f: str
    node: str
    at_s: float
    value: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it really happened: from the moment it may have begun until it had certainly ended.

    `kind` and `target` as in `loadtests.faults.schedule.Fault`; `schedule` is the one it comes from. `detail` says what was done,
    for people.
    """

    kind: str
    target: str
    began_s: float
    ended_s: float
    schedule: str = ""
    attributes: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""


HistoryItem: TypeAlias = Operation | Observation | Struck
