"""The load generator: sends each request when the plan says, whatever became of those before it.

Promises. Every planned request ends exactly once: with a status, or with status 0 when it could not be sent, was cut off, or
was not answered within `timeout_s` of its *intended* start, as a user who waits would count it. A replay is over at most
`timeout_s` (and a twentieth) after its last planned request. Connections are kept alive, their number is bounded, and none
carries two requests at once: a request that is due while all are busy waits in line, and the wait is part of its latency.
Nothing is sent anywhere but to this machine's loopback addresses.

    intended     the plan's time
    sent         written to a connection          latency from the intended start = end - intended
    first byte   the answer begins                latency from the actual send    = end - sent
    end          the answer is complete

The second latency hides what a stall does to those who come during it ("coordinated omission", Gil Tene), so both are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import ipaddress
import os
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, cast
from urllib.parse import urlsplit

from loadtests.arrivals import Plan
from loadtests.workload import Exchange

CONNECTIONS_PER_URL = 32
TIMEOUT_S = 5.0
# Servers drop idle connections (uvicorn after 5 s); a request sent at that moment would be lost through no fault of theirs.
IDLE_LIMIT_S = 3.0
MAX_RESPONSE_BYTES = 4 << 20
MAX_CLOSED_LOOP_ERRORS = 1_000
MAX_CLOSED_LOOP_S = 600.0
LEAD_S = 0.02

Encode = Callable[[str, int, int], tuple[int, bytes]]  # op, key, serial -> index of the URL, whole request
T = TypeVar("T")


async def replay(
    plan: Plan,
    encode: Encode,
    urls: Sequence[str],
    *,
    first_serial: int = 0,
    connections_per_url: int = CONNECTIONS_PER_URL,
    timeout_s: float = TIMEOUT_S,
) -> list[Exchange]:
    """Replay one plan with connections of its own. Several replays of one target share a `LoadGenerator` instead."""
    generator = LoadGenerator(urls, connections_per_url=connections_per_url, timeout_s=timeout_s)
    try:
        return await generator.replay(plan, encode, first_serial)
    finally:
        await generator.close()


async def closed_loop(
    requests: Sequence[tuple[int, bytes]],
    connections: int,
    urls: Sequence[str],
    *,
    duration_s: float,
    count: int | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[Exchange]:
    """`connections` clients send these requests in a cycle, each its next one when it has its answer.

    Good for capacity and for CPU per request at a fixed concurrency; never for latency, since a slow server is asked less
    often. Ends after `duration_s`, or `count` requests, or `MAX_CLOSED_LOOP_ERRORS` transport errors.
    """
    generator = LoadGenerator(urls, connections_per_url=connections, timeout_s=timeout_s)
    try:
        return await generator.closed_loop(requests, connections, duration_s, count)
    finally:
        await generator.close()


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop where there is one: half the generator's CPU time, and a tenth of its lag."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


class LoadGenerator:
    """Connections to one target's URLs, kept between rounds, and the two ways to drive them. One drive at a time.

    After a replay `lags_s` holds, per request, how late the generator itself was: from the intended start to the moment it took
    the request off the plan. Time spent waiting in line for a connection is the target's doing and is not in it. `cpu_ratio` is the
    share of one CPU that this process used during the last drive.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        connections_per_url: int = CONNECTIONS_PER_URL,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        make_timer: Callable[[Callable[[], None]], Timer] | None = None,
    ) -> None:
        if connections_per_url < 1 or timeout_s <= 0:
            raise ValueError(f"need at least 1 connection and a time-out above 0, not {connections_per_url} and {timeout_s} s")
        addresses = [loopback_address(url) for url in urls]
        self.lags_s: array[float] = array("d")
        self.cpu_ratio = 0.0
        self._clock = clock
        self._timeout_s = timeout_s
        self._make_timer = make_timer or precise_timer
        self._done: Callable[[Exchange], None] = lambda exchange: None
        self._origins = [Origin(host, port, connections_per_url, timeout_s, clock, self._finished) for host, port in addresses]

    async def open(self) -> None:
        """Dial what is missing, and replace what has been idle for long. A target that refuses is found out by the requests."""
        await asyncio.gather(*(origin.fill() for origin in self._origins))

    async def close(self) -> None:
        for origin in self._origins:
            await origin.close()

    async def replay(self, plan: Plan, encode: Encode, first_serial: int = 0) -> list[Exchange]:
        """One exchange for each row of the plan, in its order. Serials count up from `first_serial`."""
        clock, origins = self._clock, self._origins
        rows = zip(plan.intended_s, plan.op_indexes, plan.keys, strict=True)
        exchanges: list[Exchange] = []
        requests: list[tuple[Origin, bytes]] = []
        for serial, (due_s, op_index, key) in enumerate(rows, start=first_serial):
            url_index, request = encode(plan.ops[op_index], key, serial)
            requests.append((origins[url_index], request))
            exchanges.append(Exchange(plan.ops[op_index], key, serial, due_s, 0.0, 0.0, 0.0, 0, b""))
        self.lags_s = array("d", bytes(8 * len(exchanges)))
        if not exchanges:
            return exchanges
        await self.open()

        lags_s = self.lags_s
        over = asyncio.get_running_loop().create_future()
        unfinished = len(exchanges)
        due = 0

        def done(exchange: Exchange) -> None:
            nonlocal unfinished
            unfinished -= 1
            if unfinished == 0 and not over.done():
                over.set_result(None)

        def send_due() -> None:
            nonlocal due
            while due < len(exchanges):
                exchange = exchanges[due]
                lag_s = clock() - exchange.intended_s
                if lag_s < 0:
                    timer.arm(exchange.intended_s)
                    return
                lags_s[due] = lag_s
                origin, request = requests[due]
                due += 1
                origin.submit(exchange, request)
            timer.disarm()

        with self._driving(done), contextlib.closing(self._make_timer(send_due)) as timer:
            start_s = clock() + LEAD_S
            for exchange in exchanges:
                exchange.intended_s += start_s
            timer.arm(exchanges[0].intended_s)
            await over
        return exchanges

    async def closed_loop(
        self, requests: Sequence[tuple[int, bytes]], clients: int, duration_s: float, count: int | None = None
    ) -> list[Exchange]:
        """As the function of this name; `clients` may be fewer than there are connections."""
        if not requests or clients < 1 or not 0 < duration_s <= MAX_CLOSED_LOOP_S:
            raise ValueError(f"need requests, at least 1 client and 0 to {MAX_CLOSED_LOOP_S:.0f} s")
        await self.open()
        over = asyncio.get_running_loop().create_future()
        exchanges: list[Exchange] = []
        clients = clients if count is None else min(clients, count)
        busy, errors = clients, 0
        stop_s = self._clock() + duration_s

        def send_next() -> None:
            url_index, request = requests[len(exchanges) % len(requests)]
            now_s = self._clock()
            exchange = Exchange("", 0, len(exchanges), now_s, 0.0, 0.0, 0.0, 0, b"")
            exchanges.append(exchange)
            self._origins[url_index].submit(exchange, request)

        def done(exchange: Exchange) -> None:
            nonlocal busy, errors
            errors += exchange.status == 0
            if exchange.end_s < stop_s and (count is None or len(exchanges) < count) and errors < MAX_CLOSED_LOOP_ERRORS:
                send_next()
                return
            busy -= 1
            if busy == 0 and not over.done():
                over.set_result(None)

        with self._driving(done):
            for _ in range(clients):
                send_next()
            if busy:
                await over
        return exchanges

    def _finished(self, exchange: Exchange) -> None:
        self._done(exchange)

    @contextlib.contextmanager
    def _driving(self, done: Callable[[Exchange], None]) -> Iterator[None]:
        """Time-outs are swept twenty times in each; the collector rests, since a full collection would stall the schedule."""
        loop = asyncio.get_running_loop()
        collecting = gc.isenabled()

        self._done = done
        sweeping: asyncio.TimerHandle

        def sweep() -> None:
            nonlocal sweeping
            sweeping = loop.call_later(self._timeout_s / 20, sweep)
            for origin in self._origins:
                origin.expire()

        sweeping = loop.call_later(self._timeout_s / 20, sweep)
        gc.disable()
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu_ratio = (time.process_time() - cpu_s) / max(time.perf_counter() - wall_s, 1e-9)
            sweeping.cancel()
            self._done = lambda exchange: None
            for origin in self._origins:
                origin.abandon()
            if collecting:
                gc.enable()


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
    ) -> None:
        self.clock = clock
        self.finished = finished
        self._address = (host, port)
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
        too_old_s = now_s - self._timeout_s
        for connection in list(self._open):
            if connection.exchange is not None and connection.exchange.intended_s <= too_old_s:
                connection.fail(now_s)
        while self._waiting and self._waiting[0][0].intended_s <= too_old_s:
            self._fail_first_waiting()

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
                self._fail_first_waiting()

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dials.discard(task)
        if not task.cancelled():
            task.result()
            self._dial_for_waiting()

    async def _connect(self) -> None:
        """OSError (TimeoutError is one) when the target does not accept within the time-out."""
        async with asyncio.timeout(self._timeout_s):
            _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(self), *self._address)
        if connection.closed:
            raise ConnectionResetError("accepted, then closed")
        self._open.add(connection)
        self.free(connection, self.clock())

    def _fail_first_waiting(self) -> None:
        exchange, _ = self._waiting.popleft()
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


