"""What clients are told agrees with what was decided: the fields are parsed back and compared, whatever the verdict."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from designs.rate_limiter.headers import (
    MAX_INTEGER,
    PROBLEM_TYPES,
    HeaderStyle,
    headers_of,
    limits_of,
    nearest_to_its_end,
    problem_of,
    retry_after_s_of,
    status_of,
)
from designs.rate_limiter.limiter import RuleDecision, Verdict
from designs.rate_limiter.limits import WITH_BURST, AlgorithmName, Decision, Limit, Slots
from designs.rate_limiter.ports import Demand, SlotDemand

SECOND_US = 1_000_000
STYLES = get_args(HeaderStyle)
_ITEM = re.compile(r'"((?:[^"\\]|\\["\\])*)"((?:;[a-z]+=(?:[0-9]{1,15}|"[^"]*"|:[A-Za-z0-9+/=]*:))*)')


def parsed(field: str) -> list[tuple[str, dict[str, Any]]]:
    """A List of Strings with parameters (RFC 9651, 4.2.1), as far as these two fields use it. Fails on anything else."""
    items, at = [], 0
    while True:
        found = _ITEM.match(field, at)
        assert found is not None, field[at:]
        assert found[1].isascii()
        assert found[1].isprintable()
        parameters = {}
        for word in found[2].split(";")[1:]:
            key, _, value = word.partition("=")
            parameters[key] = int(value) if value.isdecimal() else value
        items.append((re.sub(r"\\(.)", r"\1", found[1]), parameters))
        at = found.end()
        if at == len(field):
            return items
        assert field.startswith(", ", at)
        at += 2


def fields(verdict: Verdict, style: HeaderStyle = "current", **more: Any) -> dict[str, str]:
    told = [(name.decode(), value.decode()) for name, value in headers_of(verdict, style, **more)]
    assert len(dict(told)) == len(told), "a field stands once"
    assert all(name == name.lower() for name, _ in told)
    return dict(told)


# -- verdicts as the limiter makes them -------------------------------------------------------------------------------------------

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
waits_us = st.one_of(st.integers(0, 3 * SECOND_US), st.integers(0, 400 * 86_400 * SECOND_US))


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    algorithm: AlgorithmName = draw(st.sampled_from(["gcra", "token_bucket", "fixed_window", "sliding_window"]))
    quota = draw(st.integers(1, 10_000))
    period_us = draw(st.integers(10_000, 1_000 * SECOND_US))
    burst = draw(st.integers(1, 10_000)) if algorithm in WITH_BURST else quota
    return Limit(algorithm, quota, period_us, burst)


@st.composite
def rules(draw: st.DrawFn, allowed: bool | None = None, shadow: bool | None = None) -> RuleDecision:
    slots = draw(st.booleans())
    shadowed = draw(st.booleans()) if shadow is None else shadow
    item = draw(st.sampled_from(["", "u1", "mail%40example.org"]))
    demand: Demand | SlotDemand
    if slots:
        most = draw(st.integers(1, 100))
        demand = SlotDemand("{d}:concurrency1:x", item, Slots(most, 30 * SECOND_US), shadowed)
    else:
        limit = draw(limits())
        most = limit.burst
        demand = Demand(f"{{d}}:{limit.algorithm}1:x", item, limit, 1, shadowed)
    passes = draw(st.booleans()) if allowed is None else allowed
    wait_us = 0 if passes else draw(waits_us if slots else st.one_of(st.none(), waits_us))
    decision = Decision(passes, most, draw(st.integers(0, most)), wait_us, draw(waits_us))
    unavailable = not passes and wait_us is not None and draw(st.booleans())
    return RuleDecision(draw(names), decision, demand, degraded=unavailable or draw(st.booleans()), unavailable=unavailable)


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    said = tuple(draw(st.lists(rules(), max_size=5)))
    return Verdict(all(rule.shadow or rule.decision.allowed for rule in said), said)


# -- the fields -------------------------------------------------------------------------------------------------------------------


@given(verdicts())
def test_the_current_fields_parse_back_to_what_each_rule_said_and_show_no_shadow(verdict: Verdict) -> None:
    told = fields(verdict)
    shown = [rule for rule in verdict.rules if not rule.shadow]
    assert ("ratelimit" in told) == ("ratelimit-policy" in told) == bool(shown)
    if not shown:
        return
    policies, states = parsed(told["ratelimit-policy"]), parsed(told["ratelimit"])
    assert [name for name, _ in policies] == [name for name, _ in states] == [rule.rule for rule in shown]
    for rule, (_, policy), (_, state) in zip(shown, policies, states, strict=True):
        assert set(policy) <= {"q", "w", "qu"}
        assert set(state) <= {"r", "t"}
        assert policy["q"] == rule.decision.limit
        assert state["r"] == rule.decision.remaining
        assert state["r"] <= policy["q"]
        assert policy.get("qu") == ('"concurrent-requests"' if isinstance(rule.demand, SlotDemand) else None)
        if isinstance(rule.demand, Demand):
            limit = rule.demand.limit
            window_us = limit.period_us * limit.burst / limit.quota
            assert ("w" in policy) == (window_us >= SECOND_US)
            if "w" in policy:
                assert 0 <= policy["w"] * SECOND_US - window_us < SECOND_US, "whole seconds, rounded up"
        if verdict.allowed:
            assert 0 <= state.get("t", 0) * SECOND_US - rule.decision.reset_after_us < SECOND_US


@given(verdicts(), st.sampled_from(STYLES))
def test_retry_after_is_whole_seconds_rounded_up_on_a_refusal_that_can_pass_and_nowhere_else(
    verdict: Verdict, style: HeaderStyle
) -> None:
    told = fields(verdict, style, clock_us=lambda: 1_000 * SECOND_US)
    assert ("cache-control" in told) == (not verdict.allowed)
    if verdict.allowed:
        assert "retry-after" not in told
    elif verdict.retry_after_us is None:
        assert status_of(verdict) == 422
        assert "retry-after" not in told
    else:
        after_s = int(told["retry-after"])
        assert after_s >= 1
        assert after_s * SECOND_US >= verdict.retry_after_us
        assert (after_s - 1) * SECOND_US < max(1, verdict.retry_after_us)
        if "ratelimit" in told:
            assert all(state.get("t", 0) <= after_s for _, state in parsed(told["ratelimit"])), "never earlier than the window ends"
        for name in ("ratelimit-reset", "x-ratelimit-reset"):
            if name in told:
                assert int(told[name]) <= after_s + (1_000 if name.startswith("x-") else 0)


@given(rules(allowed=True, shadow=False), rules(allowed=False, shadow=False))
def test_no_window_ends_later_than_a_client_is_told_to_come_back(passing: RuleDecision, refusing: RuleDecision) -> None:
    """A limit of a day that has plenty left says nothing of tomorrow to who has to wait for a second."""
    verdict = Verdict(False, (passing, refusing))
    after_s = retry_after_s_of(verdict)
    assume(after_s is not None)
    assert all(state.get("t", 0) <= after_s for _, state in parsed(fields(verdict)["ratelimit"]))


@given(verdicts())
def test_the_older_families_tell_of_one_rule_and_the_reset_is_seconds_in_one_and_an_epoch_in_the_other(verdict: Verdict) -> None:
    shown = [rule for rule in verdict.rules if not rule.shadow]
    assume(shown)
    draft = fields(verdict, "draft-06")
    custom = fields(verdict, "x-ratelimit", clock_us=lambda: 1_000 * SECOND_US)
    one = nearest_to_its_end(shown)
    assert one.decision.allowed or not verdict.allowed
    assert verdict.allowed or not one.decision.allowed, "a refusal is told by a rule that refuses"
    assert int(draft["ratelimit-limit"]) == int(custom["x-ratelimit-limit"]) == one.decision.limit
    assert int(draft["ratelimit-remaining"]) == int(custom["x-ratelimit-remaining"]) == one.decision.remaining
    assert int(custom["x-ratelimit-reset"]) == 1_000 + int(draft["ratelimit-reset"])
    assert not any(name.startswith(("x-ratelimit", "ratelimit")) for name in fields(verdict, "none"))


def verdict_of(decision: Decision, limit: Limit, *, item: str = "u1", **more: Any) -> Verdict:
    rule = RuleDecision("per-user", decision, Demand("{d}:gcra1:per-user", item, limit), **more)
    return Verdict(decision.allowed, (rule,))


ALLOWED = verdict_of(Decision(True, 40, 39, 0, 50_000), Limit("gcra", 20, SECOND_US, 40))
REFUSED = verdict_of(Decision(False, 20, 0, 2_400_001, 12 * SECOND_US), Limit("gcra", 100, 60 * SECOND_US, 20))


def test_the_fields_of_an_admission_and_of_a_refusal_as_they_go_over_the_wire() -> None:
    assert headers_of(ALLOWED, "current") == [
        (b"ratelimit-policy", b'"per-user";q=40;w=2'),
        (b"ratelimit", b'"per-user";r=39;t=1'),
    ]
    assert headers_of(REFUSED, "current") == [
        (b"ratelimit-policy", b'"per-user";q=20;w=12'),
        (b"ratelimit", b'"per-user";r=0;t=3'),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"3"),
    ]
    assert headers_of(REFUSED, "draft-06")[:3] == [
        (b"ratelimit-limit", b"20"),
        (b"ratelimit-remaining", b"0"),
        (b"ratelimit-reset", b"3"),
    ]
    assert headers_of(REFUSED, "none") == [(b"cache-control", b"no-store"), (b"retry-after", b"3")]


def test_a_rule_of_less_than_a_second_has_no_window_since_none_can_be_told_in_whole_seconds() -> None:
    quick = verdict_of(Decision(True, 5, 4, 0, 10_000), Limit("gcra", 5, 100_000, 5))
    assert fields(quick)["ratelimit-policy"] == '"per-user";q=5'


def test_a_name_that_no_rule_file_allows_is_a_string_of_the_grammar_all_the_same() -> None:
    odd = Verdict(True, (replace(ALLOWED.rules[0], rule='a "b" \\ ü\n'),))
    [(name, _)] = parsed(fields(odd)["ratelimit"])
    assert name == 'a "b" \\ %C3%BC%0A'


def test_a_number_beyond_the_fifteen_digits_of_the_grammar_is_told_as_the_largest() -> None:
    huge = verdict_of(Decision(True, 1 << 50, 1 << 50, 0, 0), Limit("fixed_window", 1 << 50, 1, 1 << 50))
    assert parsed(fields(huge)["ratelimit"]) == [("per-user", {"r": MAX_INTEGER})]
    assert parsed(fields(huge)["ratelimit-policy"]) == [("per-user", {"q": MAX_INTEGER})]


def test_whose_quota_it_is_can_be_told_apart_and_not_guessed_without_the_key() -> None:
    told = [
        fields(verdict_of(ALLOWED.rules[0].decision, Limit("gcra", 20, SECOND_US, 40), item=item), pk_key=key)["ratelimit"]
        for item, key in (("u1", b"k"), ("u1", b"k"), ("u2", b"k"), ("u1", b"other"))
    ]
    keys = [parsed(field)[0][1]["pk"] for field in told]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert all(re.fullmatch(r":[A-Za-z0-9+/]{12}:", key) for key in keys)
    everybody = verdict_of(ALLOWED.rules[0].decision, Limit("gcra", 20, SECOND_US, 40), item="")
    assert "pk" not in fields(everybody, pk_key=b"k")["ratelimit"], "a limit of all together is nobody's"
    assert "pk" not in fields(ALLOWED)["ratelimit"]


# -- the problem ------------------------------------------------------------------------------------------------------------------


@given(verdicts())
def test_a_refusal_is_a_problem_whose_status_says_whose_fault_it_is(verdict: Verdict) -> None:
    assume(not verdict.allowed)
    problem = problem_of(verdict)
    document = problem.document()
    assert problem.status == document["status"] == status_of(verdict)
    refusing = [rule for rule in verdict.rules if not rule.shadow and not rule.decision.allowed]
    assert document["violated-policies"] == [rule.rule for rule in refusing]
    if all(rule.unavailable for rule in refusing):
        assert (problem.status, document["type"]) == (503, f"{PROBLEM_TYPES}temporary-reduced-capacity")
    elif any(rule.decision.retry_after_us is None for rule in refusing):
        assert (problem.status, document["type"]) == (422, "/problems/cost-above-capacity")
        assert problem.headers == {}
    else:
        assert (problem.status, document["type"]) == (429, f"{PROBLEM_TYPES}quota-exceeded")
    if problem.status != 422:
        assert problem.headers == {"Retry-After": str(retry_after_s_of(verdict))}
    assert document["degraded"] == verdict.degraded


@given(verdicts())
def test_only_those_who_run_the_limits_see_the_rules_in_the_shadow(verdict: Verdict) -> None:
    shown = [rule for rule in verdict.rules if not rule.shadow]
    assert [limit["rule"] for limit in limits_of(verdict, with_shadows=False)] == [rule.rule for rule in shown]
    assert [limit["rule"] for limit in limits_of(verdict, with_shadows=True)] == [rule.rule for rule in verdict.rules]
    if not verdict.allowed:
        assert all(not limit["shadow"] for limit in problem_of(verdict).document()["limits"])


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (REFUSED, "too much of per-user; nothing was taken, try again in 3 s"),
        (
            verdict_of(Decision(False, 20, 7, None, 0), Limit("gcra", 100, 60 * SECOND_US, 20)),
            "so much can never pass at once: per-user 20 at most; ask for less",
        ),
        (
            verdict_of(
                Decision(False, 20, 0, SECOND_US, 0), Limit("gcra", 100, 60 * SECOND_US, 20), degraded=True, unavailable=True
            ),
            "per-user can't be counted now and is refused meanwhile; nothing was taken, try again in 1 s",
        ),
    ],
)
def test_a_refusal_says_in_words_what_was_too_much_and_what_would_be_right(verdict: Verdict, says: str) -> None:
    assert problem_of(verdict).detail == says
