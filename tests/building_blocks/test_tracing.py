"""One trace from the request through the queue to the worker, and none at all when it is off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from designs.building_blocks.tracing import TracedRequests, Traces, trace_ids

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/abc", "headers": headers, "client": ("127.0.0.1", 1)}


def serve(traces: Traces, headers: list[tuple[bytes, bytes]]) -> tuple[dict[str, Any], dict[str, str]]:
    """The scope as the application saw it, and the trace ids that its log lines would have carried."""
    seen: dict[str, str] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(trace_ids())
        scope["route_template"] = "/{code}"
        await send({"type": "http.response.start", "status": 302, "headers": []})

    async def send(message: Any) -> None: ...

    scope = request(headers)
    asyncio.run(TracedRequests(app, traces)(scope, None, send))  # type: ignore[arg-type]
    return scope, seen


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exported: InMemorySpanExporter) -> Traces:
    return Traces("url_shortener", "replica-1", "http://127.0.0.1:1", 0.0, exporter=exported)


def test_a_sampled_request_continues_the_callers_trace_and_names_its_span_by_route(
    traces: Traces, exported: InMemorySpanExporter
) -> None:
    scope, logged = serve(traces, [(b"traceparent", PARENT.encode())])
    traces.stop()
    (span,) = exported.get_finished_spans()
    assert span.name == "GET /{code}"
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 302
    assert span.parent is not None
    assert format(span.parent.span_id, "016x") == "b7ad6b7169203331"
    assert scope["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert logged["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


def test_the_batch_that_counts_a_click_links_back_to_its_request(traces: Traces, exported: InMemorySpanExporter) -> None:
    scope, _ = serve(traces, [(b"traceparent", PARENT.encode())])
    counted = InMemorySpanExporter()
    always = Traces("url_shortener", "click-worker", "http://127.0.0.1:1", 1.0, exporter=counted)
    with always.batch("count clicks", [scope["traceparent"], "not a traceparent"]):
        pass
    traces.stop()
    always.stop()
    (batch,), (visit,) = counted.get_finished_spans(), exported.get_finished_spans()
    (link,) = batch.links
    assert visit.context is not None
    assert link.context.span_id == visit.context.span_id


def test_an_unsampled_request_leaves_no_span_and_no_traceparent(traces: Traces, exported: InMemorySpanExporter) -> None:
    scope, _ = serve(traces, [])
    traces.stop()
    assert exported.get_finished_spans() == ()
    assert "traceparent" not in scope


def test_without_an_endpoint_no_tracing_sdk_is_loaded() -> None:
    code = (
        "import sys, designs.url_shortener.app, designs.url_shortener.worker;"
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
