"""A collector that keeps nothing counts what it is sent, in the format that services really send."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from designs.building_blocks.tracing import Traces
from workbench.trace_sink import MAX_BODY_BYTES, BadProtobuf, TraceSink, spans_in


def export_of(spans: int) -> bytes:
    """What a process sends for this many spans, some with links."""
    kept = InMemorySpanExporter()
    traces = Traces("toy", "replica-1", "", 1.0, exporter=kept)
    for number in range(spans):
        with traces.batch("count clicks", ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] * (1 + number % 3)):
            pass
    traces.stop()
    return bytes(encode_spans(kept.get_finished_spans()).SerializeToString())


async def ask(sink: TraceSink, method: str, path: str, body: bytes = b"") -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(sink), base_url="http://127.0.0.1") as client:
        return await client.request(method, path, content=body)


@pytest.mark.parametrize("spans", [0, 1, 2, 130])
def test_the_spans_of_an_export_are_counted_without_reading_them(spans: int) -> None:
    assert spans_in(export_of(spans)) == spans


def test_an_export_is_answered_with_200_and_counted() -> None:
    async def scene() -> Any:
        sink, export = TraceSink(), export_of(3)
        answers = [await ask(sink, "POST", "/v1/traces", export) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert (await ask(sink, "GET", "/counts")).json() == {"requests": 2, "bytes": 2 * len(export), "spans": 6}

    asyncio.run(scene())


def test_what_is_no_export_is_refused_and_not_counted() -> None:
    async def scene() -> None:
        sink = TraceSink()
        assert (await ask(sink, "POST", "/v1/traces", b"\xff" * 20)).status_code == 400
        assert (await ask(sink, "POST", "/v1/traces", b"\0" * (MAX_BODY_BYTES + 1))).status_code == 413
        assert (await ask(sink, "GET", "/v1/traces")).status_code == 404
        assert (await ask(sink, "GET", "/healthz")).status_code == 200
        assert set(sink.counts.values()) == {0}

    asyncio.run(scene())


@given(st.binary(max_size=60))
def test_any_bytes_are_counted_or_refused(noise: bytes) -> None:
    with contextlib.suppress(BadProtobuf):
        assert spans_in(noise) >= 0


@given(st.data())
def test_an_export_that_was_cut_off_never_counts_more(data: st.DataObject) -> None:
    whole = EXPORT[: data.draw(st.integers(0, len(EXPORT)))]
    with contextlib.suppress(BadProtobuf):
        assert spans_in(whole) <= 3


EXPORT = export_of(3)
