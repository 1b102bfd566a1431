"""The click worker as a process: the worker, and a port with its metrics and health.

Its three routes need no framework, and so it starts in half the time of a replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from prometheus_client import Gauge
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from designs.building_blocks.background_tasks import end, kept_running
from designs.building_blocks.deadline import within
from designs.building_blocks.dependencies import keep_watch
from designs.building_blocks.fault_hooks import FaultHooks
from designs.building_blocks.telemetry import Telemetry, traces_for
from designs.url_shortener.backends.sqlite import SqliteClickStore
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.guards import CLICKS, heard_of
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.metrics import observe_spans, observe_syncs, observe_worker
from designs.url_shortener.ports import ClickQueue, StoreError
from designs.url_shortener.settings import VERSION, ShortenerSettings
from designs.url_shortener.watching import alarm, dependency


def create_worker_app(knobs: ShortenerKnobs, settings: ShortenerSettings) -> ASGIApp:
    """The ASGI application of one click worker; it works from the start of its lifespan to the end. Raises ValueError."""
    from designs.url_shortener.backends import redis as backend
    from designs.url_shortener.backends.redis_streams import RedisClickQueue

    if settings.redis_url is None:
        raise ValueError("the click worker reads from Redis; set REDIS_URL")
    if knobs.store == "memory":
        raise ValueError("store=memory keeps the counts inside the replica, which counts its clicks itself")
    traces = traces_for("url_shortener", settings.process_name, knobs.traces, settings.traces_endpoint)
    telemetry = Telemetry("url_shortener", VERSION, metrics=knobs.metrics == "on")
    client = backend.connect(settings.redis_url.get_secret_value(), backend.QUEUE_DEADLINE_S)
    hooks = FaultHooks.open(settings.fault_file) if settings.fault_file is not None else None
    clock_us = hooks.clock_us(wall_clock_us) if hooks is not None else wall_clock_us
    plain_queue, plain_store = RedisClickQueue(client), SqliteClickStore(settings.clicks_file, clock_us)
    slow_store = hooks.slowed(plain_store, ["apply", "forget_batches"]) if hooks is not None else plain_store
    servers = {"redis": dependency("redis"), "store": dependency("store")}
    telemetry.dependencies.extend(servers.values())
    queue = telemetry.timed_port(plain_queue, "redis", ["receive", "done", "park"])
    queue = heard_of(queue, ["receive", "done", "park"], servers["redis"], CLICKS)
    visitors = telemetry.timed_port(backend.RedisVisitorCounter(client), "redis", ["add"], prefix="visitors_")
    store = telemetry.timed_port(slow_store, "sqlite", ["apply"], prefix="clicks_")
    store = heard_of(store, ["apply"], servers["store"], CLICKS)
    around = traces.batch if traces is not None else (lambda name, traceparents: contextlib.nullcontext())
    worker = ClickWorker(queue, store, visitors, settings.process_name, around=around, clock_us=clock_us)
    depth = Gauge("sd_queue_depth", "Batches that wait.", ("queue",), registry=telemetry.registry)
    age = Gauge("sd_queue_oldest_age_seconds", "Age of the oldest batch that waits.", ("queue",), registry=telemetry.registry)
    observe_worker(telemetry, worker)
    observe_syncs(telemetry, "sqlite", [plain_store])
    if traces is not None:
        observe_spans(telemetry, traces.totals)

    async def probe() -> None:
        servers["redis"].probed(await _measure(plain_queue, depth, age))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = (worker.run, lambda: keep_watch(servers["redis"], probe))
        tasks = [asyncio.create_task(kept_running(start, alarm)) for start in running]
        try:
            yield
        finally:
            await end(tasks)
            await store.close()
            await client.aclose()
            if traces is not None:
                await asyncio.to_thread(traces.stop)

    async def healthz(_: Request) -> Response:
        """The process is alive."""
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        """200 while clicks can be taken from the queue and counted; `checks` names what fails."""
        await probe()
        failing = {name: server.bad_signals() for name, server in servers.items()}
        well = not any(failing.values())
        checks = {name: "down: " + ", ".join(signals) if signals else "up" for name, signals in failing.items()}
        return JSONResponse({"status": "ready" if well else "degraded", "checks": checks}, 200 if well else 503)

    async def metrics(request: Request) -> Response:
        """Prometheus exposition."""
        await probe()
        body, content_type = telemetry.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=routes, lifespan=lifespan)


def wall_clock_us() -> int:
    return time.time_ns() // 1000


async def _measure(queue: ClickQueue, depth: Gauge, age: Gauge) -> bool:
    try:
        async with within(0.5):
            waiting, oldest_s = await queue.depth()
            parked = await queue.dead_letters.count()
    except (StoreError, TimeoutError):
        return False
    depth.labels("clicks").set(waiting)
    depth.labels("clicks_dead").set(parked)
    age.labels("clicks").set(oldest_s)
    return True
