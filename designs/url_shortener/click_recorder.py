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
from designs.url_shortener.clicks import Click, ClickBatch, Visit, clicks_of, counted, encode_batch, visitors
from designs.url_shortener.ports import ClickQueue, ClickStore, QueueFull, StoreError, VisitorCounter

# Sending a batch again is safe: it is counted by its id. Short, because the buffer fills meanwhile.
SENDING = RetryPolicy(attempts=4, total_s=2.0, base_s=0.02, cap_s=0.5)
MAX_TRACES = 64  # of one batch; whoever counts it links back to no more


class Send(Protocol):
    """Puts a batch where it will be counted. Raises StoreError."""

    def __call__(self, batch: ClickBatch) -> Awaitable[None]: ...


@dataclass(slots=True)
class ClickTotals:
    """What became of the clicks of this process: accepted + unsure + dropped = all recorded that are not buffered any more.

    `unsure` are those whose batch may or may not have arrived (a time-out); they are counted at most once either way. `batches`
    are those that carried the accepted clicks.
    """

    accepted: int = 0
    batches: int = 0
    unsure: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: {"buffer_full": 0, "queue_full": 0, "queue_down": 0})

    def give_up(self, clicks: int, error: StoreError, *, maybe: bool = False) -> None:
        """`maybe`: an earlier try may have arrived, whatever became of the last."""
        if maybe or error.may_have_happened:
            self.unsure += clicks
        else:
            self.dropped["queue_full" if isinstance(error, QueueFull) else "queue_down"] += clicks


def to_queue(queue: ClickQueue) -> Send:
    """Onto the queue; a worker counts it."""

    async def send(batch: ClickBatch) -> None:
        await queue.publish(encode_batch(batch))

    return send


def to_store(store: ClickStore, visitor_counter: VisitorCounter) -> Send:
    """Straight into the click store."""

    async def send(batch: ClickBatch) -> None:
        await store.apply({batch.id: counted(batch.clicks)})
        with contextlib.suppress(StoreError):  # unique visitors are an estimate; the counts are not
            await visitor_counter.add(visitors(batch.clicks))

    return send


class ClickRecorder:
    """Counts equal visits together and sends them as one batch each `flush_s`, dated then; holds at most `bound` clicks."""

    def __init__(self, send: Send, secret: bytes, flush_s: float, bound: int, clock_s: Callable[[], float] = time.time) -> None:
        self.totals = ClickTotals()
        self._send = send
        self._secret = secret
        self._flush_s = flush_s
        self._bound = bound
        self._clock_s = clock_s
        self._visits: dict[Visit, int] = {}
        self._traces: list[str] = []
        self._waiting = 0
        self._flushing = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Clicks that are recorded and neither sent nor dropped yet."""
        return self._waiting

    def record(self, code: str, headers: Iterable[tuple[bytes, bytes]], client: tuple[str, int] | None, trace: str = "") -> None:
        """Note a visit, from the request's headers. Never waits; at the bound the click is dropped and counted as dropped."""
        if self._waiting >= self._bound:
            self.totals.dropped["buffer_full"] += 1
            return
        self._waiting += 1
        referrer = user_agent = b""
        for name, value in headers:
            if name == b"user-agent":
                user_agent = value
            elif name == b"referer":
                referrer = value
        visit = (code, referrer, client[0] if client else "", user_agent)
        visits = self._visits
        visits[visit] = visits.get(visit, 0) + 1
        if trace and len(self._traces) < MAX_TRACES:
            self._traces.append(trace)

    async def flush(self) -> None:
        """Send everything that is buffered now; returns once that, and what was on its way already, has arrived or failed."""
        async with self._flushing:
            visits, self._visits = self._visits, {}
            traces, self._traces = self._traces, []
            if visits:
                batch = ClickBatch(secrets.token_hex(12), clicks_of(visits, self._clock_s(), self._secret), traces)
                await self._send_or_drop(batch)

    async def run(self) -> None:
        """Send until cancelled; whoever cancels it flushes afterwards."""
        while True:
            await asyncio.sleep(self._flush_s)
            if self._visits:
                # Shielded: a batch that is on its way when the process is asked to stop still arrives.
                await asyncio.shield(self.flush())

    async def _send_or_drop(self, batch: ClickBatch) -> None:
        """All tries carry one batch id, so that the batch is counted once whichever of them arrived."""
        maybe = False

        def note(attempt: int, wait_s: float, error: Exception) -> None:
            nonlocal maybe
            maybe = maybe or (isinstance(error, StoreError) and error.may_have_happened)

        try:
            await retry(
                lambda: self._send(batch),
                SENDING,
                is_safe=lambda error: isinstance(error, StoreError) and not isinstance(error, QueueFull),
                on_retry=note,
            )
            self.totals.accepted += batch.total
            self.totals.batches += 1
        except StoreError as error:
            self.totals.give_up(batch.total, error, maybe=maybe)
        finally:
            self._waiting -= batch.total


async def count_now(send: Send, totals: ClickTotals, clicks: Sequence[Click], deadline_s: float) -> None:
    """clicks=sync: they are counted when this returns, or dropped and counted as dropped; it never raises."""
    batch = ClickBatch(secrets.token_hex(12), clicks)
    try:
        await asyncio.wait_for(send(batch), deadline_s)
        totals.accepted += batch.total
        totals.batches += 1
    except TimeoutError:
        totals.unsure += batch.total
    except StoreError as error:
        totals.give_up(batch.total, error)
