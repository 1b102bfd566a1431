"""Which question a planned step is: the same for every variant, about the link of the step before, shared where it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from designs.building_blocks.id_generation import encode_base62
from designs.url_shortener.urls import canonical_alias, canonical_url
from loadtests.url_shortener.requests import UNLUCKY_PAIRS, unlucky_url
from loadtests.url_shortener.steps import CAP_KNOWN_AFTER_S, Question, Steps
from loadtests.workload import NO_ANSWER, Exchange

CODES = ("aaaaaaa", "bbbbbbb")
WALL_S = 1_800_000_000.0


def steps(seed: int = 5) -> Steps:
    return Steps(seed, CODES, wall_clock=lambda: WALL_S)


def step(op: str, serial: int, due_s: float = 0.0, status: int = NO_ANSWER, body: str = "") -> Exchange:
    return Exchange(op, 0, serial, due_s, 0.0, 0.0, 0.0, status, b"HTTP/1.1 %d X\r\n\r\n%b" % (status, body.encode()))


def asked(some: Steps, op: str, count: int) -> list[Question]:
    questions = [some.question(step(op, serial), None) for serial in range(count)]
    return [question for question in questions if question is not None]


def journey(some: Steps, *ops: str, answers: Sequence[tuple[int, str]]) -> list[Question | None]:
    """Each step follows the one before it, which was answered so."""
    questions, before = [], None
    for serial, (op, (status, body)) in enumerate(zip(ops, [*answers, (0, "")], strict=True)):
        exchange = step(op, serial)
        questions.append(some.question(exchange, before))
        before = replace(exchange, status=status, response=b"HTTP/1.1 %d X\r\n\r\n%b" % (status, body.encode()))
    return questions


def test_two_variants_are_asked_the_same() -> None:
    for op in ("create", "edit", "scan", "unknown", "race", "repeat", "unlucky", "cap", "brief", "knock"):
        assert asked(steps(), op, 9) == asked(steps(), op, 9)
        if op not in ("unlucky", "unknown"):
            assert asked(steps(), op, 9) != asked(steps(6), op, 9)


def test_a_link_that_was_made_is_opened_deleted_and_opened_again() -> None:
    made = (201, '{"code": "xyz"}')
    ops = ("create", "open_new", "delete", "open_deleted")
    create, *later = journey(steps(), *ops, answers=[made, (302, ""), (204, "")])
    assert create is not None
    assert create.f == "create"
    assert later == [Question("visit", "xyz"), Question("delete", "xyz"), Question("visit", "xyz")]


@pytest.mark.parametrize("status", [NO_ANSWER, 401, 503])
def test_where_no_link_was_made_nothing_more_is_asked(status: int) -> None:
    assert journey(steps(), "create", "open_new", "delete", answers=[(status, ""), (-1, "")])[1:] == [None, None]


def test_who_knocks_in_vain_claims_the_alias_and_opens_it_whatever_became_of_that() -> None:
    knock, claim, opened = journey(steps(), "knock", "claim", "open_claimed", answers=[(404, ""), (0, "")])
    assert knock is not None
    assert claim is not None
    assert (claim.f, claim.key, claim.value["alias"]) == ("create", knock.key, knock.key)
    assert opened == Question("visit", knock.key)


def test_three_want_the_same_alias_each_for_a_link_of_their_own() -> None:
    races = asked(steps(), "race", 6)
    assert [race.key for race in races] == [race.value["alias"] for race in races]
    assert [races[0].key == race.key for race in races] == [True] * 3 + [False] * 3
    assert len({race.value["url"] for race in races}) == 6


def test_two_send_the_same_request_with_the_same_key_and_one_of_them_again() -> None:
    some = steps()
    first, second, other = asked(some, "repeat", 3)
    assert first == second != other
    assert some.question(step("repeat_again", 9), step("repeat", 0)) == first


def test_a_capped_link_is_opened_by_those_who_come_a_moment_after_it_was_made() -> None:
    some = steps()
    assert some.question(step("capped", 0, due_s=0.0), None) is None
    first = some.question(step("cap", 1, due_s=1.0), None)
    second = some.question(step("cap", 2, due_s=2.0), None)
    assert first is not None
    assert second is not None
    soon = some.question(step("capped", 3, due_s=2.0 + CAP_KNOWN_AFTER_S / 2), None)
    later = some.question(step("capped", 4, due_s=2.0 + CAP_KNOWN_AFTER_S), None)
    assert (soon, later) == (Question("visit", first.key), Question("visit", second.key))
    some.all_answered()
    assert some.question(step("capped", 5, due_s=0.0), None) == later, "the next round begins at 0 again"


def test_a_link_that_ends_does_so_a_moment_after_it_was_due() -> None:
    brief = steps().question(step("brief", 0, due_s=3.0), None)
    assert brief is not None
    assert brief.value["expires_at"] == WALL_S + 3.0 + 1.2


def test_what_was_asked_is_known_until_all_is_answered() -> None:
    some = steps()
    exchange = step("create", 7)
    assert some.asked(exchange) is None
    question = some.question(exchange, None)
    assert some.asked(exchange) == question
    some.all_answered()
    assert some.asked(exchange) is None


def test_an_op_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no op 'explode'"):
        steps().question(step("explode", 0), None)


def test_the_service_takes_each_alias_and_each_url_as_it_is() -> None:
    for op in ("race", "cap", "knock"):
        for question in asked(steps(10**19), op, 3):
            assert canonical_alias(question.key) == question.key
    for op in ("create", "edit", "repeat", "unlucky"):
        for question in asked(steps(), op, 3):
            url: Any = question.value["url"]
            assert canonical_url(url, ()) == url


def test_each_unlucky_pair_begins_alike_once_it_is_hashed() -> None:
    def first_seven(url: str) -> str:
        return encode_base62(int.from_bytes(hashlib.md5(url.encode()).digest(), "big"))[:7]

    urls = [unlucky_url(number) for number in range(2 * len(UNLUCKY_PAIRS))]
    assert len(set(urls)) == len(urls)
    for one, other in zip(urls[::2], urls[1::2], strict=True):
        assert first_seven(one) == first_seven(other)
