"""The composition root: which backends stand behind the ports, as knobs and settings ask. Only here do core and backends meet."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from designs.building_blocks.cache_layers import GuardedSharedCache, LocalCache, SharedCache
from designs.building_blocks.caching import CachePolicy, LayeredCache
from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.dead_letter_queue import DeadLetterQueue
from designs.building_blocks.dependencies import Dependency, keep_watch
from designs.building_blocks.fault_hooks import FaultHooks
from designs.building_blocks.stampede import monotonic_us
from designs.building_blocks.telemetry import Telemetry
from designs.url_shortener.backends.memory import MemoryClickStore, MemoryLinkStore, MemoryVisitorCounter
from designs.url_shortener.backends.sqlite import SqliteClickStore, SqliteLinkStore
from designs.url_shortener.blocklist import Blocklist
from designs.url_shortener.click_recorder import ClickRecorder, ClickTotals, count_now, to_queue, to_store
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.clicks import Visit, clicks_of
from designs.url_shortener.codes import code_source
from designs.url_shortener.guards import (
    guarded_clicks,
    guarded_links,
    guarded_queue,
)
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.links import Link
from designs.url_shortener.metrics import observe_messages, observe_replica, observe_syncs, observe_worker
from designs.url_shortener.miss_limit import MissLimit
from designs.url_shortener.ports import ClickQueue, ClickStore, LinkStore, VisitorCounter
from designs.url_shortener.redirects import RedirectRoute
from designs.url_shortener.redis_parts import BREAKER_OPEN_S, MARKER_TTL_MS, RedisParts, watched
from designs.url_shortener.replica import Replica, Subscription, follow, sweep
from designs.url_shortener.settings import ShortenerSettings
from designs.url_shortener.shortener import Shortener
from designs.url_shortener.watching import dependency, probe_store
from designs.url_shortener.write_behind import WriteBehindTotals, carry_forever

SYNC_CLICK_DEADLINE_S = 0.25
LINK_VERBS = (
    "insert_if_absent",
    "get",
    "edit",
    "take_visit",
    "visits_taken",
    "page",
    "lease_range",
    "find_request",
    "claim_request",
)


def assemble(knobs: ShortenerKnobs, settings: ShortenerSettings, telemetry: Telemetry, clock_us: Callable[[], int]) -> Replica:
    """Choose the backends and put the replica together; nothing is started."""
    hooks = FaultHooks.open(settings.fault_file) if settings.fault_file is not None else None
    if hooks is not None:
        clock_us = hooks.clock_us(clock_us)
    dependencies = {"store": dependency("store")}
    store = _timed_store(guarded_links(_link_store(knobs, settings, hooks), dependencies["store"]), knobs, telemetry)
    redis = RedisParts(knobs, settings, telemetry) if knobs.needs_redis else None
    blocklist = Blocklist(settings.blocklist) if settings.blocklist is not None else None
    close: list[Callable[[], Any]] = [store.close]
    background: list[Callable[[], Any]] = [lambda: sweep(store, clock_us)]

    breaker = CircuitBreaker(time.monotonic, open_s=BREAKER_OPEN_S) if knobs.shared_layer else None
    shared: SharedCache[Link] | None = None
    if redis is not None and breaker is not None:
        shared = GuardedSharedCache(redis.shared_cache(), breaker, knobs.cache_deadline_ms / 1000)
    cache = layered_cache(knobs, store, shared)
    probes: dict[str, Callable[[], Awaitable[None]]] = {"store": lambda: probe_store(store, dependencies["store"])}
    if redis is not None:
        dependencies["redis"], probes["redis"] = watched(redis, breaker, shared)
    pending = redis.pending(settings.process_name) if redis is not None and knobs.cache == "write-behind" else None
    shortener = Shortener(
        knobs,
        store,
        code_source(knobs, store.lease_range, redis.lease if redis is not None else None, settings.derived_key("codes"), clock_us),
        clock_us=clock_us,
        cache=cache,
        pending=pending,
        announcements=redis.announcements() if redis is not None and cache is not None and shared is None else None,
        own_hosts=settings.own_hosts(),
        blocked_hosts=blocklist,
    )
    totals = WriteBehindTotals()
    if pending is not None:
        from designs.url_shortener.backends.redis import decode_link

        ttl_ms = int(knobs.cache_ttl_s * 1000)
        background.append(lambda: carry_forever(pending, store, decode_link, ttl_ms, totals))
    if redis is not None and cache is not None and knobs.local_layer:
        invalidations, subscription = redis.invalidations(), Subscription()
        dependencies["redis"].watch("invalidations", lambda: subscription.stands)
        background.append(lambda: follow(invalidations, cache, subscription))

    counting = _counting(knobs, settings, telemetry, redis, dependencies, clock_us, hooks)
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
        clock_us,
        cache=cache,
        breakers={"shared_cache": breaker} if breaker is not None else {},
        recorder=counting.recorder,
        worker=counting.worker,
        click_totals=counting.totals,
        write_behind=totals,
        dependencies=dependencies,
        probes=probes,
        background=[*background, *map(_watch, dependencies.values(), (probes[server] for server in dependencies))],
        close=close,
    )
    if redis is not None:
        replica.breakers.update({name: patience.breaker for name, patience in redis.patiences.items()})
    telemetry.dependencies.extend(dependencies.values())
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


def _watch(server: Dependency, probe: Callable[[], Awaitable[None]]) -> Callable[[], Any]:
    """Redis is asked now and then. The store, which whoever comes uses, is only asked when its last use failed."""

    async def where_it_failed() -> None:
        if server.degraded:
            await probe()

    return lambda: keep_watch(server, where_it_failed if server.name == "store" else probe)


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


def _counting(
    knobs: ShortenerKnobs,
    settings: ShortenerSettings,
    telemetry: Telemetry,
    redis: RedisParts | None,
    dependencies: Mapping[str, Dependency],
    clock_us: Callable[[], int],
    hooks: FaultHooks | None,
) -> _Counting:
    parts = _Counting()
    if knobs.clicks == "off":
        return parts
    secret = settings.derived_key("visitors")
    parts.store = _click_store(knobs, settings, telemetry, dependencies["store"], clock_us, hooks)
    parts.visitors = redis.visitors() if redis is not None else MemoryVisitorCounter()
    parts.close.append(parts.store.close)
    send = to_store(parts.store, parts.visitors)
    if knobs.clicks == "redis_streams":
        assert redis is not None
        parts.queue = redis.queue()
        parts.dead_letters = redis.guarded_dead_letters(parts.queue.dead_letters)
        send = to_queue(guarded_queue(parts.queue, dependencies["redis"]))
        if knobs.store == "memory":  # what is in memory can only be counted here
            parts.worker = ClickWorker(parts.queue, parts.store, parts.visitors, settings.process_name, clock_us=clock_us)
    if knobs.clicks == "sync":
        totals = parts.totals
        parts.now = lambda visit: count_now(send, totals, clicks_of({visit: 1}, clock_us() / 1e6, secret), SYNC_CLICK_DEADLINE_S)
    else:
        flush_s = knobs.click_flush_ms / 1000
        parts.recorder = ClickRecorder(send, secret, flush_s, knobs.click_buffer, lambda: clock_us() / 1e6)
        parts.totals = parts.recorder.totals
    return parts


def _click_store(
    knobs: ShortenerKnobs,
    settings: ShortenerSettings,
    telemetry: Telemetry,
    server: Dependency,
    clock_us: Callable[[], int],
    hooks: FaultHooks | None,
) -> ClickStore:
    """Where counts are kept: beside the links, in a file of their own."""
    store: Any = MemoryClickStore(clock_us) if knobs.store == "memory" else SqliteClickStore(settings.clicks_file, clock_us)
    if hooks is not None:
        store = hooks.slowed(store, ["apply", "stats", "forget_batches"])
    timed: ClickStore = telemetry.timed_port(guarded_clicks(store, server), knobs.store, ["apply", "stats"], prefix="clicks_")
    return timed


def _link_store(knobs: ShortenerKnobs, settings: ShortenerSettings, hooks: FaultHooks | None) -> LinkStore:
    store: LinkStore = MemoryLinkStore() if knobs.store == "memory" else SqliteLinkStore(settings.links_file)
    if hooks is not None:
        store = hooks.slowed(store, [*LINK_VERBS, "forget_requests", "count"])
    return store


def _timed_store(store: LinkStore, knobs: ShortenerKnobs, telemetry: Telemetry) -> Any:
    return telemetry.timed_port(store, knobs.store, LINK_VERBS)


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
