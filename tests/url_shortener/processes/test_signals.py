"""Every process of the design, by every signal: its metrics, its log and its spans, and the edges of the one trace they share.

The design runs as two replicas and a worker: as it comes, and on the full stack. What is asserted is the same for both.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from designs.building_blocks.knobs import build
from designs.url_shortener.clicks import Click, ClickBatch, encode_batch
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.ports import ClickQueue
from tests.processes.driving import wait_until
from tests.processes.signals import (
    METRICS_EVERYWHERE,
    Signals,
    assert_each_line_says_whose_it_is,
    assert_no_signal_tells,
    logs_of,
    page,
    traceparent,
)
from tests.processes.span_collector import SpanCollector
from tests.url_shortener.processes.driving import DESIGN, Api, address_of
from workbench.launch import RunningDesign

PROCESSES = ("replica-1", "replica-2", "click-worker")
VISIT, POISON, REFUSED = "a" * 32, "b" * 32, "c" * 32
COUNTS_OF_CACHE = ("loads", "waits", "refused_fills", "evicted", "unavailable")

# THE list of metrics: name without suffix -> type and labels. What is not in it is not to be exposed.
OF_A_REPLICA = {
    "http_request_duration_seconds": ("histogram", {"method", "route", "status"}),
    "sd_cache_requests": ("counter", {"result"}),
    **{f"sd_cache_{what}": ("counter", set()) for what in COUNTS_OF_CACHE},
    "sd_breaker_state": ("gauge", {"breaker"}),
    "sd_breaker_opened": ("counter", {"breaker"}),
    "sd_clicks": ("counter", {"outcome"}),
    "sd_clicks_dropped": ("counter", {"reason"}),
    "sd_clicks_buffered": ("gauge", set()),
    "sd_overload_refused": ("counter", set()),
    "sd_queue_messages": ("counter", {"queue"}),
}
OF_THE_WORKER = {
    "sd_clicks_applied": ("counter", set()),
    "sd_clicks_dead_lettered": ("counter", set()),
    "sd_click_batches_applied": ("counter", set()),
    "sd_click_batches_repeated": ("counter", set()),
    "sd_click_batches_dead_lettered": ("counter", set()),
    "sd_click_worker_failures": ("counter", set()),
    "sd_queue_depth": ("gauge", {"queue"}),
    "sd_queue_oldest_age_seconds": ("gauge", {"queue"}),
    "sd_queue_lag": ("gauge", {"queue", "partition"}),
}
OF_SQLITE = {"sd_store_syncs": ("counter", {"backend"})}


def metrics_of(process: str, store: str) -> Mapping[str, tuple[str, set[str]]]:
    own = OF_THE_WORKER if process == "click-worker" else OF_A_REPLICA
    return dict(METRICS_EVERYWHERE) | own | (OF_SQLITE if store == "sqlite" else {})


@dataclass(kw_only=True)
class Driven(Signals):
    """What the processes showed of themselves after they had been used, and had failed."""

    store: str
    queue: str
    code: str


STACKS = {
    "sqlite, redis_streams": {"store": "sqlite", "clicks": "redis_streams"},
    "cassandra, kafka": {"store": "cassandra", "clicks": "kafka"},
}


@pytest.fixture(scope="module", params=STACKS)
def driven(request: pytest.FixtureRequest) -> Iterator[Driven]:
    chosen = STACKS[request.param]
    given = {}
    if chosen["clicks"] == "kafka":
        given["KAFKA_BOOTSTRAP"] = request.getfixturevalue("kafka_bootstrap")
    if chosen["store"] == "cassandra":
        given["CASSANDRA_HOSTS"] = request.getfixturevalue("cassandra_hosts")
    knobs = build(ShortenerKnobs, {"traces": 1, "click_flush_ms": 10, **chosen})
    with SpanCollector() as collector:
        env = {"URL_SHORTENER_TRACES_ENDPOINT": collector.url}
        with RunningDesign(DESIGN, knobs, replicas=2, env=env, environ=given, faults=True) as design:
            yield drive(design, collector, chosen["store"], chosen["clicks"])


def drive(design: RunningDesign, collector: SpanCollector, store: str, queue: str) -> Driven:
    """A link made on one replica and visited on the other, a batch that can't be counted, and at last a request that fails."""
    assert design.redis is not None
    keys = [(design.data_dir / name).read_text() for name in ("api_key", "admin_key", "code_key")]
    secrets = (*keys, design.redis.url.partition("@")[0].rpartition(":")[2])
    with Api(design.urls[0], design.api_key) as first, Api(design.urls[1], design.api_key) as second:
        code = first.create("https://example.org/traced")["code"]
        driven = Driven(secrets=secrets, store=store, queue=queue, code=code)
        visit = second.http.get(f"/{driven.code}", headers={"traceparent": traceparent(VISIT)})
        assert visit.status_code == 302
        wait_until(lambda: first.clicks(driven.code) == 1, "the click is counted, in a batch of its own")
        first.visit(driven.code)
        wait_until(lambda: first.clicks(driven.code) == 2, "so is that of the other replica")
        asyncio.run(publish(design, queue, poison()))
        worker = address_of(design, "click-worker")
        wait_until(lambda: 'sd_queue_depth{queue="clicks_dead"} 1.0' in page(worker), "the worker has given up the batch")
        for process in PROCESSES:
            driven.pages[process] = page(address_of(design, process))
        assert driven.code not in "".join(driven.pages.values())
        # From here on nothing can be edited, and a replica says so.
        design.redis.kill()
        for api in (first, second):
            edit = api.http.patch(
                f"/api/v1/links/{driven.code}", json={"enabled": False}, headers={"traceparent": traceparent(REFUSED)}
            )
            assert edit.status_code == 503
    wait_until(
        lambda: {span.process for span in collector.spans if span.trace == REFUSED and span.kind == "server"} == {*PROCESSES[:2]},
        "spans arrive",
    )
    named = {VISIT, *(trace for process in PROCESSES for trace in exemplars(driven, process))}
    wait_until(lambda: named <= {span.trace for span in list(collector.spans)}, "what the metrics name arrives")
    wait_until(lambda: any(span.trace == VISIT and span.kind == "consumer" for span in collector.spans), "the trace is whole")
    driven.spans = list(collector.spans)
    driven.logs = logs_of(design, PROCESSES)
    return driven


