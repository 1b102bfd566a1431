"""The load generator: sends each request when the plan says, whatever became of those before it.

Promises. Every planned request ends exactly once: with a status, or with status 0 when it could not be sent, was cut off, or
was not answered within `timeout_s` of its *intended* start, as a user who waits would count it. A replay is over at most
`timeout_s` (and a twentieth) after its last planned request. Connections are kept alive, their number is bounded, and none
carries two requests at once: a request that is due while all are busy waits in line, and the wait is part of its latency.
Nothing is sent anywhere but to this machine's loopback addresses, unless the caller says `allow_remote`.

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
import ssl
import time
from array import array
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from loadtests.generator.arrivals import Plan
from loadtests.generator.connection_pool import Origin
from loadtests.generator.one_shot_timer import Timer, precise_timer
from loadtests.generator.replay import Encode, Replay
from loadtests.generator.target_address import any_address, loopback_address
from loadtests.workload import NO_ANSWER, Exchange

CONNECTIONS_PER_URL = 32
TIMEOUT_S = 5.0
MAX_CLOSED_LOOP_ERRORS = 1_000
MAX_CLOSED_LOOP_S = 600.0
LEAD_S = 0.02

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

    `allow_remote` says that the owner of those hosts has agreed to be loaded; without it, see `loopback_address`.

    After a replay `lags_s` holds, per request, how late the generator itself was: from the intended start to the moment it took
    the request off the plan. Time spent waiting in line for a connection is the target's doing and is not in it. `cpu_s` is the CPU
    time of this process during the last drive, `cpu_ratio` its share of one CPU.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        connections_per_url: int = CONNECTIONS_PER_URL,
        timeout_s: float = TIMEOUT_S,
        allow_remote: bool = False,
        clock: Callable[[], float] = time.monotonic,
        make_timer: Callable[[Callable[[], None]], Timer] | None = None,
    ) -> None:
        if connections_per_url < 1 or timeout_s <= 0:
            raise ValueError(f"need at least 1 connection and a time-out above 0, not {connections_per_url} and {timeout_s} s")
        addresses = [any_address(url) if allow_remote else (*loopback_address(url), False) for url in urls]
        self.lags_s: array[float] = array("d")
        self.cpu_s = self.cpu_ratio = 0.0
        self._clock = clock
        self._timeout_s = timeout_s
        self._make_timer = make_timer or precise_timer
        self._done: Callable[[Exchange], None] = lambda exchange: None
        self._origins = [
            Origin(host, port, connections_per_url, timeout_s, clock, self._finished, ssl.create_default_context() if tls else None)
            for host, port, tls in addresses
        ]

    async def open(self) -> None:
        """Dial what is missing, and replace what has been idle for long. A target that refuses is found out by the requests."""
        await asyncio.gather(*(origin.fill() for origin in self._origins))

    async def close(self) -> None:
        for origin in self._origins:
            await origin.close()

    async def replay(self, plan: Plan, encode: Encode, first_serial: int = 0) -> list[Exchange]:
        """One exchange for each row of the plan, in its order. Serials count up from `first_serial`.

        First steps are encoded before the round. A step that follows another is encoded when it is due and that one has ended,
        whichever is later; that wait is the target's doing, so it is part of the latency from the intended start.
        """
        replaying = Replay(plan, encode, first_serial, self._origins, self._clock)
        self.lags_s = replaying.lags_s
        if not replaying.exchanges:
            return []
        await self.open()
        with (
            self._driving(replaying.finished),
            contextlib.closing(self._make_timer(replaying.send_due)) as timer,
        ):
            replaying.start(self._clock() + LEAD_S, timer)
            await replaying.over
        return replaying.exchanges

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
            exchange = Exchange("", 0, len(exchanges), now_s, 0.0, 0.0, 0.0, NO_ANSWER, b"")
            exchanges.append(exchange)
            self._origins[url_index].submit(exchange, request)

        def done(exchange: Exchange) -> None:
            nonlocal busy, errors
            errors += exchange.status == NO_ANSWER
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
            self.cpu_s = time.process_time() - cpu_s
            self.cpu_ratio = self.cpu_s / max(time.perf_counter() - wall_s, 1e-9)
            sweeping.cancel()
            self._done = lambda exchange: None
            for origin in self._origins:
                origin.abandon()
            if collecting:
                gc.enable()
