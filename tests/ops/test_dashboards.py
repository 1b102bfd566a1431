"""A real Prometheus scrapes the running designs and answers every query of every dashboard, when all is well and when it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from designs.building_blocks.fault_hooks import write_fault_file
from designs.rate_limiter.processes import rules_of
from tests.ops.dashboard_files import Asked, queries
from tests.ops.limiter_scene import BAD_RULES, running_limiter, try_out
from tests.ops.real_prometheus import RULE_FILES, RealPrometheus, Targets, eventually, rules
from tests.ops.traffic import checks_and_slots, visits_and_creates
from tests.processes.span_collector import SpanCollector
from tests.url_shortener.processes.driving import running
from workbench.catalogue import DESIGNS
from workbench.launch import RunningDesign

LONGER_THAN_THE_STORE_MAY_TAKE_US = 3_000_000

# Panels that rightly are empty while all is well; each gets data when something breaks.
EMPTY_WHILE_WELL = {
    "overview: Which alerts fire",
    "overview: Decided without the store",
    "url_shortener: Failed calls",
    "rate_limiter: Failed calls",
    "rate_limiter: Decisions without the store, by policy",
    "rate_limiter: Decisions without the store, by rule",
}
NEEDS_KAFKA = {"url_shortener: Lag by partition"}
# What a design does not have, and the overview has no data of.
NOT_OF = {
    "url_shortener": {"overview: Refused by limits", "overview: Decided without the store"},
    "rate_limiter": {"overview: Cache hit ratio", "overview: Queue depth", "overview: Age of the oldest entry"},
}

REPLICAS = {(design, replica) for design in DESIGNS for replica in ("replica-1", "replica-2")}
EVERYBODY = REPLICAS | {("url_shortener", "click-worker")}
SIGNALS = {
    "up == 1": EVERYBODY,
    "sd_build_info": EVERYBODY,
    "rate(http_request_duration_seconds_count[4s]) > 0": REPLICAS,
    "rate(http_request_duration_seconds_bucket[4s]) > 0": REPLICAS,
    "rate(process_cpu_seconds_total[4s]) > 0": EVERYBODY,
    "process_resident_memory_bytes": EVERYBODY,
    "process_open_fds": EVERYBODY,
    "sd_event_loop_lag_seconds": EVERYBODY,
    "sd_overload_refused_total": REPLICAS,
    "sd_degraded == 0": EVERYBODY,
    "sd_breaker_state == 0": REPLICAS,
    "sd_fault_active == 0": EVERYBODY,
    "sd_backend_calls_total > 0": EVERYBODY,
    "rate(sd_backend_call_duration_seconds_bucket[4s]) >= 0": EVERYBODY,
    'sd_spans_total{outcome="sent"} > 0': EVERYBODY,
}
EDGES = {("GET /{code}", "redis shared_get"), ("POST /v1/check", "redis take"), ("POST /v1/acquire", "redis acquire")}


def targets_of(*designs: RunningDesign) -> Targets:
    """As a scrape configuration has them."""
    return {
        (design.design.name, spec.name): urlsplit(spec.metrics_url).netloc
        for design in designs
        for spec in design.specs
        if spec.metrics_url
    }


@dataclass(frozen=True)
class Stage:
    prometheus: RealPrometheus
    shortener: RunningDesign
    limiter: RunningDesign | None = None
    collector: SpanCollector | None = None

    def without_data(self, asked: list[Asked]) -> list[Asked]:
        """Those that give nothing now. A query that is refused fails the test."""
        return [each for each in asked if not self.prometheus.values(each.expr)]

    def get_data(self, asked: list[Asked]) -> None:
        """Wait until each of them has given something once: a breaker that is open is half-open now and then."""
        assert asked
        missing = list(asked)

        def none_is_missing() -> bool:
            missing[:] = self.without_data(missing)
            return not missing

        eventually(none_is_missing, lambda: "\n".join(map(str, missing)))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("prometheus")
    with pytest.MonkeyPatch.context() as patch, SpanCollector() as collector:
        for design in DESIGNS:
            patch.setenv(f"{design.upper()}_TRACES_ENDPOINT", collector.url)
        with (
            running(replicas=2, faults=True, traces=1, cache="write-behind") as shortener,
            running_limiter(replicas=2) as limiter,
            RealPrometheus(targets_of(shortener, limiter), folder) as prometheus,
            visits_and_creates(shortener),
            checks_and_slots(limiter),
        ):
            yield Stage(prometheus, shortener, limiter, collector)


def of(*panels: str, **chosen: str) -> list[Asked]:
    return [asked for asked in queries(**chosen) if asked.where in panels]


def test_while_all_is_well_every_panel_has_data_but_those_about_what_fails(stage: Stage) -> None:
    assert stage.limiter is not None
    try_out(stage.limiter, quota=5)
    elsewhere = EMPTY_WHILE_WELL | NEEDS_KAFKA
    assert elsewhere <= {asked.where for asked in queries()}
    stage.get_data([asked for asked in queries() if asked.where not in elsewhere])
    stage.get_data([Asked("all processes are scraped", f'count(up{{job="designs"}} == 1) == {len(EVERYBODY)}', "")])
    assert stage.without_data(of(*NEEDS_KAFKA)) == of(*NEEDS_KAFKA)
    stage.without_data(of(*EMPTY_WHILE_WELL))  # accepted, and as a rule empty; on a machine that is too busy something may fail


@pytest.mark.parametrize("design", DESIGNS)
def test_the_overview_has_data_of_each_design_alone(design: str, stage: Stage) -> None:
    asked = [each for each in queries(design=design) if each.where.startswith("overview")]
    stage.get_data([each for each in asked if each.where not in EMPTY_WHILE_WELL | NOT_OF[design]])
    lacking = of(*NOT_OF[design], design=design)
    assert stage.without_data(lacking) == lacking


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_process_of_every_design_gives_each_signal_that_it_should(signal: str, stage: Stage) -> None:
    def given() -> set[tuple[str, str]]:
        found = stage.prometheus.get("query", query=f"count by (design, process) ({signal})")["result"]
        return {(each["metric"]["design"], each["metric"]["process"]) for each in found}

    eventually(lambda: given() >= SIGNALS[signal], lambda: str(SIGNALS[signal] - given()))


def test_a_request_and_what_it_asks_of_a_server_are_one_trace(stage: Stage) -> None:
    def edges() -> set[tuple[str, str]]:
        assert stage.collector is not None
        spans = {span.id: span for span in list(stage.collector.spans)}
        return {(spans[span.parent].name, span.name) for span in spans.values() if span.parent in spans}

    eventually(lambda: edges() >= EDGES, lambda: f"{EDGES - edges()} of {edges()}")


def test_a_rule_file_that_is_bad_is_told_of(stage: Stage) -> None:
    assert stage.limiter is not None
    stage.get_data([Asked("the good one was taken up", 'min(sd_limiter_rule_reloads_total{outcome="loaded"}) == 1', "")])
    rules_of(stage.limiter.data_dir).write_text(BAD_RULES)
    stage.get_data(
        [
            Asked("both refuse it", 'min(sd_limiter_rule_reloads_total{outcome="refused"}) == 1', ""),
            Asked("an alert fires", 'ALERTS{alertname="RulesRefused",alertstate="firing",design="rate_limiter"}', ""),
        ]
    )


def test_every_rule_is_loaded_and_can_be_evaluated(stage: Stage) -> None:
    def found() -> list[Mapping[str, str]]:
        return [rule for group in stage.prometheus.get("rules")["groups"] for rule in group["rules"]]

    assert {rule["name"] for rule in found()} == {rule.get("alert") or rule["record"] for rule in rules()}
    assert len(stage.prometheus.get("rules")["groups"]) >= len(RULE_FILES)
    eventually(lambda: all(rule["health"] == "ok" for rule in found()), lambda: str([r for r in found() if r["health"] != "ok"]))


@pytest.mark.parametrize("route", ["/{code}", "/v1/check"])
def test_a_bucket_of_slow_requests_names_a_trace(route: str, stage: Stage) -> None:
    def traces() -> list[str]:
        query = f'http_request_duration_seconds_bucket{{route="{route}"}}'
        found = stage.prometheus.get("query_exemplars", query=query, start=0, end=4e9)
        return [exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]]

    eventually(lambda: bool(traces()), lambda: f"exemplars of {route}")
    assert all(re.fullmatch(r"[0-9a-f]{32}", trace) for trace in traces())


def test_what_breaks_is_seen_breakers_open_faults_are_told_and_a_burn_rate_alert_fires(stage: Stage) -> None:
    assert stage.limiter is not None
    for design in (stage.shortener, stage.limiter):
        assert design.redis is not None
        design.redis.kill()
    stage.get_data(
        [
            *(Asked(f"breakers of {name} are open", f'sd_breaker_state{{design="{name}"}} == 2', "") for name in DESIGNS),
            *(
                Asked(f"{name} does without redis", f'sd_degraded{{design="{name}",dependency="redis"}} == 1', "")
                for name in DESIGNS
            ),
            Asked("a bypass is noticed", 'ALERTS{alertname="LimitBypassed",design="rate_limiter",rule="search"}', ""),
        ]
    )
    for name in ("replica-1", "replica-2"):
        write_fault_file(stage.shortener.fault_file(name), store_delay_us=LONGER_THAN_THE_STORE_MAY_TAKE_US)
    stage.get_data(
        [
            Asked("the slow store is told of", 'sd_fault_active{fault="slow_store"} == 1', ""),
            Asked("requests fail", 'rate(http_request_duration_seconds_count{status="503"}[4s]) > 0', ""),
            *(
                Asked(
                    f"the budget of {name} burns, of the limiter by its closed rule",
                    f'ALERTS{{alertname="DemoErrorBudgetFastBurn",alertstate="firing",severity="demo",design="{name}"}}',
                    "",
                )
                for name in DESIGNS
            ),
        ]
    )
    stage.get_data(of(*EMPTY_WHILE_WELL))
    firing: dict[str, str] = {}

    def fires() -> bool:
        firing.update(
            (each["labels"]["design"], each["annotations"]["summary"])
            for each in stage.prometheus.get("alerts")["alerts"]
            if each["labels"]["alertname"] == "DemoErrorBudgetFastBurn" and each["state"] == "firing"
        )
        return "url_shortener" in firing

    eventually(fires, lambda: f"of the shortener; {firing}")
    assert firing["url_shortener"].startswith("DEMO: url_shortener")


def test_panels_about_partitions_have_data_on_kafka_and_cassandra(
    on_real_servers: RunningDesign, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("prometheus")
    with RealPrometheus(targets_of(on_real_servers), folder) as prometheus, visits_and_creates(on_real_servers):
        Stage(prometheus, on_real_servers).get_data(
            of(*NEEDS_KAFKA, "url_shortener: p99 of calls", "url_shortener: Clicks at the worker")
        )
