"""The hot route in front of the framework: `POST /v1/check` as it comes from a caller that does everything right.

The framework takes half of the CPU time of a check, for validating what nearly always is valid. So this path looks whether a
request is plainly right and answers it. What is not (no key of ours, an unknown domain, a field too many, a number in quotes) goes
on to the framework, which knows what to say to it. Here less is accepted than there, and a test compares the answers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Protocol

import orjson
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks.problem_details import Problem
from designs.building_blocks.telemetry import header
from designs.rate_limiter.limiter import Limiter, Request
from designs.rate_limiter.schemas import (
    MAX_COST,
    MAX_ENTRIES,
    MAX_KEY_CHARS,
    MAX_NAME_CHARS,
    MAX_TIER_CHARS,
    MAX_VALUE_CHARS,
    NAME,
    NO_CONTROL,
)
from designs.rate_limiter.told import JSON_TYPE, Telling, told

PATH = "/v1/check"

_NAME = re.compile(NAME)
_KEY = re.compile(rf"{NO_CONTROL}{{1,{MAX_KEY_CHARS}}}")
_VALUE = re.compile(rf"{NO_CONTROL}{{1,{MAX_VALUE_CHARS}}}")
_FIELDS = frozenset({"domain", "descriptor", "tier", "cost"})
_BROKEN = Problem(500, "internal-error", "something went wrong here; whether it took effect is not known").body()

log = structlog.get_logger()


class Checking(Telling, Protocol):
    """What this path needs of a replica."""

    @property
    def limiter(self) -> Limiter: ...
    @property
    def callers(self) -> Mapping[bytes, str]: ...


class _Route:
    """What the timing finds as the route of a request that the framework never saw."""

    path = PATH


class CheckPath:
    """ASGI application. To stand behind `BodyLimit`, which hands on a body in one piece."""

    def __init__(self, app: ASGIApp, have: Checking) -> None:
        self._app = app
        self._have = have

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or not self._is_known(scope):
            await self._app(scope, receive, send)
            return
        message = await receive()
        request = None
        if message["type"] == "http.request" and not message.get("more_body", False):
            request = asked(message.get("body", b""))
        if request is None or request.domain not in self._have.limiter.rules.domains:
            await self._app(scope, _again(message, receive), send)
            return
        scope["route"] = _Route
        try:
            verdict = await self._have.limiter.check(request)
            status, headers, body = told(self._have, verdict)
        except Exception:  # nobody foresaw it; in front of the framework, nobody else would turn it into an answer
            log.exception("check_failed")
            status, headers, body = 500, [(b"content-type", b"application/problem+json")], _BROKEN
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _is_known(self, scope: Scope) -> bool:
        """A key of ours and JSON; else the framework says what is wrong."""
        if header(scope, b"content-type") != JSON_TYPE:
            return False
        kind, _, key = header(scope, b"authorization").partition(b" ")
        return kind == b"Bearer" and hashlib.sha256(key).digest() in self._have.callers


def asked(body: bytes) -> Request | None:
    """The request that a body plainly stands for; None for one that the framework should look at."""
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or not found.keys() <= _FIELDS:
        return None
    domain, descriptor, tier, cost = found.get("domain"), found.get("descriptor"), found.get("tier", ""), found.get("cost", 1)
    if not isinstance(domain, str) or len(domain) > MAX_NAME_CHARS or _NAME.fullmatch(domain) is None:
        return None
    if not isinstance(tier, str) or len(tier) > MAX_TIER_CHARS:
        return None
    if type(cost) is not int or not 0 < cost <= MAX_COST:  # True is an int as well, and the framework's to judge
        return None
    if not isinstance(descriptor, dict) or not 0 < len(descriptor) <= MAX_ENTRIES:
        return None
    for key, value in descriptor.items():
        if not isinstance(value, str) or _VALUE.fullmatch(value) is None or _KEY.fullmatch(key) is None:
            return None
    return Request(domain, descriptor, tier, cost)


def _again(message: Message, receive: Receive) -> Receive:
    """`receive`, with what was received already before the rest."""
    first: Message | None = message

    async def replay() -> Message:
        nonlocal first
        again, first = first, None
        return again if again is not None else await receive()

    return replay
