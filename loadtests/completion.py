"""From an exchange to what a history records of it: the operation it completes, and what its answer holds.

What an answer means is each design's own. What none means is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import orjson

from loadtests.history.operation import Json, Operation, Outcome
from loadtests.workload import Exchange

NO_PROCESS = 0  # until a history that is kept numbers them

Completion: TypeAlias = tuple[Outcome, dict[str, Json]]  # how sure it is, and what was answered


def completed(
    f: str,
    key: str,
    value: Mapping[str, Json],
    node: str,
    exchange: Exchange,
    clock: Callable[[float], float],
    completion: Completion,
) -> Operation:
    """`clock` turns the exchange's times into the history's; for `f`, `key`, `value` and `node` see `Operation`."""
    outcome, result = completion
    return Operation(
        process=NO_PROCESS,
        f=f,
        key=key,
        value=value,
        node=node,
        invoked_s=clock(exchange.sent_s),
        ended_s=clock(exchange.end_s),
        outcome=outcome,
        result=result,
    )


def unanswered(exchange: Exchange) -> Completion:
    """Of an exchange with the status `NO_ANSWER`: it may have happened, unless it was never sent."""
    if exchange.sent_s == exchange.end_s:  # the generator dates what it never sent by its end
        return "fail", {"error": "not sent"}
    return "info", {"error": "no answer"}


def json_body(exchange: Exchange) -> dict[str, Any]:
    """The JSON object of a response; empty when it is none, which a check then finds wrong."""
    try:
        parsed = orjson.loads(exchange.response.partition(b"\r\n\r\n")[2])
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
