"""Traces by OpenTelemetry, at the edges only: a span per request, and one per batch that links back to the requests in it.

Off unless an endpoint is set; then nothing here is imported and no thread runs. W3C trace context (traceparent) is read from the
request, travels through the queue inside the batch, and stands in the log lines. Sampling is parent-based.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks.telemetry import METHODS, UNTIMED, header, route_of

_CONTEXT = TraceContextTextMapPropagator()
MAX_LINKS = 64


class Traces:
    """The tracer of one process. `stop` sends what is buffered."""

    def __init__(self, design: str, process: str, endpoint: str, ratio: float, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({"service.name": design, "service.instance.id": process})
        self._provider = TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(ratio))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=endpoint, timeout=5)))
        self.tracer = self._provider.get_tracer("system-designs")

    def stop(self) -> None:
        self._provider.shutdown()

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
