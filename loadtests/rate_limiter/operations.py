"""From a request and its answer to operations of the history: what it says that was decided, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loadtests.completion import Completion, completed, json_body, unanswered
from loadtests.history.operation import Json, Operation
from loadtests.rate_limiter import requests
from loadtests.rate_limiter.steps import Question
from loadtests.workload import NO_ANSWER, Exchange

VERDICTS = frozenset({200, 422, 429, 503})


def operations(questions: Sequence[Question], exchange: Exchange, node: str, clock: Callable[[float], float]) -> list[Operation]:
    """One for each question. `clock` turns the exchange's times into the history's.

    A verdict is `ok`, whether it admits or refuses: it was decided. Turned away or refused before it was counted is `fail`. No
    answer, and a failure that does not say that nothing happened, is `info`: it may have been counted.
    """
    completions = _batch(questions, exchange) if questions[0].batched else [_outcome(questions[0].f, exchange)]
    return [
        completed(question.f, question.about, question.value, node, exchange, clock, completion)
        for question, completion in zip(questions, completions, strict=True)
    ]


def _outcome(f: str, exchange: Exchange) -> Completion:
    if exchange.status == NO_ANSWER:
        return unanswered(exchange)
    body = json_body(exchange)
    if f in ("check", "peek", "acquire"):
        return verdict_of(exchange.status, body, requests.limit_headers(exchange))
    if exchange.status in (200, 204):
        held = body.get("held", body.get("released"))
        return "ok", {"status": exchange.status, **({"held": held} if isinstance(held, bool) else {})}
    if f == "renew" and exchange.status == 409:
        return "ok", {"status": 409, "held": False}
    return _failed(exchange.status, body)


def _batch(questions: Sequence[Question], exchange: Exchange) -> list[Completion]:
    if exchange.status == NO_ANSWER:
        return [unanswered(exchange)] * len(questions)
    body = json_body(exchange)
    items = body.get("items")
    if exchange.status != 200 or not isinstance(items, list) or len(items) != len(questions):
        return [_failed(exchange.status, body)] * len(questions)
    return [_item(item) for item in items]


def _item(item: Any) -> Completion:
    if not isinstance(item, dict) or not isinstance(item.get("status"), int):
        return "info", {"garbled": True}
    body = item.get("verdict" if item["status"] == 200 else "problem")
    return verdict_of(item["status"], body if isinstance(body, dict) else {}, {})


def verdict_of(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> Completion:
    """What a verdict says, be it a 200 or a problem document. Shadow rules decide nothing, and are left out."""
    if status not in VERDICTS or (status != 200 and "limits" not in body):
        return _failed(status, body)
    try:
        limits: list[Json] = [
            [
                str(each["rule"]),
                bool(each["allowed"]),
                int(each["limit"]),
                int(each["remaining"]),
                None if each["retry_after_us"] is None else int(each["retry_after_us"]),
                int(each["reset_after_us"]),
                bool(each["degraded"]),
            ]
            for each in body["limits"]
            if not each["shadow"]
        ]
        allowed = bool(body["allowed"]) if status == 200 else False
        told: dict[str, Json] = {"status": status, "allowed": allowed, "degraded": bool(body["degraded"]), "limits": limits}
        delay_us = int(body.get("delay_us", 0))
    except (KeyError, TypeError, ValueError):
        return "ok", {"status": status, "garbled": True}
    more: dict[str, Json] = {"headers": dict(headers)} if headers else {}
    return "ok", told | more | ({"delay_us": delay_us} if delay_us else {})


def _failed(status: int, body: Mapping[str, Any]) -> Completion:
    """Refused without a verdict: by the service as a whole, or because it could not."""
    told: dict[str, Json] = {"status": status, "problem": str(body.get("type", "")), "error": "no verdict"}
    maybe = body.get("may_have_happened", status >= 500 and status != 503)
    return ("info" if maybe else "fail"), told
