"""The one hot route, `GET /{code}`, once: what it answers, what it counts. Two paths lead here (knob `redirect_path`).

    asgi      `RedirectPath` stands in front of the framework and answers from the process layer without awaiting anything
              but the socket; what is no code goes on to the framework
    fastapi   an ordinary route calls `RedirectRoute.answer`

Both use the same functions, so they give the same answers, byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from designs.building_blocks.cache_layers import CacheUnavailable
from designs.building_blocks.problem_details import MEDIA_TYPE, Problem
from designs.building_blocks.telemetry import Timing
from designs.url_shortener.click_recorder import ClickRecorder
from designs.url_shortener.clicks import Visit
from designs.url_shortener.links import Outcome, Redirect, Refusal
from designs.url_shortener.miss_limit import MissLimit
from designs.url_shortener.ports import StoreError
from designs.url_shortener.shortener import Shortener
from designs.url_shortener.urls import is_code, is_reserved

TEMPLATE = "/{code}"
PERMANENT_MAX_AGE_S = 86_400

REFUSALS: Mapping[Refusal, Problem] = {
    # One answer for missing, deleted and disabled: nobody learns which codes were ever used.
    Refusal.MISSING: Problem(404, "no-such-link", "there is no such link"),
    Refusal.EXPIRED: Problem(410, "link-expired", "this link has expired"),
    Refusal.USED_UP: Problem(410, "link-used-up", "this link has been visited as often as it allows"),
    Refusal.BLOCKED: Problem(451, "link-blocked", "this link is blocked"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response, in the form that ASGI sends."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""


def problem_answer(problem: Problem) -> Answer:
    body = problem.body()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    return Answer(
        problem.status, headers + [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()], body
    )


_REFUSED = {refusal: problem_answer(problem) for refusal, problem in REFUSALS.items()}
_UNAVAILABLE = problem_answer(
    Problem(503, "temporarily-unavailable", "the link can't be looked up at the moment; try again", headers={"Retry-After": "1"})
)
_NO_BODY = (b"content-length", b"0")
_NO_STORE = (b"cache-control", b"no-store")
_PERMANENT = (b"cache-control", b"public, max-age=%d" % PERMANENT_MAX_AGE_S)


class RedirectRoute:
    """What a visit is answered, with its click and its limits. One per process."""

    def __init__(
        self,
        shortener: Shortener,
        status: int,
        miss_limit: MissLimit,
        recorder: ClickRecorder | None,
        count_now: Callable[[Visit], Awaitable[None]] | None,
    ) -> None:
        self._shortener = shortener
        self._status = status
        self._misses = miss_limit
        self._recorder = recorder
        self._count_now = count_now

    def at_once(self, scope: Scope, code: str) -> Answer | None:
        """The answer, if it needs nothing from outside the process."""
        link = self._shortener.peek(code)
        if link is None or self._count_now is not None:
            return None
        verdict = self._shortener.judge(link)
        if verdict.__class__ is not Redirect or verdict.capped:
            return None
        if self._recorder is not None and scope["method"] == "GET":
            self._record(self._recorder, scope, code)
        return self._redirect(verdict)

    async def answer(self, scope: Scope, code: str) -> Answer:
        """The answer, wherever the link is."""
        counts = scope["method"] == "GET"
        client = scope["client"][0] if scope["client"] else ""
        wait_s = self._misses.wait_s(client)
        verdict: Outcome = Refusal.MISSING
        try:
            if wait_s > 0:  # hits of the same address go on: those that are in memory were answered by `at_once`
                return self._too_many(wait_s)
            if is_code(code) and not is_reserved(code):
                verdict = await self._shortener.visit(code, counts=counts)
        except (StoreError, CacheUnavailable):
            return _UNAVAILABLE
        if isinstance(verdict, Refusal):
            if verdict is Refusal.MISSING:
                self._misses.missed(client)
            return _REFUSED[verdict]
        if counts and self._count_now is not None:
            referrer, user_agent = _visitor_headers(scope)
            await self._count_now(Visit(code, time.time(), referrer, client, user_agent))
        elif counts and self._recorder is not None:
            self._record(self._recorder, scope, code)
        return self._redirect(verdict)

    async def peek_target(self, scope: Scope, code: str) -> Redirect | Answer:
        """Where a visit would lead, uncounted, for pages about a link; with the same refusals and limits as a visit."""
        client = scope["client"][0] if scope["client"] else ""
        wait_s = self._misses.wait_s(client)
        if wait_s > 0:
            return self._too_many(wait_s)
        try:
            verdict = (
                await self._shortener.visit(code, counts=False) if is_code(code) and not is_reserved(code) else Refusal.MISSING
            )
        except (StoreError, CacheUnavailable):
            return _UNAVAILABLE
        if isinstance(verdict, Redirect):
            return verdict
        if verdict is Refusal.MISSING:
            self._misses.missed(client)
        return _REFUSED[verdict]

    def _record(self, recorder: ClickRecorder, scope: Scope, code: str) -> None:
        referrer, user_agent = _visitor_headers(scope)
        client = scope["client"]
        recorder.record(code, referrer, client[0] if client else "", user_agent, scope.get("traceparent", ""))

    def _redirect(self, verdict: Redirect) -> Answer:
        # Only a permanent redirect without an end may be kept: everything else has to come back to be judged and counted.
        caching = _PERMANENT if self._status == 301 and not verdict.limited else _NO_STORE
        return Answer(self._status, [(b"location", verdict.url.encode("ascii")), _NO_BODY, caching])

    @staticmethod
    def _too_many(wait_s: float) -> Answer:
        detail = "too many unknown codes from this address"
        return problem_answer(Problem(429, "too-many-misses", detail, headers={"Retry-After": str(int(wait_s) + 1)}))


class RedirectPath:
    """redirect_path=asgi: answers `GET` and `HEAD` of codes itself and hands everything else to the framework."""

    def __init__(self, app: ASGIApp, route: RedirectRoute, timing: Timing) -> None:
        self._app = app
        self._route = route
        self._timing = timing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        code = scope["path"][1:]
        answer = self._route.at_once(scope, code)
        if answer is None:
            if not is_code(code) or is_reserved(code):
                await self._app(scope, receive, send)
                return
            answer = await self._route.answer(scope, code)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})
        self._timing.observe(scope["method"], TEMPLATE, answer.status, time.perf_counter() - started_s)


def _visitor_headers(scope: Scope) -> tuple[bytes, bytes]:
    referrer = user_agent = b""
    for name, value in scope["headers"]:
        if name == b"user-agent":
            user_agent = value
        elif name == b"referer":
            referrer = value
    return referrer, user_agent
