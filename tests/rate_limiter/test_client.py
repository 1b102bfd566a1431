"""The service as another service uses it: the same verdicts as a limiter of its own, in time, and counted once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from structlog.testing import capture_logs

from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.problem_details import install
from designs.rate_limiter import api
from designs.rate_limiter.client import LimiterClient
from designs.rate_limiter.headers import headers_of
from designs.rate_limiter.limiter import Limiter, Request
from designs.rate_limiter.middleware import RateLimit
from designs.rate_limiter.ports import NotKept, StoreError
from designs.rate_limiter.verdicts import RemoteVerdict, refusal_of, told
from tests.rate_limiter.edge import Store, client_of, limiter_of
from tests.virtual_time import now_s, run

KEY = "the-key-of-the-shop-service"
RULES = """
- {name: per-user, match: {user: "*"}, quota: 2, per: 10s}
- {name: jobs, match: {user: "*"}, slots: 1, lease: 3s}
- {name: even, match: {queue: "*"}, quota: 1, per: 1s, burst: 3, algorithm: leaky_queue}
- {name: closed, match: {order: "*"}, quota: 5, per: 1s, on_store_down: closed}
- {name: huge, match: {key: "*"}, quota: 5, per: 1s, algorithm: sketch}
- {name: tried, match: {user: "*"}, quota: 1, per: 1h, mode: shadow}
"""
USER = Request("api", {"user": "u1", "route": "/items/{id}"})


def service_of(limiter: Limiter) -> FastAPI:
    """The service's own routes over this limiter."""
    app = FastAPI()
    callers = {hashlib.sha256(KEY.encode()).digest(): "shop"}
    app.state.services = SimpleNamespace(limiter=limiter, tell=lambda verdict: headers_of(verdict, "current"), callers=callers)
    install(app, api.PROBLEMS)
    app.include_router(api.api)
    return app


class Wire(httpx2.AsyncBaseTransport):
    """The way to the service, which fails as it is told: `before` it is asked, or `after` it has answered."""

    def __init__(self, app: FastAPI) -> None:
        self._to = httpx2.ASGITransport(app)
        self.before: list[Callable[[], Any]] = []
        self.after: list[Callable[[], Any]] = []
        self.asked: list[str] = []
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path.removeprefix("/v1/"))
        self.bodies.append(request.content)
        if self.before and (instead := await self.before.pop(0)()) is not None:
            return instead  # type: ignore[no-any-return]
        answer = await self._to.handle_async_request(request)
        if self.after:
            await answer.aread()
            await self.after.pop(0)()
        return answer


def raising(error: Exception) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    return fail


def answering(status: int, content: bytes = b"{}", **more: Any) -> Callable[[], Any]:
    async def answer() -> httpx2.Response:
        return httpx2.Response(status, content=content, **more)

    return answer


async def hang() -> None:
    await asyncio.sleep(3_600)


class Scene:
    def __init__(self, key: str = KEY, **more: Any) -> None:
        self.limiter, self.store = limiter_of(RULES, Store())
        self.wire = Wire(service_of(self.limiter))
        self.client = LimiterClient("http://limiter/", SecretStr(key), clock=now_s, transport=self.wire, **more)


def scene(test: Any) -> None:
    run(test())


def test_a_verdict_is_the_same_as_one_of_this_process() -> None:
    async def test() -> None:
        here, _ = limiter_of(RULES)
        there = Scene().client
        for _ in range(4):
            ours, theirs = await here.check(USER), await there.check(USER)
            assert isinstance(theirs, RemoteVerdict)
            for name in ("allowed", "degraded", "unavailable", "retry_after_us", "delay_us"):
                assert getattr(ours, name) == getattr(theirs, name), name
            assert [(rule.rule, rule.decision.remaining) for rule in ours.rules] == [
                (each.rule, each.remaining) for each in theirs.limits
            ]
            assert told([ours], "current") == told([theirs], "current")
            if not ours.allowed:
                assert refusal_of(ours).document() == refusal_of(theirs).document(), "shadows are nobody's business"
        never = await there.check(Request("api", {"user": "u2"}, cost=3))
        assert (never.allowed, never.retry_after_us, refusal_of(never).status) == (False, None, 422)

    scene(test)