class Response(NamedTuple):
    """`message` is the head as it came, blank line included, then the body without its chunk framing."""

    status: int
    message: bytes
    keep_alive: bool


def parse_response(data: bytes, head_only: bool = False, ended: bool = False) -> Response | None:
    """The final HTTP/1 response at the start of `data` (RFC 9112), or None while bytes are missing.

    `head_only` says the request was a HEAD; `ended`, that the server has closed its side. ValueError for what is no HTTP/1
    response, or larger than `MAX_RESPONSE_BYTES`.
    """
    if len(data) > MAX_RESPONSE_BYTES:
        raise ValueError("response too large")
    head_start, body_start, status = 0, 0, 100
    while 100 <= status < 200:  # interim responses (100 Continue, 103 Early Hints) come before the final one
        head_start = body_start
        if not b"HTTP/1.".startswith(data[head_start : head_start + 7]):
            raise ValueError("not an HTTP/1 response")
        head_end = data.find(b"\r\n\r\n", head_start)
        if head_end < 0:
            return None
        status = int(data[head_start + 9 : head_start + 12])
        body_start = head_end + 4
    head = data[head_start : head_end + 2].lower()

    connection = field(head, b"connection")
    keep_alive = b"close" not in connection if head[7:8] != b"0" else b"keep-alive" in connection
    encoding = field(head, b"transfer-encoding")
    if head_only or status in (204, 304):
        body, end = b"", body_start
    elif encoding:
        if encoding != b"chunked":
            raise ValueError(f"unknown transfer encoding {encoding!r}")
        chunked = decode_chunks(data, body_start)
        if chunked is None:
            return None
        body, end = chunked
    elif length_text := field(head, b"content-length"):
        if not length_text.isdigit():
            raise ValueError(f"content length {length_text!r} is no number")
        end = body_start + int(length_text)
        if len(data) < end:
            return None
        body = data[body_start:end]
    elif ended:
        body, end, keep_alive = data[body_start:], len(data), False
    else:
        return None
    return Response(status, data[head_start:body_start] + body, keep_alive and end == len(data))


