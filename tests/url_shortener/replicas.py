"""Replicas of the composed design in the test's own process: the application of `create_app`, its lifespan, and a client.

    async with running_replica(knobs(store="memory"), tmp_path) as replica:
        made = await replica.create("https://example.org")
        assert (await replica.visit(made["code"])).status_code == 302

Nothing is replaced: faults are put on the verbs of the ports that a running replica uses, and on the wire to Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import httpx2
from starlette.types import ASGIApp

from designs.building_blocks.knobs import build
from designs.url_shortener.app import create_app
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.replica import Replica
from designs.url_shortener.settings import ShortenerSettings

OWNER_KEY, OTHER_KEY, ADMIN_KEY = "alice-key-0123456789", "bob-key-0123456789ab", "operator-key-012345678"
CODE_KEY = "a-code-key-of-more-than-thirty-two-characters"
PUBLIC_URL = "https://sho.rt"
OWNER = {"Authorization": f"Bearer {OWNER_KEY}"}
OTHER = {"Authorization": f"Bearer {OTHER_KEY}"}
OPERATOR = {"Authorization": f"Bearer {ADMIN_KEY}"}
BROWSER = {"User-Agent": "Mozilla/5.0"}
LONG_URL = "https://example.org/page"
# Without Redis, and without waiting for a disk: what is under test is the design.
_STARTED = count(1)
PLAIN: dict[str, Any] = {"store": "memory", "cache": "none", "clicks": "off"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_us: int = 1_800_000_000_000_000) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        self.now_us += round(seconds * 1_000_000)


def knobs(**values: Any) -> ShortenerKnobs:
    return build(ShortenerKnobs, values)


def settings(data_dir: Path, **values: Any) -> ShortenerSettings:
    known = {
        "data_dir": data_dir,
        "code_key": CODE_KEY,
        "api_keys": f"alice:{OWNER_KEY},bob:{OTHER_KEY}",
        "admin_key": ADMIN_KEY,
        "public_url": PUBLIC_URL,
    }
    return ShortenerSettings.model_validate(known | values)


@dataclass
class TestReplica:
    """A running replica, and how its clients speak to it."""

    __test__ = False

    app: ASGIApp
    parts: Replica
    http: httpx2.AsyncClient
    _clients: list[httpx2.AsyncClient] = field(default_factory=list)

    async def post(self, body: Any, headers: dict[str, str] = OWNER, key: str = "") -> httpx2.Response:
        with_key = headers | ({"Idempotency-Key": key} if key else {})
        return await self.http.post("/api/v1/links", json=body, headers=with_key)

    async def create(self, url: str = LONG_URL, **more: Any) -> dict[str, Any]:
        """The link of a create that must succeed."""
        answer = await self.post({"url": url, **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def visit(self, code: str, method: str = "GET") -> httpx2.Response:
        return await self.http.request(method, f"/{code}", headers=BROWSER)

    async def target(self, code: str) -> str | int:
        """Where a visitor is sent, or the status that refuses."""
        answer = await self.visit(code)
        return answer.headers.get("location", answer.status_code)

    async def patch(self, code: str, /, **changes: Any) -> httpx2.Response:
        return await self.http.patch(f"/api/v1/links/{code}", json=changes, headers=OWNER)

    async def delete(self, code: str) -> httpx2.Response:
        return await self.http.delete(f"/api/v1/links/{code}", headers=OWNER)

    async def block(self, code: str, blocked: bool = True) -> httpx2.Response:
        return await self.http.put(f"/api/v1/admin/links/{code}/block", json={"blocked": blocked}, headers=OPERATOR)

    async def stats(self, code: str) -> dict[str, Any]:
        return dict((await self.http.get(f"/api/v1/links/{code}/stats", headers=OWNER)).json())

    def client_at(self, address: str) -> httpx2.AsyncClient:
        """A client with an address of its own."""
        client = _client(self.app, address)
        self._clients.append(client)
        return client


@contextlib.asynccontextmanager
async def running_replica(
    knobs: ShortenerKnobs, data_dir: Path, clock_us: Callable[[], int] | None = None, **more: Any
) -> AsyncIterator[TestReplica]:
    """A replica from the start of its lifespan to the end. `more` are settings."""
    app = create_app(knobs, settings(data_dir, **more), clock_us)
    async with lifespan(app):
        replica = TestReplica(app, parts_of(app), _client(app, "127.0.0.1"))
        try:
            yield replica
        finally:
            for client in (replica.http, *replica._clients):
                await client.aclose()
    # A replica freezes what there is when it starts. In a process with hundreds of them that is a leak, and without it each start
    # would walk all that the tests have imported: so now and then.
    if next(_STARTED) % 25 == 0:
        gc.unfreeze()


def parts_of(app: ASGIApp) -> Replica:
    """What the application consists of, from behind its middleware."""
    inner: Any = app
    while not hasattr(inner, "state"):
        inner = inner._app
    parts: Replica = inner.state.services
    return parts


def _client(app: ASGIApp, address: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, client=(address, 50_000))
    return httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL)


@contextlib.asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """The lifespan of an ASGI application, as a server runs it."""
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}

    async def live() -> None:
        await app(scope, to_app.get, from_app.put)

    task = asyncio.create_task(live())
    try:
        await to_app.put({"type": "lifespan.startup"})
        assert (await from_app.get())["type"] == "lifespan.startup.complete"
        yield
    finally:
        await to_app.put({"type": "lifespan.shutdown"})
        await task


async def eventually(holds: Callable[[], Awaitable[bool]], tries: int = 1_000) -> None:
    """Wait for what other tasks, threads and servers are about to do; bounded, and as short as it can be."""
    for _ in range(tries):
        if await holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to pass")


@contextlib.contextmanager
def failing(port: Any, verb: str, error: Exception, *, when: Literal["before", "after"] = "before") -> Iterator[list[int]]:
    """A port's verb that raises `error`: before it did anything, or after it did everything. Yields [how often]."""
    healthy = getattr(port, verb)
    failed = [0]

    async def fail(*args: Any, **kwargs: Any) -> Any:
        failed[0] += 1
        if when == "after":
            await healthy(*args, **kwargs)
        raise error

    setattr(port, verb, fail)
    try:
        yield failed
    finally:
        setattr(port, verb, healthy)


