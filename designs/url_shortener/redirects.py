"""The one hot route, `GET /{code}`, once: what it answers, what it counts. Two paths lead here (knob `redirect_path`).

    asgi      `RedirectPath` stands in front of the framework and answers from the process layer without awaiting anything
              but the socket; what is no code goes on to the framework
    fastapi   an ordinary route calls `RedirectRoute.answer`

Both use the same functions, so they give the same answers, byte for byte.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks.cache_layers import CacheUnavailable
from designs.building_blocks.problem_details import MEDIA_TYPE, Problem
from designs.building_blocks.request_seconds import RequestSeconds
from designs.building_blocks.telemetry import header
from designs.url_shortener.click_recorder import ClickRecorder
from designs.url_shortener.clicks import Visit
from designs.url_shortener.links import Link, Outcome, Redirect, Refusal
from designs.url_shortener.miss_limit import MissLimit
from designs.url_shortener.ports import StoreError
from designs.url_shortener.shortener import Shortener
from designs.url_shortener.urls import is_code, is_reserved

TEMPLATE = "/{code}"
PERMANENT_MAX_AGE_S = 86_400
MISSING_TAKES_S = 0.005
MAX_WAITING = 1_000  # a store that takes its whole deadline (2 s) lets 500 redirects a second through

log = structlog.get_logger()

REFUSALS: Mapping[Refusal, Problem] = {
    # One answer for missing, deleted and disabled: nobody learns which codes were ever used.
    Refusal.MISSING: Problem(404, "no-such-link", "there is no such link"),
    Refusal.EXPIRED: Problem(410, "link-expired", "this link has expired"),
    Refusal.USED_UP: Problem(410, "link-used-up", "this link has been visited as often as it allows"),
    Refusal.BLOCKED: Problem(451, "link-blocked", "this link is blocked"),
}


class Answer:
    """A whole response, with the two messages in which ASGI sends it made beforehand."""

    __slots__ = ("body", "end", "headers", "start", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
        self.status, self.headers, self.body = status, headers, body
        self.start: Message = {"type": "http.response.start", "status": status, "headers": headers}
        self.end: Message = {"type": "http.response.body", "body": body}


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
_BROKEN = problem_answer(Problem(500, "internal-error", "something went wrong here; the visit was not counted"))
_VISITS = frozenset({"GET", "HEAD"})
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
        max_ready: int = 20_000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shortener = shortener
        self._status = status
        self._misses = miss_limit
        self._recorder = recorder
        self._count_now = count_now
        self._max_ready = max_ready
        self._sleep = sleep
        self._ready: dict[str, tuple[Link, Answer | None]] = {}
        self._waiting = self.refused = 0

    def at_once(self, scope: Scope, code: str) -> Answer | None:
        """The answer, if it needs nothing from outside the process: the hot path of the hot route."""
        link = self._shortener.peek(code) if self._count_now is None else None
        if link is None:
            return None
        ready = self._ready.get(code)
        if ready is None or ready[0] is not link:
            ready = self._prepare(code, link)
        answer = ready[1]
        if answer is not None and self._recorder is not None and scope["method"] == "GET":
            self._recorder.record(code, scope["headers"], scope["client"], scope.get("traceparent", ""))
        return answer

    def _prepare(self, code: str, link: Link) -> tuple[Link, Answer | None]:
        """Keep the answer of a link object. A link that changed is another object, so nothing here needs invalidating.

        None for links whose answer depends on more than the link: on the time, on a visit to be won, on the blocklist.
        """
        verdict = self._shortener.judge(link)
        answer = None
        if isinstance(verdict, Redirect) and not verdict.limited and not self._shortener.blocks_hosts:
            answer = self._redirect(verdict)
        if len(self._ready) >= self._max_ready:
            self._ready.clear()  # refilled by the next hits, at a microsecond each
        self._ready[code] = ready = (link, answer)
        return ready

    async def answer(self, scope: Scope, code: str) -> Answer:
        """The answer, wherever the link is. A refusal at once when too many wait: what is in memory was answered already."""
        if self._waiting >= MAX_WAITING:
            self.refused += 1
            return _UNAVAILABLE
        self._waiting += 1
        try:
            return await self._answer(scope, code)
        finally:
            self._waiting -= 1

    async def _answer(self, scope: Scope, code: str) -> Answer:
        counts = scope["method"] == "GET"
        found = await self.target(scope, code, counts=counts)
        if isinstance(found, Answer):
            return found
        if counts and self._count_now is not None:
            client = scope["client"][0] if scope["client"] else ""
            await self._count_now((code, header(scope, b"referer"), client, header(scope, b"user-agent")))
        elif counts and self._recorder is not None:
            self._recorder.record(code, scope["headers"], scope["client"], scope.get("traceparent", ""))
        return self._redirect(found)

    async def target(self, scope: Scope, code: str, *, counts: bool) -> Redirect | Answer:
        """Where a visit leads, or the answer that refuses it. A visit that does not count (HEAD, a preview) uses up nothing."""
        client = scope["client"][0] if scope["client"] else ""
        wait_s = self._misses.wait_s(client)
        if wait_s > 0:  # hits of the same address go on: those that are in memory were answered by `at_once`
            return self._too_many(wait_s)
        started_s = time.monotonic()
        verdict: Outcome = Refusal.MISSING
        try:
            if is_code(code) and not is_reserved(code):
                verdict = await self._shortener.visit(code, counts=counts)
        except (StoreError, CacheUnavailable):
            return _UNAVAILABLE
        except Exception:  # nobody foresaw it; in front of the framework, nobody else would turn it into an answer
            log.exception("redirect_failed")
            return _BROKEN
        if isinstance(verdict, Redirect):
            return verdict
        if verdict is Refusal.MISSING:
            self._misses.missed(client)
            # A disabled link may be in a cache where a missing one is not; the time of the answer must not tell.
            await self._sleep(max(0.0, MISSING_TAKES_S - (time.monotonic() - started_s)))
        return _REFUSED[verdict]

    def _redirect(self, verdict: Redirect) -> Answer:
        # Only a permanent redirect without an end may be kept: everything else has to come back to be judged and counted.
        caching = _PERMANENT if self._status == 301 and not verdict.limited else _NO_STORE
        return Answer(self._status, [(b"location", verdict.url.encode("ascii")), _NO_BODY, caching])

    @staticmethod
    def _too_many(wait_s: float) -> Answer:
        detail = "too many unknown codes from this address"
        return problem_answer(Problem(429, "too-many-misses", detail, headers={"Retry-After": str(int(wait_s) + 1)}))


class RedirectPath:
    """redirect_path=asgi: answers `GET` and `HEAD` of codes itself and hands everything else to the framework.

    Without `seconds` no clock is read and nothing observed.
    """

    def __init__(self, app: ASGIApp, route: RedirectRoute, seconds: RequestSeconds | None) -> None:
        self._app = app
        self._route = route
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _VISITS:
            await self._app(scope, receive, send)
            return
        seconds = self._seconds
        started_s = time.perf_counter() if seconds is not None else 0.0
        code = scope["path"][1:]
        answer = self._route.at_once(scope, code)
        if answer is None:
            if not is_code(code) or is_reserved(code):
                await self._app(scope, receive, send)
                return
            answer = await self._route.answer(scope, code)
        scope["route_template"] = TEMPLATE
        await send(answer.start)
        await send(answer.end)
        if seconds is not None:
            duration_s = time.perf_counter() - started_s
            seconds.observe(scope["method"], TEMPLATE, answer.status, duration_s, scope.get("traceparent", ""))
