"""The replica's side of the clicks: a bounded buffer that the hot path appends to, and a task that sends it off in batches.

What each kind promises, on top of "a redirect never fails or waits because of its click" (sync: never fails):

    redis_streams   counted once the worker has applied the batch; a killed replica loses at most click_flush_ms of clicks
    batched         the same, with the replica as its own worker
    sync            in the click store before the visitor is sent on
    off             nothing

Accepted = sent on + dropped: a drop (buffer full, queue refusing) is counted, never silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from designs.building_blocks.retries import RetryPolicy, retry
from designs.url_shortener.clicks import MAX_BATCH_CLICKS, Visit, click_of, counted, encode_visits, visitors
from designs.url_shortener.ports import ClickQueue, ClickStore, QueueFull, StoreError, VisitorCounter

# Sending a batch again is safe: it is counted by its id. Short, because the buffer fills meanwhile.
SENDING = RetryPolicy(attempts=4, total_s=2.0, base_s=0.02, cap_s=0.5)


class Send(Protocol):
    """Puts visits where they will be counted, as one batch with this id. Raises StoreError."""

    def __call__(self, batch_id: str, visits: Sequence[Visit], traces: Sequence[str]) -> Awaitable[None]: ...


@dataclass(slots=True)
class ClickTotals:
    """What became of the clicks of this process: accepted + unsure + dropped = all recorded that are not buffered any more.

    `unsure` are those whose batch may or may not have arrived (a time-out); they are counted at most once either way.
    """

    accepted: int = 0
    unsure: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: {"buffer_full": 0, "queue_full": 0, "queue_down": 0})

    def give_up(self, clicks: int, may_have_happened: bool) -> None:
        if may_have_happened:
            self.unsure += clicks
        else:
            self.dropped["queue_down"] += clicks


def to_queue(queue: ClickQueue, secret: bytes) -> Send:
    """Onto the queue; a worker counts it."""

    async def send(batch_id: str, visits: Sequence[Visit], traces: Sequence[str]) -> None:
        await queue.publish(encode_visits(batch_id, visits, secret, traces))

    return send


def to_store(store: ClickStore, visitor_counter: VisitorCounter, secret: bytes) -> Send:
    """Straight into the click store."""

    async def send(batch_id: str, visits: Sequence[Visit], traces: Sequence[str]) -> None:
        clicks = [click_of(visit, secret) for visit in visits]
        await store.apply({batch_id: counted(clicks)})
        with contextlib.suppress(StoreError):  # unique visitors are an estimate; the counts are not
            await visitor_counter.add(visitors(clicks))

    return send


class ClickRecorder:
    """Buffers visits and sends them in batches of at most `MAX_BATCH_CLICKS`, each `flush_s` or when a batch is full."""

    def __init__(self, send: Send, flush_s: float, bound: int, clock_s: Callable[[], float] = time.time) -> None:
        self.totals = ClickTotals()
        self._send = send
        self._flush_s = flush_s
        self._bound = bound
        self._clock_s = clock_s
        self._buffer: list[Visit] = []
        self._traces: list[str] = []
        self._in_flight = 0
        self._wake = asyncio.Event()

    def record(self, code: str, headers: Iterable[tuple[bytes, bytes]], client: tuple[str, int] | None, trace: str = "") -> None:
        """Note a visit, from the request's headers. Never waits; at the bound the click is dropped and counted as dropped."""
        buffer = self._buffer
        if len(buffer) + self._in_flight >= self._bound:
            self.totals.dropped["buffer_full"] += 1
            return
        referrer = user_agent = b""
        for name, value in headers:
            if name == b"user-agent":
                user_agent = value
            elif name == b"referer":
                referrer = value
        buffer.append((code, self._clock_s(), referrer, client, user_agent))
        if trace:
            self._traces.append(trace)
        if len(buffer) == MAX_BATCH_CLICKS:
            self._wake.set()

    @property
    def waiting(self) -> int:
        """Clicks that are recorded and neither sent nor dropped yet."""
        return len(self._buffer) + self._in_flight

    async def flush(self) -> None:
        """Send everything that is buffered now."""
        visits, self._buffer = self._buffer, []
        traces, self._traces = self._traces, []
        self._in_flight += len(visits)
        for start in range(0, len(visits), MAX_BATCH_CLICKS):
            part = visits[start : start + MAX_BATCH_CLICKS]
            await self._send_part(part, traces if start == 0 else ())

    async def run(self) -> None:
        """Send until cancelled; whoever cancels it flushes afterwards."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._flush_s)
            self._wake.clear()
            if self._buffer:
                # Shielded: a batch that is on its way when the process is asked to stop still arrives.
                await asyncio.shield(self.flush())

    async def _send_part(self, visits: Sequence[Visit], traces: Sequence[str]) -> None:
        batch_id = secrets.token_hex(12)  # one id for all tries, so that the batch is counted once whichever arrived
        try:
            await retry(
                lambda: self._send(batch_id, visits, traces),
                SENDING,
                is_safe=lambda error: isinstance(error, StoreError) and not isinstance(error, QueueFull),
            )
            self.totals.accepted += len(visits)
        except QueueFull:
            self.totals.dropped["queue_full"] += len(visits)
        except StoreError as error:
            self.totals.give_up(len(visits), error.may_have_happened)
        finally:
            self._in_flight -= len(visits)


async def count_now(send: Send, totals: ClickTotals, visit: Visit, deadline_s: float) -> None:
    """clicks=sync: the click is counted when this returns, or it is dropped and counted as dropped; it never raises."""
    try:
        await asyncio.wait_for(send(secrets.token_hex(12), [visit], ()), deadline_s)
        totals.accepted += 1
    except TimeoutError:
        totals.unsure += 1
    except StoreError as error:
        totals.give_up(1, error.may_have_happened)
