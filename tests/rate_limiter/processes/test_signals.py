"""Each replica of the design, by every signal: its metrics, its log and its spans; and none of them tells whom a limit counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.rate_limiter.processes.driving import Api, running
from tests.rate_limiter.service import rule
from tests.url_shortener.processes.driving import wait_until
from tests.url_shortener.processes.span_collector import Span, SpanCollector

PROCESSES = ("replica-1", "replica-2")
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
ALLOWED, REFUSED = "a" * 32, "b" * 32
PERSON = "someone@example.org"
RULES = [
    rule("per-user", quota=1, per="300d"),
    rule("orders", {"order": "*"}, on_store_down="closed"),
    rule("trial", mode="shadow"),
]

# THE list of metrics: name without suffix -> type and labels. What is not in it is not to be exposed.
METRICS = {
    "sd_build_info": ("gauge", {"design", "version"}),
    "sd_degraded": ("gauge", {"dependency"}),
    "sd_event_loop_lag_seconds": ("gauge", set[str]()),
    "sd_fault_active": ("gauge", {"fault"}),
    "sd_backend_calls": ("counter", {"backend", "op", "outcome"}),
    "sd_backend_call_duration_seconds": ("histogram", {"backend", "op"}),
    "sd_spans": ("counter", {"outcome"}),
    "process_cpu_seconds": ("counter", set()),
    "process_resident_memory_bytes": ("gauge", set()),
    "process_virtual_memory_bytes": ("gauge", set()),
    "process_start_time_seconds": ("gauge", set()),
    "process_open_fds": ("gauge", set()),
    "process_max_fds": ("gauge", set()),
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


@dataclass
class Driven:
    """What the replicas showed of themselves after they had been used, and had failed."""

    secrets: tuple[str, ...]
    pages: dict[str, str] = field(default_factory=dict)  # process -> its metrics
    logs: dict[str, str] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)

    def lines(self, process: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.logs[process].splitlines()]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    folder: Path = tmp_path_factory.mktemp("signals")
    turned = {"store": "local_lease", "shed": "priority", "traces": 1, "deadline_ms": 5_000}
    with SpanCollector() as collector:
        env = {"RATE_LIMITER_TRACES_ENDPOINT": collector.url}
        with running(folder, RULES, replicas=2, faults=True, env=env, **turned) as design:
            secrets = tuple((design.data_dir / name).read_text() for name in ("api_key", "admin_key", "pk_key"))
            driven = Driven(secrets)
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
                    driven.pages[process] = httpx2.get(f"{api.url}/metrics", headers=OPENMETRICS).text
            wait_until(
                lambda: (
                    {(span.trace, span.process) for span in list(collector.spans) if span.kind == "server"}
                    >= {(trace, process) for trace in (ALLOWED, REFUSED) for process in PROCESSES}
                ),
                "the spans arrive",
            )
            driven.spans = list(collector.spans)
            driven.logs = {process: (design.supervisor.log_dir / f"{process}.log").read_text() for process in PROCESSES}
        yield driven


def traceparent(trace: str) -> str:
    """Of a caller who sampled the trace; its span is that of the trace's first letters."""
    return f"00-{trace}-{trace[:16]}-01"


@pytest.mark.parametrize("process", PROCESSES)
def test_a_replica_has_the_metrics_of_the_list_with_their_types_and_labels_and_no_others(process: str, driven: Driven) -> None:
    found = {family.name: family for family in text_string_to_metric_families(driven.pages[process])}
    assert set(found) == set(METRICS)
    for name, (kind, labels) in METRICS.items():
        assert found[name].type == kind
        if name == "sd_limiter_envoy_calls":
            continue  # nobody called
        assert found[name].samples, f"{name} has no sample"
        assert {label for sample in found[name].samples for label in sample.labels} - {"le"} == labels


@pytest.mark.parametrize("process", PROCESSES)
def test_a_request_is_labelled_by_its_route_and_a_decision_by_its_rule(process: str, driven: Driven) -> None:
    page = driven.pages[process]
    assert 'http_request_duration_seconds_count{method="POST",route="/v1/check",status="503"} 1.0' in page
    outcome = "allowed" if process == "replica-1" else "refused"
    assert f'sd_limiter_decisions_total{{domain="api",outcome="{outcome}",rule="per-user"}} 1.0' in page
    assert 'sd_limiter_degraded_total{domain="api",policy="closed",rule="orders"} 1.0' in page


@pytest.mark.parametrize("process", PROCESSES)
def test_every_line_of_a_log_is_json_and_one_that_a_traced_request_caused_carries_its_trace(process: str, driven: Driven) -> None:
    lines = driven.lines(process)
    assert lines
    for line in lines:
        assert {"timestamp", "level", "event"} <= line.keys()
        assert (line["design"], line["process"]) == ("rate_limiter", process)
    assert [line["trace_id"] for line in lines if line["event"] == "request_failed"] == [REFUSED]


@pytest.mark.parametrize("process", PROCESSES)
def test_a_trace_leads_from_the_request_to_the_one_call_of_the_store_that_it_waited_for(process: str, driven: Driven) -> None:
    mine = [span for span in driven.spans if span.trace == ALLOWED and span.process == process]
    [server] = [span for span in mine if span.kind == "server"]
    assert server.name == "POST /v1/check"
    assert server.parent == ALLOWED[:16]
    assert [(span.name, span.parent) for span in mine if span.kind == "client"] == [("redis take", server.id)]


@pytest.mark.parametrize("process", PROCESSES)
def test_no_signal_holds_a_secret_or_whom_a_limit_counted(process: str, driven: Driven) -> None:
    spans = "".join(span.written for span in driven.spans if span.process == process)
    for signal in (driven.pages[process], driven.logs[process], spans):
        assert signal
        assert PERSON not in signal
        for secret in driven.secrets:
            assert len(secret) >= 16
            assert secret not in signal
