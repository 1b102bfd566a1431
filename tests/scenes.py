"""What tests of every design do to an application that runs in their own process: its clock, its lifespan, its ports, its wire."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Any, Literal

from starlette.types import ASGIApp


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_us: int = 1_800_000_000_000_000) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        self.now_us += round(seconds * 1_000_000)


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


def parts_of(app: ASGIApp) -> Any:
    """What the application consists of, from behind its middleware: the design's `Replica`."""
    inner: Any = app
    while not hasattr(inner, "state"):
        inner = inner._app
    return inner.state.services


_ENDED = count(1)


def thaw_now_and_then() -> None:
    """To be called when a replica has ended.

    A replica freezes what there is when it starts. In a process with hundreds of them that is a leak, and without it each start
    would walk all that the tests have imported.
    """
    if next(_ENDED) % 25 == 0:
        gc.unfreeze()


async def eventually(holds: Callable[[], Awaitable[bool]], tries: int = 4_000) -> None:
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
