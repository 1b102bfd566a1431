"""Traces by OpenTelemetry, at the edges only: a span per request, per call of a port while one waits, and per batch.

    GET /{code}          server      of the caller's trace, if there is one
      redis shared_get   client      a call that a sampled request waited for
      publish clicks     producer    a batch that serves this request and others: child of the first, linked to the others
        count clicks     consumer    whoever takes batches off the queue: child of the first batch, linked to the others
          sqlite clicks_apply

A span has one parent, and a batch has many; the conventions for messaging allow one of them to be the parent, so that one trace id
goes all the way, and have links for the rest. What nobody sampled leaves no span: a batch of no sampled request, a poll, a probe.

Off unless the knob `traces` is turned up; else nothing here is imported and no thread runs. W3C trace context (traceparent) is
read from the request, travels through the queue inside the batch, and stands in the log lines. Sampling is parent-based.

A request never waits for its span: spans gather in a bounded queue, a thread sends them off, and what the queue has no room for
is dropped and counted.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks import trace_attributes as names
from designs.building_blocks.request_seconds import METHODS
from designs.building_blocks.telemetry import UNTIMED, header, route_of

T = TypeVar("T")

_CONTEXT = TraceContextTextMapPropagator()
MAX_LINKS = 64
MAX_WAITING_SPANS = 2_048
SPANS_AT_ONCE = 512
SEND_EVERY_S = 1.0
EXPORT_TIMEOUT_S = 5.0
STOP_WITHIN_S = 2.0
GIVE_UP_WITHIN_S = 0.5


@dataclass(slots=True)
class SpanTotals:
    """What became of this process's sampled spans. `recorded` = sent + failed + those that wait; `dropped` are not in it.

    Each number has one writer: `recorded` and `dropped` the event loop, the others the thread that sends.
    """

    recorded: int = 0
    dropped: int = 0
    sent: int = 0
    failed: int = 0


class Traces:
    """The tracer of one process. `stop` sends what is buffered, for `STOP_WITHIN_S`, and then gives up."""

    def __init__(self, design: str, process: str, endpoint: str, ratio: float, exporter: SpanExporter | None = None) -> None:
        self.totals = SpanTotals()
        resource = Resource.create({names.SERVICE_NAME: design, names.SERVICE_INSTANCE: process})
        self._provider = TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(ratio), shutdown_on_exit=False)
        self._exports = _CountedExports(exporter or OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S), self.totals)
        self._provider.add_span_processor(_CountedBatches(self._exports, self.totals))
        self.tracer = self._provider.get_tracer("system-designs")

    def stop(self) -> None:
        # The SDK would wait 30 s for a collector that does not answer; ending the exporter wakes it from its pauses between tries.
        ending = threading.Thread(target=self._provider.shutdown, name="traces-stop", daemon=True)
        ending.start()
        ending.join(STOP_WITHIN_S)
        if ending.is_alive():
            self._exports.shutdown()
            ending.join(GIVE_UP_WITHIN_S)  # a thread that is left behind even then ends with the process

    @contextlib.contextmanager
    def batch(self, name: str, traceparents: Sequence[str], attributes: Mapping[str, str] | None = None) -> Iterator[None]:
        """A consumer span around work for several batches: child of the first that was sampled, linked to the others."""
        with self._continued(name, SpanKind.CONSUMER, traceparents, attributes):
            yield

    @contextlib.contextmanager
    def publishing(self, name: str, traceparents: Sequence[str], attributes: Mapping[str, str] | None = None) -> Iterator[str]:
        """A producer span around handing over a batch; gives the traceparent that is to travel with it, "" for none."""
        with self._continued(name, SpanKind.PRODUCER, traceparents, attributes) as span:
            yield _traceparent() if span is not None else ""

    @contextlib.contextmanager
    def _continued(
        self, name: str, kind: SpanKind, traceparents: Sequence[str], attributes: Mapping[str, str] | None
    ) -> Iterator[Span | None]:
        sampled = [context for context in map(_context_of, traceparents) if context.trace_flags.sampled]
        if not sampled:
            yield None
            return
        first = trace.set_span_in_context(NonRecordingSpan(sampled[0]), Context())
        links = [Link(context) for context in sampled[1 : MAX_LINKS + 1]]
        with self.span(name, context=first, kind=kind, links=links, attributes=attributes) as span, _failures_of(span):
            yield span

    def span(self, name: str, **how: Any) -> contextlib.AbstractContextManager[Span]:
        """The SDK's, without the messages and tracebacks of exceptions: they hold what callers wrote."""
        return self.tracer.start_as_current_span(name, **how, record_exception=False, set_status_on_exception=False)

    def port(self, port: object, backend: str, verbs: Iterable[str], prefix: str = "") -> TracedPort:
        """The port with a span around each call of these verbs that a sampled request, or batch, waits for."""
        return TracedPort(port, self, backend, verbs, prefix)

    @staticmethod
    def exemplar() -> dict[str, str] | None:
        """The trace that is under way, as an exemplar of a metric; None where none is sampled."""
        context = trace.get_current_span().get_span_context()
        return {"trace_id": format(context.trace_id, "032x")} if context.trace_flags.sampled else None


