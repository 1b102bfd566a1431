"""The click worker: takes batches off the queue and counts each exactly once.

At least once from the queue, once into the counts: the click store remembers batch ids in the transaction that counts, and
only then is the batch acknowledged. A worker may be killed between any two lines; whoever comes next gets the batch again, and
applying it again changes nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from designs.building_blocks.dead_letter_queue import DeadLettersFull, should_park
from designs.building_blocks.retries import full_jitter_s
from designs.url_shortener.clicks import ClickBatch, counted, decode_batch, visitors
from designs.url_shortener.ports import ClickQueue, ClickStore, Delivery, StoreError, VisitorCounter

BATCHES_AT_ONCE = 50
MAX_DELIVERIES = 5
WAIT_MS = 1_000
# How long batch ids are remembered: far longer than any redelivery, which comes within minutes of a worker's end.
REMEMBERED_US = 7 * 86_400 * 1_000_000


@dataclass(slots=True)
class WorkerTotals:
    """What this worker did. Repeats are batches it got again after they had been counted."""

    applied_clicks: int = 0
    applied_batches: int = 0
    repeated_batches: int = 0
    dead_lettered_clicks: int = 0
    dead_lettered_batches: int = 0
    failures: int = 0


class ClickWorker:
    """One consumer of the click queue. `consumer` is its name; a worker restarted under it finds what it had in hand."""

    def __init__(
        self,
        queue: ClickQueue,
        store: ClickStore,
        visitor_counter: VisitorCounter,
        consumer: str,
        *,
        around: Callable[[str, Sequence[str]], AbstractContextManager[None]] = lambda name, traceparents: nullcontext(),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.totals = WorkerTotals()
        self._queue, self._store, self._visitors = queue, store, visitor_counter
        self._consumer = consumer
        self._around = around
        self._sleep = sleep
        self._clock_us = clock_us

    async def run(self) -> None:
        """Work until cancelled. An outage of the queue or the store is waited out, however long; nothing is given up for it."""
        failures = 0
        swept_at_s = 0.0
        while True:
            try:
                await self.work_once(WAIT_MS)
                failures = 0
                if time.monotonic() - swept_at_s > 600:
                    swept_at_s = time.monotonic()
                    await self._store.forget_batches(self._clock_us() - REMEMBERED_US)
            except StoreError:
                failures += 1
                self.totals.failures += 1
                await self._sleep(full_jitter_s(min(failures, 8), 0.05, 5.0, random.random))

    async def work_once(self, wait_ms: int) -> int:
        """Take what there is, count it, acknowledge it. Returns how many batches were finished."""
        deliveries = await self._queue.receive(self._consumer, BATCHES_AT_ONCE, wait_ms)
        readable: dict[str, tuple[Delivery, ClickBatch]] = {}
        finished: list[Delivery] = []
        for delivery in deliveries:
            try:
                batch = decode_batch(delivery.body)
            except ValueError as error:
                await self._give_up(delivery, str(error), clicks=0)
                continue
            if batch.id in readable:  # published twice after a time-out, and both came in one go
                finished.append(delivery)
                self.totals.repeated_batches += 1
            else:
                readable[batch.id] = (delivery, batch)
        finished += await self._apply(list(readable.values()))
        await self._queue.done(finished)
        return len(finished)

    async def _apply(self, taken: Sequence[tuple[Delivery, ClickBatch]]) -> list[Delivery]:
        """Count these batches; what fails with anything but an outage is tried alone, then later again, and at last given up."""
        if not taken:
            return []
        try:
            with self._around("count clicks", [trace for _, batch in taken for trace in batch.traces]):
                await self._count([batch for _, batch in taken])
        except StoreError:
            raise
        except Exception as error:
            if len(taken) > 1:
                return [delivery for one in taken for delivery in await self._apply([one])]
            delivery, batch = taken[0]
            if should_park(delivery.tries, MAX_DELIVERIES):
                await self._give_up(delivery, f"{type(error).__name__} while counting", clicks=batch.total)
            else:
                await self._queue.retry_later(delivery)
            return []
        return [delivery for delivery, _ in taken]

    async def _count(self, batches: Sequence[ClickBatch]) -> None:
        # Visitors first: adding them twice is harmless, and once the batch is counted nobody would come back for them.
        await self._visitors.add(visitors([click for batch in batches for click in batch.clicks]))
        new = await self._store.apply({batch.id: counted(batch.clicks) for batch in batches})
        self.totals.applied_batches += len(new)
        self.totals.repeated_batches += len(batches) - len(new)
        self.totals.applied_clicks += sum(batch.total for batch in batches if batch.id in new)

    async def _give_up(self, delivery: Delivery, reason: str, clicks: int) -> None:
        try:
            await self._queue.park(delivery, reason)
        except DeadLettersFull as error:
            raise StoreError(str(error), may_have_happened=False) from error
        self.totals.dead_lettered_batches += 1
        self.totals.dead_lettered_clicks += clicks
