"""A verdict from counts, and the witness of a wrong one: the fewest lines of the history that show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from loadtests.history.operation import Struck
from loadtests.result import SafetyCheck

SHOWN = 3  # offenders named in a check's detail
WITNESS_LINES = 6

Line: TypeAlias = tuple[float, str]  # when it began, what it says


def verdict(
    name: str,
    counts: Mapping[str, int],
    *,
    wrong: Sequence[str],
    judged: int,
    offenders: Sequence[str] = (),
    witness: Iterable[Line] = (),
    unknown_because: str = "",
) -> SafetyCheck:
    """Invalid when one of the counts named `wrong` is not 0; else unknown, unless it rests on at least one observation."""
    judgement: Literal["valid", "invalid", "unknown"] = "valid" if judged else "unknown"
    detail = "" if judged else unknown_because or "nothing to judge by"
    lines: list[str] = []
    if any(counts[each] for each in wrong):
        judgement = "invalid"
        shown = ", ".join(list(dict.fromkeys(offenders))[:SHOWN])
        detail = f"for example {shown}" if shown else ""
        lines = [text for _, text in sorted(dict.fromkeys(witness))][:WITNESS_LINES]
    return SafetyCheck(name=name, verdict=judgement, counts=dict(counts), detail=detail, witness=lines)


def told_strike(struck: Struck) -> Line:
    schedule = f" ({struck.schedule})" if struck.schedule else ""
    return told_from(struck.began_s, struck.ended_s, struck.target, f"struck: {struck.kind}{schedule}")


def told(at_s: float, what: str) -> Line:
    return at_s, f"{at_s:9.3f} s           {what}"


def told_from(began_s: float, ended_s: float, node: str, what: str) -> Line:
    return began_s, f"{began_s:9.3f}..{ended_s:.3f} s  {node or 'service'}: {what}"