class _CountedBatches(BatchSpanProcessor):
    """The SDK's queue with numbers to it: the SDK drops the oldest span at the bound and tells nobody how many."""

    def __init__(self, exports: _CountedExports, totals: SpanTotals) -> None:
        super().__init__(
            exports,
            max_queue_size=MAX_WAITING_SPANS,
            schedule_delay_millis=SEND_EVERY_S * 1000,
            max_export_batch_size=SPANS_AT_ONCE,
        )
        self._totals = totals

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        totals = self._totals
        # Those on their way count as waiting, so this never lets in what the SDK's own queue would have no room for.
        if totals.recorded - totals.sent - totals.failed >= MAX_WAITING_SPANS:
            totals.dropped += 1
            return
        totals.recorded += 1
        super().on_end(span)


class _CountedExports(SpanExporter):
    def __init__(self, exporter: SpanExporter, totals: SpanTotals) -> None:
        self._exporter, self._totals = exporter, totals
        self._over = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self._totals.sent += len(spans)
            else:
                self._totals.failed += len(spans)
        return result

    def shutdown(self) -> None:
        over, self._over = self._over, True
        if not over:
            self._exporter.shutdown()


class TracedRequests:
    """ASGI middleware: a server span per request, named by route template. A sampled one puts its traceparent into the scope."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTIMED:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        parent = _CONTEXT.extract({"traceparent": header(scope, b"traceparent").decode("latin-1")})
        with self._traces.span(method, context=parent, kind=SpanKind.SERVER) as span:
            if not span.is_recording():
                await self._app(scope, receive, send)
                return
            scope["traceparent"] = _traceparent()

            async def note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute(names.HTTP_STATUS, message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                        span.set_attribute(names.ERROR_TYPE, str(message["status"]))
                await send(message)

            try:
                with _failures_of(span):
                    await self._app(scope, receive, note)
            finally:
                route = scope.get("route_template") or route_of(scope)
                span.update_name(f"{method} {route}")
                span.set_attribute(names.HTTP_METHOD, method)
                span.set_attribute(names.HTTP_ROUTE, route)


class TracedPort:
    """A port with a client span around each awaited verb, named by backend and verb, where a sampled span waits for it."""

    def __init__(self, port: object, traces: Traces, backend: str, verbs: Iterable[str], prefix: str = "") -> None:
        self._port = port
        for verb in verbs:
            attributes = names.of_call(backend, verb, prefix + verb)
            setattr(self, verb, _traced(getattr(port, verb), traces, f"{backend} {prefix}{verb}", attributes))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _traced(
    call: Callable[..., Awaitable[T]], traces: Traces, name: str, attributes: Mapping[str, str]
) -> Callable[..., Awaitable[T]]:
    async def traced(*args: Any, **kwargs: Any) -> T:
        if not trace.get_current_span().is_recording():
            return await call(*args, **kwargs)
        with traces.span(name, kind=SpanKind.CLIENT, attributes=attributes) as span, _failures_of(span):
            return await call(*args, **kwargs)

    return traced


@contextlib.contextmanager
def _failures_of(span: Span) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        span.set_status(StatusCode.ERROR)
        span.set_attribute(names.ERROR_TYPE, type(error).__name__)
        raise


def _context_of(traceparent: str) -> SpanContext:
    """The context that a traceparent names, an invalid and so unsampled one for what is no traceparent."""
    return trace.get_current_span(_CONTEXT.extract({"traceparent": traceparent})).get_span_context()


def _traceparent() -> str:
    """The traceparent of the current span."""
    carrier: dict[str, str] = {}
    _CONTEXT.inject(carrier)
    return carrier["traceparent"]


def trace_ids() -> dict[str, str]:
    """The current trace and span as log fields; empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": format(context.trace_id, "032x"), "span_id": format(context.span_id, "016x")}