def exemplars(driven: Driven, process: str) -> set[str]:
    """The traces that the process's histograms lead to."""
    samples = [sample for family in driven.families(process) for sample in family.samples]
    return {sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar}


def poison() -> bytes:
    """A batch of a traced request that nobody can read."""
    click = Click("abc", 1_800_000_000, "", "v", False)
    return encode_batch(ClickBatch("poison", [click], [traceparent(POISON)])).replace(b'"from_s":', b'"from":')


async def publish(design: RunningDesign, queue: str, body: bytes) -> None:
    """Into the queue that the design reads."""
    where: ClickQueue
    if queue == "kafka":
        from designs.url_shortener.backends.kafka import KafkaClickQueue

        where = kafka = KafkaClickQueue(design.given["kafka"].written, design.namespace)
        try:
            await where.publish(body)
        finally:
            await kafka.close()
    else:
        from designs.building_blocks.redis_connection import connect
        from designs.url_shortener.backends.redis_streams import RedisClickQueue

        assert design.redis is not None
        async with connect(design.redis.url, 5.0) as client:
            await RedisClickQueue(client).publish(body)


# -- metrics ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_has_the_metrics_of_its_list_with_their_types_and_labels_and_no_others(process: str, driven: Driven) -> None:
    wanted = dict(metrics_of(process, driven.store))
    found = {family.name: family for family in driven.families(process)}
    assert set(found) == set(wanted)
    for name, (kind, labels) in wanted.items():
        samples = found[name].samples
        if name == "sd_queue_lag":
            assert len(samples) == (4 if driven.queue == "kafka" else 0), "one per partition, where there are partitions"
        else:
            assert samples, f"{name} has no sample"
        assert found[name].type == kind
        assert {label for sample in samples for label in sample.labels} - {"le"} == (labels if samples else set())


