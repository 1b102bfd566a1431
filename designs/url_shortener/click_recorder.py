"""The replica's side of the clicks: a bounded buffer that the hot path appends to, and a task that sends it off in batches.

What each kind promises, on top of "a redirect never fails or waits because of its click" (sync: never fails):

    redis_streams   counted once the worker has applied the batch; a killed replica loses at most click_flush_ms of clicks
    batched         the same, with the replica as its own worker
    sync            in the click store before the visitor is sent on
    off             nothing

Accepted = sent on + dropped: a drop (buffer full, queue refusing) is counted, never silent. While the queue is gone, clicks are
held, up to the bound of the buffer; a killed replica loses those too.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from designs.building_blocks.retries import RetryPolicy, full_jitter_s, retry
from designs.url_shortener.clicks import Click, ClickBatch, Visit, clicks_of, counted, encode_batch, visitors
from designs.url_shortener.ports import ClickQueue, ClickStore, QueueFull, StoreError, VisitorCounter

# At the end of a replica's life. Sending a batch again is safe: it is counted by its id.
SENDING = RetryPolicy(attempts=4, total_s=2.0, base_s=0.02, cap_s=0.5)
HOLD_BASE_S, HOLD_CAP_S = 0.1, 1.0  # full jitter between two tries while the queue is gone
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


@dataclass(slots=True)
class _Held:
    """A batch that has not arrived for certain. `maybe`: a try may have arrived all the same."""

    batch: ClickBatch
    maybe: bool = False


class ClickRecorder:
    """Counts equal visits together and sends them as one batch each `flush_s`, dated then; holds at most `bound` clicks.

    A batch that can't be sent is held and sent again under its id, the oldest first, until the queue is back.
    """

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
        self._held: deque[_Held] = deque()
        self._sending = asyncio.Lock()

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
        """The end: send everything that is buffered or held; returns once it has arrived, or been given up and counted so."""
        async with self._sending:
            self._pack()
            down: StoreError | None = None
            while self._held:
                held = self._held.popleft()
                if down is None:
                    down = await self._last_tries(held)
                else:  # a queue that refused one batch after several tries is not asked for every other
                    self._given_up(held, down)

    async def run(self) -> None:
        """Send until cancelled; whoever cancels it flushes afterwards."""
        failures = 0
        while True:
            pause_s = full_jitter_s(failures, HOLD_BASE_S, HOLD_CAP_S, random.random) if failures else 0.0
            await asyncio.sleep(max(self._flush_s, pause_s))
            if self._visits or self._held:
                # Shielded: a batch that is on its way when the process is asked to stop still arrives.
                failures = 0 if await asyncio.shield(self._send_held()) else failures + 1

    def _pack(self) -> None:
        """What is buffered becomes a batch, dated now."""
        visits, self._visits = self._visits, {}
        traces, self._traces = self._traces, []
        if visits:
            batch = ClickBatch(secrets.token_hex(12), clicks_of(visits, self._clock_s(), self._secret), traces)
            self._held.append(_Held(batch))

    async def _send_held(self) -> bool:
        """The oldest first, each once. False: the queue is gone, and the rest is held."""
        async with self._sending:
            self._pack()
            while self._held:
                held = self._held[0]
                try:
                    await self._send(held.batch)
                except QueueFull as error:  # it is there, and says how much it takes: what is more is dropped here
                    self._given_up(self._held.popleft(), error)
                except StoreError as error:
                    held.maybe = held.maybe or error.may_have_happened
                    return False
                else:
                    self._arrived(self._held.popleft())
            return True

    async def _last_tries(self, held: _Held) -> StoreError | None:
        """All tries carry one batch id, so that it is counted once whichever of them arrived. The error when the queue is gone."""

        def note(attempt: int, wait_s: float, error: Exception) -> None:
            held.maybe = held.maybe or (isinstance(error, StoreError) and error.may_have_happened)

        try:
            await retry(
                lambda: self._send(held.batch),
                SENDING,
                is_safe=lambda error: isinstance(error, StoreError) and not isinstance(error, QueueFull),
                on_retry=note,
            )
        except StoreError as error:
            self._given_up(held, error)
            return None if isinstance(error, QueueFull) else error
        self._arrived(held)
        return None

    def _arrived(self, held: _Held) -> None:
        self.totals.accepted += held.batch.total
        self.totals.batches += 1
        self._waiting -= held.batch.total

    def _given_up(self, held: _Held, error: StoreError) -> None:
        self.totals.give_up(held.batch.total, error, maybe=held.maybe)
        self._waiting -= held.batch.total


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
