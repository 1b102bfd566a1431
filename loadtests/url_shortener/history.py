"""What one variant was asked and what it answered, kept small: operations, observations and faults, folded as they come.

The history knows only what a client saw. `ok` happened, `fail` did not, and `info` may have happened, now or later: it widens what
is allowed and never proves a fault. All times are seconds of the client's one monotonic clock. The order in which things are
taken in does not matter. HISTORY.md says what each operation is asked and answers.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from loadtests.history.operation import Observation, Operation, Outcome, Struck

REDIRECT_STATUSES = frozenset({301, 302, 307, 308})
GONE_STATUSES = frozenset({404, 410, 451})


@dataclass(frozen=True, slots=True)
class Write:
    """A create, an edit or a deletion (which sends a link nowhere). `version` 0: the answer did not say.

    `answered_url`: where the answer said that the link leads. `expires_at` is on the wall clock, seconds since the epoch.
    """

    f: str
    code: str
    url: str
    sent_s: float
    end_s: float
    outcome: Outcome
    node: str = ""
    status: int = 0
    version: int = 0
    answered_url: str = ""
    alias: str = ""
    request_key: str = ""
    expires_at: float | None = None
    max_visits: int | None = None
    seeded: bool = False

    @property
    def acknowledged(self) -> bool:
        return self.outcome == "ok"

    @property
    def indefinite(self) -> bool:
        return self.outcome == "info"

    @property
    def new(self) -> bool:
        return self.acknowledged and self.status == 201

    @property
    def limited(self) -> bool:
        return self.expires_at is not None or self.max_visits is not None


@dataclass(frozen=True, slots=True)
class Ask:
    """A visit, or a look (HEAD) after the load: when, of whom, and the answer. `status` 0: there was none."""

    sent_s: float
    end_s: float
    node: str
    status: int
    url: str = ""


@dataclass(slots=True)
class Answers:
    """All redirects of one code to one URL: when each was asked for, when it had come back, and from which node (by number)."""

    sent_s: array[float] = field(default_factory=lambda: array("d"))
    end_s: array[float] = field(default_factory=lambda: array("d"))
    nodes: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class History:
    """Everything one variant was asked. Grows by one `Write` per write, 17 bytes per redirect, one `Ask` per refused visit."""

    creates: list[Write] = field(default_factory=list)
    changes: dict[str, list[Write]] = field(default_factory=dict)  # edits and deletions that may have happened
    answers: dict[str, dict[str, Answers]] = field(default_factory=dict)  # code -> URL -> redirects
    refused: dict[str, list[Ask]] = field(default_factory=dict)
    undecided: dict[str, list[Ask]] = field(default_factory=dict)  # visits that may have been redirected
    looks: dict[str, dict[str, list[Ask]]] = field(default_factory=dict)  # code -> node -> asked again after the load
    clicks_before: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, tuple[float, int | None]] = field(default_factory=dict)  # clicks after the load; None: it was not told
    uncounted: set[str] = field(default_factory=set)  # links of which there were no counts to be told
    statuses: Counter[int] = field(default_factory=Counter)  # of redirects
    observations: list[Observation] = field(default_factory=list)
    strikes: list[Struck] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)

    def take_operation(self, op: Operation) -> None:
        if op.f in ("visit", "guess"):
            self._take_visit(op)
        elif op.f == "create":
            self.creates.append(write_of(op))
        elif op.f in ("edit", "delete"):
            if op.outcome != "fail":
                self.changes.setdefault(op.key, []).append(write_of(op))
        elif op.f == "look":
            self.looks.setdefault(op.key, {}).setdefault(op.node, []).append(ask_of(op))
        elif op.f == "tally":
            told: Any = op.result.get("clicks")
            if op.result.get("status") == 404:
                self.uncounted.add(op.key)
            if op.value.get("before"):
                self.clicks_before[op.key] = told or 0
            elif op.ended_s >= self.tallies.get(op.key, (float("-inf"), None))[0]:
                self.tallies[op.key] = (op.ended_s, told)

    def _take_visit(self, op: Operation) -> None:
        ask = ask_of(op)
        if op.outcome == "info":
            if op.f == "visit":
                self.undecided.setdefault(op.key, []).append(ask)
        elif op.outcome == "ok" and ask.status in REDIRECT_STATUSES:
            by_url = self.answers.setdefault(op.key, {})
            answers = by_url.get(ask.url)
            if answers is None:
                answers = by_url[ask.url] = Answers()
            answers.sent_s.append(ask.sent_s)
            answers.end_s.append(ask.end_s)
            answers.nodes.append(self._number(ask.node))
            self.statuses[ask.status] += 1
        elif op.outcome == "ok" and op.f == "visit":  # a guess that is refused is what it should be
            self.refused.setdefault(op.key, []).append(ask)

    def _number(self, node: str) -> int:
        if node not in self.nodes:
            self.nodes.append(node)
        return self.nodes.index(node)

    # -- what follows from it

    def links(self) -> dict[str, list[Write]]:
        """The acknowledged creates of each code, the first one first. More than one: a repeat, or a mistake."""
        found: dict[str, list[Write]] = {}
        for write in sorted(self.creates, key=when):
            if write.acknowledged:
                found.setdefault(write.code, []).append(write)
        return found

    def accepted_clicks(self) -> dict[str, int]:
        """Redirects answered, by code."""
        return {code: sum(len(answers.sent_s) for answers in by_url.values()) for code, by_url in self.answers.items()}

    def redirects(self, code: str) -> list[Ask]:
        """Every visit of the code that was redirected, in the order in which they were sent."""
        found = [
            Ask(sent_s, end_s, self.nodes[node], 0, url)
            for url, answers in self.answers.get(code, {}).items()
            for sent_s, end_s, node in zip(answers.sent_s, answers.end_s, answers.nodes, strict=True)
        ]
        return sorted(found, key=lambda ask: (ask.sent_s, ask.end_s, ask.node, ask.url))


def when(write: Write) -> tuple[float, float, str, str, str]:
    """Sorts writes by time, and those of one time always alike."""
    return write.sent_s, write.end_s, write.code, write.url, write.node


def write_of(op: Operation) -> Write:
    value: Any = op.value
    result: Any = op.result
    return Write(
        f=op.f,
        code=str(result.get("code", "")) if op.f == "create" else op.key,
        url=value.get("url", ""),
        sent_s=op.invoked_s,
        end_s=op.ended_s,
        outcome=op.outcome,
        node=op.node,
        status=int(result.get("status", 0)),
        version=int(result.get("version", 0)),
        answered_url=result.get("url", ""),
        alias=value.get("alias", ""),
        request_key=value.get("idempotency_key", ""),
        expires_at=value.get("expires_at"),
        max_visits=value.get("max_visits"),
        seeded=bool(value.get("seeded", False)),
    )


def ask_of(op: Operation) -> Ask:
    result: Any = op.result
    return Ask(op.invoked_s, op.ended_s, op.node, int(result.get("status", 0)), result.get("url", ""))
