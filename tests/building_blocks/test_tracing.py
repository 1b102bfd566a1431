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
from opentelemetry.trace import SpanKind, StatusCode

import designs.building_blocks.tracing
from designs.building_blocks.telemetry import traces_for
from designs.building_blocks.tracing import MAX_LINKS, MAX_WAITING_SPANS, SPANS_AT_ONCE, TracedRequests, Traces, trace_ids
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


def sampled(digit: str) -> str:
    return f"00-{digit * 32}-{digit * 16}-01"


def ids(context: Any) -> tuple[str, str]:
    return format(context.trace_id, "032x")[:1], format(context.span_id, "016x")[:1]


def test_a_batch_is_published_in_the_trace_of_its_first_sampled_request_and_linked_to_the_others(
    traces: Traces, exported: InMemorySpanExporter
) -> None:
    unsampled = f"00-{'d' * 32}-{'d' * 16}-00"
    requests = ["not a traceparent", unsampled, sampled("a"), sampled("b"), sampled("c")]
    with traces.publishing("publish clicks", requests, {"messaging.system": "redis"}) as traceparent:
        assert trace_ids()["trace_id"] == "a" * 32
    traces.stop()
    (span,) = exported.get_finished_spans()
    assert (span.name, span.kind, span.attributes) == ("publish clicks", SpanKind.PRODUCER, {"messaging.system": "redis"})
    assert span.parent is not None
    assert ids(span.parent) == ("a", "a")
    assert [ids(link.context) for link in span.links] == [("b", "b"), ("c", "c")]
    assert span.context is not None
    assert traceparent == f"00-{'a' * 32}-{span.context.span_id:016x}-01"


def test_whoever_takes_batches_continues_the_trace_of_the_first_and_is_linked_to_the_others(
    traces: Traces, exported: InMemorySpanExporter
) -> None:
    with traces.batch("count clicks", [sampled("a"), *[sampled("b")] * 1_000]):
        assert trace_ids()["trace_id"] == "a" * 32
    traces.stop()
    (span,) = exported.get_finished_spans()
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is not None
    assert ids(span.parent) == ("a", "a")
    assert len(span.links) == MAX_LINKS


@pytest.mark.parametrize("requests", [[], ["not a traceparent"], [f"00-{'d' * 32}-{'d' * 16}-00"]])
def test_a_batch_of_no_sampled_request_leaves_no_span_whatever_the_share_of_traces(requests: list[str]) -> None:
    exported = InMemorySpanExporter()
    always = Traces("url_shortener", "click-worker", "http://127.0.0.1:1", 1.0, exporter=exported)
    with always.batch("count clicks", requests), always.publishing("publish clicks", requests) as traceparent:
        assert trace_ids() == {}
    always.stop()
    assert traceparent == ""
    assert exported.get_finished_spans() == ()


def test_work_that_fails_says_of_which_kind_the_error_was_and_nothing_that_a_caller_wrote(
    traces: Traces, exported: InMemorySpanExporter
) -> None:
    with pytest.raises(ValueError, match="hunter2"), traces.batch("count clicks", [sampled("a")]):
        raise ValueError("hunter2")
    traces.stop()
    (span,) = exported.get_finished_spans()
    assert span.attributes == {"error.type": "ValueError"}
    assert span.status.status_code is StatusCode.ERROR
    assert "hunter2" not in span.to_json()


class Port:
    size = 3

    async def get(self, key: str) -> str:
        if key == "bad":
            raise ValueError("hunter2")
        return key

    async def publish(self, body: bytes) -> None: ...

    async def untraced(self) -> None: ...


def test_a_call_that_a_sampled_request_waits_for_is_a_client_span_of_it_named_by_backend_and_verb(
    traces: Traces, exported: InMemorySpanExporter
) -> None:
    port: Any = traces.port(Port(), "redis", ["get", "publish"], "shared_")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await port.get("a key") == "a key"
        await port.publish(b"")
        await port.untraced()
        with pytest.raises(ValueError, match="hunter2"):
            await port.get("bad")
        assert port.size == 3

    asyncio.run(TracedRequests(app, traces)(request([(b"traceparent", PARENT.encode())]), None, None))  # type: ignore[arg-type]
    traces.stop()
    *calls, server = exported.get_finished_spans()
    assert server.context is not None
    assert {call.parent.span_id if call.parent else None for call in calls} == {server.context.span_id}
    assert {call.kind for call in calls} == {SpanKind.CLIENT}
    gotten = {"db.system.name": "redis", "db.operation.name": "shared_get"}
    assert [(call.name, call.attributes) for call in calls] == [
        ("redis shared_get", gotten),
        (
            "redis shared_publish",
            {
                "messaging.system": "redis",
                "messaging.operation.name": "shared_publish",
                "messaging.operation.type": "send",
            },
        ),
        ("redis shared_get", gotten | {"error.type": "ValueError"}),
    ]
    assert not any("hunter2" in call.to_json() for call in calls)


def test_a_call_that_no_sampled_request_waits_for_leaves_no_span(exported: InMemorySpanExporter) -> None:
    always = Traces("toy", "replica-1", "http://127.0.0.1:1", 1.0, exporter=exported)
    port: Any = always.port(Port(), "redis", ["get"])
    assert asyncio.run(port.get("polled in the background")) == "polled in the background"
    always.stop()
    assert exported.get_finished_spans() == ()


@pytest.mark.parametrize(("status", "error_type"), [(404, None), (503, "503")])
def test_a_failure_of_the_service_marks_its_span_and_one_of_the_caller_does_not(
    status: int, error_type: str | None, traces: Traces, exported: InMemorySpanExporter
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def send(message: Any) -> None: ...

    asyncio.run(TracedRequests(app, traces)(request([(b"traceparent", PARENT.encode())]), None, send))  # type: ignore[arg-type]
    traces.stop()
    (span,) = exported.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes.get("error.type") == error_type
    assert (span.status.status_code is StatusCode.ERROR) == (error_type is not None)


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


WITHOUT_TRACES = """
import asyncio, sys, threading
from pathlib import Path
from tests.url_shortener.replicas import PLAIN, knobs, running_replica

async def scene():
    async with running_replica(knobs(**PLAIN, traces=0), Path(sys.argv[1])) as replica:
        await replica.visit((await replica.create())["code"])
        running = {thread.name for thread in threading.enumerate()}
        assert running <= {"MainThread", "AnyIO worker thread"}, running  # the framework's, for routes that are not async

import designs.url_shortener.worker
asyncio.run(scene())
ours = ("opentelemetry.sdk", "opentelemetry.exporter", "designs.building_blocks.tracing")  # libraries may load the bare interface
loaded = [name for name in sys.modules if name.startswith(ours)]
assert not loaded, loaded
"""


def test_without_traces_nothing_of_opentelemetry_is_loaded_and_no_thread_sends_spans(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TRACES, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
