"""Histories written by hand, an operation a line; times in seconds, each request takes 10 ms unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.history.operation import HistoryItem, Json, Observation, Operation, Outcome, Struck
from loadtests.history.recorded import Header
from loadtests.result import SafetyCheck
from loadtests.url_shortener.judge import judge
from loadtests.url_shortener.mixes import MIXES
from loadtests.workload import Mix

S = 2.0
ALLOWANCE_S = 0.25
WALL_S = 1_800_000_000.0  # the wall clock at second 0
ONE, TWO = "replica-1", "replica-2"
NODES = (ONE, TWO)


def ops_of(mix: Mix) -> tuple[str, ...]:
    return (*mix.ratios, *(op for op, _ in mix.then.values()))


def header(**knobs: Any) -> Header:
    return Header(
        design="url_shortener",
        mix="everything",
        seed=1,
        knobs={"staleness_s": S, **knobs},
        started_at="2027-01-15T08:00:00Z",
        clock=WALL_S,
        nodes=NODES,
        bounds={"staleness_s": S, "allowance_s": ALLOWANCE_S},
        ops=ops_of(MIXES["everything"]),
    )


@dataclass
class Story:
    """What happened, in any order. `checks` judges it."""

    knobs: dict[str, Any] = field(default_factory=dict)
    items: list[HistoryItem] = field(default_factory=list)

    def add(
        self,
        f: str,
        key: str,
        at_s: float,
        outcome: Outcome,
        result: dict[str, Json],
        value: dict[str, Json] | None = None,
        node: str = ONE,
        took_s: float = 0.01,
    ) -> None:
        self.items.append(Operation(len(self.items), f, key, value or {}, node, at_s, at_s + took_s, outcome, result))

    def seeded(self, *codes: str) -> Story:
        """Links made before time 0, each with the URL https://old/<code>."""
        for code in codes:
            url = f"https://old/{code}"
            told: dict[str, Json] = {"status": 201, "code": code, "url": url, "version": 1}
            self.add("create", "", -2.0, "ok", told, {"url": url, "seeded": True})
        return self

    def create(
        self, code: str, at_s: float = 0.0, *, url: str = "", status: int = 201, node: str = ONE, took_s: float = 0.01, **value: Any
    ) -> None:
        """`status` 0: no answer."""
        url = url or f"https://new/{code}"
        told: dict[str, Json] = (
            {"status": status, "code": code, "url": url, "version": 1} if status in (200, 201) else {"status": status}
        )
        self.add("create", value.get("alias", ""), at_s, outcome_of(status), told, {"url": url, **value}, node, took_s)

    def edit(self, code: str, url: str, at_s: float, status: int = 200, version: int = 0, took_s: float = 0.1) -> None:
        told: dict[str, Json] = {"status": status, "version": version}
        self.add("edit", code, at_s, outcome_of(status), told, {"url": url}, took_s=took_s)

    def delete(self, code: str, at_s: float, status: int = 204, took_s: float = 0.01) -> None:
        self.add("delete", code, at_s, outcome_of(status), {"status": status}, took_s=took_s)

    def visit(
        self, code: str, url: str, at_s: float, status: int = 302, node: str = ONE, took_s: float = 0.01, f: str = "visit"
    ) -> None:
        """`url` "" with a status that is none: the visit was refused, or not answered (0)."""
        status = status if url or status != 302 else 404
        outcome: Outcome = "ok" if status in (404, 410) else outcome_of(status)
        told: dict[str, Json] = {"status": status, **({"url": url} if 300 <= status < 400 else {})}
        self.add(f, code, at_s, outcome, told, node=node, took_s=took_s)

    def look(self, code: str, url: str, at_s: float = 100.0, status: int = 302, nodes: Sequence[str] = NODES) -> None:
        for node in nodes:
            self.visit(code, url, at_s, status, node, f="look")

    def tally(self, code: str, clicks: int | None, at_s: float = 100.0) -> None:
        self.add("tally", code, at_s, "fail" if clicks is None else "ok", {} if clicks is None else {"clicks": clicks})

    def drained(self, complete: bool = True) -> None:
        self.items.append(Observation("drained", "", 100.0, {"complete": complete}))

    def losses(self, at_s: float, node: str = ONE, dropped: int = 0, unsure: int = 0) -> None:
        self.items.append(Observation("losses", node, at_s, {"dropped": dropped, "unsure": unsure}))

    def cache_errors(self, at_s: float, errors: int, node: str = ONE) -> None:
        self.items.append(Observation("cache", node, at_s, {"errors": errors}))

    def struck(self, kind: str, target: str, began_s: float, ended_s: float, **attributes: float) -> None:
        self.items.append(Struck(kind, target, began_s, ended_s, attributes=attributes))

    def checks(self) -> dict[str, SafetyCheck]:
        return {check.name: check for check in judge(header(**self.knobs), self.items)}

    def judged(self, name: str) -> SafetyCheck:
        return self.checks()[name]


def outcome_of(status: int) -> Outcome:
    if status == 0 or status >= 500:
        return "info"
    return "ok" if status < 400 else "fail"