def test_every_verb_does_what_it_does_in_process() -> None:
    async def test() -> None:
        client = Scene().client
        assert (await client.peek(USER)).limits[0].remaining == 2
        await client.check(USER)
        await client.refund(USER)
        assert (await client.check(Request("api", USER.descriptor, cost=0))).limits[0].remaining == 2
        await client.refund(Request("api", USER.descriptor, cost=0))
        assert (await client.acquire(USER, "one")).allowed
        refused = await client.acquire(USER, "two")
        assert (refused.allowed, refusal_of(refused).status) == (False, 429)
        assert await client.renew(USER, "one")
        assert not await client.renew(USER, "two")
        assert await client.release(USER, "one")
        assert not await client.release(USER, "one")
        queued = [await client.check(Request("api", {"queue": "q"})) for _ in range(2)]
        assert [verdict.delay_us for verdict in queued] == [0, 1_000_000]
        with pytest.raises(NotKept):
            await client.refund(Request("api", {"key": "k"}))

    scene(test)


@pytest.mark.parametrize("on_down", ["open", "closed"])
@pytest.mark.parametrize(
    "fault",
    [
        raising(httpx2.ConnectError("refused")),
        raising(httpx2.ReadError("broken")),
        raising(httpx2.RemoteProtocolError("half an answer")),
        answering(503, b'{"type": "/problems/overloaded"}'),
        answering(429, b"slow down"),
        answering(500, b"\xff"),
        answering(502, b"<html>"),
        answering(200, b"<html>"),
        answering(200, b'{"allowed": true, "limits": [{}]}'),
        hang,
    ],
)
def test_without_an_answer_on_down_decides_within_the_deadline(on_down: Any, fault: Any) -> None:
    async def test() -> None:
        there = Scene(deadline_s=0.03, on_down=on_down)
        there.wire.before = [fault] * 9
        began_s = now_s()
        verdict = await there.client.check(USER)
        assert now_s() - began_s <= 0.03 + 1e-9, "of the loop's own time, which stands still while anything works"
        assert (verdict.allowed, verdict.degraded, verdict.unavailable) == (on_down == "open", True, on_down == "closed")
        assert there.wire.asked == ["check"], "a check is asked once"
        assert there.client.decided_here == 1
        if on_down == "closed":
            assert refusal_of(verdict).status == 503
            assert dict(told([verdict], "current"))[b"retry-after"] == b"1"

    scene(test)


@pytest.mark.parametrize("verb", ["check", "refund"])
def test_what_could_count_twice_is_never_sent_twice(verb: str) -> None:
    async def test() -> None:
        there = Scene()
        await there.client.check(USER)
        there.wire.after = [raising(httpx2.ReadError("the answer was lost"))]
        there.wire.asked.clear()
        if verb == "check":
            assert (await there.client.check(USER)).degraded
            assert not (await there.client.peek(USER)).allowed, "it was counted, once"
        else:
            with pytest.raises(StoreError) as raised:
                await there.client.refund(USER)
            assert raised.value.may_have_happened
            assert (await there.client.peek(USER)).limits[0].remaining == 2
        assert there.wire.asked == [verb, "peek"]

    scene(test)


@pytest.mark.parametrize("verb", ["peek", "acquire", "renew", "release"])
def test_what_changes_nothing_a_second_time_is_sent_once_more_when_the_connection_breaks(verb: str) -> None:
    async def test() -> None:
        there = Scene()
        await there.client.acquire(USER, "one")
        there.wire.asked.clear()
        ask = getattr(there.client, verb)
        arguments = (USER,) if verb == "peek" else (USER, "one")
        there.wire.before = [raising(httpx2.ReadError("broken"))]
        answer = await ask(*arguments)
        assert answer if isinstance(answer, bool) else not answer.degraded
        assert there.wire.asked == [verb] * 2
        there.wire.before = [raising(httpx2.ReadError("broken"))] * 9
        if verb in ("renew", "release"):
            with pytest.raises(StoreError):
                await ask(*arguments)
        else:
            assert (await ask(*arguments)).degraded
        assert there.wire.asked == [verb] * 4, "and no more than once"

    scene(test)


def test_a_service_that_keeps_failing_is_left_alone_and_looked_at_again() -> None:
    async def test() -> None:
        there = Scene(breaker=CircuitBreaker(now_s, failures=3, window_s=10, open_s=1))
        there.wire.before = [hang] * 3
        with capture_logs() as lines:
            for _ in range(10):
                assert (await there.client.check(USER)).degraded
            assert len(there.wire.asked) == 3
            with pytest.raises(StoreError) as raised:
                await there.client.release(USER, "one")
            assert not raised.value.may_have_happened, "nobody was asked"
            await asyncio.sleep(1.1)
            assert not (await there.client.check(USER)).degraded
        assert [line["event"] for line in lines] == ["limiter_away", "limiter_back"], "a line for each change"

    scene(test)


