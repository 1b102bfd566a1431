"""What one variant was asked and what it answered: an `Ask` each, with what every rule said, in the order in which they come.

The history knows only what a client saw. Times are seconds of the client's one monotonic clock. The order in which things are
taken in does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.history.operation import Observation, Operation, Outcome, Struck

DECIDES = frozenset({"check", "peek", "acquire"})  # these are answered whatever becomes of the store


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says of one rule. `retry_us` None: it will never allow so much."""

    rule: str
    allowed: bool
    limit: int
    remaining: int
    retry_us: int | None
    reset_us: int
    degraded: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """One question and its answer; an item of a batch is one of its own. `status` 0: there was no answer."""

    f: str
    about: str  # the descriptor and tier as text, for people and to find the same again
    descriptor: Mapping[str, str]
    tier: str
    cost: int
    token: str
    sent_s: float
    end_s: float
    node: str
    outcome: Outcome
    status: int
    allowed: bool = False
    degraded: bool = False
    delay_us: int = 0
    said: tuple[Said, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    held: bool | None = None  # what a renewal or a release says: whether there was a slot
    garbled: bool = False  # the body is not what is promised
    batched: bool = False

    @property
    def answered(self) -> bool:
        """Whether it says what became of it."""
        return self.outcome != "info"


@dataclass(slots=True)
class History:
    """Everything one variant was asked."""

    asks: list[Ask] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    strikes: list[Struck] = field(default_factory=list)

    def take_operation(self, op: Operation) -> None:
        self.asks.append(ask_of(op))


def when(ask: Ask) -> tuple[float, float, str, str, str]:
    """Sorts by time, and what is of one time always alike."""
    return ask.sent_s, ask.end_s, ask.about, ask.f, ask.token


def ask_of(op: Operation) -> Ask:
    value: Any = op.value
    result: Any = op.result
    return Ask(
        f=op.f,
        about=op.key,
        descriptor=value.get("descriptor", {}),
        tier=value.get("tier", ""),
        cost=int(value.get("cost", 1)),
        token=value.get("token", ""),
        sent_s=op.invoked_s,
        end_s=op.ended_s,
        node=op.node,
        outcome=op.outcome,
        status=int(result.get("status", 0)),
        allowed=bool(result.get("allowed", False)),
        degraded=bool(result.get("degraded", False)),
        delay_us=int(result.get("delay_us", 0)),
        said=tuple(Said(*each) for each in result.get("limits", ())),
        headers=result.get("headers", {}),
        problem=result.get("problem", ""),
        held=result.get("held"),
        garbled=bool(result.get("garbled", False)),
        batched=bool(value.get("batch", False)),
    )
