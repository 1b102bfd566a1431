"""What the load declares of the rules is what the service's own file says, with every algorithm."""

from __future__ import annotations

from typing import get_args

import pytest

from designs.rate_limiter.limits import ALGORITHM_NAMES, AlgorithmName, Limit, Slots
from designs.rate_limiter.rule_file import parse_rules
from designs.rate_limiter.rules import OnStoreDown, applied
from designs.rate_limiter.settings import EXAMPLE_RULES
from loadtests.rate_limiter.promises import DOMAIN, KINDS, RULES, promises
from loadtests.rate_limiter.workload import ASKED_FIRST

TEXT = EXAMPLE_RULES.read_text("utf-8")
DESCRIPTORS = (
    {"user": "u"},
    {"user": "u", "route": "/checkout", "tenant": "t"},
    {"user": "u", "route": "/search"},
    {"ip": "i", "route": "/login"},
    {"tenant": "t"},
    {"route": "/else"},
    {"user": "u", "job": "preview"},
)


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
@pytest.mark.parametrize("on_store_down", get_args(OnStoreDown))
@pytest.mark.parametrize("tier", ["", "free", "pro", "unheard"])
def test_the_load_expects_the_limits_that_the_service_has(algorithm: AlgorithmName, on_store_down: OnStoreDown, tier: str) -> None:
    rules = parse_rules(TEXT, algorithm, on_store_down)
    promised = promises({"algorithm": algorithm, "on_store_down": on_store_down})
    for descriptor in DESCRIPTORS:
        met = applied(rules, DOMAIN, descriptor, tier, 1)
        units = [
            (each.rule.name, found.algorithm, found.quota, found.burst, found.period_us / 1e6, each.rule.on_store_down)
            for each in met
            if isinstance(found := getattr(each.demand, "limit", None), Limit) and not each.demand.shadow
        ]
        assert units == [
            (each.rule, each.algorithm, each.quota, each.burst, each.period_s, each.policy)
            for each in promised.met(descriptor, tier)
        ]
        slots = [
            (each.rule.name, found.limit, found.lease_us / 1e6)
            for each in met
            if isinstance(found := getattr(each.demand, "slots", None), Slots)
        ]
        assert slots == [(each.rule, each.quota, each.lease_s) for each in promised.slots(descriptor, tier)]


def test_every_rule_of_the_file_is_declared() -> None:
    assert [rule.name for rule in parse_rules(TEXT).domains[DOMAIN].rules] == [rule.name for rule in RULES]


def test_every_algorithm_has_a_bound_to_be_judged_by() -> None:
    assert set(KINDS) == set(ALGORITHM_NAMES)


def test_before_the_load_a_service_is_asked_for_every_limit_that_counts_units() -> None:
    asked = {limit.rule for descriptor in ASKED_FIRST for limit in promises({}).met(descriptor)}
    assert asked == {rule.name for rule in RULES if not rule.shadow} - {"exports", "previews"}


def test_a_lease_is_a_tenth_of_the_burst_at_most() -> None:
    [limit] = promises({}).met({"user": "u"})
    assert promises({"store": "redis"}, 2).leased(limit) == 0
    assert promises({"store": "local_lease", "lease_size": 100}, 2).leased(limit) == 8
    assert promises({"store": "local_lease", "lease_size": 3}, 2).leased(limit) == 6
