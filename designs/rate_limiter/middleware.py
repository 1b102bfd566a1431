"""The limiter in front of an application: pure ASGI, no decorators, rules by route template.

    app.add_middleware(RateLimit, limiter=limiter, domain="api")

A request is described once (route template, method, who it is; `describe` adds to that), and then

    1. check      all rates that apply, one round trip. Refused: the problem document, and the application never hears of it
    2. wait       what a leaky_queue tells an admitted request to wait, `max_delay_s` at most; a longer queue refuses and gives back
    3. acquire    for `slots`: a slot of each concurrency rule. None free: refused, and what step 1 took is given back
    4. the application runs; the slots are renewed meanwhile, and released whatever becomes of it
    5. its answer leaves with the RateLimit fields of the verdict, streams too

A WebSocket counts once, by its handshake (a GET), and holds its slots as long as it is open; its messages are its own affair.
Lifespan passes through. Nothing here blocks the event loop, and nothing is counted for `exempt` templates.

A client that disconnects while it waits in step 2 is noticed by the application, afterwards: its units are spent anyway.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks.background_tasks import end
from designs.building_blocks.problem_details import Problem
from designs.building_blocks.request_seconds import METHODS
from designs.building_blocks.telemetry import UNTIMED
from designs.rate_limiter.headers import PROBLEM_TYPES, Headers, HeaderStyle
from designs.rate_limiter.limiter import Request
from designs.rate_limiter.ports import NotKept, StoreError
from designs.rate_limiter.principals import principals_of
from designs.rate_limiter.route_templates import Routes, RouteTemplates, routes_of
from designs.rate_limiter.rules import ANY
from designs.rate_limiter.verdicts import AnyVerdict, Counter, lease_us_of, refusal_of, told

Describe: TypeAlias = Callable[[Scope], Mapping[str, str]]
Cost: TypeAlias = Callable[[Scope, str], int]

log = structlog.get_logger()

MAX_DELAY_S = 5.0
MAX_WAITING = 1_000
RENEWALS_PER_LEASE = 3  # so that two may fail


@dataclass
class EdgeTotals:
    """What the middleware did on top of what the limiter counts."""

    refused: int = 0
    delayed: int = 0
    too_long: int = 0  # refused because the queue was longer than anybody is made to wait
    lost_leases: int = 0  # requests that went on without the slot they had
    not_given_back: int = 0  # units and slots that the store would not take back: units refill, slots run out


class RateLimit:
    """ASGI middleware. For one event loop.

    `limiter`     a `Limiter`, or a `LimiterClient`
    `domain`      whose rules apply
    `describe`    who a request is, as descriptor keys beside "route" and "method"; by default its network (`principals_of`)
    `tier`        the tier of a request, from what is known of its client and not from what it says of itself
    `cost`        units that a request for this template takes, 1 unless told otherwise; 0 takes none
    `routes`      the application's routes, where neither it nor `app` is the Starlette application itself
    `slots`       templates whose requests hold a slot of each concurrency rule that applies ("*" for all): one round trip more
                  before such a request, and one after it
    `exempt`      templates that nobody counts: the probes and the metrics
    """

    def __init__(
        self,
        app: ASGIApp,
        limiter: Counter,
        domain: str,
        *,
        describe: Describe = principals_of,
        tier: Callable[[Scope], str] = lambda _: "",
        cost: Cost = lambda *_: 1,
        routes: Callable[[], Routes] | None = None,
        slots: Collection[str] = (),
        headers: HeaderStyle = "current",
        max_delay_s: float = MAX_DELAY_S,
        max_waiting: int = MAX_WAITING,
        exempt: Collection[str] = UNTIMED,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._domain = domain
        self._describe = describe
        self._tier = tier
        self._cost = cost
        self._templates = RouteTemplates(routes) if routes is not None else None
        self._slots = frozenset(slots)
        self._style = headers
        self._max_delay_s = max_delay_s
        self._max_waiting = max_waiting
        self._exempt = frozenset(exempt)
        self._sleep = sleep
        self._waiting = 0
        self._releasing: set[asyncio.Task[None]] = set()
        self.totals = EdgeTotals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        template = self._template_of(scope)
        if template in self._exempt:
            await self._app(scope, receive, send)
            return
        request = self._request(scope, template)
        checked = await self._limiter.check(request)
        if not checked.allowed:
            await self._refuse(scope, receive, send, refusal_of(checked), told([checked], self._style))
            return
        if checked.delay_us and (problem := await self._wait(checked.delay_us / 1e6)) is not None:
            await self._give_back(request, checked)
            await self._refuse(scope, receive, send, problem, [])
            return
        if not (template in self._slots or ANY in self._slots):
            await self._app(scope, receive, _adding(told([checked], self._style), send))
            return
        await self._with_slots(scope, receive, send, request, checked)

    def _request(self, scope: Scope, template: str) -> Request:
        cost = self._cost(scope, template)
        if cost < 0:
            raise ValueError(f"a request costs 0 at least, not {cost}: less would give quota away")
        method = scope.get("method", "GET")  # the handshake of a WebSocket is a GET (RFC 6455, 4.1)
        descriptor = {**self._describe(scope), "route": template, "method": method if method in METHODS else "other"}
        return Request(self._domain, descriptor, self._tier(scope), cost)

    def _template_of(self, scope: Scope) -> str:
        """As the router will see the request: an application may have a root path of its own, which it sets later than this."""
        app = self._app if hasattr(self._app, "routes") else scope.get("app")
        if self._templates is None:
            self._templates = RouteTemplates(routes_of(app))
        root_path = getattr(app, "root_path", "")
        return self._templates.template_of({**scope, "root_path": root_path} if root_path else scope)

    async def _wait(self, delay_s: float) -> Problem | None:
        """Its turn in the queue, or why it can't wait for it. Less than its turn would break what the queue promises."""
        too_many = self._waiting >= self._max_waiting
        if delay_s > self._max_delay_s or too_many:
            self.totals.too_long += 1
            retry_s = 1 if too_many else max(1, math.ceil(delay_s - self._max_delay_s))
            return Problem(
                503 if too_many else 429,
                f"{PROBLEM_TYPES}temporary-reduced-capacity" if too_many else f"{PROBLEM_TYPES}quota-exceeded",
                f"the queue is longer than anybody is made to wait; nothing was taken, try again in {retry_s} s",
                headers={"Retry-After": str(retry_s)},
            )
        self._waiting += 1
        self.totals.delayed += 1
        try:
            await self._sleep(delay_s)
        finally:
            self._waiting -= 1
        return None

    async def _with_slots(self, scope: Scope, receive: Receive, send: Send, request: Request, checked: AnyVerdict) -> None:
        token = secrets.token_hex(16)
        try:
            acquired = await self._limiter.acquire(request, token)
        except BaseException:
            # Cancelled on the way: nobody knows whether it holds a slot.
            await self._let_go(request, token)
            raise
        if not acquired.allowed:
            await self._give_back(request, checked)
            await self._refuse(scope, receive, send, refusal_of(acquired), told([acquired], self._style))
            return
        lease_us = lease_us_of(acquired)
        adding = _adding(told([checked, acquired], self._style), send)
        if lease_us is None:
            await self._app(scope, receive, adding)
            return
        renewing = asyncio.create_task(self._keep(request, token, lease_us / 1e6 / RENEWALS_PER_LEASE))
        try:
            await self._app(scope, receive, adding)
        finally:
            await self._let_go(request, token, renewing)

    async def _keep(self, request: Request, token: str, every_s: float) -> None:
        """Renew until cancelled, or until the lease is lost: the work goes on then, and somebody else may have its slot."""
        while True:
            await self._sleep(every_s)
            try:
                if not await self._limiter.renew(request, token):
                    self.totals.lost_leases += 1
                    return
            except StoreError:
                continue  # the lease outlives a few of these

    async def _let_go(self, request: Request, token: str, renewing: asyncio.Task[None] | None = None) -> None:
        """Give the slots back, also when this request's own task is being cancelled: another one does it then."""
        task = asyncio.create_task(self._release(request, token, renewing))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)
        await asyncio.shield(task)

    async def _release(self, request: Request, token: str, renewing: asyncio.Task[None] | None) -> None:
        if renewing is not None:
            await end([renewing])
            if not renewing.cancelled() and (error := renewing.exception()) is not None:
                log.error("slots_not_renewed", exc_info=error)
        try:
            await self._limiter.release(request, token)
        except StoreError:
            self.totals.not_given_back += 1

    async def _give_back(self, request: Request, checked: AnyVerdict) -> None:
        """What `check` took, for a request that is refused after all. What the store did not count it can't get back."""
        if checked.degraded:
            return
        try:
            await self._limiter.refund(request)
        except (StoreError, NotKept):
            self.totals.not_given_back += 1

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, problem: Problem, headers: Headers) -> None:
        self.totals.refused += 1
        response = problem.response()
        theirs = {name for name, _ in headers}
        response.raw_headers = [pair for pair in response.raw_headers if pair[0] not in theirs] + headers
        if scope["type"] == "websocket":
            await _deny(scope, receive, send, response.status_code, response.raw_headers, bytes(response.body))
        else:
            await response(scope, receive, send)


async def _deny(scope: Scope, receive: Receive, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Refuse a handshake: with the answer, where the server can send one (ASGI's Websocket Denial Response), else with its 403."""
    if (await receive())["type"] != "websocket.connect":
        return
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": "too many requests"})
        return
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def _adding(headers: Headers, send: Send) -> Send:
    """`send` with these fields on the head of the answer, be it a stream or the acceptance of a WebSocket."""
    if not headers:
        return send

    async def adding(message: Message) -> Any:
        if message["type"] in ("http.response.start", "websocket.accept"):
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return adding
