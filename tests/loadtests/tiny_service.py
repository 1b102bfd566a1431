"""What the tiny services of the load's tests share: addresses of their own, requests read from the wire, a thread to run in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from loadtests.workload import Target


@dataclass(frozen=True, slots=True)
class Request:
    """As it came. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def listening(answer: Callable[[int, Request], bytes], replicas: int) -> AsyncIterator[list[str]]:
    """The URLs of so many addresses. `answer` gets the number of the one that was asked, from 0, and gives the whole response."""

    def served_by(replica: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    while True:
                        writer.write(answer(replica, await read_request(reader)))
            finally:
                writer.close()

        return serve

    servers = [await asyncio.start_server(served_by(replica), "127.0.0.1", 0) for replica in range(replicas)]
    try:
        yield [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Raises `IncompleteReadError` at the end of a connection."""
    request_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = request_line.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))


@contextmanager
def in_a_thread(running: AbstractAsyncContextManager[Target]) -> Iterator[Target]:
    """A tiny service that runs beside a test which waits for another process."""
    started, stop = threading.Event(), asyncio.Event()
    held: list[tuple[Target, asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        async with running as target:
            held.append((target, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert started.wait(10)
    try:
        yield held[0][0]
    finally:
        held[0][1].call_soon_threadsafe(stop.set)
        thread.join(10)
