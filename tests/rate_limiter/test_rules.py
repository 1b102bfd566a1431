"""Which rules a request meets, and whom each counts: no two principals share a key, and no name is too long for one."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.limits import ALGORITHM_NAMES, BadLimit, Limit, Slots
from designs.rate_limiter.ports import Demand, SlotDemand
from designs.rate_limiter.rules import KEY_VERSION, MAX_ITEM_CHARS, Cost, Domain, Rule, RuleSet, applied, bucket_of, item_of

PER_SECOND = Limit("gcra", 10, 1_000_000, 10)
PRO = Limit("gcra", 100, 1_000_000, 100)


def rule(name: str = "per-user", /, match: dict[str, str] | None = None, **more: Any) -> Rule:
    return Rule(name, match or {"user": "*"}, more.pop("limit", PER_SECOND), **more)


def rule_set(*rules: Rule, **more: Any) -> RuleSet:
    return RuleSet({"api": Domain("api", rules, more.pop("domain_mode", "on"))}, "v1", **more)


def names(rules: RuleSet, descriptor: dict[str, str], domain: str = "api") -> list[str]:
    return [each.rule.name for each in applied(rules, domain, descriptor, "", 1)]


def test_a_rule_applies_when_each_key_that_it_names_is_there_with_its_value_or_any() -> None:
    rules = rule_set(
        rule("user"),
        rule("user-route", {"user": "*", "route": "*"}),
        rule("login", {"ip": "*", "route": "/login"}),
        rule("everybody", {"route": "/items/{id}"}),
    )
    assert names(rules, {"user": "u1"}) == ["user"]
    assert names(rules, {"user": "u1", "route": "/items/{id}"}) == ["user", "user-route", "everybody"]
    assert names(rules, {"ip": "10.0.0.1", "route": "/login"}) == ["login"]
    assert names(rules, {"ip": "10.0.0.1", "route": "/logout"}) == []
    assert names(rules, {"tenant": "t"}) == []
    assert names(rules, {"user": "u1"}, domain="elsewhere") == []


def test_a_rule_counts_for_the_values_of_its_own_keys_and_no_others() -> None:
    per_user = rule("user")
    assert item_of(per_user, {"user": "u1", "route": "/a"}) == item_of(per_user, {"route": "/b", "user": "u1"})
    assert item_of(per_user, {"user": "u1"}) != item_of(per_user, {"user": "u2"})


def test_what_separates_two_values_is_escaped_in_them() -> None:
    both = rule("both", {"user": "*", "tenant": "*"})
    assert item_of(both, {"user": "a:b", "tenant": "c"}) != item_of(both, {"user": "a", "tenant": "b:c"})
    assert item_of(both, {"user": "a%3Ab", "tenant": "c"}) != item_of(both, {"user": "a:b", "tenant": "c"})


any_text = st.text(st.characters(codec="utf-8"), max_size=80)
texts = any_text | st.text("ab:%#~{}", max_size=6)


@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=20, unique=True))
def test_no_two_descriptors_share_an_item(values: list[tuple[str, str]]) -> None:
    both = rule("both", {"user": "*", "tenant": "*"})
    items = [item_of(both, {"user": user, "tenant": tenant}) for user, tenant in values]
    assert len(set(items)) == len(items)
    assert all(len(item) <= MAX_ITEM_CHARS for item in items)
    assert all("{" not in item and "}" not in item for item in items), "or a name could move its key to another slot"


def test_a_long_name_is_hashed_and_can_not_be_written_by_hand() -> None:
    per_user = rule("user")
    long = item_of(per_user, {"user": "x" * 100_000})
    assert long.startswith("#")
    assert len(long) == 33
    assert item_of(per_user, {"user": long}) != long, "# is escaped in what a client may send"
    assert item_of(per_user, {"user": "x" * MAX_ITEM_CHARS}) == "x" * MAX_ITEM_CHARS


def test_a_key_says_domain_as_hash_tag_algorithm_version_and_rule() -> None:
    assert bucket_of("api", "gcra", "per-user") == f"{{api}}:gcra{KEY_VERSION}:per-user"
    (one,) = applied(rule_set(rule()), "api", {"user": "u1"}, "", 3)
    assert one.demand == Demand("{api}:gcra1:per-user", "u1", PER_SECOND, 3, shadow=False)
    assert one.demand.key == "{api}:gcra1:per-user:u1"


@given(texts, texts, texts, texts)
def test_no_domain_and_rule_share_a_bucket_with_others_and_none_breaks_out_of_the_hash_tag(a: str, b: str, c: str, d: str) -> None:
    buckets = {(domain, name): bucket_of(domain, "gcra", name) for domain, name in ((a, b), (c, d), (a, d))}
    for (one, bucket), (other, another) in combinations(buckets.items(), 2):
        assert (bucket == another) == (one == other)
    for bucket in buckets.values():
        assert bucket.count("{") == bucket.count("}") == 1


def test_each_algorithm_of_a_rule_has_keys_of_its_own() -> None:
    assert len({bucket_of("api", name, "rule") for name in (*ALGORITHM_NAMES, "concurrency")}) == len(ALGORITHM_NAMES) + 1


def test_a_tier_has_its_own_limit_and_an_unknown_one_the_usual() -> None:
    tiered = rule_set(rule("tenant", {"tenant": "*"}, tiers={"pro": PRO}))
    limits = {tier: applied(tiered, "api", {"tenant": "t"}, tier, 1)[0].demand for tier in ("", "pro", "platinum")}
    assert {tier: demand.limit for tier, demand in limits.items() if isinstance(demand, Demand)} == {
        "": PER_SECOND,
        "pro": PRO,
        "platinum": PER_SECOND,
    }
    assert len({demand.key for demand in limits.values()}) == 1, "who is upgraded keeps what was used"


PRICED = rule("user", costs=[Cost({"route": "/export"}, 4), Cost({"route": "*", "job": "*"}, 2)])


def cost(descriptor: dict[str, str], own: int, *rules: Rule) -> list[int]:
    demands = [each.demand for each in applied(rule_set(*rules), "api", {"user": "u1"} | descriptor, "", own)]
    return [demand.cost for demand in demands if isinstance(demand, Demand)]


def test_the_first_of_a_rules_costs_that_applies_is_what_each_unit_of_a_request_takes() -> None:
    assert cost({}, 1, PRICED) == cost({"route": "/other"}, 1, PRICED) == [1]
    assert cost({"route": "/export"}, 1, PRICED) == cost({"route": "/export", "job": "j"}, 1, PRICED) == [4]
    assert cost({"route": "/other", "job": "j"}, 3, PRICED) == [6]
    assert cost({"route": "/export"}, 0, PRICED) == [0], "who only reads takes nothing"


def test_a_cost_is_one_rules_own_and_the_others_take_what_the_request_says() -> None:
    assert cost({"route": "/export"}, 2, PRICED, rule("other")) == [8, 2]


def test_more_than_a_limit_ever_allows_is_one_more_than_that() -> None:
    assert cost({"route": "/export"}, 1_000_000_000, PRICED) == [PER_SECOND.burst + 1]


def test_a_rule_of_slots_asks_for_a_slot() -> None:
    (one,) = applied(rule_set(rule("exports", limit=Slots(5, 1_000_000))), "api", {"user": "u1"}, "", 1)
    assert one.demand == SlotDemand("{api}:concurrency1:exports", "u1", Slots(5, 1_000_000))


@pytest.mark.parametrize("where", ["rule", "domain", "all"])
def test_shadow_and_off_hold_for_a_rule_a_domain_and_everything(where: str) -> None:
    def under(mode: Any) -> list[bool]:
        modes = {"domain": {"domain_mode": mode}, "all": {"mode": mode}}.get(where, {})
        asked = rule_set(rule(mode=mode if where == "rule" else "on"), **modes)
        return [each.demand.shadow for each in applied(asked, "api", {"user": "u1"}, "", 1)]

    assert under("on") == [False]
    assert under("shadow") == [True]
    assert under("off") == []


def test_off_wins_over_shadow() -> None:
    assert names(rule_set(rule(mode="shadow"), mode="off"), {"user": "u1"}) == []
    assert names(rule_set(rule(mode="off"), mode="shadow"), {"user": "u1"}) == []


BAD_LIMITS: list[tuple[tuple[Any, int, int, int], str]] = [
    (("no_such", 1, 1, 1), "there is no algorithm"),
    (("gcra", 0, 1, 1), "1 at least"),
    (("gcra", 1, 1, 0), "1 at least"),
    (("gcra", 1, 0, 1), "a period lies between"),
    (("gcra", 1, 367 * 86_400_000_000, 1), "a period lies between"),
    (("gcra", 2, 1, 1), "a million a second at most"),
    (("token_bucket", 1, 366 * 86_400_000_000, 1_000), "calculates exactly"),
    (("fixed_window", 5, 1_000, 4), "leave burst out"),
    (("sliding_log", 10_001, 1_000, 10_001), "at most 10,000"),
    (("sliding_window", 1 << 40, 86_400_000_000, 1 << 40), "calculates exactly"),
    (("sketch", 1 << 31, 1_000, 1 << 31), "32 bits"),
]


@pytest.mark.parametrize(("fields", "said"), BAD_LIMITS)
def test_a_limit_that_can_not_be_kept_exactly_is_refused_with_what_would_be_right(
    fields: tuple[Any, int, int, int], said: str
) -> None:
    with pytest.raises(BadLimit, match=said):
        Limit(*fields)


def test_slots_are_bounded() -> None:
    for slots in (Slots(1, 1_000), Slots(100_000, 86_400_000_000)):
        assert replace(slots) == slots
    for limit, lease_us in ((0, 1_000), (100_001, 1_000), (1, 999), (1, 86_400_000_001)):
        with pytest.raises(BadLimit):
            Slots(limit, lease_us)
