"""The click worker as a process: the worker, and a port with its metrics and health.

Its three routes need no framework, and so it starts in half the time of a replica.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from prometheus_client import Gauge
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from designs.building_blocks.background_tasks import end
from designs.building_blocks.telemetry import Telemetry, traces_for
from designs.url_shortener.backends.sqlite import SqliteClickStore
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.metrics import observe_spans, observe_syncs, observe_worker
from designs.url_shortener.ports import ClickQueue, StoreError
from designs.url_shortener.settings import VERSION, ShortenerSettings


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
    plain_queue, plain_store = RedisClickQueue(client), SqliteClickStore(settings.clicks_file)
    queue = telemetry.timed_port(plain_queue, "redis", ["receive", "done", "park"])
    visitors = telemetry.timed_port(backend.RedisVisitorCounter(client), "redis", ["add"], prefix="visitors_")
    store = telemetry.timed_port(plain_store, "sqlite", ["apply"], prefix="clicks_")
    around = traces.batch if traces is not None else (lambda name, traceparents: contextlib.nullcontext())
    worker = ClickWorker(queue, store, visitors, settings.process_name, around=around)
    depth = Gauge("sd_queue_depth", "Batches that wait.", ("queue",), registry=telemetry.registry)
    age = Gauge("sd_queue_oldest_age_seconds", "Age of the oldest batch that waits.", ("queue",), registry=telemetry.registry)
    observe_worker(telemetry, worker)
    observe_syncs(telemetry, "sqlite", [plain_store])
    if traces is not None:
        observe_spans(telemetry, traces.totals)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            await end([task])
            await store.close()
            await client.aclose()
            if traces is not None:
                await asyncio.to_thread(traces.stop)

    async def healthz(_: Request) -> Response:
        """The process is alive."""
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        """200 while the queue can be reached."""
        reachable = await _measure(plain_queue, depth, age)
        return JSONResponse({"status": "ready" if reachable else "degraded"}, 200 if reachable else 503)

    async def metrics(request: Request) -> Response:
        """Prometheus exposition."""
        await _measure(plain_queue, depth, age)
        body, content_type = telemetry.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=routes, lifespan=lifespan)


async def _measure(queue: ClickQueue, depth: Gauge, age: Gauge) -> bool:
    try:
        async with asyncio.timeout(0.5):
            waiting, oldest_s = await queue.depth()
            parked = await queue.dead_letters.count()
    except (StoreError, TimeoutError):
        return False
    depth.labels("clicks").set(waiting)
    depth.labels("clicks_dead").set(parked)
    age.labels("clicks").set(oldest_s)
    return True
