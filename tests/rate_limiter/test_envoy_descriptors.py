"""Which rules Envoy's descriptors meet, and what they ask of the store together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.backends.memory import MemoryLimitStore, _shared_bucket
from designs.rate_limiter.envoy_descriptors import Descriptor, met_by, together
from designs.rate_limiter.limits import ALGORITHM_NAMES, WITH_BURST, AlgorithmName, Limit, Slots
from designs.rate_limiter.ports import Demand
from designs.rate_limiter.rules import Applied, Cost, Domain, Rule, RuleSet

MINUTE_US = 60_000_000
FREE, PRO = Limit("gcra", 10, MINUTE_US, 10), Limit("gcra", 100, MINUTE_US, 100)
RULES = (
    Rule("per-user", {"user": "*"}, FREE),
    Rule("per-user-daily", {"user": "*"}, Limit("fixed_window", 50, 1440 * MINUTE_US, 50)),
    Rule("admin", {"user": "admin"}, PRO),
    Rule("login", {"user": "*", "route": "/login"}, FREE),
    Rule("per-tenant", {"tenant": "*"}, FREE, tiers={"pro": PRO}),
    Rule("per-tier", {"tier": "*"}, PRO),
    Rule("exports", {"tenant": "*"}, Slots(5, MINUTE_US)),
    Rule("off", {"tenant": "*"}, FREE, mode="off"),
    Rule("everybody", {}, PRO),
)

words = st.sampled_from(["user", "route", "tenant", "tier", "other"])
values = st.sampled_from(["u1", "admin", "/login", "pro", ""])
descriptors = st.builds(Descriptor, st.dictionaries(words, values, min_size=1), st.integers(0, 3) | st.just(1 << 63))


def rule_set(*rules: Rule) -> RuleSet:
    return RuleSet({"demo": Domain("demo", rules or RULES)}, "1")


def met(entries: Mapping[str, str], hits: int = 1) -> list[Applied]:
    return met_by(rule_set(), "demo", Descriptor(entries, hits))


def names(entries: Mapping[str, str]) -> list[str]:
    return [each.rule.name for each in met(entries)]


def demand(each: Applied) -> Demand:
    assert isinstance(each.demand, Demand)
    return each.demand


def test_a_rule_applies_to_a_descriptor_that_has_exactly_its_keys_in_any_order() -> None:
    assert names({"user": "u1"}) == ["per-user", "per-user-daily"]
    assert names({"user": "u1", "route": "/login"}) == ["login"] == names({"route": "/login", "user": "u1"})
    assert names({"user": "u1", "route": "/other"}) == []
    assert names({"other": "u1"}) == []


def test_all_rules_that_apply_count_and_not_the_most_specific_one_alone() -> None:
    assert names({"user": "admin"}) == ["per-user", "per-user-daily", "admin"]


def test_a_tier_chooses_the_limit_and_is_a_key_only_where_a_rule_matches_it() -> None:
    assert [demand(each).limit for each in met({"tenant": "acme"})] == [FREE]
    assert [demand(each).limit for each in met({"tenant": "acme", "tier": "pro"})] == [PRO]
    assert [demand(each).limit for each in met({"tenant": "acme", "tier": "unheard of"})] == [FREE]
    assert "per-tier" in names({"tier": "pro"})


def test_a_concurrency_limit_is_not_for_envoy_which_does_not_say_when_a_request_has_ended() -> None:
    assert names({"tenant": "acme"}) == ["per-tenant"]


def test_a_domain_that_is_not_there_has_no_rules() -> None:
    assert met_by(rule_set(), "elsewhere", Descriptor({"user": "u1"}, 1)) == []


def test_of_two_tiers_for_one_key_the_tighter_limit_counts_whichever_comes_first() -> None:
    free, pro = met({"tenant": "acme"}), met({"tenant": "acme", "tier": "pro"})
    for both in ([free, pro], [pro, free]):
        [asked] = together(both)
        assert (demand(asked).limit, demand(asked).cost) == (FREE, 2)


@given(st.lists(descriptors, max_size=6))
def test_what_is_asked_has_each_key_once_and_loses_no_hit(asked: list[Descriptor]) -> None:
    each_met = [met_by(rule_set(), "demo", one) for one in asked]
    demands = [demand(each) for each in together(each_met)]
    keys = [one.key for one in demands]
    assert len(keys) == len(set(keys))
    assert set(keys) == {each.demand.key for one in each_met for each in one}
    for one in demands:
        hits = [each.hits for each, found in zip(asked, each_met, strict=True) for rule in found if rule.demand.key == one.key]
        assert one.cost == min(sum(hits), one.limit.burst + 1)


@given(st.dictionaries(words, values, min_size=1))
def test_a_descriptor_meets_those_rules_whose_keys_are_its_own_but_for_the_tier(entries: dict[str, str]) -> None:
    for rule in RULES:
        right_keys = rule.match.keys() - {"tier"} == entries.keys() - {"tier"}
        right_values = all(wanted in ("*", entries.get(key)) for key, wanted in rule.match.items())
        here = rule.match.keys() <= entries.keys()
        wanted = right_keys and right_values and here and rule.mode != "off" and isinstance(rule.limit, Limit)
        assert (rule.name in names(entries)) is wanted


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_more_hits_than_any_limit_has_are_refused_for_ever_and_take_nothing(algorithm: AlgorithmName) -> None:
    limit = Limit(algorithm, 10, MINUTE_US, 10)
    store = MemoryLimitStore(lambda: 1_800_000_000_000_000)
    [most] = together([met_by(rule_set(Rule("r", {"user": "*"}, limit)), "demo", Descriptor({"user": "u"}, (1 << 64) - 1))])
    taken = asyncio.run(store.take([demand(most)]))
    assert (taken.allowed, taken.decisions[0].retry_after_us) == (False, None)
    assert asyncio.run(store.take([Demand(most.demand.bucket, most.demand.item, limit, 10)])).allowed
    assert algorithm in WITH_BURST or limit.burst == limit.quota


def test_a_hit_costs_what_the_rule_says_it_does() -> None:
    priced = rule_set(Rule("r", {"user": "*", "route": "*"}, PRO, costs=[Cost({"route": "/export"}, 10)]))
    costs = [
        demand(each).cost
        for route, hits in (("/export", 3), ("/other", 3), ("/export", 0))
        for each in met_by(priced, "demo", Descriptor({"user": "u", "route": route}, hits))
    ]
    assert costs == [30, 3, 0]


def test_two_keys_of_one_rule_in_one_call_both_count_where_a_full_memory_makes_them_share() -> None:
    async def scene() -> None:
        store = MemoryLimitStore(lambda: 1_800_000_000_000_000, max_keys=1)
        await store.take([Demand("{demo}:gcra1:other", "filler", FREE)])
        rules = rule_set(Rule("r", {"user": "*"}, FREE))
        call = [met_by(rules, "demo", Descriptor({"user": user}, 1)) for user in map(str, range(200))]
        demands = {_shared_bucket(demand(each).bucket, demand(each).item): demand(each) for [each] in call}
        first = next(demand(each) for [each] in call if demand(each) not in demands.values())
        twin = demands[_shared_bucket(first.bucket, first.item)]
        passed = [(await store.take([first, twin])).allowed for _ in range(10)]
        assert passed == [True] * 5 + [False] * 5

    asyncio.run(scene())
