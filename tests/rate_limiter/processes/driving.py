"""The design as real processes, and what the tests do to it from outside.

    with running(tmp_path, [rule("per-user", per="1d")], replicas=2, store="redis") as design, Api(design) as api:
        assert api.check({"user": "u1"}).status_code == 200

Everything happens on 127.0.0.1 and ports of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from designs.building_blocks.knobs import build
from designs.rate_limiter.knobs import LimiterKnobs
from loadtests.plain_http import TRUSTS_NOBODY
from tests.processes.driving import PATIENCE_S, metric
from tests.rate_limiter.service import rule_text
from workbench.catalogue import design_named
from workbench.launch import RunningDesign

DESIGN = design_named("rate_limiter")


def running(
    folder: Path,
    rules: Sequence[Mapping[str, Any]],
    *,
    replicas: int = 1,
    faults: bool = False,
    env: Mapping[str, str] | None = None,
    **knobs: Any,
) -> RunningDesign:
    """The design with these rules, to be entered."""
    path = folder / "rules-of-the-test.yaml"
    path.write_text(rule_text(rules), "utf-8")
    chosen = build(LimiterKnobs, knobs)
    return RunningDesign(DESIGN, chosen, replicas=replicas, faults=faults, env={"RATE_LIMITER_RULES": str(path), **(env or {})})


class Api:
    """A caller of one replica."""

    def __init__(self, design: RunningDesign, replica: int = 0) -> None:
        self.url = design.urls[replica]
        headers = {"Authorization": f"Bearer {design.api_key}"}
        self.http = httpx2.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, verify=TRUSTS_NOBODY)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, verb: str, descriptor: Mapping[str, str], **more: Any) -> httpx2.Response:
        return self.http.post(f"/v1/{verb}", json={"domain": "api", "descriptor": descriptor, **more})

    def check(self, descriptor: Mapping[str, str], **more: Any) -> httpx2.Response:
        return self.ask("check", descriptor, **more)

    def metric(self, name: str, **labels: str) -> float:
        return metric(self.url, name, **labels)

    def readiness(self) -> str:
        """`ready` or `degraded`."""
        answer = self.http.get("/readyz")
        assert answer.status_code == 200, "the limiter is never down"
        return str(answer.json()["status"])


def check_request(url: str, api_key: str, descriptor: Mapping[str, str]) -> bytes:
    """A check as bytes, for load."""
    body = orjson.dumps({"domain": "api", "descriptor": descriptor})
    head = (
        f"POST /v1/check HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def body_of(response: bytes) -> dict[str, Any]:
    """The document of a raw response."""
    return dict(orjson.loads(response.partition(b"\r\n\r\n")[2]))
