"""A client's connection and the one made for it to the server: what either sends goes through a link to the other.

Flow control is passed on: when the receiver does not take what was written, or more than `MAX_HELD` bytes are in flight, the sender
is not read, and its own socket fills up. It rests on the same calls that `StreamWriter.drain()` waits for; there is no task per
direction, because each would cost a wake-up per chunk. At most one chunk more than `MAX_HELD` is held per direction.

An end is passed on as what it was: a half-close as a half-close, a reset as a reset.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from loadtests.faults.proxy.link import Link, Striking
from loadtests.faults.proxy.stages import Ending, Item

MAX_HELD = 1 << 20
CONNECT_WITHIN_S = 10.0
GRAIN_S = 1e-8  # what is due so soon is due: sums of times are not exact
LINGER_0 = struct.pack("ii", 1, 0)  # struct linger { on, seconds }: close by RST, and what was not sent is gone

Clock = Callable[[], float]


def reset(transport: asyncio.BaseTransport) -> None:
    """Close with an RST, at once."""
    transport = cast(asyncio.Transport, transport)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    transport.abort()


class End(asyncio.Protocol):
    """One of the two sockets. `pump` carries away what it receives; `filled_by` is the pump that writes to it.

    Until the other socket is there, at most one chunk is taken and kept.
    """

    def __init__(self, connected: Callable[[End], None], lost: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.pump: Pump | None = None
        self.filled_by: Pump | None = None
        self.gone = False
        self._connected, self._lost = connected, lost
        self._early: list[Item] = []
        self._reading = True
        self._at_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        if self.pump is None:
            self._early.append(data)
            self.read(False)  # not before: a transport of uvloop begins to read after `connection_made`, whatever that says
        else:
            self.pump.offer(data)

    def eof_received(self) -> bool:
        self._at_end = True
        if self.pump is None:
            self._early.append("eof")
        else:
            self.pump.offer("eof")
        return True  # the other direction goes on

    def pump_early(self) -> None:
        """Carry away what came before there was a pump, and read on."""
        assert self.pump is not None
        self.read(True)
        for item in self._early:
            self.pump.offer(item)
        self._early.clear()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self._lost()

    def pause_writing(self) -> None:
        assert self.filled_by is not None
        self.filled_by.set_blocked(True)

    def resume_writing(self) -> None:
        assert self.filled_by is not None
        self.filled_by.set_blocked(False)

    def read(self, reading: bool) -> None:
        if reading != self._reading and self.transport is not None and not (self.gone or self._at_end):
            self._reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def close(self) -> None:
        """After what was written has gone out."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        if self.transport is not None and not self.gone:
            reset(self.transport)


class Pump:
    """Carries what `source` sends through `link` to `sink`. `finish` is called once, with how the stream ended."""

    def __init__(self, source: End, sink: End, link: Link, finish: Callable[[Ending], None], clock: Clock) -> None:
        self.link = link
        self.received_bytes = 0
        self.sent_bytes = 0
        self._source, self._sink, self._finish, self._clock = source, sink, finish, clock
        self._blocked = False
        self._finished = False
        self._timer: asyncio.Handle | None = None
        source.pump, sink.filled_by = self, self

    def offer(self, item: Item) -> None:
        if isinstance(item, bytes):
            self.received_bytes += len(item)
        self.link.offer(self._clock(), item)
        self._flush()

    def set_toxics(self, toxics: Sequence[Striking]) -> None:
        self.link.set_toxics(self._clock(), toxics)
        self._flush()

    def set_blocked(self, blocked: bool) -> None:
        """Does the receiver take no more for now?"""
        self._blocked = blocked
        if blocked:  # `_flush` itself may be what called
            self._source.read(False)
        else:
            self._flush()

    def stop(self) -> None:
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()

    def _flush(self) -> None:
        """Write what is due, and see to it that this is done again when more will be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._finished:
            return
        now_s = self._clock() + GRAIN_S
        self.link.advance(now_s)
        more = False
        if not self._blocked:
            item = self.link.pop()
            if item is not None and not isinstance(item, bytes):
                self._end(item)
                return
            if item is not None:
                assert self._sink.transport is not None
                self.sent_bytes += len(item)
                self._sink.transport.write(item)
                more = True
        self._source.read(self.link.held <= MAX_HELD and not self._blocked)
        self._wake_up(now_s, more and self.link.has_more)

    def _wake_up(self, now_s: float, at_once: bool) -> None:
        loop = asyncio.get_running_loop()
        if at_once:
            # In the next turn of the loop, not this one, so that each slice is sent as a segment of its own.
            self._timer = loop.call_soon(self._flush)
        elif (due_s := self.link.next_due_s) < math.inf:
            # Timers of the loop are of whole milliseconds. Rounded up, because an early one would only have to try again.
            self._timer = loop.call_later(math.ceil((due_s - now_s) * 1e3) / 1e3, self._flush)

    def _end(self, how: Ending) -> None:
        if not self._finished:
            self.stop()
            self._finish(how)


class Connection:
    """Both sockets, from when a client came until both are closed. `ready` is called when the server's side is there, `closed` when
    nothing is left. A server that cannot be reached looks like one that broke the connection off.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        ready: Callable[[Connection], None],
        closed: Callable[[Connection], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self.upstream: Pump | None = None
        self.downstream: Pump | None = None
        self.draws: dict[str, float] = {}  # toxic -> what decided whether it strikes this connection
        self._address = upstream
        self._ready, self._closed, self._clock = ready, closed, clock
        self._half_closed = False
        self._connecting: asyncio.Task[Any] | None = None
        self.client = End(self._client_connected, self._one_lost)
        self._server = End(self._server_connected, self._one_lost)

    def abort(self) -> None:
        """Break it off, whatever is in flight."""
        self._stop_pumps()
        if self._connecting is not None:
            self._connecting.cancel()
        self.client.abort()
        self._server.abort()

    def _client_connected(self, client: End) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await loop.create_connection(lambda: self._server, *self._address)
        except (OSError, TimeoutError):
            self.client.reset()

    def _server_connected(self, server: End) -> None:
        if self.client.gone:
            server.abort()
            return
        now_s = self._clock()
        self.upstream = Pump(self.client, server, Link(now_s=now_s), lambda how: self._finish(how, server), self._clock)
        self.downstream = Pump(server, self.client, Link(now_s=now_s), lambda how: self._finish(how, self.client), self._clock)
        self._ready(self)
        self.client.pump_early()

    def _finish(self, how: Ending, sink: End) -> None:
        if how == "eof" and not self._half_closed and sink.transport is not None:
            self._half_closed = True
            sink.transport.write_eof()
            return
        self._stop_pumps()
        for end in (self.client, self._server):
            if how == "reset":
                end.reset()
            else:
                end.close()

    def _stop_pumps(self) -> None:
        for pump in (self.upstream, self.downstream):
            if pump is not None:
                pump.stop()

    def _one_lost(self) -> None:
        """Ours to close, or a side broke off: then the other learns of it as it would without us."""
        ends = (self.client, self._server)
        if all(end.gone or end.transport is None for end in ends):
            self._closed(self)
        elif not any(end.transport is not None and end.transport.is_closing() and not end.gone for end in ends):
            self._finish("reset", self.client)
