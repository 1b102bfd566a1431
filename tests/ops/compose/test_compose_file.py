"""The stack's files say what is promised of the stack; no engine is needed to read them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from workbench.catalogue import DESIGNS
from workbench.compose import ALL, BUILT_BY, DESIGN_PROFILES, GRPC, ROOT, Stack, variables_of

FILE = (ROOT / "docker-compose.yml").read_text("utf-8")
LINES = (ROOT / ".env").read_text("utf-8").splitlines()
VARIABLES = dict(line.split("=", 1) for line in LINES if "=" in line and not line.startswith("#"))
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


def filled(text: str) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: VARIABLES[found[1]], text)


SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(filled(FILE))["services"]
RAW: dict[str, dict[str, Any]] = yaml.safe_load(FILE)["services"]


def megabytes(limit: str) -> float:
    return int(limit[:-1]) * UNITS[limit[-1].lower()] / 2**20


def test_every_variable_of_the_file_has_its_line_and_every_line_is_used() -> None:
    assert set(re.findall(r"\$\{(\w+)", FILE)) == set(VARIABLES)


def test_a_variable_of_the_shell_stands_above_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "16379")
    assert variables_of(ROOT) == {**{name: os.environ.get(name, value) for name, value in VARIABLES.items()}, "REDIS_PORT": "16379"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_an_image_pinned_in_one_place_and_a_bound_on_its_memory(service: str) -> None:
    assert re.fullmatch(r"\$\{\w+_IMAGE\}", RAW[service]["image"])
    name, _, tag = SERVICES[service]["image"].rpartition(":")
    assert name
    assert tag not in ("", "latest")
    assert re.fullmatch(r"\$\{\w+_MEMORY\}", RAW[service]["mem_limit"])
    assert 64 <= megabytes(SERVICES[service]["mem_limit"]) <= 2_048


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_change_nothing_but_its_data_and_gain_no_rights(service: str) -> None:
    described = SERVICES[service]
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in described
    assert "privileged" not in described
    assert described["restart"] == "unless-stopped"
    assert described.get("user") not in ("root", "0")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_published_to_this_machine_alone(service: str) -> None:
    for port in RAW[service].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT\}:\d+", port)
    assert "network_mode" not in SERVICES[service]


def test_no_two_services_want_the_same_port() -> None:
    ports = [port for name, port in VARIABLES.items() if name.endswith("_PORT")]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_when_it_is_well_or_why_it_can_not(service: str) -> None:
    assert ("healthcheck" in SERVICES[service]) != bool(SERVICES[service].get("x-no-healthcheck"))


@pytest.mark.parametrize("service", SERVICES)
def test_whoever_needs_another_waits_until_that_is_well(service: str) -> None:
    for other, when in SERVICES[service].get("depends_on", {}).items():
        assert when == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


def test_each_design_has_its_profile_and_two_replicas_of_one_image() -> None:
    assert set(DESIGN_PROFILES) == DESIGNS.keys()
    for profile in DESIGN_PROFILES:
        replicas = [SERVICES[f"{profile.replace('_', '-')}-{number}"] for number in (1, 2)]
        assert all(profile in each["profiles"] for each in replicas)
        assert {each["image"] for each in replicas} == {SERVICES[BUILT_BY]["image"]}


def test_a_design_waits_for_the_servers_it_needs() -> None:
    assert set(SERVICES["url-shortener-1"]["depends_on"]) == {"redis", "kafka", "cassandra"}
    assert set(SERVICES["rate-limiter-1"]["depends_on"]) == {"redis"}


def test_redis_evicts_nothing_because_a_counter_that_goes_is_a_limit_that_begins_anew() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert megabytes(command[command.index("--maxmemory") + 1].removesuffix("b")) < megabytes(SERVICES["redis"]["mem_limit"])


def test_the_door_of_envoy_is_where_the_published_port_leads() -> None:
    for number in (1, 2):
        limiter = SERVICES[f"rate-limiter-{number}"]
        assert limiter["environment"]["RATE_LIMITER_GRPC_PORT"] == GRPC
        assert limiter["ports"][1].endswith(f":{GRPC}")
        assert {"source": "grpc_key", "target": "rate_limiter_grpc_key"} in limiter["secrets"]


def test_each_design_can_be_the_one_that_is_loaded() -> None:
    assert VARIABLES["LOAD_DESIGN"] in DESIGNS
    for design in DESIGNS:
        assert (ROOT / "loadtests" / design / "locustfile.py").exists()
    for loading in ("locust", "locust-worker"):
        assert SERVICES[loading]["environment"]["LOAD_DESIGN"] == VARIABLES["LOAD_DESIGN"]
        assert "loadtests/$$LOAD_DESIGN/locustfile.py" in SERVICES[loading]["command"][2]


def test_what_starts_without_being_asked_for_fits_into_4_gigabytes() -> None:
    there = [each for each in SERVICES.values() if not each.get("profiles") or {*DESIGN_PROFILES} & set(each["profiles"])]
    assert len(there) == 8
    assert sum(megabytes(each["mem_limit"]) * each.get("deploy", {}).get("replicas", 1) for each in there) <= 4_096


def test_who_loads_and_who_watches_can_not_reach_the_servers() -> None:
    for name, described in SERVICES.items():
        assert set(described["networks"]) <= {"servers", "front"}
        if set(described.get("profiles", [])) & {"load", "observe"} and not {*DESIGN_PROFILES} & set(described["profiles"]):
            assert described["networks"] == ["front"], name
    assert all(SERVICES[server]["networks"] == ["servers"] for server in ("redis", "kafka", "cassandra"))


def test_no_secret_stands_in_an_environment_or_a_command() -> None:
    for name, described in SERVICES.items():
        text = yaml.safe_dump([described.get("environment"), described.get("command")])
        assert not re.search(r"(?i)(password|_key|_keys|token|redis_url)['\"]?\s*[:=]\s*(?!\$\$\(<)[^\s_/]", text), name
    secrets = yaml.safe_load(FILE)["secrets"]
    assert {Path(each["file"]).parent.as_posix() for each in secrets.values()} == {"data/compose"}
    used = {secret["source"] for each in SERVICES.values() for secret in each.get("secrets", [])}
    assert used == set(secrets)


def test_the_last_stage_of_the_image_compiles_nothing_and_belongs_to_nobody() -> None:
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#"))
    *_, last = re.split(r"^FROM ", text, flags=re.MULTILINE)
    assert not re.search(r"^RUN|\b(gcc|g\+\+|make|cargo|apt-get|build-essential)\b", last, re.MULTILINE)
    [user] = re.findall(r"^USER (\S+)$", last, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    assert f"ARG PYTHON_IMAGE={VARIABLES['PYTHON_IMAGE']}" in text
    assert "--mount" not in text
    assert "<<" not in text  # neither is known to the classic builder


def test_every_package_of_the_image_comes_by_its_hash() -> None:
    installs = re.findall(r"pip[^&]*? install [^&]*", (ROOT / "Dockerfile").read_text("utf-8"))
    assert installs
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)


def test_nothing_is_sent_to_the_builder_that_is_not_named() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    for line in lines[1:]:
        assert line == "**/__pycache__" or (ROOT / line.removeprefix("!")).exists()


@pytest.mark.skipif(shutil.which("docker") is None, reason="wants the docker command, and no daemon")
def test_the_compose_plugin_reads_the_file() -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the docker command has no compose plugin")
    assert set(Stack(profiles=(ALL,)).services()) == set(SERVICES)
