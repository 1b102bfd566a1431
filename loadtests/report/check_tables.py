"""The tables of a check's report as plain data. The page and the terminal read the same rows, so they can't disagree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtests.check.record import CheckRecord, PolicyFigure, Verdict
from loadtests.report.number_format import count, enumeration, number
from loadtests.result import SafetyCheck

WORST_FIRST = ("invalid", "unknown", "valid")
OUTCOMES = ("ok", "fail", "info")
# What a count is called that should have been 0, where the check says it was not. What was declared or forgiven is not of them.
BAD = re.compile(
    r"lost|wrong|duplicate|twice|beyond|before_it|undeclared|not_missing|refused|over_|too_|later_than|earlier_than|came_back|"
    r"handed_out_again|resurrected|differ|unexplained|broken|violat"
)
FORGIVEN = re.compile(r"forgiven|killed|allow|(?<!un)declared_(?!but)|_declared$|_known$")
Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Count:
    """One count of a check. `bad`: one that should have been 0."""

    label: str
    value: str
    tone: Literal["", "zero", "bad"]


@dataclass(frozen=True, slots=True)
class CheckRow:
    name: str
    verdict: Verdict
    counts: Sequence[Count]
    detail: str
    witness: Sequence[str]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """`within` says whether the bound was kept: "within" or "beyond"; "not seen" without a figure, "" without a bound."""

    name: str
    sentence: str
    value: str
    bound: str
    within: Literal["within", "beyond", "not seen", ""]


def check_rows(record: CheckRecord) -> list[CheckRow]:
    """The worst first, and in an invalid one the bad counts first."""
    rows = [CheckRow(c.name, c.verdict, _counts(c), c.detail, c.witness if c.verdict == "invalid" else []) for c in record.checks]
    return sorted(rows, key=lambda row: WORST_FIRST.index(row.verdict))


def _counts(check: SafetyCheck) -> list[Count]:
    def tone(name: str, n: int) -> Literal["", "zero", "bad"]:
        if n == 0:
            return "zero"
        return "bad" if check.verdict == "invalid" and BAD.search(name) and not FORGIVEN.search(name) else ""

    told = [Count(name.replace("_", " "), count(n), tone(name, n)) for name, n in check.counts.items()]
    return sorted(told, key=lambda each: each.tone != "bad")


def policy_rows(record: CheckRecord) -> list[PolicyRow]:
    return [
        PolicyRow(f.name, f.sentence, _with_unit(f.value, f.unit), _with_unit(f.bound, f.unit), _within(f)) for f in record.policy
    ]


def _within(figure: PolicyFigure) -> Literal["within", "beyond", "not seen", ""]:
    if figure.value is None:
        return "not seen"
    if figure.bound is None:
        return ""
    return "within" if figure.value <= figure.bound else "beyond"


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{number(value)}\N{NO-BREAK SPACE}{unit}".rstrip()


def outcomes_seen(record: CheckRecord) -> list[str]:
    """ok, fail and info, and after them any other."""
    return list(dict.fromkeys([*OUTCOMES, *(outcome for found in record.operations.values() for outcome in found)]))


def operation_rows(record: CheckRecord) -> list[tuple[str, list[int]]]:
    """What was asked, then how often with each of `outcomes_seen`, then all; the last row is everything together."""
    outcomes = outcomes_seen(record)
    rows = [(name, [found.get(outcome, 0) for outcome in outcomes]) for name, found in record.operations.items()]
    if len(rows) > 1:
        rows.append(("all", [sum(column) for column in zip(*(cells for _, cells in rows), strict=True)]))
    return [(name, [*cells, sum(cells)]) for name, cells in rows]


def what_was_run(record: CheckRecord) -> str:
    """`Who sends it. 200 requests/s for 30 s to 2 replicas, seed 7, while redis_black_hole struck 3 times.`"""
    times = f"{count(len(record.bands))} time{'' if len(record.bands) == 1 else 's'}"
    struck = f"while {enumeration(record.schedules)} struck {times}" if record.schedules else "with nothing broken on purpose"
    replicas = f"{count(record.replicas)} replica{'' if record.replicas == 1 else 's'}"
    load = f"{number(record.rate_per_s)} requests/s for {number(record.seconds)} s to {replicas}"
    return f"{record.mix_description.rstrip('.')}. {load}, seed {record.seed}, {struck}."


def facts(record: CheckRecord, usual: Mapping[str, Value] | None) -> dict[str, str]:
    """What was run as label -> text; `usual` are the knobs' defaults, None where nobody told them."""
    changed = changed_knobs(record, usual)
    told = ", ".join(f"{name}={record.knobs[name]}" for name in changed)
    return {
        "design": record.design,
        "mix": record.mix,
        "load": f"{number(record.rate_per_s)} requests/s",
        "lasted": f"{number(record.seconds)} s",
        "replicas": count(record.replicas),
        "seed": str(record.seed),
        "faults": ", ".join(record.schedules) or "none",
        **({"knobs that differ from their default": told or "none"} if usual is not None else {}),
    }


def changed_knobs(record: CheckRecord, usual: Mapping[str, Value] | None) -> list[str]:
    """Those with another value than their default; none where the defaults are not known."""
    return [name for name, value in record.knobs.items() if usual is not None and usual.get(name) != value]


def conditions(record: CheckRecord) -> dict[str, str]:
    """The manifest as label -> text; what the record does not say is left out."""
    said = {
        "plan hash": record.plan_hash,
        "started": record.started_at,
        "took": f"{number(record.duration_s)} s, starts and checks included",
        "commit": record.commit + (" with uncommitted changes" if record.dirty else ""),
        **{label.replace("_", " "): value for label, value in record.machine.items()},
        **record.versions,
    }
    return {label: text for label, text in said.items() if text}
