"""One trace from the request through the queue to the worker, and none at all when it is off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import designs.building_blocks.tracing
from designs.building_blocks.telemetry import traces_for
from designs.building_blocks.tracing import MAX_WAITING_SPANS, SPANS_AT_ONCE, TracedRequests, Traces, trace_ids
from designs.url_shortener.app import create_app
from tests.url_shortener.replicas import PLAIN, knobs, running_replica, settings

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


class StuckCollector(SpanExporter):
    """Takes a batch and does not come back before it is `let_go`."""

    def __init__(self) -> None:
        self.taken = threading.Event()
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken.set()
        self.let_go.wait(30)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Nothing to close."""


def end_spans(traces: Traces, count: int) -> None:
    for _ in range(count):
        with traces.tracer.start_as_current_span("GET /{code}"):
            pass


def test_what_a_stuck_collector_leaves_no_room_for_is_dropped_and_counted_and_nobody_waits() -> None:
    collector = StuckCollector()
    traces = Traces("toy", "replica-1", "", 1.0, exporter=collector)
    end_spans(traces, SPANS_AT_ONCE)
    assert collector.taken.wait(30)
    end_spans(traces, MAX_WAITING_SPANS)
    totals = traces.totals
    assert (totals.recorded, totals.dropped) == (MAX_WAITING_SPANS, SPANS_AT_ONCE)
    collector.let_go.set()
    traces.stop()
    assert (totals.sent, totals.failed) == (0, totals.recorded)


def test_stopping_gives_up_on_a_collector_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(designs.building_blocks.tracing, "STOP_WITHIN_S", 0.01)
    collector = StuckCollector()
    traces = Traces("toy", "replica-1", "", 1.0, exporter=collector)
    end_spans(traces, 3)
    traces.stop()
    assert (traces.totals.recorded, traces.totals.failed) == (3, 0)
    collector.let_go.set()


def test_every_span_is_sent_on_or_counted_as_failed(exported: InMemorySpanExporter) -> None:
    traces = Traces("toy", "replica-1", "", 1.0, exporter=exported)
    end_spans(traces, 700)
    traces.stop()
    assert len(exported.get_finished_spans()) == traces.totals.sent == 700
    assert (traces.totals.failed, traces.totals.dropped) == (0, 0)


def test_traces_without_a_place_to_go_are_refused_with_what_would_be_right(tmp_path: Path) -> None:
    assert traces_for("url_shortener", "replica-1", 0.0, None) is None
    assert traces_for("url_shortener", "replica-1", 0.0, "http://127.0.0.1:1") is None
    with pytest.raises(ValueError, match=r"traces=0.01 has nowhere to .* set URL_SHORTENER_TRACES_ENDPOINT, .* choose traces=0"):
        create_app(knobs(**PLAIN, traces=0.01), settings(tmp_path))


def test_a_redirect_is_answered_whether_or_not_anybody_takes_its_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(designs.building_blocks.tracing, "STOP_WITHIN_S", 0.01)
    nobody = "http://127.0.0.1:1/v1/traces"

    async def scene() -> tuple[int, str]:
        async with running_replica(knobs(**PLAIN, traces=1), tmp_path, traces_endpoint=nobody) as replica:
            code = (await replica.create())["code"]
            return (await replica.visit(code)).status_code, (await replica.http.get("/metrics")).text

    status, page = asyncio.run(scene())
    assert status == 302
    assert 'sd_spans_total{outcome="sent"} 0.0' in page


def test_a_stop_leaves_no_thread_behind_that_goes_on_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(designs.building_blocks.tracing, "STOP_WITHIN_S", 0.01)
    monkeypatch.setattr(designs.building_blocks.tracing, "GIVE_UP_WITHIN_S", 30.0)
    before = set(threading.enumerate())
    traces = Traces("url_shortener", "replica-1", "http://127.0.0.1:1/v1/traces", 1.0)
    end_spans(traces, 1)
    traces.stop()
    assert set(threading.enumerate()) <= before


def test_without_traces_no_tracing_sdk_is_loaded() -> None:
    code = (
        "import sys, designs.url_shortener.app, designs.url_shortener.worker;"
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
