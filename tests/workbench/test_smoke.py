"""The checks of the stack, on the design as it runs without Docker, and on one that answers wrongly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from designs.building_blocks.processes import ProcessSpec
from workbench import smoke_check, smoke_rate_limiter, smoke_url_shortener
from workbench.catalogue import DESIGNS
from workbench.launch import RunningDesign
from workbench.smoke import CHECKS, PROCESSES, WATCHED, tried
from workbench.smoke_check import NotSo, Running

GRPC_KEY = "a key that only these tests have"
OF_THE_DESIGNS = [name for name in CHECKS if name not in ("topics in Kafka", "keyspace in Cassandra")]
ANSWERS: dict[str, Any] = {
    "/api/v1/targets": {
        "data": {"activeTargets": [{"labels": {"instance": f"{name}:8000"}, "health": "up"} for name in PROCESSES]},
    },
    "/api/v1/rules": {"data": {"groups": [{}, {}]}},
    "/api/search": [{"title": "Overview"}, {"title": "URL shortener"}],
    "/api/datasources": [{"uid": "prometheus"}, {"uid": "jaeger"}],
    "/api/traces/": {"data": [{"spans": [{}, {}]}]},
}


@pytest.fixture(scope="module")
def designs() -> Iterator[Running]:
    """Two replicas of each, and a worker, on SQLite and Redis. The stack has one set of keys, so these have one too."""
    keys = {"RATE_LIMITER_GRPC_KEY": GRPC_KEY}
    with RunningDesign(DESIGNS["url_shortener"], replicas=2) as shortener:
        limiter = RunningDesign(DESIGNS["rate_limiter"], replicas=2, env=keys, respecify=with_keys_of(shortener))
        with limiter:
            addresses = addresses_of(shortener, smoke_url_shortener.PROCESSES) | addresses_of(limiter, smoke_rate_limiter.PROCESSES)
            grpc = {
                name: url.removeprefix("grpc://")
                for name, spec in zip(smoke_rate_limiter.PROCESSES, limiter.specs, strict=True)
                for url in spec.other_urls
            }
            yield Running(addresses, grpc, shortener.api_key, admin_key_of(shortener), GRPC_KEY, "")


def addresses_of(design: RunningDesign, names: Sequence[str]) -> dict[str, str]:
    return {name: urlsplit(url).netloc for name, url in zip(names, design.metrics_urls, strict=True)}


def admin_key_of(design: RunningDesign) -> str:
    return (design.data_dir / "admin_key").read_text()


def with_keys_of(other: RunningDesign) -> Callable[[ProcessSpec], ProcessSpec]:
    keys = {"RATE_LIMITER_API_KEYS": f"demo:{other.api_key}", "RATE_LIMITER_ADMIN_KEY": admin_key_of(other)}
    return lambda spec: replace(spec, env={**spec.env, **keys})


@pytest.fixture
def watchers() -> Iterator[Running]:
    """One that answers as Prometheus, Grafana and Jaeger do, as far as the checks look."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = [answer for path, answer in ANSWERS.items() if self.path.startswith(path)]
            body = json.dumps(found[0] if found else {}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"127.0.0.1:{server.server_address[1]}"
    everywhere = dict.fromkeys((*PROCESSES, "prometheus", "grafana", "jaeger"), address)
    yield Running(everywhere, everywhere, "key", "key", "key", "key")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SOON_S", 0.2), ("PAUSE_S", 0.02)):
        monkeypatch.setattr(smoke_check, name, value)


@pytest.mark.parametrize("name", OF_THE_DESIGNS)
def test_designs_that_are_right_pass(name: str, designs: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert tried(name, CHECKS[name], designs)
    assert capsys.readouterr().out.startswith(f"ok    {name}")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", OF_THE_DESIGNS)
def test_one_that_answers_wrongly_fails_each_check_with_one_line(
    name: str, watchers: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not tried(name, CHECKS[name], watchers)
    said = capsys.readouterr().out
    assert said.startswith(f"FAIL  {name}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", WATCHED)
def test_watchers_that_have_what_they_should_pass(name: str, watchers: Running) -> None:
    assert tried(name, WATCHED[name], watchers)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("name", "path", "instead"),
    [
        ("Prometheus scrapes", "/api/v1/targets", {"data": {"activeTargets": [{"labels": {"instance": "a"}, "health": "down"}]}}),
        ("Prometheus scrapes", "/api/v1/targets", {"data": {"activeTargets": []}}),
        ("Prometheus scrapes", "/api/v1/rules", {"data": {"groups": []}}),
        ("Grafana has dashboards", "/api/search", []),
        ("Grafana has dashboards", "/api/datasources", [{"uid": "prometheus"}]),
        ("a trace arrives", "/api/traces/", {"data": None}),
        ("a trace arrives", "/api/traces/", {"data": [{"spans": [{}]}]}),  # the request alone, and not whom it asked
    ],
)
def test_watchers_that_lack_something_do_not_pass(
    name: str, path: str, instead: Any, watchers: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ANSWERS, path, instead)
    assert not tried(name, WATCHED[name], watchers)
    assert capsys.readouterr().out.startswith(f"FAIL  {name}")


def test_a_service_that_does_not_run_fails_its_check_by_name(designs: Running) -> None:
    with pytest.raises(NotSo, match="grafana does not run"):
        WATCHED["Grafana has dashboards"](designs)
