from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from designs.building_blocks.request_seconds import BUCKETS_S, RequestSeconds

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-01"


@given(st.lists(st.tuples(st.sampled_from(["GET", "BREW"]), st.sampled_from(["/a", "/b"]), st.floats(0, 10)), max_size=40))
def test_the_cheap_histogram_exposes_what_the_librarys_own_does(observed: list[tuple[str, str, float]]) -> None:
    ours = RequestSeconds()
    registry = CollectorRegistry()
    theirs = Histogram("http_request_duration_seconds", "x", ("method", "route", "status"), buckets=BUCKETS_S, registry=registry)
    for method, route, seconds in observed:
        ours.observe(method, route, 200, seconds)
        theirs.labels("other" if method == "BREW" else method, route, "200").observe(seconds)

    def exposed(families: Any) -> dict[Any, Any]:
        return {
            (sample.name, *sorted(sample.labels.items())): pytest.approx(sample.value)
            for family in families
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    assert exposed(ours.collect()) == exposed(registry.collect())


def exemplars(seconds: RequestSeconds) -> dict[str, tuple[str, float]]:
    """Bound of the bucket -> trace and value of its exemplar, as a scraper reads them."""
    registry = CollectorRegistry()
    registry.register(seconds)
    families: list[Any] = [*parse_openmetrics(generate_openmetrics(registry).decode())]  # type: ignore[no-untyped-call]
    return {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in families
        for sample in family.samples
        if sample.exemplar
    }


def test_a_bucket_names_the_trace_of_its_last_sampled_request_and_requests_nobody_sampled_leave_it_be() -> None:
    seconds = RequestSeconds()
    for taken_s, traceparent in ((0.0011, PARENT), (0.0012, OTHER), (0.0013, ""), (0.3, PARENT), (99.0, OTHER), (0.0001, "")):
        seconds.observe("GET", "/{code}", 302, taken_s, traceparent)
    assert exemplars(seconds) == {
        "0.0025": ("1" * 32, 0.0012),
        "0.5": ("0af7651916cd43dd8448eb211c80319c", 0.3),
        "+Inf": ("1" * 32, 99.0),
    }


def test_an_exemplar_is_shown_in_openmetrics_alone() -> None:
    seconds = RequestSeconds()
    seconds.observe("GET", "/{code}", 302, 0.001, PARENT)
    registry = CollectorRegistry()
    registry.register(seconds)
    assert b"0af7651916cd43dd8448eb211c80319c" in generate_openmetrics(registry)
    assert b"0af7651916cd43dd8448eb211c80319c" not in generate_latest(registry)


def test_ten_thousand_traces_leave_one_exemplar_a_bucket() -> None:
    seconds = RequestSeconds()
    for number in range(10_000):
        seconds.observe("GET", "/{code}", 302, number / 10_000, f"00-{number:032x}-{number:016x}-01")
    [family] = seconds.collect()
    assert len(family.samples) == len(BUCKETS_S) + 1 + 2
    assert len(exemplars(seconds)) == len([bound for bound in BUCKETS_S if bound <= 1])
