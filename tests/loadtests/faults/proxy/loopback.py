"""A server, a proxy before it and connections to that, all on real sockets of this machine, with a clock that a test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from loadtests.faults.proxy.proxies import Proxies
from loadtests.faults.proxy.server import Counters, Proxy
from loadtests.faults.proxy.toxics import parse_toxic

T = TypeVar("T")
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
WITHIN_S = 20.0


def run(loop: str, coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(coroutine, WITHIN_S))


class MovedClock:
    """Stands still until moved; it starts high, as a real one does."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Spoilt:
    """The proxy under test. `accepted` are the server's ends of the connections it got."""

    def __init__(self, proxies: Proxies, proxy: Proxy, clock: MovedClock) -> None:
        self.proxies, self.proxy, self.clock = proxies, proxy, clock
        self.accepted: list[Writer] = []
        self._clients: list[Writer] = []

    async def connect(self) -> tuple[Reader, Writer]:
        host, port = self.proxy.listen.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self._clients.append(writer)
        return reader, writer

    def add(self, body: bytes) -> str:
        toxic = parse_toxic(body)
        self.proxy.add_toxic(toxic)
        return toxic.name

    async def until(self, so: Callable[[Counters], bool]) -> None:
        """Until it is so of the counters; the test's own deadline ends it otherwise."""
        while not so(self.proxy.counters()):  # noqa: ASYNC110  # there is no event: what is looked at is the proxy's
            await asyncio.sleep(0.001)

    def close(self) -> None:
        for writer in [*self._clients, *self.accepted]:
            # A transport of asyncio that was closed with bytes still to send, and has sent them since, has let go of its loop;
            # an abort then trips over that.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()


async def echo(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def spoilt(
    serve: Callable[[Reader, Writer], Awaitable[None]] = echo, *, seed: int = 0, clock: MovedClock | None = None
) -> AsyncIterator[Spoilt]:
    async def accept(reader: Reader, writer: Writer) -> None:
        ours.accepted.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await serve(reader, writer)

    clock = clock or MovedClock()
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxies = Proxies(seed=seed, clock=clock)
    port = server.sockets[0].getsockname()[1]
    ours = Spoilt(proxies, await proxies.create("redis@replica-1", "127.0.0.1:0", f"127.0.0.1:{port}"), clock)
    try:
        yield ours
    finally:
        ours.close()
        proxies.close()
        server.close()
        await ours.until(lambda _: not ours.proxy.open_connections)
