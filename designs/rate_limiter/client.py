"""The service for other services: the verbs of `Limiter` over HTTP, decided within tens of milliseconds whatever the service does.

    async with LimiterClient("http://limiter:8000", key) as limiter:
        verdict = await limiter.check(Request("api", {"user": "u1", "route": "/items/{id}"}))

When there is no answer (late, refused, broken, or not asked because it failed lately) `on_down` decides: open lets everybody
pass, so that the limiter can never be the reason of an outage; closed refuses with 503. Either is `degraded`.

Nothing is retried that could count twice: a check whose answer was lost may have been counted, and a second one would take a second
unit from a client that asked once. The same goes for a refund. A peek reads, and a slot is named by its token, so that asking again
for these changes nothing: they are sent once more when a connection breaks, within the same deadline.

The service refuses what it could not read. What a client of ours made up must not come out as "the service is down", which may mean
"pass": values that it would not take are sent as their hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal

import httpx2
import orjson
import structlog
from pydantic import SecretStr

from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.dependencies import Dependency
from designs.building_blocks.guarded_port import GuardedPort
from designs.building_blocks.problem_details import Problem
from designs.rate_limiter.headers import PROBLEM_TYPES
from designs.rate_limiter.limiter import CLOSED_RETRY_US, Request
from designs.rate_limiter.ports import NotKept, StoreError
from designs.rate_limiter.verdicts import RemoteLimit, RemoteVerdict

DEADLINE_S = 0.05
MAX_CONNECTIONS = 100
KEPT_S = 4.0  # idle connections; servers commonly close theirs after 5 s, and a check on a closing one would be lost
MAX_VALUE_CHARS = 512
MAX_COST = 1_000_000_000

DECIDE = frozenset({"check", "peek", "acquire"})
SAFE_TO_REPEAT = frozenset({"peek", "acquire", "renew", "release"})
TOLD = re.compile(rb"(x-)?ratelimit(-\w+)?|retry-after|cache-control")  # of the service's fields these are for our clients too
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
LIMIT_MEMBERS = tuple(member.name for member in dataclasses.fields(RemoteLimit))
_PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail"})

log = structlog.get_logger()


class Misasked(StoreError):
    """The service is there and says that we ask wrongly: a wrong key, a domain that it does not have."""


class LimiterClient:
    """One per process and service; it keeps connections. For one event loop.

    `deadline_s` is for all of a call, with connecting. `totals` counts answers made here without the service. The API key is in
    nothing that is logged or raised, and neither is a descriptor.
    """

    def __init__(
        self,
        url: str,
        api_key: SecretStr,
        *,
        deadline_s: float = DEADLINE_S,
        on_down: Literal["open", "closed"] = "open",
        breaker: CircuitBreaker | None = None,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._on_down = on_down
        self._http = httpx2.AsyncClient(
            base_url=f"{url.rstrip('/')}/v1/",
            headers={"Authorization": f"Bearer {api_key.get_secret_value()}", "Content-Type": "application/json"},
            timeout=None,  # the deadline is one for the whole call
            limits=httpx2.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=KEPT_S
            ),
            transport=transport,
            trust_env=False,
        )
        self._deadline_s = deadline_s
        self._guarded = self._guard(breaker or CircuitBreaker(clock), Dependency("limiter", clock, _tell))
        self._complained = ""
        self.decided_here = 0

    async def check(self, request: Request) -> RemoteVerdict:
        """Count the request. A cost of 0 only reads."""
        return await self._decided("check" if request.cost else "peek", _body(request))

    async def peek(self, request: Request) -> RemoteVerdict:
        """What `check` would say now. Counts nothing."""
        return await self._decided("peek", _body(request))

    async def acquire(self, request: Request, token: str) -> RemoteVerdict:
        """A slot of each concurrency limit that applies, or of none."""
        return await self._decided("acquire", _slot_body(request, token))

    async def refund(self, request: Request) -> None:
        """Give back what a `check` of the same request took. Raises `StoreError`, `NotKept`."""
        if request.cost:
            await self._asked("refund", _body(request))

    async def renew(self, request: Request, token: str) -> bool:
        """False when a lease had run out. Raises `StoreError`."""
        return (await self._asked("renew", _slot_body(request, token))).status_code != 409

    async def release(self, request: Request, token: str) -> bool:
        """False when no slot was held any more, and perhaps when it had to be sent twice. Raises `StoreError`."""
        answer = await self._asked("release", _slot_body(request, token))
        return bool(orjson.loads(answer.content)["released"])

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> LimiterClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _decided(self, verb: str, body: Mapping[str, Any]) -> RemoteVerdict:
        try:
            return _verdict_of(await self._asked(verb, body))
        except StoreError:
            self.decided_here += 1
            return OPEN if self._on_down == "open" else CLOSED

    async def _asked(self, verb: str, body: Mapping[str, Any]) -> httpx2.Response:
        """The service's answer, when it is one about this request. Raises `StoreError`."""
        try:
            answer: httpx2.Response = await self._guarded.ask(verb, body)
        except Misasked as error:
            if self._complained != str(error):  # once: there may be thousands a second
                self._complained = str(error)
                log.error("limiter_misasked", said=self._complained)
            raise
        self._complained = ""
        return answer

    async def ask(self, verb: str, body: Mapping[str, Any]) -> httpx2.Response:
        """One call without deadline and breaker. What `_asked` guards."""
        attempts = 2 if verb in SAFE_TO_REPEAT else 1
        for attempt in range(1, attempts + 1):
            try:
                answer = await self._http.post(verb, content=orjson.dumps(body))
                break
            except httpx2.ConnectError as error:
                sentence, maybe = f"the limiter can't be reached ({type(error).__name__})", False
            except httpx2.RequestError as error:
                sentence, maybe = f"the connection to the limiter broke ({type(error).__name__})", True
            if attempt == attempts:
                raise StoreError(sentence, may_have_happened=maybe)
        return _checked(verb, answer)

    def _guard(self, breaker: CircuitBreaker, dependency: Dependency) -> GuardedPort:
        def heard(well: bool) -> None:
            dependency.hear("answers", well)
            if well:
                breaker.success()
            else:
                breaker.failure()

        return GuardedPort(
            self,
            ["ask"],
            deadline_s=self._deadline_s,
            late=lambda _: StoreError(f"the limiter did not answer within {self._deadline_s:g} s", may_have_happened=True),
            is_outage=lambda error: isinstance(error, StoreError) and not isinstance(error, Misasked),
            heard=heard,
            allow=breaker.allow,
            refused=lambda _: StoreError("the limiter failed lately and is left alone for now", may_have_happened=False),
        )


