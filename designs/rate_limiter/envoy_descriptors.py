"""What a call of Envoy's rate limit service asks of the rules. It brings descriptors, each a list of (key, value):

    domain: demo   descriptors: [(user, u1)]   [(tenant, acme), (tier, pro)]   [(user, u1), (route, /login)]

A rule applies to a descriptor whose keys are exactly those it matches, as in Envoy's own service. (Over HTTP a request says all of
itself in one descriptor, and a rule takes the keys it needs; Envoy says one descriptor for each limit that it wants to be counted,
so that with subsets the rule on `user` would meet u1 twice above.) Unlike there, the order of keys says nothing, and not the most
specific rule alone counts but all that apply: two limits on `user`, one a second and one a day, are two rules.

An entry `tier` chooses among the limits of a rule, and is not a key unless the rule matches it.

All descriptors pass or none does, in one round trip. Envoy's own service takes from each that has some left, so that a client whom
one limit refuses uses up its others by asking again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from designs.rate_limiter.limits import Limit
from designs.rate_limiter.ports import Demand
from designs.rate_limiter.rules import Applied, RuleSet, applied

TIER = "tier"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """`hits` 0 reads what is left and takes nothing."""

    entries: Mapping[str, str]
    hits: int


def met_by(rules: RuleSet, domain: str, descriptor: Descriptor) -> list[Applied]:
    """The rules that apply to this descriptor. Never a concurrency limit: Envoy does not say when a request has ended."""
    keys = descriptor.entries.keys() | {TIER}
    return [
        replace(each, demand=_costing(each.demand, each.demand.cost))
        for each in applied(rules, domain, descriptor.entries, descriptor.entries.get(TIER, ""), descriptor.hits)
        if isinstance(each.demand, Demand) and each.rule.match.keys() | {TIER} == keys
    ]


def together(met: Iterable[Sequence[Applied]]) -> list[Applied]:
    """What all descriptors ask, each key once: what comes twice costs the sum, and of two tiers the tighter one counts.

    The tighter one, and no error, because a tier may be what a client says of itself: an error makes Envoy let it through.
    """
    asked: dict[str, Applied] = {}
    for each in (each for one in met for each in one):
        key = each.demand.key
        asked[key] = _both(asked[key], each) if key in asked else each
    return list(asked.values())


def _both(one: Applied, other: Applied) -> Applied:
    assert isinstance(one.demand, Demand)
    assert isinstance(other.demand, Demand)
    tighter = replace(one.demand, limit=min(one.demand.limit, other.demand.limit, key=_room))
    return replace(one, demand=_costing(tighter, one.demand.cost + other.demand.cost))


def _costing(demand: Demand, hits: int) -> Demand:
    """Hits are 64 bits wide, and can be the bytes of a body: more than a limit ever allows is one more than that."""
    return replace(demand, cost=min(hits, demand.limit.burst + 1))


def _room(limit: Limit) -> tuple[int, float]:
    return limit.burst, limit.quota / limit.period_us
