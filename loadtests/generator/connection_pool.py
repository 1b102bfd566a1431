"""A bounded pool of keep-alive connections to one URL, and the line of requests that wait for one.

Promises. Connections never outnumber the limit (fill the pool before the first request, not beside it), and none carries two
requests at once. A request that is due while all are busy waits in line, first come, first served. Each submitted exchange is
reported as finished once, with what came back or with status 0 (not sent, cut off, no HTTP response, or found too late by
`expire`, which the owner calls), unless `abandon` forgot it. Nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from loadtests.generator.http_response import parse_response
from loadtests.workload import Exchange

# Servers drop idle connections (uvicorn after 5 s); a request sent at that moment would be lost through no fault of theirs.
IDLE_LIMIT_S = 3.0


class Origin:
    """One URL's connections: idle ones on a stack, warmest first, and the line of due requests that found none."""

    def __init__(
        self,
        host: str,
        port: int,
        limit: int,
        timeout_s: float,
        clock: Callable[[], float],
        finished: Callable[[Exchange], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.clock = clock
        self.finished = finished
        self._address = (host, port)
        self._tls = tls
        self._limit = limit
        self._timeout_s = timeout_s
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[tuple[Exchange, bytes]] = deque()
        self._dials: set[asyncio.Task[None]] = set()

    async def fill(self) -> None:
        self._drop_stale()
        missing = max(0, self._limit - len(self._open) - len(self._dials))
        for answer in await asyncio.gather(*(self._connect() for _ in range(missing)), return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, OSError):
                raise answer

    def submit(self, exchange: Exchange, request: bytes) -> None:
        """Send now on the warmest connection, or stand in line."""
        if self._idle:
            now_s = self.clock()
            if now_s - self._idle[-1].idle_since_s < IDLE_LIMIT_S:
                self._idle.pop().send(exchange, request, now_s)
                return
            self._drop_stale()
        self._waiting.append((exchange, request))
        self._dial_for_waiting()

    def free(self, connection: Connection, now_s: float) -> None:
        """A connection has answered and can carry the next request."""
        if self._waiting:
            exchange, request = self._waiting.popleft()
            connection.send(exchange, request, now_s)
        else:
            connection.idle_since_s = now_s
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone or of no more use."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._dial_for_waiting()

    def expire(self) -> None:
        """Give up what was intended more than the time-out ago, in flight or in line."""
        now_s = self.clock()
        while self._expire_once(now_s, now_s - self._timeout_s):
            pass  # the end of one may have let another go that is too old as well

    def _expire_once(self, now_s: float, too_old_s: float) -> bool:
        in_flight = [each for each in self._open if each.exchange is not None and each.exchange.intended_s <= too_old_s]
        for connection in in_flight:
            connection.fail(now_s)
        # The line is not in the order of the plan: who had to wait for an earlier step stands behind those who came meanwhile.
        in_line = [exchange for exchange, _ in self._waiting if exchange.intended_s <= too_old_s]
        if in_line:
            self._waiting = deque(each for each in self._waiting if each[0].intended_s > too_old_s)
        for exchange in in_line:
            self._fail_unsent(exchange)
        return bool(in_flight or in_line)

    def abandon(self) -> None:
        """Forget what is in flight or in line: nobody waits for it any more."""
        self._waiting.clear()
        for connection in [connection for connection in self._open if connection.exchange is not None]:
            connection.exchange = None
            connection.discard()

    async def close(self) -> None:
        self.abandon()
        for task in list(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for connection in list(self._open):
            connection.discard()
        await asyncio.sleep(0)  # transports close their sockets on the loop's next turn

    def _drop_stale(self) -> None:
        oldest_s = self.clock() - IDLE_LIMIT_S
        for connection in [connection for connection in self._idle if connection.idle_since_s <= oldest_s]:
            connection.discard()

    def _dial_for_waiting(self) -> None:
        while len(self._dials) < min(len(self._waiting), self._limit - len(self._open)):
            task = asyncio.get_running_loop().create_task(self._dial())
            self._dials.add(task)
            task.add_done_callback(self._dialled)

    async def _dial(self) -> None:
        """A dial that fails costs the request at the head of the line, so a dead target ends the run instead of hanging it."""
        try:
            await self._connect()
        except OSError:
            if self._waiting:
                self._fail_unsent(self._waiting.popleft()[0])

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dials.discard(task)
        if not task.cancelled():
            task.result()
            self._dial_for_waiting()

    async def _connect(self) -> None:
        """OSError (TimeoutError is one) when the target does not accept within the time-out."""
        async with asyncio.timeout(self._timeout_s):
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: Connection(self), *self._address, ssl=self._tls)
        if connection.closed:
            raise ConnectionResetError("accepted, then closed")
        self._open.add(connection)
        self.free(connection, self.clock())

    def _fail_unsent(self, exchange: Exchange) -> None:
        exchange.sent_s = exchange.first_byte_s = exchange.end_s = self.clock()
        self.finished(exchange)


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    __slots__ = ("_head_only", "_origin", "_received", "_transport", "closed", "exchange", "idle_since_s")

    def __init__(self, origin: Origin) -> None:
        self.exchange: Exchange | None = None
        self.idle_since_s = 0.0
        self.closed = False
        self._origin = origin
        self._transport: asyncio.Transport
        self._received = b""
        self._head_only = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, exchange: Exchange, request: bytes, now_s: float) -> None:
        self.exchange = exchange
        self._head_only = request.startswith(b"HEAD ")
        exchange.sent_s = now_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        now_s = self._origin.clock()
        exchange = self.exchange
        if exchange is None:  # nobody asked
            self.discard()
            return
        if not exchange.first_byte_s:
            exchange.first_byte_s = now_s
        if self._received:
            data = self._received + data
        self._take(data, now_s, ended=False)

    def eof_received(self) -> bool:
        exchange = self.exchange
        if exchange is not None and self._received:
            self._take(self._received, self._origin.clock(), ended=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.exchange is not None:
            self.fail(self._origin.clock())
        self._origin.lost(self)

    def fail(self, now_s: float) -> None:
        """End the exchange with status 0; what came back of it, if anything, is of no use."""
        exchange = self.exchange
        self.exchange = None
        self.discard()
        if exchange is not None:
            exchange.end_s = now_s
            exchange.first_byte_s = exchange.first_byte_s or now_s
            self._origin.finished(exchange)

    def discard(self) -> None:
        self._origin.lost(self)
        self._transport.abort()

    def _take(self, data: bytes, now_s: float, ended: bool) -> None:
        try:
            response = parse_response(data, self._head_only, ended)
        except ValueError:
            self.fail(now_s)
            return
        if response is None:
            self._received = data
            return
        exchange = self.exchange
        assert exchange is not None
        self._received = b""
        self.exchange = None
        exchange.status = response.status
        exchange.response = response.message
        exchange.end_s = now_s
        if response.keep_alive and not ended:
            self._origin.free(self, now_s)
        else:
            self.discard()
        self._origin.finished(exchange)
