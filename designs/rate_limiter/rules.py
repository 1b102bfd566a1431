"""Which limits a request meets: rules, matched against what the request says of itself.

A request brings a descriptor, such as {"user": "u1", "route": "/items/{id}", "tenant": "acme"} (the words are those of Envoy's rate
limit service). A rule of the same domain applies when each key that it names is there, with the value it names or any ("*"), and it
counts for the values of these keys: a rule on "user" counts per user, one on "user" and "route" per user and route. All rules that
apply have to agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import quote

from designs.rate_limiter.limits import Limit, Slots
from designs.rate_limiter.ports import Demand, SlotDemand

OnStoreDown: TypeAlias = Literal["local", "open", "closed"]
Mode: TypeAlias = Literal["on", "shadow", "off"]

ANY = "*"
KEY_VERSION = 1  # of the layout of keys and states; a new one counts anew beside the old
MAX_ITEM_CHARS = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """`units` for each that a request says it takes, when `match` applies to it as that of a rule does."""

    match: Mapping[str, str]
    units: int


@dataclass(frozen=True, slots=True)
class Rule:
    """`limit` for whoever has no tier of `tiers`. The first of `costs` that applies counts; where none does, a unit is a unit.

    Mode shadow: counted, and it refuses nobody. Mode off: as if it were not there.
    """

    name: str
    match: Mapping[str, str]
    limit: Limit | Slots
    tiers: Mapping[str, Limit | Slots] = field(default_factory=dict)
    costs: Sequence[Cost] = ()
    on_store_down: OnStoreDown = "local"
    mode: Mode = "on"

    def applies_to(self, descriptor: Mapping[str, str]) -> bool:
        return _matches(self.match, descriptor)

    def limit_for(self, tier: str) -> Limit | Slots:
        return self.tiers.get(tier, self.limit)

    def cost_of(self, descriptor: Mapping[str, str]) -> int:
        return next((cost.units for cost in self.costs if _matches(cost.match, descriptor)), 1)


@dataclass(frozen=True, slots=True)
class Domain:
    """The rules of one API. All its keys are in one slot of a cluster, so that several limits stay one round trip."""

    name: str
    rules: Sequence[Rule]
    mode: Mode = "on"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All that a rule file says. `mode` off is the kill switch: everybody passes and nothing is counted."""

    domains: Mapping[str, Domain]
    version: str
    mode: Mode = "on"


@dataclass(frozen=True, slots=True)
class Applied:
    """A rule that applies to a request, and what it asks of the store."""

    rule: Rule
    demand: Demand | SlotDemand


def applied(rules: RuleSet, domain: str, descriptor: Mapping[str, str], tier: str, cost: int) -> list[Applied]:
    """The rules that a request meets, in the order of the file. Empty for a domain that is not there."""
    return list(_applied(rules, domain, descriptor, tier, cost))


def _applied(rules: RuleSet, domain: str, descriptor: Mapping[str, str], tier: str, cost: int) -> Iterator[Applied]:
    found = rules.domains.get(domain)
    if found is None:
        return
    for rule in found.rules:
        modes = (rules.mode, found.mode, rule.mode)
        if "off" in modes or not rule.applies_to(descriptor):
            continue
        limit, item = rule.limit_for(tier), item_of(rule, descriptor)
        if isinstance(limit, Slots):
            yield Applied(rule, SlotDemand(bucket_of(domain, "concurrency", rule.name), item, limit, "shadow" in modes))
        else:
            # More than a limit ever allows is one more than that: scripts calculate exactly with numbers of this size.
            units = min(cost * rule.cost_of(descriptor), limit.burst + 1) if rule.costs else cost
            yield Applied(rule, Demand(bucket_of(domain, limit.algorithm, rule.name), item, limit, units, "shadow" in modes))


def _matches(match: Mapping[str, str], descriptor: Mapping[str, str]) -> bool:
    return all(key in descriptor and wanted in (ANY, descriptor[key]) for key, wanted in match.items())


def bucket_of(domain: str, algorithm: str, rule: str) -> str:
    """The part of a key that a rule has in common, with the domain as hash tag: {api}:gcra1:per-user.

    With algorithm and version in it a rule that changes its algorithm counts anew, instead of reading what another one wrote.
    """
    return f"{{{_escaped(domain)}}}:{algorithm}{KEY_VERSION}:{_escaped(rule)}"


def item_of(rule: Rule, descriptor: Mapping[str, str]) -> str:
    """Whom the rule counts. No two descriptors share an item by accident: what separates the values is escaped in them.

    Long ones are hashed (BLAKE2b, 16 bytes), so that nobody can fill the store by the length of a name. They are not escaped
    before: to escape a header of 60 kB takes 22 ms, in which this process does nothing else.
    """
    values = [descriptor[key] for key in rule.match]
    if sum(map(len, values)) <= MAX_ITEM_CHARS:
        item = ":".join(map(_escaped, values))
        if len(item) <= MAX_ITEM_CHARS:
            return item
    digest = hashlib.blake2b(digest_size=16)
    for encoded in (value.encode() for value in values):
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return "#" + digest.hexdigest()


def _escaped(value: str) -> str:
    return quote(value, safe="@/ ,;=+")
