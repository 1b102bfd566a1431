"""Telemetry at the edges: requests and port calls are timed here, so that no core imports a metrics library.

Metrics are Prometheus's (base units, `_total`, bounded labels), logs are one JSON object a line, traces are OpenTelemetry's and
off unless an endpoint is set. One registry per app and one process per port: no multi-process mode, no merged replicas.
"""

from __future__ import annotations

import logging
import secrets
import sys
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from itertools import accumulate
from typing import Any, TypeVar

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})
UNTIMED = frozenset({"/metrics", "/healthz", "/readyz"})
UNMATCHED = "unmatched"
SLOW_S = 1.0

log = structlog.get_logger()

T = TypeVar("T")


class Telemetry:
    """The metrics that every service of every design has. One per process."""

    def __init__(self, design: str, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.http_seconds = RequestSeconds()
        self.registry.register(self.http_seconds)
        self.backend_calls = Counter(
            "sd_backend_calls_total", "Port calls by their outcome.", ("backend", "op", "outcome"), registry=self.registry
        )
        self.backend_seconds = Histogram(
            "sd_backend_call_duration_seconds", "Time of port calls.", ("backend", "op"), buckets=BUCKETS_S, registry=self.registry
        )
        self.degraded = Gauge("sd_degraded", "1 while a dependency is done without.", ("dependency",), registry=self.registry)
        build = Gauge("sd_build_info", "Always 1.", ("design", "version"), registry=self.registry)
        build.labels(design, version).set(1)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format the scraper asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class RequestSeconds:
    """`http_request_duration_seconds`: the same exposition as the client library's histogram, at a fraction of its cost.

    That is worth 40 lines because it is paid on the hottest path of every design. For one event loop: nothing is locked.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], _Series] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. Methods that callers make up share one series."""
        series = self._series.get((method, route, status))
        if series is None:
            series = self.series(method, route, status)
        series.observe(seconds)

    def series(self, method: str, route: str, status: int) -> _Series:
        """The series of these labels, for a caller that keeps it."""
        key = (method if method in METHODS else "other", route, status)
        return self._series.setdefault(key, _Series())

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Time from the request's head to the end of its answer, by route template.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), series in self._series.items():
            running = accumulate(series.counts)
            bounds = [*map(floatToGoString, BUCKETS_S), "+Inf"]
            family.add_metric([method, route, str(status)], list(zip(bounds, running, strict=True)), series.sum_s)
        yield family


class _Series:
    """Counts per bucket (not cumulative) and the sum of one combination of labels."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class TimedPort:
    """A port with each awaited verb timed and counted under `backend` and the verb's name; the port itself knows nothing of it."""

    def __init__(self, port: object, telemetry: Telemetry, backend: str, verbs: Iterable[str], prefix: str = "") -> None:
        self._port = port
        for verb in verbs:
            setattr(self, verb, _timed(getattr(port, verb), telemetry, backend, prefix + verb))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _timed(call: Callable[..., Awaitable[T]], telemetry: Telemetry, backend: str, op: str) -> Callable[..., Awaitable[T]]:
    seconds = telemetry.backend_seconds.labels(backend, op)
    ok, failed = (telemetry.backend_calls.labels(backend, op, outcome) for outcome in ("ok", "error"))

    async def timed(*args: Any, **kwargs: Any) -> T:
        started_s = time.perf_counter()
        try:
            result = await call(*args, **kwargs)
        except BaseException:
            failed.inc()
            raise
        finally:
            seconds.observe(time.perf_counter() - started_s)
        ok.inc()
        return result

    return timed


class Timing:
    """ASGI middleware: one observation per request, labelled by route template and never by what the caller wrote.

    Requests that failed or were slow are logged, each with its request id; under load a line per request would be the load.
    """

    def __init__(self, app: ASGIApp, seconds: RequestSeconds) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTIMED:
            await self._app(scope, receive, send)
            return
        started_s, status = time.perf_counter(), 500
        request_id = secrets.token_hex(8)
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            seconds, route = time.perf_counter() - started_s, route_of(scope)
            self._seconds.observe(scope["method"], route, status, seconds)
            if status >= 500 or seconds > SLOW_S:
                log.warning(
                    "request_failed" if status >= 500 else "request_slow", route=route, status=status, duration_s=round(seconds, 4)
                )
            structlog.contextvars.unbind_contextvars("request_id")


def route_of(scope: Mapping[str, Any]) -> str:
    """The route template that matched, with the prefixes of included routers; "unmatched" for none.

    FastAPI keeps the whole template of an included route in a scope key of its own; a test pins that.
    """
    context = scope.get("fastapi", {}).get("effective_route_context")
    template = context.path if context is not None else getattr(scope.get("route"), "path", UNMATCHED)
    return str(template)


def configure_logs(level: str, design: str, process: str, trace_ids: Callable[[], Mapping[str, str]] = dict) -> None:
    """JSON lines on standard output. Tracebacks carry no local variables, because those hold secrets.

    `trace_ids` gives the fields of the current trace, where there is tracing.
    """

    def add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.update(trace_ids())
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(design=design, process=process)


def header(scope: MutableMapping[str, Any], name: bytes) -> bytes:
    """A request header's first value, b"" for none. `name` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""
