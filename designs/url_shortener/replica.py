"""One replica: what it consists of, and its life from the first background task to the last flushed click."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from designs.building_blocks.background_tasks import end
from designs.building_blocks.cache_layers import CacheUnavailable
from designs.building_blocks.caching import LayeredCache
from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.dead_letter_queue import DeadLetterQueue
from designs.building_blocks.settings import redacted
from designs.building_blocks.telemetry import Telemetry
from designs.url_shortener.click_recorder import ClickRecorder, ClickTotals
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.links import Link
from designs.url_shortener.ports import ClickStore, LinkStore, StoreError, VisitorCounter
from designs.url_shortener.redirects import RedirectRoute
from designs.url_shortener.settings import ShortenerSettings
from designs.url_shortener.shortener import Shortener
from designs.url_shortener.write_behind import WriteBehindTotals

REQUESTS_KEPT_US = 24 * 3600 * 1_000_000
SWEEP_EVERY_S = 600.0

log = structlog.get_logger()


@dataclass
class Replica:
    """What one replica consists of. Routes find it as `app.state.services`."""

    knobs: ShortenerKnobs
    settings: ShortenerSettings
    telemetry: Telemetry
    store: LinkStore
    shortener: Shortener
    redirect: RedirectRoute
    clicks: ClickStore | None
    visitors: VisitorCounter | None
    dead_letters: DeadLetterQueue | None
    owners: dict[bytes, str]
    admin_key: str | None
    public_url: str
    cache: LayeredCache[Link] | None = None
    breaker: CircuitBreaker | None = None
    recorder: ClickRecorder | None = None
    worker: ClickWorker | None = None
    click_totals: ClickTotals = field(default_factory=ClickTotals)
    write_behind: WriteBehindTotals = field(default_factory=WriteBehindTotals)
    ping_redis: Callable[[], Any] | None = None
    background: list[Callable[[], Any]] = field(default_factory=list)  # coroutine functions that run as long as the replica
    close: list[Callable[[], Any]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[None]:
    """Start what runs beside the requests; at the end send the clicks off, then close."""
    # What was made so far lives as long as the process: without this, each full collection would walk all of it.
    gc.collect()
    gc.freeze()
    log.info("starting", settings=redacted(replica.settings), knobs=replica.knobs.model_dump())
    tasks = [asyncio.create_task(start()) for start in replica.background]
    for task in tasks:
        task.add_done_callback(_alarm)
    try:
        yield
    finally:
        await end(tasks)
        if replica.recorder is not None:
            await replica.recorder.flush()
        for close in replica.close:
            await close()


def _alarm(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background_task_failed", exc_info=error)


async def follow(invalidations: Any, cache: LayeredCache[Link]) -> None:
    """Drop what other replicas changed. After each break everything is dropped: some news may have been missed."""
    while True:
        try:
            async for message in invalidations.listen():
                if message is None:
                    cache.clear_local()
                else:
                    cache.drop_local(*message)
        except CacheUnavailable:
            await asyncio.sleep(0.5)


async def sweep(store: LinkStore, clock_us: Callable[[], int]) -> None:
    """Forget what Idempotency-Keys stood for after a day."""
    while True:
        with contextlib.suppress(StoreError):
            await store.forget_requests(clock_us() - REQUESTS_KEPT_US)
        await asyncio.sleep(SWEEP_EVERY_S)
