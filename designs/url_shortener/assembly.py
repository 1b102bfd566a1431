"""The composition root: which backends stand behind the ports, as knobs and settings ask. Only here do core and backends meet."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
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
from designs.building_blocks.watching import dependency
from designs.url_shortener.backends.memory import MemoryVisitorCounter
from designs.url_shortener.blocklist import Blocklist
from designs.url_shortener.click_recorder import ClickRecorder, ClickTotals, count_now, to_queue, to_store
from designs.url_shortener.click_traces import LoggedQueue, traced_count, traced_publish, traced_work
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.clicks import Visit, clicks_of
from designs.url_shortener.codes import code_source
from designs.url_shortener.guards import (
    guarded_clicks,
    guarded_letters,
    guarded_links,
    guarded_queue,
)
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.links import Link
from designs.url_shortener.metrics import observe_messages, observe_replica, observe_syncs, observe_worker
from designs.url_shortener.miss_limit import MissLimit
from designs.url_shortener.ports import ClickStore, LinkStore, VisitorCounter
from designs.url_shortener.queue_parts import SERVER_NAMES, SERVER_OF, open_click_queue
from designs.url_shortener.redirects import RedirectRoute
from designs.url_shortener.redis_parts import BREAKER_OPEN_S, MARKER_TTL_MS, RedisParts, watched
from designs.url_shortener.replica import Replica, Subscription, follow, sweep
from designs.url_shortener.settings import ShortenerSettings
from designs.url_shortener.shortener import Shortener
from designs.url_shortener.store_parts import LINK_VERBS, StoreParts
from designs.url_shortener.watching import probe_queue, probe_store
from designs.url_shortener.write_behind import WriteBehindTotals, carry_forever

SYNC_CLICK_DEADLINE_S = 0.25
QUEUE_VERBS = ("publish", "receive", "done", "retry_later", "park")


def assemble(knobs: ShortenerKnobs, settings: ShortenerSettings, telemetry: Telemetry, clock_us: Callable[[], int]) -> Replica:
    """Choose the backends and put the replica together; nothing is started."""
    hooks = FaultHooks.open(settings.fault_file) if settings.fault_file is not None else None
    if hooks is not None:
        clock_us = hooks.clock_us(clock_us)
        telemetry.observe_faults(hooks)
    dependencies = {"store": dependency("store")}
    stores = StoreParts(knobs, settings, clock_us, hooks)
    store: Any = telemetry.timed_port(guarded_links(stores.links(), dependencies["store"]), knobs.store, LINK_VERBS)
    redis = RedisParts(knobs, settings, telemetry) if knobs.needs_redis else None
    blocklist = Blocklist(settings.blocklist) if settings.blocklist is not None else None
    close: list[Callable[[], Any]] = [store.close]
    background: list[Callable[[], Any]] = [lambda: sweep(store, clock_us), telemetry.loop_lag.watch]

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

    counting = _counting(knobs, settings, telemetry, redis, stores, dependencies, clock_us)
    if knobs.needs_kafka:
        probes["kafka"] = lambda: probe_queue(counting.queue, dependencies["kafka"])
    if counting.worker is not None:
        background.append(counting.worker.run)
    if counting.recorder is not None:
        background.append(counting.recorder.run)
    close += [*counting.close, stores.close]
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
        replica.breakers.update(redis.breakers)
    telemetry.dependencies.extend(dependencies.values())
    observe_replica(replica)
    messages: dict[str, Callable[[], int]] = {}
    if counting.queue is not None:
        messages["clicks"] = lambda: counting.totals.batches
    if pending is not None:
        messages["pending"] = lambda: pending.added
    if messages:
        observe_messages(telemetry, messages)
    if stores.synced:
        observe_syncs(telemetry, knobs.store, stores.synced)
    if counting.worker is not None and counting.queue is not None:
        observe_worker(telemetry, counting.worker)
    return replica


def _watch(server: Dependency, probe: Callable[[], Awaitable[None]]) -> Callable[[], Any]:
    """Servers are asked now and then. The store, which whoever comes uses, is only asked when its last use failed."""

    async def where_it_failed() -> None:
        if server.degraded:
            await probe()

    return lambda: keep_watch(server, where_it_failed if server.name == "store" else probe)


@dataclass
class _Counting:
    """The parts that count clicks, as the knob `clicks` chose them."""

    store: ClickStore | None = None
    visitors: VisitorCounter | None = None
    queue: Any = None  # a ClickQueue, with `ping` where it has a server of its own
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
    stores: StoreParts,
    dependencies: dict[str, Dependency],
    clock_us: Callable[[], int],
) -> _Counting:
    parts = _Counting()
    if knobs.clicks == "off":
        return parts
    secret = settings.derived_key("visitors")
    plain = guarded_clicks(stores.clicks(), dependencies["store"])
    parts.store = counts = telemetry.timed_port(plain, knobs.store, ["apply", "stats"], prefix="clicks_")
    parts.visitors = redis.visitors() if redis is not None else MemoryVisitorCounter()
    parts.close.append(counts.close)
    send = traced_count(to_store(counts, parts.visitors), telemetry.traces)
    if knobs.queued_clicks:
        assert redis is not None
        server = SERVER_OF[knobs.clicks]
        plain_queue = open_click_queue(knobs, settings, redis.client)
        parts.queue = telemetry.timed_port(plain_queue, server, QUEUE_VERBS)
        if server == "redis":
            parts.dead_letters = redis.guarded_dead_letters(plain_queue.dead_letters)
        else:
            dependencies[server] = dependency(server)
            parts.dead_letters = guarded_letters(plain_queue.dead_letters, SERVER_NAMES[server])
            parts.close.append(plain_queue.close)
        send = to_queue(guarded_queue(parts.queue, dependencies[server], SERVER_NAMES[server]))
        send = traced_publish(send, telemetry.traces, server)
        if knobs.store == "memory":  # what is in memory can only be counted here
            around = traced_work(telemetry.traces, server)
            queue = LoggedQueue(parts.queue)
            parts.worker = ClickWorker(queue, counts, parts.visitors, settings.process_name, around=around, clock_us=clock_us)
    if knobs.clicks == "sync":
        totals = parts.totals
        parts.now = lambda visit: count_now(send, totals, clicks_of({visit: 1}, clock_us() / 1e6, secret), SYNC_CLICK_DEADLINE_S)
    else:
        flush_s = knobs.click_flush_ms / 1000
        parts.recorder = ClickRecorder(send, secret, flush_s, knobs.click_buffer, lambda: clock_us() / 1e6)
        parts.totals = parts.recorder.totals
    return parts


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
