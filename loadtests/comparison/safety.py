"""Verdicts of several histories of one variant as one: each block judges the variant it started, and the run answers for all.

A promise broken once is broken; one that could not be judged once is unknown, unless it was broken elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadtests.result import SafetyCheck

WORST_FIRST = ("invalid", "unknown", "valid")


def merged(histories: Sequence[Sequence[SafetyCheck]]) -> list[SafetyCheck]:
    """One check for each invariant, in the order of first mention: the worst verdict, counts added up, the worst's detail.

    Counts in ms (a bound, the worst case) are not added up: the highest stands.
    """
    together: dict[str, list[SafetyCheck]] = {}
    for checks in histories:
        for check in checks:
            together.setdefault(check.name, []).append(check)
    return [_merged(name, checks, len(histories)) for name, checks in together.items()]


def _merged(name: str, checks: Sequence[SafetyCheck], histories: int) -> SafetyCheck:
    verdict = min((check.verdict for check in checks), key=WORST_FIRST.index)
    if verdict == "valid" and len(checks) < histories:
        verdict = "unknown"
    detail = next((check.detail for check in checks if check.verdict == verdict and check.detail), "")
    if verdict != "valid" and len(checks) > 1:
        so_judged = sum(check.verdict == verdict for check in checks)
        detail = f"in {so_judged} of {histories} blocks{': ' if detail else ''}{detail}"
    counts: dict[str, int] = {}
    for check in checks:
        _add(counts, check.counts)
    return SafetyCheck(name=name, verdict=verdict, counts=counts, detail=detail)


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for label, count in more.items():
        counts[label] = max(counts.get(label, 0), count) if label.endswith("_ms") else counts.get(label, 0) + count