OPEN = RemoteVerdict(True, degraded=True)
CLOSED = RemoteVerdict(
    False,
    degraded=True,
    unavailable=True,
    retry_after_us=CLOSED_RETRY_US,
    headers=((b"retry-after", b"1"), (b"cache-control", b"no-store")),
    problem=Problem(
        503,
        f"{PROBLEM_TYPES}temporary-reduced-capacity",
        "requests can't be counted now and are refused meanwhile; try again in 1 s",
        headers={"Retry-After": "1"},
        more={"degraded": True},
    ),
)


def _checked(verb: str, answer: httpx2.Response) -> httpx2.Response:
    """The answer, when it says something of this request. A 503 or 429 that tells of no limits is about the service itself."""
    status, document = answer.status_code, _document(answer)
    if verb in DECIDE:
        if status in (200, 422, 429, 503) and _tells_of_limits(document):
            return answer
    elif status < 300 or (verb == "renew" and status == 409):
        return answer
    kind = str(document.get("type", "")).rpartition("/")[2]
    if kind == "not-kept":
        raise NotKept(str(document.get("detail", "")))
    if status >= 500 or status in (200, 429):
        raise StoreError(f"the limiter answered {status} {kind}", may_have_happened=bool(document.get("may_have_happened", True)))
    raise Misasked(f"the limiter answered {status} {kind}: {verb} is asked wrongly", may_have_happened=False)


def _verdict_of(answer: httpx2.Response) -> RemoteVerdict:
    document, status = _document(answer), answer.status_code
    limits = tuple(RemoteLimit(**{name: limit[name] for name in LIMIT_MEMBERS}) for limit in document["limits"])
    waits = [limit.retry_after_us for limit in limits if not limit.allowed and not limit.shadow]
    allowed = bool(document.get("allowed", False))
    problem = None
    if not allowed:
        more = {name: value for name, value in document.items() if name not in _PROBLEM_MEMBERS}
        # Shadow rules are for those who run the limits, not for those they count.
        more["limits"] = [limit for limit in document["limits"] if not limit["shadow"]]
        kind = str(document.get("type", "quota-exceeded")).removeprefix("/problems/")
        problem = Problem(status, kind, str(document.get("detail", "")), more=more)
    return RemoteVerdict(
        allowed,
        limits,
        degraded=bool(document.get("degraded", False)),
        unavailable=status == 503,
        retry_after_us=None if None in waits else max((wait for wait in waits if wait is not None), default=0),
        delay_us=int(document.get("delay_us", 0)),
        headers=tuple((name.lower(), value) for name, value in answer.headers.raw if TOLD.fullmatch(name.lower())),
        problem=problem,
    )


def _tells_of_limits(document: Mapping[str, Any]) -> bool:
    limits = document.get("limits")
    return isinstance(limits, list) and all(isinstance(limit, dict) and limit.keys() >= set(LIMIT_MEMBERS) for limit in limits)


def _document(answer: httpx2.Response) -> Mapping[str, Any]:
    try:
        document = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _body(request: Request) -> dict[str, Any]:
    return {**_who(request), "cost": min(request.cost, MAX_COST)}


def _slot_body(request: Request, token: str) -> dict[str, Any]:
    return {**_who(request), "token": token}


def _who(request: Request) -> dict[str, Any]:
    descriptor = {key: _fit(value) for key, value in request.descriptor.items() if value}
    return {"domain": request.domain, "descriptor": descriptor, "tier": request.tier}


def _fit(value: str) -> str:
    """The value, or the hash of one that the service does not take: the same one is the same again."""
    if len(value) <= MAX_VALUE_CHARS and _UNFIT.search(value) is None:
        return value
    return "#" + hashlib.blake2b(value.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _tell(_: str, degraded: bool, lasted_s: float, __: object) -> None:
    if degraded:
        log.warning("limiter_away", was_there_s=round(lasted_s, 1))
    else:
        log.info("limiter_back", was_away_s=round(lasted_s, 1))