def field(head: bytes, name: bytes) -> bytes:
    """A header field's value in a lower-case head, b"" where it is missing."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 3
    return head[at : head.find(b"\r\n", at)].strip()


def decode_chunks(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The body behind the chunks that begin at `at`, and where they end (RFC 9112, 7.1); None while bytes are missing."""
    chunks: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(data[at:line_end].partition(b";")[0], 16)
        if size < 0:
            raise ValueError("negative chunk size")
        at = line_end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            return None
        chunks.append(data[at : at + size])
        at += size + 2
    while True:  # trailer fields, then an empty line
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        if line_end == at:
            return b"".join(chunks), at + 2
        at = line_end + 2


def loopback_address(url: str) -> tuple[str, int]:
    """Host and port of an http URL of this machine. ValueError for any other: this generator must not reach further.

    A name is refused too, even `localhost`: it may resolve to ::1 first, where the server does not listen.
    """
    parts = urlsplit(url)
    try:
        loopback = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not loopback or parts.hostname is None:
        raise ValueError(f"load goes to http://127.0.0.1:<port> only, not to {url!r}")
    return parts.hostname, parts.port or 80


class Timer(Protocol):
    """Calls back once at or after a time of the generator's clock; arming again replaces the time."""

    def arm(self, at_s: float) -> None: ...

    def disarm(self) -> None: ...

    def close(self) -> None: ...


def precise_timer(due: Callable[[], None]) -> Timer:
    return LinuxTimer(due) if sys.platform == "linux" else LoopTimer(due)


class LoopTimer:
    """The event loop's own timer, which rounds to whole milliseconds."""

    def __init__(self, due: Callable[[], None]) -> None:
        self._due = due
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, at_s: float) -> None:
        self.disarm()
        loop = asyncio.get_running_loop()
        self._handle = loop.call_at(at_s, self._due)

    def disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    close = disarm


class LinuxTimer:
    """A timerfd on the monotonic clock: due within some 50 us, where the loop's timers would be half a millisecond late.

    struct itimerspec { interval: timespec; value: timespec }, each timespec two longs: seconds, nanoseconds.
    """

    _CLOCK_MONOTONIC = 1
    _TFD_TIMER_ABSTIME = 1

    def __init__(self, due: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(self._CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timerfd")
        self._spec = (ctypes.c_long * 4)()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, due)

    def arm(self, at_s: float) -> None:
        self._set(*divmod(int(at_s * 1e9) + 1, 1_000_000_000))

    def disarm(self) -> None:
        self._set(0, 0)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _set(self, seconds: int, nanoseconds: int) -> None:
        # Setting a timer also takes back an expiry nobody read, so the descriptor needs no read.
        self._spec[2], self._spec[3] = seconds, nanoseconds
        self._libc.timerfd_settime(self._fd, self._TFD_TIMER_ABSTIME, self._spec, None)
