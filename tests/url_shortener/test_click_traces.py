"""A click's trace goes on through every kind of counting, and the worker's log says of which request a batch came."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from designs.building_blocks.tracing import Traces, trace_ids
from designs.url_shortener.backends.memory import MemoryClickQueue, MemoryClickStore, MemoryVisitorCounter
from designs.url_shortener.click_recorder import to_queue
from designs.url_shortener.click_traces import LoggedQueue, traced_count, traced_publish, traced_work
from designs.url_shortener.click_worker import ClickWorker
from designs.url_shortener.clicks import Click, ClickBatch, encode_batch
from designs.url_shortener.ports import StoreError
from tests.url_shortener.replicas import failing

VISITS = [f"00-{digit * 32}-{digit * 16}-01" for digit in "ab"]
CLICK = Click("abc", 1_800_000_000, "", "v", False)


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exported: InMemorySpanExporter) -> Traces:
    return Traces("url_shortener", "toy", "", 0.0, exporter=exported)


def spans(traces: Traces, exported: InMemorySpanExporter) -> dict[str, Any]:
    traces.stop()
    return {span.name: span for span in exported.get_finished_spans()}


def worker_of(queue: Any, traces: Traces | None, store: Any = None) -> ClickWorker:
    counts = store or MemoryClickStore(lambda: 0)
    around = traced_work(traces, "redis")
    return ClickWorker(LoggedQueue(queue), counts, MemoryVisitorCounter(), "click-worker", around=around)


def test_one_trace_goes_from_the_visit_through_the_queue_to_the_counting_and_the_others_are_linked(
    traces: Traces, exported: InMemorySpanExporter
) -> None:
    async def scene() -> None:
        queue = MemoryClickQueue()
        send = traced_publish(to_queue(queue), traces, "redis")
        await send(ClickBatch("one", [CLICK], VISITS))
        await send(ClickBatch("two", [CLICK], VISITS[1:]))
        await send(ClickBatch("three", [CLICK]))
        assert await worker_of(queue, traces).work_once(0) == 3

    asyncio.run(scene())
    traces.stop()
    first, second, counted = exported.get_finished_spans()
    assert [span.name for span in (first, second, counted)] == ["publish clicks", "publish clicks", "count clicks"]
    assert first.context is not None
    assert second.context is not None
    assert counted.parent is not None
    assert (counted.parent.trace_id, counted.parent.span_id) == (int("a" * 32, 16), first.context.span_id)
    assert [link.context.trace_id for link in first.links] == [int("b" * 32, 16)]
    assert [link.context.span_id for link in counted.links] == [second.context.span_id]
    assert counted.attributes == {
        "messaging.system": "redis",
        "messaging.destination.name": "clicks",
        "messaging.operation.name": "count",
        "messaging.operation.type": "process",
    }


def test_a_batch_that_is_sent_again_carries_the_trace_of_the_try_that_arrived(
    traces: Traces, exported: InMemorySpanExporter
) -> None:
    sent: list[ClickBatch] = []

    async def send(batch: ClickBatch) -> None:
        sent.append(batch)
        if len(sent) == 1:
            raise StoreError("gone", may_have_happened=True)

    async def scene() -> None:
        batch = ClickBatch("one", [CLICK], VISITS)
        publish = traced_publish(send, traces, "redis")
        with pytest.raises(StoreError):
            await publish(batch)
        await publish(batch)

    asyncio.run(scene())
    traces.stop()
    failed, arrived = exported.get_finished_spans()
    assert arrived.context is not None
    assert sent[1] == ClickBatch("one", [CLICK], [f"00-{'a' * 32}-{arrived.context.span_id:016x}-01"])
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "StoreError"


def test_a_replica_that_counts_by_itself_counts_in_the_trace_of_the_visit(traces: Traces, exported: InMemorySpanExporter) -> None:
    within: list[dict[str, str]] = []

    async def send(batch: ClickBatch) -> None:
        within.append(trace_ids())

    asyncio.run(traced_count(send, traces)(ClickBatch("one", [CLICK], VISITS)))
    assert within[0]["trace_id"] == "a" * 32
    assert list(spans(traces, exported)) == ["count clicks"]


def test_without_traces_a_batch_is_sent_as_it_is() -> None:
    async def send(batch: ClickBatch) -> None: ...

    assert traced_publish(send, None, "redis") is send
    assert traced_count(send, None) is send


def worked(queue: Any, worker: ClickWorker, rounds: int) -> Sequence[Any]:
    async def scene() -> None:
        for _ in range(rounds):
            try:
                await worker.work_once(0)
            except StoreError:
                continue

    with structlog.testing.capture_logs() as logged:
        asyncio.run(scene())
    return logged


@pytest.mark.parametrize("traced", [True, False])
def test_a_batch_that_is_given_up_is_logged_with_why_and_with_its_trace(traced: bool, traces: Traces) -> None:
    queue = MemoryClickQueue()
    unreadable = encode_batch(ClickBatch("one", [CLICK], VISITS)).replace(b'"from_s":', b'"from":')
    asyncio.run(queue.publish(unreadable))
    [line] = worked(queue, worker_of(queue, traces if traced else None), 1)
    assert {name: value for name, value in line.items() if name != "delivery"} == {
        "event": "click_batch_dead_lettered",
        "log_level": "warning",
        "deliveries": 1,
        "reason": "not a click batch: KeyError",
        "trace_id": "a" * 32,
        "span_id": "a" * 16,
    }
    asyncio.run(queue.publish(b"no JSON"))
    [line] = worked(queue, worker_of(queue, traces), 1)
    assert "trace_id" not in line


def test_an_outage_is_logged_within_the_trace_and_what_comes_again_after_it_with_its_trace(traces: Traces) -> None:
    queue, store = MemoryClickQueue(), MemoryClickStore(lambda: 0)
    asyncio.run(queue.publish(encode_batch(replace(ClickBatch("one", [CLICK]), traces=VISITS))))
    seen: list[dict[str, str]] = []

    def note(_: Any, __: str, event: Any) -> Any:
        seen.append({"event": event["event"], **trace_ids()})
        return event

    worker = worker_of(queue, traces, store)
    with failing(store, "apply", StoreError("gone", may_have_happened=False)):
        before = structlog.get_config()
        structlog.configure(processors=[note, structlog.testing.LogCapture()])
        try:
            asyncio.run(_once(worker))
        finally:
            structlog.configure(**before)
    assert [(line["event"], line["trace_id"]) for line in seen] == [("clicks_not_counted", "a" * 32)]
    [again] = worked(queue, worker, 1)
    assert again["event"] == "click_batches_came_again"
    assert (again["batches"], again["most_deliveries"], again["trace_id"]) == (1, 2, "a" * 32)
    assert worker.totals.applied_clicks == 1


async def _once(worker: ClickWorker) -> None:
    with pytest.raises(StoreError):
        await worker.work_once(0)
