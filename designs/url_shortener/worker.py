"""The click worker as a process: the worker, and a port with its metrics and health.

Its three routes need no framework, and so it starts in half the time of a replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from designs.building_blocks.background_tasks import end, kept_running
from designs.building_blocks.deadline import within
from designs.building_blocks.dependencies import keep_watch
from designs.building_blocks.fault_hooks import FaultHooks
from designs.building_blocks.metric_families import observe_spans
from designs.building_blocks.telemetry import Telemetry, traces_for
from designs.building_blocks.watching import PROBE_WITHIN_S, alarm, answers, dependency
from designs.url_shortener.click_traces import LoggedQueue, traced_work
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.guards import CLICKS, heard_of
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.metrics import observe_syncs, observe_worker
from designs.url_shortener.ports import StoreError
from designs.url_shortener.queue_parts import SERVER_OF, open_click_queue
from designs.url_shortener.settings import VERSION, ShortenerSettings
from designs.url_shortener.store_parts import StoreParts

QUEUE_VERBS = ("receive", "done", "retry_later", "park")
VISITORS = "visitors"


def create_worker_app(knobs: ShortenerKnobs, settings: ShortenerSettings) -> ASGIApp:
    """The ASGI application of one click worker; it works from the start of its lifespan to the end. Raises ValueError."""
    from designs.building_blocks.redis_connection import connect
    from designs.url_shortener.backends import redis as backend

    if not knobs.queued_clicks:
        raise ValueError(
            f"clicks={knobs.clicks} queues nothing, so there is nothing for a worker; choose clicks=redis_streams or kafka"
        )
    if settings.redis_url is None:
        raise ValueError("the click worker counts unique visitors in Redis, and reads clicks=redis_streams there; set REDIS_URL")
    if knobs.store == "memory":
        raise ValueError("store=memory keeps the counts inside the replica, which counts its clicks itself")
    traces = traces_for("url_shortener", settings.process_name, knobs.traces, settings.traces_endpoint)
    telemetry = Telemetry("url_shortener", VERSION, metrics=knobs.metrics == "on", traces=traces)
    client = connect(settings.redis_url.get_secret_value(), backend.QUEUE_DEADLINE_S)
    hooks = FaultHooks.open(settings.fault_file) if settings.fault_file is not None else None
    clock_us = hooks.clock_us(wall_clock_us) if hooks is not None else wall_clock_us
    if hooks is not None:
        telemetry.observe_faults(hooks)
    plain_queue = open_click_queue(knobs, settings, client)
    stores = StoreParts(knobs, settings, clock_us, hooks)
    server = SERVER_OF[knobs.clicks]
    servers = {name: dependency(name) for name in dict.fromkeys(("redis", server, "store"))}
    telemetry.dependencies.extend(servers.values())
    queue = telemetry.timed_port(plain_queue, server, QUEUE_VERBS)
    queue = heard_of(queue, QUEUE_VERBS, servers[server], CLICKS)
    visitors = telemetry.timed_port(backend.RedisVisitorCounter(client), "redis", ["add"], prefix="visitors_")
    visitors = heard_of(visitors, ["add"], servers["redis"], VISITORS)
    store = telemetry.timed_port(stores.clicks(), knobs.store, ["apply"], prefix="clicks_")
    store = heard_of(store, ["apply"], servers["store"], CLICKS)
    around = traced_work(traces, server)
    worker = ClickWorker(LoggedQueue(queue), store, visitors, settings.process_name, around=around, clock_us=clock_us)
    gauges = QueueGauges(telemetry.registry, "clicks")
    observe_worker(telemetry, worker)
    if stores.synced:
        observe_syncs(telemetry, knobs.store, stores.synced)
    if traces is not None:
        observe_spans(telemetry, traces.totals)

    async def probe() -> None:
        servers[server].probed(await gauges.measure(plain_queue))
        if server != "redis":
            servers["redis"].probed(await answers(client))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = (worker.run, telemetry.loop_lag.watch, lambda: keep_watch(servers[server], probe))
        tasks = [asyncio.create_task(kept_running(start, alarm)) for start in running]
        try:
            yield
        finally:
            await end(tasks)
            await store.close()
            await stores.close()
            if server != "redis":
                await plain_queue.close()
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


class QueueGauges:
    """How much waits in a queue, and for how long, set by whoever asks it."""

    def __init__(self, registry: CollectorRegistry, queue: str) -> None:
        self._queue = queue
        self._depth = Gauge("sd_queue_depth", "Batches that wait.", ("queue",), registry=registry)
        self._age = Gauge("sd_queue_oldest_age_seconds", "Age of the oldest batch that waits.", ("queue",), registry=registry)
        self._lag = Gauge("sd_queue_lag", "Records that wait in a partition.", ("queue", "partition"), registry=registry)

    async def measure(self, queue: Any) -> bool:
        """False when the queue did not answer; the gauges stay as they were."""
        try:
            async with within(PROBE_WITHIN_S):
                waiting, oldest_s = await queue.depth()
                parked = await queue.dead_letters.count()
                lag = await queue.lag() if hasattr(queue, "lag") else {}
        except (StoreError, TimeoutError):
            return False
        self._depth.labels(self._queue).set(waiting)
        self._depth.labels(f"{self._queue}_dead").set(parked)
        self._age.labels(self._queue).set(oldest_s)
        for partition, records in lag.items():
            self._lag.labels(self._queue, str(partition)).set(records)
        return True
