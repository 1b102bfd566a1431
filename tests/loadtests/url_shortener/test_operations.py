"""What an answer says that happened, and how sure that is."""

from __future__ import annotations

import asyncio
import socket

import pytest

from loadtests.generator.open_loop import closed_loop
from loadtests.history.operation import Json
from loadtests.url_shortener.operations import operation
from loadtests.url_shortener.steps import Question
from loadtests.workload import Exchange

REQUEST = b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


def told(f: str, status: int, head: str = "", body: str = "") -> tuple[str, dict[str, Json]]:
    response = f"HTTP/1.1 {status} X\r\n{head}\r\n{body}".encode()
    exchange = Exchange("op", 0, 0, 0.0, 11.0, 11.2, 11.5, status, response)
    found = operation(Question(f, "k", {"url": "u"}), exchange, "replica-2", lambda at_s: at_s - 10.0)
    assert (found.f, found.key, found.value, found.node) == (f, "k", {"url": "u"}, "replica-2")
    assert (found.invoked_s, found.ended_s) == (1.0, 1.5)
    return found.outcome, dict(found.result)


@pytest.mark.parametrize(
    ("f", "status", "head", "body", "outcome", "result"),
    [
        ("visit", 302, "Location: https://a/\r\n", "", "ok", {"status": 302, "url": "https://a/"}),
        ("look", 410, "", "", "ok", {"status": 410}),
        ("guess", 404, "", "", "ok", {"status": 404}),
        ("visit", 429, "", "", "fail", {"status": 429}),
        ("visit", 503, "", "", "info", {"status": 503, "error": "the service failed"}),
        (
            "create",
            201,
            "",
            '{"code": "c", "url": "https://a/", "version": "17", "enabled": true}',
            "ok",
            {"status": 201, "code": "c", "url": "https://a/", "version": 17},
        ),
        ("create", 409, "", "{}", "fail", {"status": 409}),
        ("create", 500, "", "", "info", {"status": 500, "error": "the service failed"}),
        ("create", 201, "", "no JSON", "ok", {"status": 201, "code": "", "url": ""}),
        ("edit", 200, "", '{"version": "18"}', "ok", {"status": 200, "version": 18}),
        ("edit", 200, "", "{}", "ok", {"status": 200}),
        ("edit", 404, "", "", "fail", {"status": 404}),
        ("delete", 204, "", "", "ok", {"status": 204}),
        ("delete", 503, "", "", "info", {"status": 503, "error": "the service failed"}),
        ("delete", 503, "", '{"may_have_happened": true}', "info", {"status": 503, "error": "the service failed"}),
        (
            "edit",
            503,
            "",
            '{"may_have_happened": false}',
            "fail",
            {"status": 503, "error": "the service failed, and changed nothing"},
        ),
        ("visit", 503, "", '{"may_have_happened": false}', "info", {"status": 503, "error": "the service failed"}),
        ("tally", 200, "", '{"clicks": 3, "bots": 2}', "ok", {"clicks": 5}),
        ("stats", 404, "", "", "fail", {"status": 404}),
        ("visit", 0, "", "", "info", {"error": "no answer"}),
    ],
)
def test_an_answer_says_what_happened(f: str, status: int, head: str, body: str, outcome: str, result: dict[str, Json]) -> None:
    assert told(f, status, head, body) == (outcome, result)


def asked_once(url: str) -> Exchange:
    [exchange] = asyncio.run(closed_loop([(0, REQUEST)], 1, [url], duration_s=5.0, count=1, timeout_s=0.5))
    return exchange


def test_a_request_that_nobody_accepted_certainly_did_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        exchange = asked_once(f"http://127.0.0.1:{taken.getsockname()[1]}")
    found = operation(Question("edit", "k"), exchange, "replica-1", lambda at_s: at_s)
    assert (found.outcome, found.result) == ("fail", {"error": "not sent"})


def test_a_request_that_was_cut_off_or_never_answered_may_have_happened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody answers
        exchange = asked_once(f"http://127.0.0.1:{silent.getsockname()[1]}")
    found = operation(Question("edit", "k"), exchange, "replica-1", lambda at_s: at_s)
    assert (found.outcome, found.result) == ("info", {"error": "no answer"})
