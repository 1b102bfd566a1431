"""Telemetry at the edges: requests and port calls are timed here, so that no core imports a metrics library.

Metrics are Prometheus's (base units, `_total`, bounded labels): one registry per app and one process per port, no multi-process
mode, no merged replicas. Logs are in `logs.py`, traces in `tracing.py`, and the knobs of it all in `observability.py`. A sampled
request names its trace in the metrics (an exemplar) and in the logs, so that a slow bucket leads to a slow request.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks.dependencies import Dependency
from designs.building_blocks.event_loop_lag import EventLoopLag
from designs.building_blocks.fault_hooks import FaultHooks
from designs.building_blocks.request_seconds import BUCKETS_S, RequestSeconds

if TYPE_CHECKING:
    from designs.building_blocks.tracing import Traces

UNTIMED = frozenset({"/metrics", "/healthz", "/readyz"})
UNMATCHED = "unmatched"
SLOW_S = 1.0

log = structlog.get_logger()

T = TypeVar("T")


class Telemetry:
    """The metrics that every service of every design has. One per process.

    Without `metrics` (a knob) requests and port calls are neither counted nor timed: `http_seconds` and `backend` are None, and
    without `traces` as well `timed_port` hands the port back as it is. `loop_lag.watch` is to run beside the work.
    """

    def __init__(self, design: str, version: str, *, metrics: bool = True, traces: Traces | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.traces = traces
        self.loop_lag = EventLoopLag()
        self.http_seconds: RequestSeconds | None = None
        self.backend: BackendCalls | None = None
        if metrics:
            self.http_seconds = RequestSeconds()
            self.registry.register(self.http_seconds)
            self.backend = BackendCalls(self.registry)
        self.dependencies: list[Dependency] = []  # whose state is asked for when somebody scrapes
        self.registry.register(_Degraded(self.dependencies))
        lag = Gauge(
            "sd_event_loop_lag_seconds", "How late the event loop was, at worst, in its last looks.", registry=self.registry
        )
        lag.set_function(lambda: self.loop_lag.worst_s)
        build = Gauge("sd_build_info", "Always 1.", ("design", "version"), registry=self.registry)
        build.labels(design, version).set(1)

    def timed_port(self, port: object, backend: str, verbs: Iterable[str], prefix: str = "") -> Any:
        """The port with these verbs timed, counted and traced, as far as that is wanted. It is used by its own protocol."""
        verbs = list(verbs)
        exemplar = None
        if self.traces is not None:
            port, exemplar = self.traces.port(port, backend, verbs, prefix), self.traces.exemplar
        return TimedPort(port, self.backend, backend, verbs, prefix, exemplar) if self.backend is not None else port

    def observe_faults(self, hooks: FaultHooks) -> None:
        """From now on `sd_fault_active` says which faults this process has been told to have."""
        self.registry.register(_Faults(hooks))

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


class _Faults:
    """`sd_fault_active`, looked up in the fault file when it is asked for. The names are those of the schedules of faults."""

    def __init__(self, hooks: FaultHooks) -> None:
        self._hooks = hooks

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("sd_fault_active", "1 while a fault that was made on purpose is in force.", labels=["fault"])
        for fault, active in self._hooks.active().items():
            family.add_metric([fault], active)
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


class TimedPort:
    """A port with each awaited verb timed and counted under `backend` and the verb's name; the port itself knows nothing of it.

    `exemplar()` names the trace that a call belongs to, None for a call of no trace.
    """

    def __init__(
        self,
        port: object,
        counted: BackendCalls,
        backend: str,
        verbs: Iterable[str],
        prefix: str = "",
        exemplar: Callable[[], dict[str, str] | None] | None = None,
    ) -> None:
        self._port = port
        for verb in verbs:
            setattr(self, verb, _timed(getattr(port, verb), counted, backend, prefix + verb, exemplar or _no_exemplar))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _no_exemplar() -> None:
    return None


def _timed(
    call: Callable[..., Awaitable[T]],
    counted: BackendCalls,
    backend: str,
    op: str,
    exemplar: Callable[[], dict[str, str] | None],
) -> Callable[..., Awaitable[T]]:
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
            seconds.observe(time.perf_counter() - started_s, exemplar())
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
                self._seconds.observe(scope["method"], route_of(scope), status, duration_s, scope.get("traceparent", ""))
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
