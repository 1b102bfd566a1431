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
import gc
import ipaddress
import time
from array import array
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from loadtests.arrivals import Plan
from loadtests.connection_pool import Origin
from loadtests.one_shot_timer import Timer, precise_timer
from loadtests.workload import Exchange

CONNECTIONS_PER_URL = 32
TIMEOUT_S = 5.0
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
