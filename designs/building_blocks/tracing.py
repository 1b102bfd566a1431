"""Traces by OpenTelemetry, at the edges only: a span per request, and one per batch that links back to the requests in it.

Off unless the knob `traces` is turned up; else nothing here is imported and no thread runs. W3C trace context (traceparent) is
read from the request, travels through the queue inside the batch, and stands in the log lines. Sampling is parent-based.

A request never waits for its span: spans gather in a bounded queue, a thread sends them off, and what the queue has no room for
is dropped and counted.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks.telemetry import METHODS, UNTIMED, header, route_of

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
        resource = Resource.create({"service.name": design, "service.instance.id": process})
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
    def batch(self, name: str, traceparents: Sequence[str]) -> Iterator[None]:
        """A span around work for several requests: linked to them, child of none."""
        links = []
        for traceparent in traceparents[:MAX_LINKS]:
            context = trace.get_current_span(_CONTEXT.extract({"traceparent": traceparent})).get_span_context()
            if context.is_valid:
                links.append(Link(context))
        with self.tracer.start_as_current_span(name, kind=SpanKind.CONSUMER, links=links):
            yield


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
        self._tracer = traces.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTIMED:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        parent = _CONTEXT.extract({"traceparent": header(scope, b"traceparent").decode("latin-1")})
        with self._tracer.start_as_current_span(method, context=parent, kind=SpanKind.SERVER) as span:
            carrier: dict[str, str] = {}
            if span.is_recording():
                _CONTEXT.inject(carrier)
                scope["traceparent"] = carrier["traceparent"]

            async def note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, note if span.is_recording() else send)
            route = scope.get("route_template") or route_of(scope)
            span.update_name(f"{method} {route}")
            span.set_attribute("http.request.method", method)
            span.set_attribute("http.route", route)


def trace_ids() -> dict[str, str]:
    """The current trace and span as log fields; empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": format(context.trace_id, "032x"), "span_id": format(context.span_id, "016x")}
