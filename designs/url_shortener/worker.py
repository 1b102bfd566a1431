"""The click worker as a process: the worker, and a port with its metrics and health."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import Gauge
from starlette.types import ASGIApp

from designs.building_blocks.telemetry import Telemetry, TimedPort
from designs.url_shortener.app import VERSION
from designs.url_shortener.assembly import QUEUE_DEADLINE_S, click_store
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.metrics import observe_worker
from designs.url_shortener.ports import ClickQueue, StoreError
from designs.url_shortener.replica import end
from designs.url_shortener.settings import ShortenerSettings


def create_worker_app(knobs: ShortenerKnobs, settings: ShortenerSettings) -> ASGIApp:
    """The ASGI application of one click worker; it works from the start of its lifespan to the end."""
    from designs.url_shortener.backends import redis as backend
    from designs.url_shortener.backends.redis_streams import RedisClickQueue

    if settings.redis_url is None:
        raise ValueError("the click worker reads from Redis; set REDIS_URL")
    telemetry = Telemetry("url_shortener", VERSION)
    client = backend.connect(settings.redis_url.get_secret_value(), QUEUE_DEADLINE_S)
    plain_queue = RedisClickQueue(client)
    queue = TimedPort(plain_queue, telemetry, "redis", ["receive", "done", "park"])
    visitors = TimedPort(backend.RedisVisitorCounter(client), telemetry, "redis", ["add"], prefix="visitors_")
    store = click_store(knobs, settings, telemetry)
    traces = None
    if settings.traces_endpoint is not None:
        from designs.building_blocks.tracing import Traces

        traces = Traces("url_shortener", settings.process_name, settings.traces_endpoint, settings.traces_ratio)
    around = traces.batch if traces is not None else (lambda name, traceparents: contextlib.nullcontext())
    worker = ClickWorker(queue, store, visitors, settings.process_name, around=around)
    depth = Gauge("sd_queue_depth", "Batches that wait.", ("queue",), registry=telemetry.registry)
    age = Gauge("sd_queue_oldest_age_seconds", "Age of the oldest batch that waits.", ("queue",), registry=telemetry.registry)
    observe_worker(telemetry, worker)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            await end([task])
            await store.close()
            await client.aclose()
            if traces is not None:
                await asyncio.to_thread(traces.stop)

    app = FastAPI(title="URL shortener: click worker", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 while the queue can be reached."""
        reachable = await _measure(plain_queue, depth, age)
        return JSONResponse({"status": "ready" if reachable else "degraded"}, 200 if reachable else 503)

    @app.get("/metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        """Prometheus exposition."""
        await _measure(plain_queue, depth, age)
        body, content_type = telemetry.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return app


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