def test_a_refusal_of_the_services_own_store_is_a_verdict_and_no_outage() -> None:
    async def test() -> None:
        there = Scene(on_down="open")
        there.store.away = True
        closed = await there.client.check(Request("api", {"order": "o1"}))
        assert (closed.allowed, closed.unavailable, closed.degraded) == (False, True, True)
        assert there.client.decided_here == 0
        with pytest.raises(StoreError):
            await there.client.refund(USER)

    scene(test)


def test_being_asked_wrongly_is_said_once_and_never_with_the_key_or_whom_it_is_about() -> None:
    async def test() -> None:
        there = Scene(key="another-key-altogether", breaker=CircuitBreaker(now_s, failures=2))
        with capture_logs() as lines:
            verdicts = [await there.client.check(USER) for _ in range(5)]
        assert all(verdict.degraded for verdict in verdicts)
        assert len(there.wire.asked) == 5, "the service is there: no breaker opens"
        assert [(line["event"], line["log_level"]) for line in lines] == [("limiter_misasked", "error")]
        assert "401" in lines[0]["said"]
        with pytest.raises(StoreError) as raised:
            await there.client.refund(USER)
        for text in (repr(lines), repr(there.client.__dict__), str(raised.value)):
            assert "another-key" not in text
            assert "u1" not in text

    scene(test)


@pytest.mark.parametrize("made_up", ["x" * 5_000, "a\x00b", "a\nb", "\udcff", "\x85"])
def test_nothing_a_client_makes_up_comes_out_as_the_service_being_down(made_up: str) -> None:
    async def test() -> None:
        there = Scene()
        verdicts = [await there.client.check(Request("api", {"user": made_up, "empty": ""}, cost=1)) for _ in range(3)]
        assert [verdict.allowed for verdict in verdicts] == [True, True, False]
        assert not any(verdict.degraded for verdict in verdicts)
        other = await there.client.check(Request("api", {"user": made_up + "x"}))
        assert other.allowed
        assert len(set(there.wire.bodies)) == 2
        most = await there.client.check(Request("api", {"user": "u"}, cost=10**30))
        assert refusal_of(most).status == 422

    scene(test)


def test_the_middleware_works_with_the_service_as_with_a_limiter_of_its_own() -> None:
    async def test() -> None:
        there = Scene()
        begun, go = asyncio.Event(), asyncio.Event()
        app = FastAPI()

        @app.get("/items/{id}")
        async def item(id: str) -> str:
            if id == "slow":
                begun.set()
                await go.wait()
            return id

        edge = RateLimit(app, there.client, "api", describe=lambda _: {"user": "u1"}, slots=["*"])
        async with client_of(edge) as client:
            working = asyncio.create_task(client.get("/items/slow"))
            await begun.wait()
            await asyncio.sleep(10.5)
            assert there.wire.asked.count("renew") == 10
            refused = await client.get("/items/1")
            assert refused.status_code == 429
            assert refused.json()["violated-policies"] == ["jobs"]
            assert {limit["rule"] for limit in refused.json()["limits"]} == {"jobs"}
            go.set()
            done = await working
            assert [value for name, value in done.headers.multi_items() if name == "ratelimit"] == [
                '"per-user";r=1;t=5',
                '"jobs";r=0;t=3',
            ]
            assert there.wire.asked[-1] == "release"
            assert there.wire.asked.count("refund") == 1

    scene(test)


def test_connections_are_kept_and_closed_with_the_client() -> None:
    async def test() -> None:
        connections: list[asyncio.StreamWriter] = []
        closed = asyncio.Event()
        body = b'{"allowed": true, "degraded": false, "delay_us": 0, "limits": []}'

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except asyncio.IncompleteReadError:
                closed.set()
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            async with LimiterClient(f"http://{host}:{port}", SecretStr(KEY), deadline_s=30) as client:
                verdicts = [await client.check(USER) for _ in range(5)]
            assert all(verdict.allowed and not verdict.degraded for verdict in verdicts)
            assert len(connections) == 1
            await asyncio.wait_for(closed.wait(), 30)

    asyncio.run(test())
