"""What Prometheus is told to scrape is what the compose file starts, under the same names."""

from __future__ import annotations

import yaml

from loadtests.manifest import REPOSITORY
from tests.ops.real_prometheus import CONFIGURATION

COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
[JOB] = yaml.safe_load(CONFIGURATION.read_text())["scrape_configs"]


def process_names() -> dict[str, str]:
    """Service of a design -> what its process calls itself, in its traces and logs too."""
    named = {}
    for service, declared in COMPOSE.items():
        environment = declared.get("environment", {})
        for variable, value in environment.items():
            if variable.endswith("_PROCESS_NAME"):
                named[service] = value
    return named


def test_every_process_of_a_design_is_scraped_at_its_service_under_its_own_name() -> None:
    scraped = {
        target.removesuffix(":8000"): each["labels"]["process"] for each in JOB["static_configs"] for target in each["targets"]
    }
    assert scraped == process_names()


def test_prometheus_keeps_exemplars() -> None:
    assert "--enable-feature=exemplar-storage" in COMPOSE["prometheus"]["command"]
