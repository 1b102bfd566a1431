"""Histories written by hand, an operation a line; times in seconds, each request takes 10 ms unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.history.operation import HistoryItem, Json, Observation, Operation, Outcome, Struck
from loadtests.history.recorded import Header
from loadtests.rate_limiter.judge import judge
from loadtests.rate_limiter.mixes import MIXES
from loadtests.rate_limiter.promises import Met, Promises, promises_of
from loadtests.rate_limiter.steps import Question
from loadtests.result import SafetyCheck
from loadtests.workload import Mix

WALL_S = 1_800_000_000.0  # the wall clock at second 0
ONE, TWO = "replica-1", "replica-2"


def ops_of(mix: Mix) -> tuple[str, ...]:
    return (*mix.ratios, *(op for op, _ in mix.then.values()))


def header(**knobs: Any) -> Header:
    return Header(
        design="rate_limiter",
        mix="mixed",
        seed=1,
        knobs=knobs,
        started_at="2027-01-15T08:00:00Z",
        clock=WALL_S,
        nodes=(ONE, TWO),
        ops=ops_of(MIXES["mixed"]),
    )


@dataclass
class Story:
    """What happened, in any order. `checks` judges it.

    `refused_by`: the rules that refuse, with the wait they tell in seconds (None: never). `status` 0: no answer.
    """

    knobs: dict[str, Any] = field(default_factory=dict)
    items: list[HistoryItem] = field(default_factory=list)

    @property
    def promises(self) -> Promises:
        return promises_of(header(**self.knobs))

    def check(
        self,
        at_s: float,
        user: str = "u",
        *,
        cost: int = 1,
        refused_by: Mapping[str, float | None] | None = None,
        left: dict[str, int] | int | None = None,
        status: int = 200,
        degraded: bool = False,
        node: str = ONE,
        took_s: float = 0.01,
        f: str = "check",
        tier: str = "",
        delay_us: int = 0,
        **more: str,
    ) -> None:
        question = Question(f, {**({"user": user} if user else {}), **more}, tier, cost)
        refusing = refused_by or {}
        met = self.promises.met(question.descriptor, tier)
        # What a story says nothing of is as if nobody else had come.
        remaining = {limit.rule: 0 if limit.rule in refusing else limit.capacity - (0 if refusing else cost) for limit in met}
        remaining |= left if isinstance(left, dict) else {} if left is None else dict.fromkeys(remaining, left)
        limits: list[Json] = [_said(limit, refusing, remaining[limit.rule], degraded) for limit in met]
        if refusing and status == 200:
            status = 422 if None in refusing.values() else 429
        allowed = not refusing
        self.add(question, at_s, status, {"allowed": allowed, "degraded": degraded, "limits": limits}, node, took_s, delay_us)

    def peek(self, at_s: float, user: str = "u", *, left: int, **more: Any) -> None:
        self.check(at_s, user, f="peek", left=left, **more)

    def refund(self, at_s: float, user: str = "u", *, cost: int = 1, status: int = 204, took_s: float = 0.01) -> None:
        self.add(Question("refund", {"user": user}, "", cost), at_s, status, {}, ONE, took_s)

    def slot(
        self,
        f: str,
        token: str,
        at_s: float,
        user: str = "w",
        *,
        refused_s: float | None = None,
        held: bool | None = None,
        status: int = 200,
        degraded: bool = False,
        node: str = ONE,
        took_s: float = 0.01,
        left: int = 0,
    ) -> None:
        """`refused_s`: told to wait so long for a slot. `held`: what a renewal or a release says."""
        question = Question(f, {"user": user, "job": "preview"}, token=token)
        if f == "acquire":
            refusing: dict[str, float | None] = {} if refused_s is None else {"previews": refused_s}
            [limit] = self.promises.slots(question.descriptor)
            said: dict[str, Json] = {
                "allowed": not refusing,
                "degraded": degraded,
                "limits": [_said(limit, refusing, left, degraded)],
            }
            self.add(question, at_s, 429 if refusing and status == 200 else status, said, node, took_s)
        else:
            self.add(question, at_s, status, {} if held is None else {"held": held}, node, took_s)

    def add(
        self,
        question: Question,
        at_s: float,
        status: int,
        said: dict[str, Json],
        node: str,
        took_s: float,
        delay_us: int = 0,
    ) -> None:
        outcome: Outcome = "info" if status in (0, 500) else "fail" if status == 503 and not said.get("limits") else "ok"
        result: dict[str, Json] = {"status": status, **(said if outcome == "ok" else {})} if status else {"error": "no answer"}
        if delay_us:
            result["delay_us"] = delay_us
        if outcome == "ok" and question.f in ("check", "acquire", "peek"):
            result["headers"] = headers_for(said)
        number = len(self.items)
        self.items.append(Operation(number, question.f, question.about, question.value, node, at_s, at_s + took_s, outcome, result))

    def struck(self, kind: str, target: str, began_s: float, ended_s: float, **attributes: float) -> None:
        self.items.append(Struck(kind, target, began_s, ended_s, attributes=attributes))

    def observed(self, f: str, at_s: float, node: str = ONE, **value: int) -> None:
        self.items.append(Observation(f, node, at_s, dict(value)))

    def checks(self) -> dict[str, SafetyCheck]:
        return {check.name: check for check in judge(header(**self.knobs), self.items)}

    def judged(self, name: str) -> SafetyCheck:
        return self.checks()[name]


def _said(limit: Met, refusing: Mapping[str, float | None], left: int, degraded: bool) -> list[Json]:
    allowed = limit.rule not in refusing
    wait_s = 0.0 if allowed else refusing[limit.rule]
    wait_us = None if wait_s is None else round(wait_s * 1e6)
    return [limit.rule, allowed, limit.capacity, left, wait_us, 0, degraded]


def headers_for(said: dict[str, Any]) -> dict[str, Json]:
    """The fields that go with these words, as the style `current` has them."""
    limits = said["limits"]
    headers: dict[str, Json] = {}
    if limits:
        headers["ratelimit-policy"] = ", ".join(f'"{rule}";q={limit};w=2' for rule, _, limit, *_ in limits)
        headers["ratelimit"] = ", ".join(f'"{rule}";r={left}' for rule, _, _, left, *_ in limits)
    waits = [wait_us for _, allowed, _, _, wait_us, *_ in limits if not allowed]
    if waits and None not in waits:
        headers["retry-after"] = str(max(1, -(-max(waits) // 1_000_000)))
    return headers
