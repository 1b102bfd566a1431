"""Where a request's CPU time goes: the service, its worker, the store, the broker, side by side for each variant.

A change that moves work from the service into the store looks cheap where only the service is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from loadtests.result import Result, Variant

PREFIX = "cpu_us_per_request_"
ROLES = ("service", "worker", "store", "broker")


@dataclass(frozen=True, slots=True)
class Part:
    """One role's share of a bar, in per cent of the longest bar. `us` is None where the variant has no such process."""

    role: str
    us: float | None
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Split:
    """One variant's bar. The parts are medians of their own, so they need not add up to `total_us` to the last digit."""

    variant: int
    name: str
    total_us: float
    parts: list[Part]


def cpu_split(result: Result) -> list[Split]:
    """A bar for each variant, the roles in the same order in all of them; none where CPU was not measured by role."""
    seen = {role for variant in result.variants for role in cpu_by_role(variant)}
    roles = sorted(seen, key=lambda role: (ROLES.index(role) if role in ROLES else len(ROLES), role))
    longest = max((sum(cpu_by_role(variant).values()) for variant in result.variants), default=0.0)
    if longest <= 0:
        return []
    splits = []
    for i, variant in enumerate(result.variants):
        spent, parts, start = cpu_by_role(variant), [], 0.0
        for role in roles:
            width = 100.0 * spent.get(role, 0.0) / longest
            parts.append(Part(role, spent.get(role), round(start, 2), round(width, 2)))
            start += width
        splits.append(Split(i, variant.name, variant.figures.get(PREFIX.rstrip("_"), sum(spent.values())), parts))
    return splits


def cpu_by_role(variant: Variant) -> dict[str, float]:
    """Role -> CPU-us per request."""
    return {name.removeprefix(PREFIX): us for name, us in variant.figures.items() if name.startswith(PREFIX)}
