"""From a request and its answer to an operation of the history: what it says that happened, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadtests.completion import Completion, completed, json_body, unanswered
from loadtests.history.operation import Json, Operation
from loadtests.url_shortener import requests
from loadtests.url_shortener.history import GONE_STATUSES, REDIRECT_STATUSES
from loadtests.url_shortener.steps import CREATED, Question
from loadtests.workload import NO_ANSWER, Exchange

WRITES = frozenset({"create", "edit", "delete"})


def operation(question: Question, exchange: Exchange, node: str, clock: Callable[[float], float]) -> Operation:
    """`clock` turns the exchange's times into the history's.

    Refused is `fail`. Failed (5xx) is `info`, as is no answer: a service that says it could not may have done it before it failed.
    A write whose answer says that it certainly did not happen is `fail`, and the service is held to that. So is a request that the
    generator could not even send, because nobody accepted the connection or none was free in time.
    """
    return completed(question.f, question.key, question.value, node, exchange, clock, _outcome(question.f, exchange))


def _outcome(f: str, exchange: Exchange) -> Completion:
    status = exchange.status
    if status == NO_ANSWER:
        return unanswered(exchange)
    if status >= 500:
        if f in WRITES and json_body(exchange).get("may_have_happened") is False:
            return "fail", {"status": status, "error": "the service failed, and changed nothing"}
        return "info", {"status": status, "error": "the service failed"}
    if f in ("visit", "guess", "look"):
        if status in REDIRECT_STATUSES:
            return "ok", {"status": status, "url": requests.location(exchange.response)}
        return "ok" if status in GONE_STATUSES else "fail", {"status": status}
    if f == "create" and status in CREATED:
        return "ok", {"status": status, **_link(exchange, "code", "url")}
    if f == "edit" and status == 200:
        return "ok", {"status": status, **_link(exchange)}
    if f in ("stats", "tally") and status == 200:
        found = json_body(exchange)
        return "ok", {"clicks": int(found["clicks"]) + int(found["bots"])} if found else {}
    if f == "delete" and status == 204:
        return "ok", {"status": status}
    return "fail", {"status": status}


def _link(exchange: Exchange, *names: str) -> dict[str, Json]:
    return link_told(json_body(exchange), *names)


def link_told(document: dict[str, Any], *names: str) -> dict[str, Json]:
    """The version of a link in an answer, a number from 1 up, and what else is named; versions that are none are left out."""
    version = str(document.get("version", ""))
    told: dict[str, Json] = {name: str(document.get(name, "")) for name in names}
    return told | ({"version": int(version)} if version.isdecimal() else {})
