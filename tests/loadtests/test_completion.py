"""An exchange as an operation of a history, and what is known of one that has no answer."""

from __future__ import annotations

import pytest

from loadtests.completion import completed, json_body, unanswered
from loadtests.history.operation import Operation
from loadtests.workload import NO_ANSWER, Exchange


def exchange(*, sent_s: float = 10.0, end_s: float = 10.5, status: int = 200, response: bytes = b"") -> Exchange:
    return Exchange("read", 1, 2, 9.0, sent_s, end_s, end_s, status, response)


def test_an_operation_lasts_from_the_send_to_the_end_on_the_clock_of_the_history() -> None:
    made = completed("get", "k", {"n": 1}, "replica-1", exchange(), lambda monotonic_s: monotonic_s - 10.0, ("ok", {"value": 3}))
    assert made == Operation(0, "get", "k", {"n": 1}, "replica-1", 0.0, 0.5, "ok", {"value": 3})


def test_without_an_answer_it_may_have_happened_unless_it_was_never_sent() -> None:
    assert unanswered(exchange(status=NO_ANSWER)) == ("info", {"error": "no answer"})
    assert unanswered(exchange(status=NO_ANSWER, end_s=10.0)) == ("fail", {"error": "not sent"})


@pytest.mark.parametrize(("body", "found"), [(b'{"a": 1}', {"a": 1}), (b"[1]", {}), (b"", {}), (b'{"a": ', {})])
def test_a_body_that_is_no_json_object_holds_nothing(body: bytes, found: dict[str, int]) -> None:
    assert json_body(exchange(response=b"HTTP/1.1 200 OK\r\n\r\n" + body)) == found