@contextlib.contextmanager
def counting(port: Any, verb: str) -> Iterator[list[int]]:
    """Yields [how often the verb was called]."""
    healthy = getattr(port, verb)
    called = [0]

    async def count(*args: Any, **kwargs: Any) -> Any:
        called[0] += 1
        return await healthy(*args, **kwargs)

    setattr(port, verb, count)
    try:
        yield called
    finally:
        setattr(port, verb, healthy)


class Wire:
    """A TCP relay to a Redis server that can be cut and mended: what a network does to a replica.

    `url` leads through it. `cut` closes what is open and refuses what comes; `silence` swallows what is said.
    """

    def __init__(self, server_url: str) -> None:
        before, _, self._database = server_url.rpartition("/")
        self._secret, _, address = before.rpartition("@")
        host, _, port = address.removeprefix("redis://").partition(":")
        self._target = (host, int(port))
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.silent = False

    @property
    def url(self) -> str:
        return f"{self._secret}@127.0.0.1:{self._port}/{self._database}" if self._secret else f"redis://127.0.0.1:{self._port}/15"

    async def __aenter__(self) -> Wire:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # No coroutine: one that was never begun when the loop ends would leave its connection behind.
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        self._writers.add(writer)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._hang_up(writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers.add(there_writer)
        try:
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
        finally:
            for one in (writer, there_writer):
                self._hang_up(one)
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    def _hang_up(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if not self.silent:
                    writer.write(data)
                    await writer.drain()
        writer.close()
