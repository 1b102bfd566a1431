"""The alert rules: promtool runs their cases, each alert has one that fires and one that stays silent, and each says what to do."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ops.real_prometheus import CONFIGURATION, OPS, program, rules

CASE_FILES = sorted((OPS / "prometheus" / "tests").glob("*.yml"))
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
SEVERITIES = {"page", "ticket", "demo"}


def promtool(*arguments: str | Path) -> None:
    answer = subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def cases() -> Iterator[Mapping[str, Any]]:
    """Every case of every file."""
    for path in CASE_FILES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            yield from test.get("alert_rule_test", [])


def test_prometheus_accepts_the_configuration_and_the_rules_it_names() -> None:
    promtool("check", "config", CONFIGURATION)


@pytest.mark.parametrize("path", CASE_FILES, ids=[path.stem for path in CASE_FILES])
def test_the_rules_do_what_their_cases_say(path: Path) -> None:
    promtool("test", "rules", path)


def test_a_case_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    case = yaml.safe_load((OPS / "prometheus" / "tests" / "dependencies.yml").read_text())
    case["rule_files"] = [str(OPS / "prometheus" / "rules" / "dependencies.yml")]
    case["tests"][0]["alert_rule_test"][0]["exp_alerts"] = []
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(yaml.safe_dump(case))
    with pytest.raises(AssertionError, match="BreakerOpen"):
        promtool("test", "rules", wrong)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_stays_silent() -> None:
    fires = {case["alertname"] for case in cases() if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases() if not case.get("exp_alerts")}
    assert fires == ALERTS.keys()
    assert silent == ALERTS.keys()


def test_no_two_rules_share_a_name() -> None:
    named = [rule.get("alert") or rule["record"] for rule in rules()]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert "{{ $labels." in rule["annotations"]["summary"], "a reader asks first: of whom?"


@pytest.mark.parametrize("alert", ALERTS)
def test_the_runbook_of_an_alert_is_a_heading_of_the_readme(alert: str) -> None:
    page, _, anchor = ALERTS[alert]["annotations"]["runbook"].partition("#")
    assert page == "ops/README.md"
    headings = re.findall(r"^#+ (\w+)$", (OPS / "README.md").read_text(), re.MULTILINE)
    assert alert in headings
    assert anchor == alert.lower()


def test_what_has_windows_for_a_demonstration_is_labelled_so_and_nothing_else_is() -> None:
    short = {rule.get("alert") or rule["record"] for rule in rules() if "demo" in str(rule).lower()}
    assert short == {name for name in (rule.get("alert") or rule["record"] for rule in rules()) if "demo" in name.lower()}
    for name, rule in ALERTS.items():
        labelled = rule["labels"]["severity"] == "demo"
        assert labelled == name.startswith("Demo") == rule["annotations"]["summary"].startswith("DEMO") == ("demo" in rule["expr"])