@pytest.mark.parametrize("process", PROCESSES)
def test_a_metric_is_named_for_its_unit_and_a_histogram_measures_seconds(process: str, driven: Driven) -> None:
    for family in driven.families(process):
        assert family.name.startswith(("sd_", "http_", "process_"))
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name == f"{family.name}_total"


@pytest.mark.parametrize("process", PROCESSES)
def test_a_histogram_of_a_traced_process_leads_to_a_trace_that_the_collector_has(process: str, driven: Driven) -> None:
    named = exemplars(driven, process)
    assert named
    assert named <= {span.trace for span in driven.spans}


# -- logs -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES)
def test_every_line_of_a_log_is_json_with_time_level_event_design_and_process(process: str, driven: Driven) -> None:
    assert_each_line_says_whose_it_is(driven, "url_shortener", process)


@pytest.mark.parametrize(
    ("process", "event", "trace"),
    [
        ("replica-1", "request_failed", REFUSED),
        ("replica-2", "request_failed", REFUSED),
        ("click-worker", "click_batch_dead_lettered", POISON),
    ],
)
def test_a_line_that_a_traced_request_caused_carries_its_trace(process: str, event: str, trace: str, driven: Driven) -> None:
    lines = [line for line in driven.lines(process) if line["event"] == event and line.get("trace_id") == trace]
    assert lines
    spans = {span.id for span in driven.spans if span.trace == trace and span.process == process}
    for line in lines:
        if event == "request_failed":
            assert line["request_id"]
            assert line["span_id"] in spans
        else:
            assert line["span_id"] == trace[:16], "that of the batch, which nobody could count"


# -- traces -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_sends_its_spans_under_its_own_name(process: str, driven: Driven) -> None:
    kinds = Counter(span.kind for span in driven.spans if span.process == process)
    assert set(kinds) == ({"consumer", "client"} if process == "click-worker" else {"server", "client", "producer"})


def edges(driven: Driven, trace: str) -> set[tuple[str, str]]:
    """(parent, child) of a trace, each as "process kind name"; "" for the caller."""
    spans = {span.id: span for span in driven.spans if span.trace == trace}
    told = {span.id: f"{span.process} {span.kind} {span.name}" for span in spans.values()}
    return {(told.get(span.parent, ""), told[span.id]) for span in spans.values()}


def test_one_trace_leads_from_the_request_through_cache_store_and_queue_to_the_worker_and_what_it_called(driven: Driven) -> None:
    queue = "kafka" if driven.queue == "kafka" else "redis"
    server = "replica-2 server GET /{code}"
    producer, consumer = "replica-2 producer publish clicks", "click-worker consumer count clicks"
    assert edges(driven, VISIT) >= {
        ("", server),
        (server, "replica-2 client redis shared_get"),
        (server, f"replica-2 client {driven.store} get"),
        (server, producer),
        (producer, f"replica-2 client {queue} publish"),
        (producer, consumer),
        (consumer, "click-worker client redis visitors_add"),
        (consumer, f"click-worker client {driven.store} clicks_apply"),
    }


def test_a_create_waits_for_the_store_within_its_trace(driven: Driven) -> None:
    [create] = [span for span in driven.spans if span.name == "POST /api/v1/links"]
    server = "replica-1 server POST /api/v1/links"
    assert (server, f"replica-1 client {driven.store} insert_if_absent") in edges(driven, create.trace)


def test_a_failed_request_is_an_error_in_its_span(driven: Driven) -> None:
    failed = [span for span in driven.spans if span.trace == REFUSED and span.kind == "server"]
    assert {span.attributes["error.type"] for span in failed} == {"503"}


# -- and none of them tells -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES)
def test_no_secret_is_in_any_metric_line_or_span(process: str, driven: Driven) -> None:
    assert_no_signal_tells(driven, process)


def test_no_span_says_which_link_it_was_about(driven: Driven) -> None:
    assert not any(driven.code in span.written for span in driven.spans)
