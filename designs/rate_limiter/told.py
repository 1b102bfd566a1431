"""A verdict as the service answers it: status, fields and body, for its routes and for the path in front of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import orjson

from designs.building_blocks.problem_details import MEDIA_TYPE
from designs.rate_limiter.headers import Headers, limits_of, problem_of
from designs.rate_limiter.limiter import Verdict

JSON_TYPE = b"application/json"
_JSON = (b"content-type", JSON_TYPE)
_PROBLEM = (b"content-type", MEDIA_TYPE.encode())


class Telling(Protocol):
    """`tell` makes the fields that a verdict adds to an answer."""

    @property
    def tell(self) -> Callable[[Verdict], Headers]: ...


def told(have: Telling, verdict: Verdict) -> tuple[int, Headers, bytes]:
    """Status, all fields, and body."""
    if verdict.allowed:
        status, kind, body = 200, _JSON, orjson.dumps(document_of(verdict))
    else:
        problem = problem_of(verdict, with_shadows=True)
        status, kind, body = problem.status, _PROBLEM, problem.body()
    return status, [kind, (b"content-length", b"%d" % len(body)), *have.tell(verdict)], body


def document_of(verdict: Verdict) -> dict[str, Any]:
    """What a check, and a peek, says."""
    return {
        "allowed": verdict.allowed,
        "degraded": verdict.degraded,
        "delay_us": verdict.delay_us,
        "limits": limits_of(verdict, with_shadows=True),
    }
