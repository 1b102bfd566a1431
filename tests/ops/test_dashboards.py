"""A real Prometheus scrapes the running design and answers every query of every dashboard, when all is well and when it is not."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import httpx2
import pytest

from designs.building_blocks.fault_hooks import write_fault_file
from tests.ops.dashboard_files import Asked, queries
from tests.ops.real_prometheus import RULE_FILES, RealPrometheus, Targets, eventually, rules
from tests.url_shortener.processes.driving import BROWSER, running
from workbench.launch import RunningDesign

VISITS_EVERY_S, CREATES_EVERY_S, CREATORS = 0.02, 0.25, 6
MAX_REQUESTS = 20_000
LONGER_THAN_THE_STORE_MAY_TAKE_US = 3_000_000

# Panels that rightly are empty while all is well; each gets data when something breaks.
EMPTY_WHILE_WELL = {"overview: Which alerts fire", "url_shortener: Failed calls"}
NEEDS_KAFKA = {"url_shortener: Lag by partition"}


class Traffic:
    """Visits, creates and look-ups of what is not there, at an even pace, on all replicas by turns. No answer is too bad for it."""

    def __init__(self, design: RunningDesign) -> None:
        self._urls, self._api_key = design.urls, design.api_key
        self._over = threading.Event()
        paces = [("visit", VISITS_EVERY_S), *[("create", CREATES_EVERY_S)] * CREATORS]
        self._threads = [threading.Thread(target=self._run, args=pace, daemon=True) for pace in paces]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, what: str, every_s: float) -> None:
        headers = {"Authorization": f"Bearer {self._api_key}", "User-Agent": BROWSER}
        with httpx2.Client(headers=headers, timeout=5) as client:
            code = client.post(f"{self._urls[0]}/api/v1/links", json={"url": "https://example.org"}).json()["code"]
            for number in range(MAX_REQUESTS):
                if self._over.wait(every_s):
                    return
                url = self._urls[number % len(self._urls)]
                try:
                    if what == "visit":
                        client.get(f"{url}/{code}")
                    else:
                        client.post(f"{url}/api/v1/links", json={"url": f"https://example.org/{number}"})
                        client.get(f"{url}/{secrets.token_hex(4)}")
                except httpx2.HTTPError:
                    continue


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
    design: RunningDesign
    prometheus: RealPrometheus

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
    with (
        running(replicas=2, faults=True, traces=1, cache="write-behind") as design,
        RealPrometheus(targets_of(design), folder) as prometheus,
        Traffic(design),
    ):
        yield Stage(design, prometheus)


def of(*panels: str) -> list[Asked]:
    return [asked for asked in queries() if asked.where in panels]


def test_while_all_is_well_every_panel_has_data_but_those_about_what_fails(stage: Stage) -> None:
    elsewhere = EMPTY_WHILE_WELL | NEEDS_KAFKA
    assert elsewhere <= {asked.where for asked in queries()}
    stage.get_data([asked for asked in queries() if asked.where not in elsewhere])
    stage.get_data([Asked("all three processes are scraped", 'count(up{job="designs"} == 1) == 3', "")])
    assert stage.without_data(of(*NEEDS_KAFKA)) == of(*NEEDS_KAFKA)
    stage.without_data(of(*EMPTY_WHILE_WELL))  # accepted, and as a rule empty; on a machine that is too busy something may fail


def test_every_rule_is_loaded_and_can_be_evaluated(stage: Stage) -> None:
    def found() -> list[Mapping[str, str]]:
        return [rule for group in stage.prometheus.get("rules")["groups"] for rule in group["rules"]]

    assert {rule["name"] for rule in found()} == {rule.get("alert") or rule["record"] for rule in rules()}
    assert len(stage.prometheus.get("rules")["groups"]) >= len(RULE_FILES)
    eventually(lambda: all(rule["health"] == "ok" for rule in found()), lambda: str([r for r in found() if r["health"] != "ok"]))


def test_a_bucket_of_slow_requests_names_a_trace(stage: Stage) -> None:
    def traces() -> list[str]:
        found = stage.prometheus.get(
            "query_exemplars", query='http_request_duration_seconds_bucket{route="/{code}"}', start=0, end=4e9
        )
        return [exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]]

    eventually(lambda: bool(traces()), lambda: "exemplars of redirects")
    assert all(re.fullmatch(r"[0-9a-f]{32}", trace) for trace in traces())


def test_what_breaks_is_seen_breakers_open_faults_are_told_and_a_burn_rate_alert_fires(stage: Stage) -> None:
    assert stage.design.redis is not None
    stage.design.redis.kill()
    stage.get_data(
        [
            Asked("breakers are open", "sd_breaker_state == 2", ""),
            Asked("redis is done without", 'sd_degraded{dependency="redis"} == 1', ""),
        ]
    )
    for name in ("replica-1", "replica-2"):
        write_fault_file(stage.design.fault_file(name), store_delay_us=LONGER_THAN_THE_STORE_MAY_TAKE_US)
    stage.get_data(
        [
            Asked("the slow store is told of", 'sd_fault_active{fault="slow_store"} == 1', ""),
            Asked("requests fail", 'rate(http_request_duration_seconds_count{status="503"}[4s]) > 0', ""),
            Asked("an alert fires", 'ALERTS{alertname="DemoErrorBudgetFastBurn",alertstate="firing",severity="demo"}', ""),
        ]
    )
    stage.get_data(of(*EMPTY_WHILE_WELL))
    [alert] = [
        each
        for each in stage.prometheus.get("alerts")["alerts"]
        if each["labels"]["alertname"] == "DemoErrorBudgetFastBurn" and each["state"] == "firing"
    ]
    assert alert["annotations"]["summary"].startswith("DEMO: url_shortener")


def test_panels_about_partitions_have_data_on_kafka_and_cassandra(
    on_real_servers: RunningDesign, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("prometheus")
    with RealPrometheus(targets_of(on_real_servers), folder) as prometheus, Traffic(on_real_servers):
        Stage(on_real_servers, prometheus).get_data(
            of(*NEEDS_KAFKA, "url_shortener: p99 of calls", "url_shortener: Clicks at the worker")
        )
