"""What a report says first: the headline, and what the safety checkers found, the worst before the rest.

Broken safety comes before any speed. Nothing is judged here: the verdicts are the record's, and each sentence is read from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadtests.report.number_format import count, enumeration
from loadtests.result import Result, SafetyCheck

MARKS = {"valid": "✓", "invalid": "✗", "unknown": "?"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the page says first, and what it says under it. `lines`: the headline, a line for each variant where it has several."""

    headline: str
    subline: str
    lines: tuple[str, ...]


def verdict(result: Result) -> Verdict:
    """The headline. Broken safety comes first, and what was gained in speed second: a wrong answer has no speed."""
    conditions = (
        f"{result.manifest.mix_description.rstrip('.')}. {count(result.manifest.rate_per_s)} requests/s, "
        f"{sum(block.accepted for block in result.blocks)} blocks, each variant in turn."
    )
    safety = result.safety_verdict()
    if safety == "valid":
        return Verdict(result.headline, conditions, _lines(result))
    if safety == "unknown":
        unknown = [f"“{c.name}” ({name})" for name, checks in result.safety.items() for c in checks if c.verdict == "unknown"]
        missing = f": no verdict on {enumeration(unknown)}" if unknown else ": nothing was checked"
        return Verdict(result.headline, f"Safety is unknown{missing}. {conditions}", _lines(result))
    broken = [f"{name} breaks “{c.name}”" for name, checks in result.safety.items() for c in checks if c.verdict == "invalid"]
    measured = "; ".join(c.sentence for cs in result.comparisons for c in cs if c.primary) or result.headline
    headline = f"Not safe: {enumeration(broken)}"
    return Verdict(headline, f"The speed of a wrong answer does not count. Measured: {measured.rstrip('.')}.", (headline,))


def _lines(result: Result) -> tuple[str, ...]:
    """The headline of several variants taken apart where it was put together; any other headline stays whole."""
    primaries = [c.sentence for comparisons in result.comparisons for c in comparisons if c.primary]
    return tuple(primaries) if "; ".join(primaries) == result.headline else (result.headline,)


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant with one verdict, and every variant it was reached for. Counts stand side by side: `lost 0 / 2`."""

    invariant: str
    verdict: Literal["valid", "invalid", "unknown"]
    variants: str
    everywhere: bool
    counts: str
    detail: str


def safety_findings(result: Result) -> list[Finding]:
    """What the checkers found, the worst first; variants with the same verdict on the same invariant share a line."""
    together: dict[tuple[str, str], list[tuple[str, SafetyCheck]]] = {}
    for name, checks in result.safety.items():
        for check in checks:
            together.setdefault((check.verdict, check.name), []).append((name, check))
    findings = []
    for pairs in together.values():
        first = pairs[0][1]
        labels = dict.fromkeys(label for _, check in pairs for label in check.counts)
        sides = {label: _sides([check.counts.get(label, 0) for _, check in pairs]) for label in labels}
        counts = ", ".join(f"{label.replace('_', ' ')} {side}" for label, side in sides.items())
        detail = "; ".join(dict.fromkeys(check.detail for _, check in pairs if check.detail))
        everywhere = len(pairs) == len(result.safety)
        findings.append(Finding(first.name, first.verdict, enumeration([name for name, _ in pairs]), everywhere, counts, detail))
    return sorted(findings, key=lambda finding: ("invalid", "unknown", "valid").index(finding.verdict))


def _sides(counts: Sequence[int]) -> str:
    """One number where all variants agree, else one for each."""
    return count(counts[0]) if len(set(counts)) == 1 else " / ".join(map(count, counts))
