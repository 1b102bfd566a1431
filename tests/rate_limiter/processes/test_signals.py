"""Each replica of the design, by every signal: its metrics, its log and its spans; and none of them tells whom a limit counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
from tests.rate_limiter.processes.driving import Api, running
from tests.rate_limiter.service import rule

PROCESSES = ("replica-1", "replica-2")
ALLOWED, REFUSED = "a" * 32, "b" * 32
PERSON = "someone@example.org"
RULES = [
    rule("per-user", quota=1, per="300d"),
    rule("orders", {"order": "*"}, on_store_down="closed"),
    rule("trial", mode="shadow"),
]

# THE list of metrics: name without suffix -> type and labels. What is not in it is not to be exposed.
METRICS = {
    **METRICS_EVERYWHERE,
    "http_request_duration_seconds": ("histogram", {"method", "route", "status"}),
    "sd_breaker_state": ("gauge", {"breaker"}),
    "sd_breaker_opened": ("counter", {"breaker"}),
    "sd_overload_refused": ("counter", set()),
    "sd_limiter_decisions": ("counter", {"domain", "rule", "outcome"}),
    "sd_limiter_degraded": ("counter", {"domain", "rule", "policy"}),
    "sd_limiter_unmatched": ("counter", set()),
    "sd_limiter_rule_reloads": ("counter", {"outcome"}),
    "sd_limiter_memory_keys": ("gauge", set()),
    "sd_limiter_memory_shared": ("counter", set()),
    "sd_limiter_lease_trips": ("counter", set()),
    "sd_limiter_leased_units": ("counter", set()),
    "sd_limiter_shed": ("counter", {"priority"}),
    "sd_limiter_envoy_calls": ("counter", {"code"}),
}


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signals]:
    folder: Path = tmp_path_factory.mktemp("signals")
    turned = {"store": "local_lease", "shed": "priority", "traces": 1, "deadline_ms": 5_000}
    with SpanCollector() as collector:
        env = {"RATE_LIMITER_TRACES_ENDPOINT": collector.url}
        with running(folder, RULES, replicas=2, faults=True, env=env, **turned) as design:
            secrets = tuple((design.data_dir / name).read_text() for name in ("api_key", "admin_key", "pk_key"))
            driven = Signals(secrets)
            with Api(design) as one, Api(design, 1) as other:
                for api in (one, other):
                    first = api is one
                    answer = api.http.post(
                        "/v1/check",
                        json={"domain": "api", "descriptor": {"user": PERSON}},
                        headers={"traceparent": traceparent(ALLOWED)},
                    )
                    assert answer.status_code == (200 if first else 429)
                    assert api.check({"nobody": "x"}).status_code == 200
                design.redis.kill()  # type: ignore[union-attr]
                for api in (one, other):
                    answer = api.http.post(
                        "/v1/check",
                        json={"domain": "api", "descriptor": {"order": PERSON}},
                        headers={"traceparent": traceparent(REFUSED)},
                    )
                    assert answer.status_code == 503
                for process, api in zip(PROCESSES, (one, other), strict=True):
                    driven.pages[process] = page(api.url)
            wait_until(
                lambda: (
                    {(span.trace, span.process) for span in list(collector.spans) if span.kind == "server"}
                    >= {(trace, process) for trace in (ALLOWED, REFUSED) for process in PROCESSES}
                ),
                "the spans arrive",
            )
            driven.spans = list(collector.spans)
            driven.logs = logs_of(design, PROCESSES)
        yield driven


@pytest.mark.parametrize("process", PROCESSES)
def test_a_replica_has_the_metrics_of_the_list_with_their_types_and_labels_and_no_others(process: str, driven: Signals) -> None:
    found = {family.name: family for family in driven.families(process)}
    assert set(found) == set(METRICS)
    for name, (kind, labels) in METRICS.items():
        assert found[name].type == kind
        if name == "sd_limiter_envoy_calls":
            continue  # nobody called
        assert found[name].samples, f"{name} has no sample"
        assert {label for sample in found[name].samples for label in sample.labels} - {"le"} == labels


@pytest.mark.parametrize("process", PROCESSES)
def test_a_request_is_labelled_by_its_route_and_a_decision_by_its_rule(process: str, driven: Signals) -> None:
    told = driven.pages[process]
    assert 'http_request_duration_seconds_count{method="POST",route="/v1/check",status="503"} 1.0' in told
    outcome = "allowed" if process == "replica-1" else "refused"
    assert f'sd_limiter_decisions_total{{domain="api",outcome="{outcome}",rule="per-user"}} 1.0' in told
    assert 'sd_limiter_degraded_total{domain="api",policy="closed",rule="orders"} 1.0' in told


@pytest.mark.parametrize("process", PROCESSES)
def test_every_line_of_a_log_is_json_and_one_that_a_traced_request_caused_carries_its_trace(process: str, driven: Signals) -> None:
    assert_each_line_says_whose_it_is(driven, "rate_limiter", process)
    assert [line["trace_id"] for line in driven.lines(process) if line["event"] == "request_failed"] == [REFUSED]


@pytest.mark.parametrize("process", PROCESSES)
def test_a_trace_leads_from_the_request_to_the_one_call_of_the_store_that_it_waited_for(process: str, driven: Signals) -> None:
    mine = [span for span in driven.spans if span.trace == ALLOWED and span.process == process]
    [server] = [span for span in mine if span.kind == "server"]
    assert server.name == "POST /v1/check"
    assert server.parent == ALLOWED[:16]
    assert [(span.name, span.parent) for span in mine if span.kind == "client"] == [("redis take", server.id)]


@pytest.mark.parametrize("process", PROCESSES)
def test_no_signal_holds_a_secret_or_whom_a_limit_counted(process: str, driven: Signals) -> None:
    assert_no_signal_tells(driven, process, PERSON)
