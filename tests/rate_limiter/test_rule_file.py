"""The rule file: what it stands for, what is refused with a sentence that helps, and how a new one takes over from the old."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.backends.redis_scripts import MAX_TOGETHER as ONE_SCRIPT
from designs.rate_limiter.limits import ALGORITHM_NAMES, WITH_BURST, AlgorithmName, Limit, Slots
from designs.rate_limiter.rule_file import (
    LOOK_EVERY_S,
    MAX_CHARS,
    MAX_TOGETHER,
    BadRules,
    RuleFile,
    parse_rules,
)
from designs.rate_limiter.rules import Cost, Rule, RuleSet, applied
from designs.rate_limiter.settings import EXAMPLE_RULES

SECOND_US = 1_000_000
EXAMPLE = EXAMPLE_RULES.read_text("utf-8")


def file_of(*rules: str, mode: str = "", domain_mode: str = "") -> str:
    """A file of one domain `api` with these rules, each written as a flow mapping."""
    lines = [f"mode: {mode}"] if mode else []
    lines += ["domains:", "  api:"] + ([f"    mode: {domain_mode}"] if domain_mode else [])
    return "\n".join([*lines, "    rules:", *(f"      - {rule}" for rule in rules)])


def rules_of(*rules: str, **more: Any) -> Mapping[str, Rule]:
    return {rule.name: rule for rule in parse_rules(file_of(*rules), **more).domains["api"].rules}


PLAIN = '{name: plain, match: {user: "*"}, quota: 20, per: 1s}'


# -- what a file stands for -------------------------------------------------------------------------------------------------------


def test_a_rule_is_read_with_its_limit_and_a_burst_of_its_quota_unless_it_says_one() -> None:
    rules = rules_of(PLAIN, '{name: bursty, match: {user: "*", route: /login}, quota: 1_000, per: 1m, burst: 50}')
    assert rules["plain"].limit == Limit("gcra", 20, SECOND_US, 20)
    assert rules["bursty"].limit == Limit("gcra", 1_000, 60 * SECOND_US, 50)
    assert rules["bursty"].match == {"user": "*", "route": "/login"}
    assert (rules["plain"].on_store_down, rules["plain"].mode) == ("local", "on")


@pytest.mark.parametrize(
    ("written", "period_us"),
    [
        ("100us", 100),
        ("100ms", 100_000),
        ("1s", SECOND_US),
        ("60 s", 60 * SECOND_US),
        ("5m", 300 * SECOND_US),
        ("1h", 3_600 * SECOND_US),
        ("1d", 86_400 * SECOND_US),
    ],
)
def test_a_time_is_read_with_its_unit(written: str, period_us: int) -> None:
    limit = rules_of(f"{{name: a, match: {{}}, quota: 1, per: {written}}}")["a"].limit
    assert isinstance(limit, Limit)
    assert limit.period_us == period_us


def test_a_tier_has_what_it_does_not_say_from_the_rule_and_its_own_quota_as_burst() -> None:
    tiers = "{pro: {quota: 100}, max: {quota: 50, per: 1m, burst: 70}}"
    rule = rules_of(f'{{name: a, match: {{tenant: "*"}}, quota: 10, per: 1s, burst: 15, tiers: {tiers}}}')["a"]
    assert rule.limit_for("") == rule.limit_for("unknown") == Limit("gcra", 10, SECOND_US, 15)
    assert rule.limit_for("pro") == Limit("gcra", 100, SECOND_US, 100)
    assert rule.limit_for("max") == Limit("gcra", 50, 60 * SECOND_US, 70)
    slots = rules_of('{name: a, match: {tenant: "*"}, slots: 5, lease: 30s, tiers: {pro: {slots: 20}}}')["a"]
    assert slots.limit == Slots(5, 30 * SECOND_US)
    assert slots.limit_for("pro") == Slots(20, 30 * SECOND_US)


def test_a_rule_says_which_requests_cost_it_more_than_one_unit() -> None:
    priced = '{name: a, match: {user: "*"}, quota: 20, per: 1s, costs: [{match: {route: /export}, cost: 10}, {match: {}, cost: 2}]}'
    assert rules_of(PLAIN)["plain"].costs == ()
    assert rules_of(priced)["a"].costs == (Cost({"route": "/export"}, 10), Cost({}, 2))


def test_what_only_a_tier_can_pay_is_no_mistake() -> None:
    priced = "{name: a, match: {}, quota: 5, per: 1s, tiers: {pro: {quota: 50}}, costs: [{match: {route: /export}, cost: 50}]}"
    assert rules_of(priced)["a"].costs == (Cost({"route": "/export"}, 50),)


def test_what_a_rule_leaves_open_is_as_the_process_would_have_it() -> None:
    rule = rules_of(PLAIN, default_algorithm="sliding_log", default_on_store_down="closed")["plain"]
    assert (rule.limit, rule.on_store_down) == (Limit("sliding_log", 20, SECOND_US, 20), "closed")


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_the_example_is_valid_with_every_algorithm_of_the_knob_and_bursts_count_where_there_are_any(
    algorithm: AlgorithmName,
) -> None:
    rules = {rule.name: rule for rule in parse_rules(EXAMPLE, algorithm).domains["demo"].rules}
    limit = rules["per-user"].limit
    assert isinstance(limit, Limit)
    assert limit.burst == (40 if algorithm in WITH_BURST else 20)


@pytest.mark.parametrize(
    ("modes", "met", "counts"),
    [
        (("on", "on", "on"), True, True),
        (("off", "on", "on"), False, False),
        (("on", "off", "on"), False, False),
        (("on", "on", "off"), False, False),
        (("shadow", "on", "on"), True, False),
        (("on", "shadow", "on"), True, False),
        (("on", "on", "shadow"), True, False),
        (("shadow", "off", "on"), False, False),
    ],
)
def test_off_and_shadow_work_for_the_file_a_domain_and_a_rule(modes: tuple[str, str, str], met: bool, counts: bool) -> None:
    of_file, of_domain, of_rule = modes
    rule = f'{{name: a, match: {{user: "*"}}, quota: 1, per: 1s, mode: {of_rule}}}'
    rules = parse_rules(file_of(rule, mode=of_file, domain_mode=of_domain))
    found = applied(rules, "api", {"user": "u"}, "", 1)
    assert len(found) == met
    assert all(each.demand.shadow != counts for each in found)


def test_the_version_is_that_of_the_text() -> None:
    first, again, other = parse_rules(file_of(PLAIN)), parse_rules(file_of(PLAIN)), parse_rules(file_of(PLAIN) + "\n# changed")
    assert first.version == again.version != other.version


# -- what is refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (
            '{name: a, match: {user: "*"}, qouta: 1, per: 1s}',
            "line 4, domain api, rule a, qouta: there is no such field; there are ",
        ),
        ('{name: a, match: {user: "*"}, per: 1s}', "rule a: quota is missing: units per period, or give it slots"),
        ('{name: a, match: {user: "*"}, quota: 1}', "rule a: per is missing: the period of the quota, such as 60s"),
        ("{name: a, quota: 1, per: 1s}", "rule a: match is missing: whom it counts"),
        ("{match: {}, quota: 1, per: 1s}", "domain api, a rule: name is missing"),
        ("{name: a b, match: {}, quota: 1, per: 1s}", "name: the name of a rule has 1 to 64 of"),
        ("{name: a, match: {}, quota: 0, per: 1s}", "rule a, quota: this is to be a whole number above zero, and not '0'"),
        ("{name: a, match: {}, quota: -5, per: 1s}", "quota: this is to be a whole number above zero, and not '-5'"),
        ("{name: a, match: {}, quota: 1.5, per: 1s}", "quota: this is to be a whole number above zero, and not '1.5'"),
        ("{name: a, match: {}, quota: 010, per: 1s}", "quota: this is to be a whole number above zero, and not '010'"),
        ("{name: a, match: {}, quota: [1], per: 1s}", "quota: this is to be one word, and not a list"),
        (
            "{name: a, match: {}, quota: 1, per: 60}",
            "per: write a time with its unit, such as 100ms, 60s, 5m, 1h or 1d, and not '60'",
        ),
        ("{name: a, match: {}, quota: 1, per: 0s}", "per: write a time with its unit"),
        ("{name: a, match: {}, quota: 1, per: 1s, algorithm: gcar}", "algorithm: choose one of gcra, token_bucket, "),
        ("{name: a, match: {}, quota: 1, per: 1s, on_store_down: fail}", "on_store_down: choose one of local, open, closed"),
        ("{name: a, match: {}, quota: 1, per: 1s, mode: true}", "mode: choose one of on, shadow, off, and not 'true'"),
        ("{name: a, match: {user: [a]}, quota: 1, per: 1s}", "match.user: this is to be one word, and not a list"),
        ('{name: a, match: {user: ""}, quota: 1, per: 1s}', "match.user: write '*' for any value, or one value"),
        ("{name: a, match: {two words: x}, quota: 1, per: 1s}", "match.two words: a key of a descriptor has 1 to 64 of"),
        ("{name: a, match: user, quota: 1, per: 1s}", "match: this is to be a mapping (name: value), and not 'user'"),
        ("{name: a, match: {}, quota: 1, quota: 2, per: 1s}", "a rule, quota: it stands here twice"),
        ("{name: a, match: {u: x, u: y}, quota: 1, per: 1s}", "rule a, match.u: it stands here twice"),
        (
            "{name: a, match: {}, quota: 5, per: 1s, burst: 9, algorithm: fixed_window}",
            "rule a: fixed_window allows its whole quota",
        ),
        ("{name: a, match: {}, quota: 20_000, per: 1d, algorithm: sliding_log}", "rule a: a log keeps a stamp for each unit"),
        ("{name: a, match: {}, quota: 1, per: 400d}", "rule a: a period lies between a microsecond and 366 days"),
        ("{name: a, match: {}, slots: 5}", "rule a: lease is missing"),
        ("{name: a, match: {}, slots: 5, lease: 30s, quota: 5}", "rule a, quota: there is no such field"),
        ("{name: a, match: {}, slots: 500_000, lease: 30s}", "rule a: a concurrency limit lies between 1 and 100,000"),
        ("{name: a, match: {}, quota: 1, per: 1s, tiers: {pro: {quotas: 1}}}", "rule a, tiers.pro.quotas: there is no such field"),
        ("{name: a, match: {}, quota: 1, per: 1s, tiers: {pro: 5}}", "rule a, tiers.pro: this is to be a mapping"),
        ("{name: a, match: {}, quota: 1, per: 1s, tiers: {pro: {algorithm: gcra}}}", "tiers.pro.algorithm: there is no such field"),
        (
            "{name: a, match: {}, quota: 1, per: 1s, burst: 5, costs: [{match: {route: /a}, cost: 6}]}",
            "rule a, cost: nobody could ever pass, since this rule lets 5 units pass at once at most",
        ),
        ("{name: a, match: {}, quota: 9, per: 1s, costs: [{match: {}, cost: 0}]}", "cost: this is to be a whole number above zero"),
        ("{name: a, match: {}, quota: 9, per: 1s, costs: [{cost: 2}]}", "match is missing: what costs so much"),
        ("{name: a, match: {}, quota: 9, per: 1s, costs: [{match: {}}]}", "cost is missing: the units that such a request takes"),
        ("{name: a, match: {}, quota: 9, per: 1s, costs: {cost: 2}}", "costs: this is to be a list"),
        ("{name: a, match: {}, quota: 9, per: 1s, costs: [{match: {}, units: 2}]}", "units: there is no such field"),
        ("{name: a, match: {}, slots: 5, lease: 30s, costs: [{match: {}, cost: 2}]}", "rule a, costs: there is no such field"),
        ("just words", "domain api, a rule: this is to be a mapping"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_place_and_what_would_be_right(rule: str, says: str) -> None:
    with pytest.raises(BadRules) as refused:
        parse_rules(file_of(rule))
    sentence = str(refused.value)
    assert says in sentence
    assert sentence.startswith("line 4, domain api, ")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("# only a comment", "the file is empty"),
        ("domains", "this is to be a mapping"),
        ("- a", "this is to be a mapping (name: value), and not a list"),
        ("{}", "domains is missing"),
        ("domains: {}\nlimits: {}", "line 2, limits: there is no such field; there are mode, domains"),
        ("domains: {}\nmode: maybe", "line 2, mode: choose one of on, shadow, off"),
        ("domains: {}\ndomains: {}", "line 2, domains: it stands here twice"),
        ("domains: {api: {}}", "domain api: rules is missing"),
        ("domains: {api: {rules: {}}}", "domain api, rules: this is to be a list"),
        ("domains: {a b: {rules: []}}", "the name of a domain has 1 to 64"),
        (file_of(PLAIN, PLAIN), "line 5, domain api, rule plain: there are two rules plain in this domain"),
        ("domains: {api: {rules: [", "line 1: this is no YAML: "),
        ("domains: &all {}\nmode: *all", "line 2: aliases (*name) are not read; write it out"),
        ('domains: "\\UFFFFFFFF"', "this is no YAML: "),
        ("domains: \x00", "this is no YAML: "),
        ("[" * 5_000, "this is no YAML: nested too deeply"),
        ("#" * (MAX_CHARS + 1), "the file has 262,145 characters; 262,144 are read at most"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(BadRules) as refused:
        parse_rules(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_of_ten_lines_that_stands_for_a_billion_is_refused_before_it_is_read() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(BadRules, match="aliases"):
        parse_rules(bomb + "domains: *i")


def test_more_rules_than_one_script_holds_may_not_apply_to_one_request_but_may_stand_beside_each_other() -> None:
    assert MAX_TOGETHER <= ONE_SCRIPT
    beside = [f"{{name: r{n}, match: {{route: /{n}}}, quota: 1, per: 1s}}" for n in range(MAX_TOGETHER + 1)]
    assert len(rules_of(*beside)) == MAX_TOGETHER + 1
    together = [f'{{name: r{n}, match: {{k{n}: "*"}}, quota: 1, per: 1s}}' for n in range(MAX_TOGETHER + 1)]
    assert len(rules_of(*together[1:])) == MAX_TOGETHER
    with pytest.raises(BadRules, match=f"{MAX_TOGETHER + 1} of these rules could apply to one request"):
        rules_of(*together)


@pytest.mark.parametrize("algorithm", ["sketch", "leaky_queue"])
def test_a_rule_whose_units_cannot_be_leased_is_refused_where_they_would_have_to_be(algorithm: str) -> None:
    rule = f"{{name: a, match: {{}}, quota: 1, per: 1s, algorithm: {algorithm}}}"
    assert rules_of(rule)
    with pytest.raises(BadRules, match=rf"rule a, algorithm: store=local_lease can't lease units of {algorithm}"):
        rules_of(rule, leased=True)


NAMES = ["domains", "api", "rules", "name", "match", "quota", "per", "burst", "slots", "lease", "tiers", "mode"]
VALUES = ["on", "off", "1s", "20", "pro", "gcra"]
MARKS = [": ", "- ", "\n", "\n  ", "\n      - ", "{", "}", "[", "]", ", ", '"', "'", "*", "&a", "*a", "!!python/object:os.system"]
ODD = ["<<: ", "? ", "|", ">", "%YAML 1.1\n", "---\n", "\t", "\\", "\u2028", "\ufeff", "\ud800", "é", "~", "=", "0x1F", "1:30"]
words = st.sampled_from([*NAMES, *VALUES, *MARKS, *ODD])


def sentence_about(text: str) -> str:
    """What is said of a file that is refused; "" for one that is taken."""
    try:
        assert isinstance(parse_rules(text), RuleSet)
    except BadRules as error:
        return str(error)
    return ""


@given(st.one_of(st.text(max_size=80), st.lists(words, max_size=40).map("".join)))
def test_any_text_is_a_rule_set_or_bad_rules_and_nothing_else(text: str) -> None:
    assert "\n" not in sentence_about(text)


@given(st.data())
def test_an_example_with_a_few_characters_changed_is_a_rule_set_or_bad_rules(data: st.DataObject) -> None:
    text = EXAMPLE[data.draw(st.integers(0, len(EXAMPLE))) :] if data.draw(st.booleans()) else EXAMPLE
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(words) + text[at + data.draw(st.integers(0, 5)) :]
    assert "\n" not in sentence_about(text)


# -- a file in use ----------------------------------------------------------------------------------------------------------------


class Watched:
    """A rule file in a folder, and what was told of it."""

    def __init__(self, folder: Path, *rules: str) -> None:
        self.path = folder / "rules.yaml"
        self.put(*rules)
        self.told: list[tuple[str, str]] = []
        self.file = RuleFile(self.path, tell=lambda outcome, what: self.told.append((outcome, what)))

    def put(self, *rules: str, text: str = "") -> None:
        """As an operator should: beside it, and then renamed over it."""
        beside = self.path.with_suffix(".new")
        beside.write_text(text or file_of(*rules), "utf-8")
        beside.replace(self.path)

    def look(self) -> None:
        asyncio.run(self.file.look())

    @property
    def names(self) -> list[str]:
        return [rule.name for rule in self.file.rules().domains["api"].rules]


def rule(name: str) -> str:
    return f"{{name: {name}, match: {{}}, quota: 1, per: 1s}}"


def test_a_new_file_takes_over_at_the_next_look(tmp_path: Path) -> None:
    watched = Watched(tmp_path, rule("old"))
    watched.look()
    assert watched.told == []
    watched.put(rule("new"))
    assert watched.names == ["old"]
    watched.look()
    assert watched.names == ["new"]
    assert watched.told == [("loaded", watched.file.rules().version)]
    assert watched.file.reloads == {"loaded": 1, "refused": 0}


def test_a_file_that_has_the_same_length_and_time_is_seen_to_be_another(tmp_path: Path) -> None:
    watched = Watched(tmp_path, rule("old"))
    before = watched.path.stat()
    watched.put(rule("new"))
    os.utime(watched.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (watched.path.stat().st_mtime_ns, watched.path.stat().st_size) == (before.st_mtime_ns, before.st_size)
    watched.look()
    assert watched.names == ["new"]


def test_a_bad_file_is_refused_once_and_the_old_rules_stay_until_a_good_one_comes(tmp_path: Path) -> None:
    watched = Watched(tmp_path, rule("old"))
    watched.put("{name: a, match: {}, quota: none, per: 1s}")
    for _ in range(3):
        watched.look()
    [(outcome, sentence)] = watched.told
    assert outcome == "refused"
    assert sentence.startswith(f"{watched.path}, line 4, domain api, rule a, quota: ")
    assert (watched.names, watched.file.reloads) == (["old"], {"loaded": 0, "refused": 1})
    watched.put(text="domains: [")
    watched.look()
    assert (watched.names, watched.file.reloads["refused"]) == (["old"], 2)
    watched.put(rule("good"))
    watched.look()
    assert (watched.names, watched.file.reloads) == (["good"], {"loaded": 1, "refused": 2})


def test_a_file_that_is_gone_or_no_text_is_refused_and_one_that_comes_back_the_same_is_no_news(tmp_path: Path) -> None:
    watched = Watched(tmp_path, rule("old"))
    watched.path.unlink()
    watched.look()
    watched.look()
    assert [outcome for outcome, _ in watched.told] == ["refused"]
    assert "can't be read: No such file" in watched.told[0][1]
    watched.path.write_bytes(b"\xff\xfe")
    watched.look()
    assert "is no text in UTF-8" in watched.told[1][1]
    watched.put(rule("old"))
    watched.look()
    assert len(watched.told) == 2
    assert (watched.names, watched.file.reloads) == (["old"], {"loaded": 0, "refused": 2})


def test_a_process_does_not_start_with_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(BadRules, match="can't be read: No such file"):
        RuleFile(tmp_path / "missing.yaml")
    (tmp_path / "bad.yaml").write_text("domains: 5")
    with pytest.raises(BadRules, match=r"bad\.yaml, line 1, domains: this is to be a mapping"):
        RuleFile(tmp_path / "bad.yaml")


def test_a_running_process_looks_every_second(tmp_path: Path) -> None:
    watched = Watched(tmp_path, rule("r0"))
    slept: list[float] = []

    async def nap(seconds: float) -> None:
        slept.append(seconds)
        watched.put(rule(f"r{len(slept)}"))
        if len(slept) == 3:
            raise asyncio.CancelledError

    async def scene() -> None:
        with pytest.raises(asyncio.CancelledError):
            await watched.file.watch(nap)

    asyncio.run(scene())
    assert slept == [LOOK_EVERY_S] * 3
    assert watched.names == ["r2"]
