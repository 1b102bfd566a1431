"""Telemetry at the edges: requests and port calls are timed here, so that no core imports a metrics library.

Metrics are Prometheus's (base units, `_total`, bounded labels): one registry per app and one process per port, no multi-process
mode, no merged replicas. Logs are in `logs.py`, traces in `tracing.py`, and the knobs of it all in `observability.py`.
"""

from __future__ import annotations

import secrets
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks.dependencies import Dependency

if TYPE_CHECKING:
    from designs.building_blocks.tracing import Traces

BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})
UNTIMED = frozenset({"/metrics", "/healthz", "/readyz"})
UNMATCHED = "unmatched"
SLOW_S = 1.0

log = structlog.get_logger()

T = TypeVar("T")


class Telemetry:
    """The metrics that every service of every design has. One per process.

    Without `metrics` (a knob) requests and port calls are neither counted nor timed: `http_seconds` and `backend` are None, and
    `timed_port` hands the port back as it is.
    """

    def __init__(self, design: str, version: str, *, metrics: bool = True) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.http_seconds: RequestSeconds | None = None
        self.backend: BackendCalls | None = None
        if metrics:
            self.http_seconds = RequestSeconds()
            self.registry.register(self.http_seconds)
            self.backend = BackendCalls(self.registry)
        self.dependencies: list[Dependency] = []  # whose state is asked for when somebody scrapes
        self.registry.register(_Degraded(self.dependencies))
        build = Gauge("sd_build_info", "Always 1.", ("design", "version"), registry=self.registry)
        build.labels(design, version).set(1)

    def timed_port(self, port: object, backend: str, verbs: Iterable[str], prefix: str = "") -> Any:
        """The port with these verbs timed and counted, where that is wanted. It is used by its own protocol."""
        return TimedPort(port, self.backend, backend, verbs, prefix) if self.backend is not None else port

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format the scraper asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class _Degraded:
    """`sd_degraded`, looked at when it is asked for."""

    def __init__(self, dependencies: Iterable[Dependency]) -> None:
        self._dependencies = dependencies

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("sd_degraded", "1 while a dependency is done without.", labels=["dependency"])
        for dependency in self._dependencies:
            family.add_metric([dependency.name], dependency.degraded)
        yield family


class BackendCalls:
    """How often and how long a process called its ports."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "sd_backend_calls_total", "Port calls by their outcome.", ("backend", "op", "outcome"), registry=registry
        )
        self.seconds = Histogram(
            "sd_backend_call_duration_seconds", "Time of port calls.", ("backend", "op"), buckets=BUCKETS_S, registry=registry
        )


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

    def __init__(self, port: object, counted: BackendCalls, backend: str, verbs: Iterable[str], prefix: str = "") -> None:
        self._port = port
        for verb in verbs:
            setattr(self, verb, _timed(getattr(port, verb), counted, backend, prefix + verb))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _timed(call: Callable[..., Awaitable[T]], counted: BackendCalls, backend: str, op: str) -> Callable[..., Awaitable[T]]:
    seconds = counted.seconds.labels(backend, op)
    ok, failed = (counted.calls.labels(backend, op, outcome) for outcome in ("ok", "error"))

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
    Without `seconds` there is no observation and no clock, and failures alone are logged.
    """

    def __init__(self, app: ASGIApp, seconds: RequestSeconds | None) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTIMED:
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter() if self._seconds is not None else 0.0
        status = 500
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
            duration_s = None
            if self._seconds is not None:
                duration_s = time.perf_counter() - started_s
                self._seconds.observe(scope["method"], route_of(scope), status, duration_s)
            slow = duration_s is not None and duration_s > SLOW_S
            if status >= 500 or slow:
                timed = {"duration_s": round(duration_s, 4)} if duration_s is not None else {}
                log.warning("request_failed" if status >= 500 else "request_slow", route=route_of(scope), status=status, **timed)
            structlog.contextvars.unbind_contextvars("request_id")


def route_of(scope: Mapping[str, Any]) -> str:
    """The route template that matched, with the prefixes of included routers; "unmatched" for none.

    FastAPI keeps the whole template of an included route in a scope key of its own; a test pins that.
    """
    context = scope.get("fastapi", {}).get("effective_route_context")
    template = context.path if context is not None else getattr(scope.get("route"), "path", UNMATCHED)
    return str(template)


def traces_for(design: str, process: str, share: float, endpoint: str | None) -> Traces | None:
    """The tracer of a process, by its knob `traces` and its setting of where spans go. Raises ValueError without a place to go.

    None for no share, and then nothing of OpenTelemetry is imported.
    """
    if share == 0:
        return None
    if endpoint is None:
        setting = f"{design.upper()}_TRACES_ENDPOINT"
        raise ValueError(
            f"traces={share:g} has nowhere to send its spans; set {setting}, for example to http://127.0.0.1:4318/v1/traces, "
            "or choose traces=0"
        )
    try:
        from designs.building_blocks.tracing import Traces
    except ModuleNotFoundError as error:
        raise ValueError(f"traces={share:g} needs the extra system-designs[traces]: {error}") from None
    return Traces(design, process, endpoint, share)


def header(scope: MutableMapping[str, Any], name: bytes) -> bytes:
    """A request header's first value, b"" for none. `name` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""
