"""The composition root: which backends stand behind the ports, as knobs and settings ask. Only here do core and backends meet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from designs.building_blocks.cache_layers import GuardedSharedCache, LocalCache, SharedCache
from designs.building_blocks.caching import CachePolicy, LayeredCache
from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.dead_letter_queue import DeadLetterQueue
from designs.building_blocks.stampede import monotonic_us
from designs.building_blocks.telemetry import Telemetry
from designs.url_shortener.backends.memory import MemoryClickStore, MemoryLinkStore, MemoryVisitorCounter
from designs.url_shortener.backends.sqlite import SqliteClickStore, SqliteLinkStore
from designs.url_shortener.blocklist import Blocklist
from designs.url_shortener.click_recorder import ClickRecorder, ClickTotals, count_now, to_queue, to_store
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.clicks import Visit, clicks_of
from designs.url_shortener.codes import code_source
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.links import Link
from designs.url_shortener.metrics import observe_messages, observe_replica, observe_syncs, observe_worker
from designs.url_shortener.miss_limit import MissLimit
from designs.url_shortener.ports import ClickQueue, ClickStore, LinkStore, VisitorCounter
from designs.url_shortener.redirects import RedirectRoute
from designs.url_shortener.replica import Replica, follow, sweep
from designs.url_shortener.settings import ShortenerSettings
from designs.url_shortener.shortener import Shortener
from designs.url_shortener.write_behind import WriteBehindTotals, carry_forever

MARKER_TTL_MS = 30_000
SYNC_CLICK_DEADLINE_S = 0.25
PENDING_BOUND = 50_000
BREAKER_OPEN_S = 1.0


def assemble(knobs: ShortenerKnobs, settings: ShortenerSettings, telemetry: Telemetry, clock_us: Callable[[], int]) -> Replica:
    """Choose the backends and put the replica together; nothing is started."""
    store = _timed_store(_link_store(knobs, settings), knobs, telemetry)
    redis = _Redis(knobs, settings, telemetry) if knobs.needs_redis else None
    blocklist = Blocklist(settings.blocklist) if settings.blocklist is not None else None
    close: list[Callable[[], Any]] = [store.close]
    background: list[Callable[[], Any]] = [lambda: sweep(store, clock_us)]

    breaker = CircuitBreaker(time.monotonic, open_s=BREAKER_OPEN_S) if knobs.shared_layer else None
    shared: SharedCache[Link] | None = None
    if redis is not None and breaker is not None:
        shared = GuardedSharedCache(redis.shared_cache(), breaker, knobs.cache_deadline_ms / 1000)
    cache = layered_cache(knobs, store, shared)
    pending = redis.pending(settings.process_name) if redis is not None and knobs.cache == "write-behind" else None
    shortener = Shortener(
        knobs,
        store,
        code_source(knobs, store.lease_range, redis.lease if redis is not None else None, settings.derived_key("codes")),
        clock_us=clock_us,
        cache=cache,
        pending=pending,
        announcements=redis.invalidations() if redis is not None and cache is not None and shared is None else None,
        own_hosts=settings.own_hosts(),
        blocked_hosts=blocklist,
    )
    totals = WriteBehindTotals()
    if pending is not None:
        from designs.url_shortener.backends.redis import decode_link

        ttl_ms = int(knobs.cache_ttl_s * 1000)
        background.append(lambda: carry_forever(pending, store, decode_link, ttl_ms, totals))
    if redis is not None and cache is not None and knobs.local_layer:
        invalidations = redis.invalidations()
        background.append(lambda: follow(invalidations, cache))

    counting = _counting(knobs, settings, telemetry, redis)
    if counting.worker is not None:
        background.append(counting.worker.run)
    if counting.recorder is not None:
        background.append(counting.recorder.run)
    close += counting.close
    if redis is not None:
        close.append(redis.close)
    replica = Replica(
        knobs,
        settings,
        telemetry,
        store,
        shortener,
        RedirectRoute(
            shortener,
            knobs.redirect,
            MissLimit(knobs.misses_per_minute, time.monotonic),
            counting.recorder,
            counting.now,
            max_ready=knobs.cache_entries,
        ),
        counting.store,
        counting.visitors,
        counting.dead_letters,
        settings.owners(),
        settings.admin_key.get_secret_value() if settings.admin_key is not None else None,
        settings.public_url.rstrip("/"),
        cache=cache,
        breaker=breaker,
        recorder=counting.recorder,
        worker=counting.worker,
        click_totals=counting.totals,
        write_behind=totals,
        ping_redis=redis.ping if redis is not None else None,
        background=background,
        close=close,
    )
    observe_replica(replica)
    messages: dict[str, Callable[[], int]] = {}
    if counting.queue is not None:
        messages["clicks"] = lambda: counting.totals.batches
    if pending is not None:
        messages["pending"] = lambda: pending.added
    if messages:
        observe_messages(telemetry, messages)
    if knobs.store == "sqlite":
        files: list[Any] = [file for file in (store, counting.store) if file is not None]
        observe_syncs(telemetry, "sqlite", files)
    if counting.worker is not None and counting.queue is not None:
        observe_worker(telemetry, counting.worker)
    return replica


class _Redis:
    """The Redis backends of one process, and their connections: those of the cache give up early, the others wait."""

    def __init__(self, knobs: ShortenerKnobs, settings: ShortenerSettings, telemetry: Telemetry) -> None:
        from designs.url_shortener.backends import redis as backend

        if settings.redis_url is None:
            raise ValueError("these knobs need Redis; set REDIS_URL, or choose cache=none ids=lease clicks=batched")
        url = settings.redis_url.get_secret_value()
        self._backend = backend
        self._telemetry = telemetry
        self._fast = backend.connect(url, knobs.cache_deadline_ms / 1000)
        self.client = backend.connect(url, backend.QUEUE_DEADLINE_S)
        self._numbers = telemetry.timed_port(backend.RedisNumbers(self.client), "redis", ["lease_range"])

    def shared_cache(self) -> Any:
        cache = self._backend.RedisSharedCache(self._fast, MARKER_TTL_MS)
        return self._telemetry.timed_port(cache, "redis", ["get", "fill", "invalidate", "acquire", "release"], prefix="shared_")

    def invalidations(self) -> Any:
        return self._backend.RedisInvalidations(self.client)

    async def lease(self, size: int) -> int:
        number: int = await self._numbers.lease_range("links", size)
        return number

    def visitors(self) -> Any:
        visitors = self._backend.RedisVisitorCounter(self.client)
        return self._telemetry.timed_port(visitors, "redis", ["add", "count"], prefix="visitors_")

    def queue(self) -> Any:
        from designs.url_shortener.backends.redis_streams import RedisClickQueue

        return self._telemetry.timed_port(RedisClickQueue(self.client), "redis", ["publish", "receive", "done", "park"])

    def pending(self, consumer: str) -> Any:
        from designs.url_shortener.backends.redis_streams import RedisPendingLinks

        links = RedisPendingLinks(self.client, PENDING_BOUND, consumer)
        return self._telemetry.timed_port(links, "redis", ["add", "holds", "stored"], prefix="pending_")

    async def ping(self) -> bool:
        try:
            async with asyncio.timeout(0.5):
                return bool(await self._fast.ping())
        except Exception:  # whatever is wrong with it, it is not there
            return False

    async def close(self) -> None:
        await self._fast.aclose()
        await self.client.aclose()


@dataclass
class _Counting:
    """The parts that count clicks, as the knob `clicks` chose them."""

    store: ClickStore | None = None
    visitors: VisitorCounter | None = None
    queue: ClickQueue | None = None
    dead_letters: DeadLetterQueue | None = None
    recorder: ClickRecorder | None = None
    now: Callable[[Visit], Any] | None = None
    worker: ClickWorker | None = None
    totals: ClickTotals = field(default_factory=ClickTotals)
    close: list[Callable[[], Any]] = field(default_factory=list)


def _counting(knobs: ShortenerKnobs, settings: ShortenerSettings, telemetry: Telemetry, redis: _Redis | None) -> _Counting:
    parts = _Counting()
    if knobs.clicks == "off":
        return parts
    secret = settings.derived_key("visitors")
    parts.store = _click_store(knobs, settings, telemetry)
    parts.visitors = redis.visitors() if redis is not None else MemoryVisitorCounter()
    parts.close.append(parts.store.close)
    send = to_store(parts.store, parts.visitors)
    if knobs.clicks == "redis_streams":
        assert redis is not None
        parts.queue = redis.queue()
        parts.dead_letters = parts.queue.dead_letters
        send = to_queue(parts.queue)
        if knobs.store == "memory":  # what is in memory can only be counted here
            parts.worker = ClickWorker(parts.queue, parts.store, parts.visitors, settings.process_name)
    if knobs.clicks == "sync":
        totals = parts.totals
        parts.now = lambda visit: count_now(send, totals, clicks_of({visit: 1}, time.time(), secret), SYNC_CLICK_DEADLINE_S)
    else:
        parts.recorder = ClickRecorder(send, secret, knobs.click_flush_ms / 1000, knobs.click_buffer)
        parts.totals = parts.recorder.totals
    return parts


def _click_store(knobs: ShortenerKnobs, settings: ShortenerSettings, telemetry: Telemetry) -> ClickStore:
    """Where counts are kept: beside the links, in a file of their own."""
    store: ClickStore = MemoryClickStore() if knobs.store == "memory" else SqliteClickStore(settings.clicks_file)
    timed: Any = telemetry.timed_port(store, knobs.store, ["apply", "stats"], prefix="clicks_")
    return timed  # type: ignore[no-any-return]


def _link_store(knobs: ShortenerKnobs, settings: ShortenerSettings) -> LinkStore:
    return MemoryLinkStore() if knobs.store == "memory" else SqliteLinkStore(settings.links_file)


def _timed_store(store: LinkStore, knobs: ShortenerKnobs, telemetry: Telemetry) -> Any:
    verbs = [
        "insert_if_absent",
        "get",
        "edit",
        "take_visit",
        "visits_taken",
        "page",
        "lease_range",
        "find_request",
        "claim_request",
    ]
    return telemetry.timed_port(store, knobs.store, verbs)


def layered_cache(
    knobs: ShortenerKnobs, store: LinkStore, shared: SharedCache[Link] | None, clock_us: Callable[[], int] = monotonic_us
) -> LayeredCache[Link] | None:
    """The layers the knobs ask for in front of the store, or None."""
    if knobs.cache == "none":
        return None

    async def load(code: str) -> tuple[int, Link | None]:
        link = await store.get(code)
        return (link.version, link) if link is not None else (0, None)

    negative_s = knobs.negative_ttl_s if shared is not None else min(knobs.negative_ttl_s, knobs.staleness_s)
    policy = CachePolicy(
        ttl_us=int(knobs.cache_ttl_s * 1e6) if shared is not None else int(knobs.staleness_s * 1e6),
        local_ttl_us=int(knobs.staleness_s * 1e6),
        jitter=knobs.cache_ttl_jitter,
        negative_ttl_us=int(negative_s * 1e6),
        stampede=knobs.stampede,
        marker_ttl_us=max(MARKER_TTL_MS * 1000, int(knobs.staleness_s * 1e6)),
    )
    local: LocalCache[Link] | None = LocalCache(knobs.cache_entries, clock_us) if knobs.local_layer else None
    return LayeredCache(local=local, shared=shared, load=load, policy=policy, on_shared_down=knobs.on_cache_down, clock_us=clock_us)
