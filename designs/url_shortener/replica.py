"""One replica: what it consists of, and its life from the first background task to the last flushed click."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from designs.building_blocks.background_tasks import beside_the_requests
from designs.building_blocks.cache_layers import CacheUnavailable
from designs.building_blocks.caching import LayeredCache
from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.dead_letter_queue import DeadLetterQueue
from designs.building_blocks.dependencies import Dependency
from designs.building_blocks.settings import redacted
from designs.building_blocks.telemetry import Telemetry
from designs.building_blocks.watching import alarm
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
SUBSCRIBE_AGAIN_S = 0.25

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
    clock_us: Callable[[], int]
    cache: LayeredCache[Link] | None = None
    breakers: dict[str, CircuitBreaker] = field(default_factory=dict)
    recorder: ClickRecorder | None = None
    worker: ClickWorker | None = None
    click_totals: ClickTotals = field(default_factory=ClickTotals)
    write_behind: WriteBehindTotals = field(default_factory=WriteBehindTotals)
    dependencies: dict[str, Dependency] = field(default_factory=dict)  # "store", and "redis" where it is used
    probes: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    background: list[Callable[[], Any]] = field(default_factory=list)  # coroutine functions that run as long as the replica
    close: list[Callable[[], Any]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[None]:
    """Start what runs beside the requests; at the end send the clicks off, then close."""
    log.info("starting", settings=redacted(replica.settings), knobs=replica.knobs.model_dump())
    try:
        async with beside_the_requests(replica.background, alarm):
            yield
    finally:
        if replica.recorder is not None:
            await replica.recorder.flush()
        for close in replica.close:
            await close()


class Subscription:
    """Whether news of other replicas arrives. Until the contrary is known it is taken to."""

    def __init__(self) -> None:
        self.stands = True


async def follow(invalidations: Any, cache: LayeredCache[Link], subscription: Subscription) -> None:
    """Drop what other replicas changed. After each break everything is dropped: some news may have been missed.

    That bounds nothing: what this process holds dies S after it was fetched, with news or without.
    """
    while True:
        try:
            async for message in invalidations.listen():
                if message is None:
                    cache.clear_local()
                    subscription.stands = True
                else:
                    cache.drop_local(*message)
        except CacheUnavailable:
            subscription.stands = False
            await asyncio.sleep(SUBSCRIBE_AGAIN_S)


async def sweep(store: LinkStore, clock_us: Callable[[], int]) -> None:
    """Forget what Idempotency-Keys stood for after a day."""
    while True:
        with contextlib.suppress(StoreError):
            await store.forget_requests(clock_us() - REQUESTS_KEPT_US)
        await asyncio.sleep(SWEEP_EVERY_S)
