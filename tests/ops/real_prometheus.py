"""A real Prometheus with the project's own configuration, scraping processes that run here, and its promtool.

Looked for on the PATH, then in .cache/prometheus, where scripts/get-prometheus puts them. Missing at home is a skip, with CI=1 a
failure: rules and dashboards that nobody asked anything are not tested.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import pytest
import yaml

from designs.building_blocks.processes import ProcessSpec
from loadtests.manifest import REPOSITORY
from loadtests.plain_http import TRUSTS_NOBODY
from workbench.processes import Supervisor, free_port

OPS = REPOSITORY / "ops"
CONFIGURATION = OPS / "prometheus" / "prometheus.yml"
RULE_FILES = tuple(sorted((OPS / "prometheus" / "rules").glob("*.yml")))
HOW_TO_GET_IT = "is neither on the PATH nor in .cache/prometheus; scripts/get-prometheus puts it there on Debian and Ubuntu"
POLL_S = 0.2


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`, else the test is skipped (with CI=1: fails)."""
    found = shutil.which(name) or shutil.which(name, path=str(REPOSITORY / ".cache" / "prometheus"))
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"{name} {HOW_TO_GET_IT}", pytrace=False)
    pytest.skip(f"{name} {HOW_TO_GET_IT}")


def rules() -> list[dict[str, Any]]:
    """Every rule of every group of every file, as written."""
    return [rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


Targets = Mapping[tuple[str, str], str]  # design, process -> host:port


def configuration(targets: Targets) -> str:
    """The project's configuration with these put in; processes that are not named are not scraped."""
    whole = yaml.safe_load(CONFIGURATION.read_text())
    whole["rule_files"] = [str(path) for path in RULE_FILES]
    [job] = whole["scrape_configs"]
    named = {(each["labels"]["design"], each["labels"]["process"]): each for each in job["static_configs"]}
    assert targets.keys() <= named.keys(), "a process that the configuration does not know"
    job["static_configs"] = [named[process] | {"targets": [address]} for process, address in targets.items()]
    return yaml.safe_dump(whole)


class RealPrometheus:
    """One server with an empty store, on a port of its own. Everything it is asked is bounded in time."""

    def __init__(self, targets: Targets, folder: Path) -> None:
        self._program = program("prometheus")
        self._url = f"http://127.0.0.1:{free_port()}"
        self._config = folder / "prometheus.yml"
        self._config.write_text(configuration(targets))
        self._folder = folder
        self._supervisor = Supervisor(folder / "logs")
        self._http = httpx2.Client(base_url=self._url, timeout=10, verify=TRUSTS_NOBODY)

    def __enter__(self) -> RealPrometheus:
        argv = (
            self._program,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._url.removeprefix('http://')}",
            "--enable-feature=exemplar-storage",
        )
        self._supervisor.start_all([ProcessSpec("prometheus", "collector", argv, {}, self._url, f"{self._url}/-/ready")])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._http.close()
        self._supervisor.stop()

    def get(self, path: str, **params: str | float) -> Any:
        """What /api/v1/`path` answers; what it refuses fails the test with its words."""
        answer = self._http.get(f"/api/v1/{path}", params=params)
        body = answer.json()
        assert body["status"] == "success", f"{params or path}: {body}"
        return body["data"]

    def values(self, expr: str) -> list[float]:
        """The numbers an instant query gives now. Not a number is none."""
        found = self.get("query", query=expr)
        numbers = [float(each["value"][1]) for each in found["result"]]
        return [number for number in numbers if number == number]


def eventually(so: Callable[[], bool], what: Callable[[], str], within_s: float = 60.0) -> None:
    """Poll until it is so; `what` says what is missing when it is not."""
    deadline_s = time.monotonic() + within_s
    while not so():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what()}"
        time.sleep(POLL_S)
