"""Single answers that contradict themselves, that do without the store for no reason, or that do not come."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loadtests.history.operation import Operation
from loadtests.rate_limiter.answer_checks import listed
from loadtests.rate_limiter.promises import ANSWERED, DEGRADED, TOLD
from tests.loadtests.rate_limiter.histories import ONE, TWO, Story


@pytest.mark.parametrize("name", [TOLD, DEGRADED, ANSWERED])
def test_nothing_asked_is_nothing_known(name: str) -> None:
    assert Story().judged(name).verdict == "unknown"


def changed(refused: bool, change: Callable[[dict[str, Any]], Any]) -> Story:
    """An answer in which one thing was changed."""
    story = Story()
    story.check(1.0, refused_by={"per-user": 0.3} if refused else {}, left=5)
    [item] = story.items
    assert isinstance(item, Operation)
    result: dict[str, Any] = copy.deepcopy(dict(item.result))
    change(result)
    story.items[0] = replace(item, result=result)
    return story


def test_an_answer_that_says_one_thing_is_valid() -> None:
    for refused in (True, False):
        assert changed(refused, lambda result: None).judged(TOLD).verdict == "valid"


@pytest.mark.parametrize(
    ("refused", "change"),
    [
        (False, lambda result: result.update(limits=[])),
        (False, lambda result: result.update(degraded=True)),
        (False, lambda result: result.update(allowed=False)),
        (False, lambda result: result.update(status=429)),
        (False, lambda result: result.update(garbled=True)),
        (False, lambda result: result["limits"][0].__setitem__(0, "per-nobody")),
        (False, lambda result: result["limits"][0].__setitem__(2, 41)),
        (False, lambda result: result["limits"][0].__setitem__(3, -1)),
        (False, lambda result: result["limits"][0].__setitem__(3, 40)),
        (False, lambda result: result["limits"][0].__setitem__(4, 3)),
        (False, lambda result: result["headers"].update({"retry-after": "1"})),
        (False, lambda result: result["headers"].update({"ratelimit": '"per-user";r=6'})),
        (False, lambda result: result["headers"].update({"ratelimit": "per-user;r=5"})),
        (False, lambda result: result["headers"].update({"ratelimit-policy": '"per-user";q=39;w=2'})),
        (True, lambda result: result.update(status=422)),
        (True, lambda result: result.update(status=503)),
        (True, lambda result: result["headers"].pop("retry-after")),
        (True, lambda result: result["headers"].update({"retry-after": "2"})),
        (True, lambda result: result["limits"][0].__setitem__(1, True)),
    ],
)
def test_an_answer_that_contradicts_itself_is_flagged(refused: bool, change: Callable[[dict[str, Any]], Any]) -> None:
    check = changed(refused, change).judged(TOLD)
    assert (check.verdict, check.counts["contradictions"]) == ("invalid", 1)
    assert check.detail


def in_style(style: str, headers: dict[str, str]) -> str:
    story = Story({"headers": style})
    story.check(1.0, left=5)
    [item] = story.items
    assert isinstance(item, Operation)
    story.items[0] = replace(item, result={**item.result, "headers": headers})  # type: ignore[dict-item]
    return story.judged(TOLD).verdict


def test_each_style_of_headers_is_held_to_its_own_fields() -> None:
    draft = {"ratelimit-limit": "40", "ratelimit-remaining": "5", "ratelimit-reset": "2"}
    custom = {f"x-{name}": value for name, value in draft.items()}
    assert in_style("draft-06", draft) == in_style("x-ratelimit", custom) == in_style("none", {}) == "valid"
    assert in_style("draft-06", {**draft, "ratelimit-remaining": "6"}) == "invalid"
    assert in_style("draft-06", {**draft, "ratelimit-reset": "soon"}) == "invalid"
    assert in_style("x-ratelimit", draft) == in_style("none", draft) == in_style("current", draft) == "invalid"


def test_a_list_of_strings_is_read_as_its_grammar_says() -> None:
    assert listed('"a";r=1;t=2, "b-c";r=0') == {"a": {"r": "1", "t": "2"}, "b-c": {"r": "0"}}
    assert listed('"a";q=3;qu="concurrent-requests";pk=:abc=:') == {"a": {"q": "3", "qu": '"concurrent-requests"', "pk": ":abc=:"}}
    assert listed("a;r=1") is None
    assert listed("") == {}


# -- answers do without the store only while it is away


def degraded(story: Story, at_s: float, took_s: float = 0.005, node: str = ONE) -> Story:
    story.check(at_s, degraded=True, took_s=took_s, node=node)
    return story


def test_an_answer_without_the_store_needs_a_reason() -> None:
    check = degraded(Story(), 1.0).judged(DEGRADED)
    assert (check.verdict, check.counts["degraded_without_a_reason"]) == ("invalid", 1)


@pytest.mark.parametrize(
    ("target", "verdict"),
    [("redis", "valid"), (f"redis@{ONE}", "valid"), (f"redis@{TWO}", "invalid"), (ONE, "valid"), (TWO, "invalid")],
)
def test_a_fault_is_a_reason_for_whom_it_strikes(target: str, verdict: str) -> None:
    story = degraded(Story(), 1.0)
    story.struck("latency", target, 0.8, 1.2)
    assert story.judged(DEGRADED).verdict == verdict


def test_a_fault_that_is_long_over_is_no_reason() -> None:
    for at_s, verdict in ((3.0, "valid"), (4.0, "invalid")):
        story = degraded(Story(), at_s)
        story.struck("down", "redis", 1.0, 2.0)
        assert story.judged(DEGRADED).verdict == verdict


def test_who_waited_for_the_store_until_the_deadline_has_a_reason_and_so_have_the_next() -> None:
    story = degraded(Story(), 1.0, took_s=0.04)
    assert story.judged(DEGRADED).verdict == "valid"
    assert degraded(story, 2.0).judged(DEGRADED).verdict == "valid", "the breaker may be open"
    assert degraded(story, 4.0).judged(DEGRADED).verdict == "invalid"


def test_a_breaker_that_says_that_it_opened_is_a_reason() -> None:
    story = degraded(Story(), 1.0)
    story.observed("breaker", 0.8, opened=0)
    assert story.judged(DEGRADED).verdict == "invalid"
    story.observed("breaker", 1.2, opened=1)
    assert story.judged(DEGRADED).verdict == "valid"


def test_without_the_store_a_closed_rule_refuses_and_an_open_one_admits() -> None:
    for policy, allowed, verdict in (
        ("closed", True, "invalid"),
        ("closed", False, "valid"),
        ("open", True, "valid"),
        ("open", False, "invalid"),
        ("local", True, "valid"),
        ("local", False, "valid"),
    ):
        story = Story({"on_store_down": policy})
        story.struck("down", "redis", 0.5, 2.0)
        refused_by: dict[str, float | None] = {} if allowed else {"per-user": 1.0}
        status = 503 if policy == "closed" and not allowed else 200
        story.check(1.0, degraded=True, refused_by=refused_by, status=status, left=0)
        assert story.judged(DEGRADED).verdict == verdict, (policy, allowed)


# -- every question is answered


@pytest.mark.parametrize("status", [0, 500, 404, 400])
def test_a_question_without_a_verdict_is_a_failure(status: int) -> None:
    story = Story()
    story.check(1.0, status=status)
    check = story.judged(ANSWERED)
    assert (check.verdict, check.counts["failed"]) == ("invalid", 1)


def test_a_process_that_was_ended_or_held_still_answers_nothing_and_is_excused() -> None:
    for kind, target, verdict in (
        ("kill", ONE, "valid"),
        ("pause", ONE, "valid"),
        ("kill", TWO, "invalid"),
        ("pause", "redis", "invalid"),
    ):
        story = Story()
        story.check(1.0, status=0)
        story.struck(kind, target, 0.9, 1.5)
        assert story.judged(ANSWERED).verdict == verdict


def test_what_was_given_up_while_others_took_seconds_is_not_known_and_while_others_were_quick_it_is() -> None:
    story = Story()
    story.check(1.0, status=0, took_s=5.0)
    story.check(2.0, took_s=0.3)
    assert story.judged(ANSWERED).verdict == "invalid"
    story.check(2.5, took_s=1.3)
    assert story.judged(ANSWERED).verdict == "unknown"
    story.check(9.0, status=0, took_s=5.0)
    assert story.judged(ANSWERED).verdict == "invalid"


def test_a_failure_of_a_living_process_is_never_excused() -> None:
    story = Story()
    story.check(1.0, status=500)
    story.struck("pause", ONE, 0.9, 1.5)
    story.struck("down", "redis", 0.9, 1.5)
    assert story.judged(ANSWERED).verdict == "invalid"


def test_what_changes_the_store_may_fail_while_that_is_away_and_only_then() -> None:
    story = Story()
    story.refund(1.0, status=503)
    assert story.judged(ANSWERED).verdict == "invalid"
    story.struck("down", "redis", 0.5, 1.5)
    assert story.judged(ANSWERED).verdict == "valid"


def test_who_is_turned_away_was_told_so() -> None:
    story = Story({"headers": "none"})
    story.check(1.0, user="", status=503)
    story.check(1.1)
    check = story.judged(ANSWERED)
    assert (check.verdict, check.counts["turned_away"]) == ("valid", 1)
