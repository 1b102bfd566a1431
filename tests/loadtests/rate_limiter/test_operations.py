"""What an answer says that happened, and how sure that is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from loadtests.rate_limiter.operations import operations
from loadtests.rate_limiter.steps import Question
from loadtests.workload import NO_ANSWER, Exchange

LIMIT = {
    "rule": "per-user",
    "allowed": True,
    "limit": 40,
    "remaining": 39,
    "retry_after_us": 0,
    "reset_after_us": 50_000,
    "shadow": False,
    "degraded": False,
}
ALLOWED = {"allowed": True, "degraded": False, "delay_us": 0, "limits": [LIMIT]}
USER = {"user": "u"}


def answered(f: str, status: int, body: Any = None, head: bytes = b"", *, sent: bool = True) -> Exchange:
    document = b"" if body is None else orjson.dumps(body)
    response = b"HTTP/1.1 %d X\r\n%b\r\n%b" % (status, head, document)
    return Exchange(f, 0, 0, 1.0, 1.1 if sent else 1.3, 1.2, 1.3, status, response)


def of(f: str, exchange: Exchange, **asked: Any) -> Any:
    [operation] = operations([Question(f, USER, **asked)], exchange, "replica-1", lambda at_s: at_s)
    return operation


def test_a_verdict_is_known_whether_it_admits_or_refuses() -> None:
    admitted = of("check", answered("check", 200, ALLOWED, b'RateLimit: "per-user";r=39\r\nServer: x\r\n'))
    assert (admitted.outcome, admitted.result["allowed"]) == ("ok", True)
    assert admitted.result["limits"] == [["per-user", True, 40, 39, 0, 50_000, False]]
    assert admitted.result["headers"] == {"ratelimit": '"per-user";r=39'}
    for status in (422, 429, 503):
        refused = of("check", answered("check", status, {"degraded": False, "limits": [{**LIMIT, "allowed": False}]}))
        assert (refused.outcome, refused.result["allowed"], refused.result["status"]) == ("ok", False, status)


def test_a_shadow_decides_nothing() -> None:
    body = {**ALLOWED, "limits": [LIMIT, {**LIMIT, "rule": "daily", "shadow": True}]}
    assert [each[0] for each in of("check", answered("check", 200, body)).result["limits"]] == ["per-user"]


def test_a_wait_without_end_is_never() -> None:
    body = {"degraded": False, "limits": [{**LIMIT, "allowed": False, "retry_after_us": None}]}
    assert of("check", answered("check", 422, body)).result["limits"][0][4] is None


@pytest.mark.parametrize("body", [{}, {"allowed": True, "degraded": False, "limits": [{"rule": "r"}]}, [1]])
def test_a_body_that_is_none_is_garbled(body: Any) -> None:
    assert of("check", answered("check", 200, body)).result.get("garbled")


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (500, {}, "info"),
        (503, {"may_have_happened": True}, "info"),
        (503, {"may_have_happened": False}, "fail"),
        (503, {}, "fail"),
        (404, {}, "fail"),
    ],
)
def test_without_a_verdict_it_may_have_been_counted_unless_it_says_not(status: int, body: Any, outcome: str) -> None:
    for f in ("check", "refund", "release"):
        assert of(f, answered(f, status, body)).outcome == outcome


def test_no_answer_may_have_been_counted_and_what_was_never_sent_was_not() -> None:
    assert of("check", answered("check", NO_ANSWER)).outcome == "info"
    assert of("check", answered("check", NO_ANSWER, sent=False)).outcome == "fail"


def test_a_slot_is_said_to_be_held_or_not() -> None:
    assert of("renew", answered("renew", 200, {"held": True}), token="t").result["held"] is True
    assert of("renew", answered("renew", 409, {"status": 409}), token="t").result["held"] is False
    assert of("release", answered("release", 200, {"released": False}), token="t").result["held"] is False
    assert of("refund", answered("refund", 204)).outcome == "ok"


def test_each_item_of_a_batch_is_a_question_of_its_own() -> None:
    questions = [Question("check", {"user": name}, batched=True) for name in "abc"]
    items = [
        {"status": 200, "verdict": ALLOWED, "problem": None},
        {"status": 429, "verdict": None, "problem": {"degraded": False, "limits": [{**LIMIT, "allowed": False}]}},
        {"status": "x"},
    ]
    found = operations(questions, answered("batch", 200, {"items": items}), "replica-1", lambda at_s: at_s)
    assert [(each.key, each.outcome) for each in found] == [("user=a", "ok"), ("user=b", "ok"), ("user=c", "info")]
    torn = operations(questions, answered("batch", 200, {"items": items[:2]}), "replica-1", lambda at_s: at_s)
    assert {each.outcome for each in torn} == {"fail"}
    lost = operations(questions, answered("batch", NO_ANSWER), "replica-1", lambda at_s: at_s)
    assert {each.outcome for each in lost} == {"info"}
