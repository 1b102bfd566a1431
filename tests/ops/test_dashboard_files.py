"""The dashboards are what their declaration makes, and Grafana can read them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from loadtests.manifest import REPOSITORY
from tests.ops.dashboard_files import dashboards, panels
from tests.ops.real_prometheus import OPS
from workbench import ops_dashboards

DASHBOARDS = dashboards()
PROVISIONING = OPS / "grafana" / "provisioning"
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())


def sources() -> dict[str, Mapping[str, Any]]:
    """uid -> datasource."""
    [file] = (PROVISIONING / "datasources").glob("*.yaml")
    return {source["uid"]: source for source in yaml.safe_load(file.read_text())["datasources"]}


def test_every_file_is_what_its_declaration_makes() -> None:
    assert {path: (REPOSITORY / path).read_text() for path in ops_dashboards.dashboards()} == ops_dashboards.dashboards()
    assert {f"{ops_dashboards.FOLDER}/{name}.json" for name in DASHBOARDS} == ops_dashboards.dashboards().keys()


def test_no_two_dashboards_share_a_uid() -> None:
    assert {dashboard["uid"] for dashboard in DASHBOARDS.values()} == DASHBOARDS.keys()


@each_dashboard
def test_its_head_is_that_of_a_grafana_from_11_on(dashboard: Mapping[str, Any]) -> None:
    assert dashboard["schemaVersion"] >= 39
    assert re.fullmatch(r"[\w-]{1,40}", dashboard["uid"])
    assert dashboard["title"]
    assert "id" not in dashboard, "a number of the database, which provisioning gives"
    assert "__inputs" not in dashboard, "a dashboard exported for sharing asks for its sources when it is imported"


@each_dashboard
def test_panels_have_numbers_of_their_own_and_do_not_overlap(dashboard: Mapping[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in dashboard["panels"])
        for x, y in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@each_dashboard
def test_every_panel_says_what_it_tells_in_which_unit_and_asks_a_source_that_is_provisioned(dashboard: Mapping[str, Any]) -> None:
    for panel in panels(dashboard):
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["type"] in {"timeseries", "stat", "state-timeline"}
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)
        for target in panel["targets"]:
            assert target["datasource"]["uid"] in sources(), panel["title"]
            assert target["datasource"]["type"] == sources()[target["datasource"]["uid"]]["type"]
            assert target["legendFormat"], panel["title"]
            assert target["range"] != target["instant"]


@each_dashboard
def test_every_variable_that_is_used_is_declared(dashboard: Mapping[str, Any]) -> None:
    declared = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval"}
    used = {
        name
        for text in [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
        + [variable["definition"] for variable in dashboard["templating"]["list"]]
        for name in re.findall(r"\$(\w+)", text)
    }
    assert used <= declared
    assert declared <= used


def test_the_duration_of_redirects_leads_from_a_dot_to_its_trace() -> None:
    [panel] = [panel for panel in panels(DASHBOARDS["url_shortener"]) if panel["title"] == "Duration of redirects"]
    assert any(target["exemplar"] for target in panel["targets"])
    destinations = sources()["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert [(each["name"], each["datasourceUid"]) for each in destinations] == [("trace_id", "jaeger")]
    assert sources()["jaeger"]["type"] == "jaeger"


def test_grafana_knows_how_often_prometheus_scrapes() -> None:
    scraped = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert sources()["prometheus"]["jsonData"]["timeInterval"] == scraped


def test_a_provider_names_the_folder_of_the_dashboards() -> None:
    [file] = (PROVISIONING / "dashboards").glob("*.yaml")
    [provider] = yaml.safe_load(file.read_text())["providers"]
    assert (provider["type"], provider["options"]["path"]) == ("file", "/var/lib/grafana/dashboards")


def test_no_file_of_the_provisioning_has_a_dollar_that_grafana_would_take_for_a_variable_of_the_environment() -> None:
    for path in PROVISIONING.rglob("*.yaml"):
        assert not re.search(r"(?<!\$)\$(?!\$)", path.read_text()), path
