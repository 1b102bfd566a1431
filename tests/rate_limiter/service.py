"""Replicas of the rate limiter in the test's own process: the application of `create_app`, its lifespan, and a client.

    async with running_replica(knobs(store="memory"), tmp_path, rules=[rule("a", quota=1)]) as replica:
        assert (await replica.check({"user": "u1"})).status_code == 200

Nothing is replaced: the clock is the test's own, and faults are put on the wire to Redis, or by the fault file.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
from starlette.types import ASGIApp

from designs.building_blocks.knobs import build
from designs.rate_limiter.app import create_app
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.replica import Replica
from designs.rate_limiter.settings import LimiterSettings
from tests.scenes import lifespan, parts_of, thaw_now_and_then

CALLER_KEY, ADMIN_KEY = "caller-key-0123456789", "operator-key-012345678"
CALLER = {"Authorization": f"Bearer {CALLER_KEY}"}
OPERATOR = {"Authorization": f"Bearer {ADMIN_KEY}"}


def knobs(**values: Any) -> LimiterKnobs:
    return build(LimiterKnobs, {"store": "memory", **values})


def settings(data_dir: Path, **values: Any) -> LimiterSettings:
    known = {"data_dir": data_dir, "api_keys": f"edge:{CALLER_KEY}", "admin_key": ADMIN_KEY}
    return LimiterSettings.model_validate(known | values)


def rule(name: str, match: Mapping[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    """A rule as the file has it; one a second for each user unless told otherwise."""
    limit = {} if "slots" in fields else {"quota": 1, "per": "1s"}
    return {"name": name, "match": {"user": "*"} if match is None else match, **limit, **fields}


def rule_text(rules: Sequence[Mapping[str, Any]], **more: Any) -> str:
    """A rule file of the one domain `api`. JSON is YAML."""
    return orjson.dumps({"domains": {"api": {"rules": rules}}, **more}).decode()


@dataclass
class TestReplica:
    """A running replica, and how its clients speak to it."""

    __test__ = False

    app: ASGIApp
    parts: Replica
    http: httpx2.AsyncClient
    rules_path: Path

    async def ask(self, verb: str, descriptor: Any, headers: dict[str, str] = CALLER, **more: Any) -> httpx2.Response:
        body = {"domain": "api", "descriptor": descriptor, **more}
        return await self.http.post(f"/v1/{verb}", json=body, headers=headers)

    async def check(self, descriptor: Any, **more: Any) -> httpx2.Response:
        return await self.ask("check", descriptor, **more)

    async def statuses(self, descriptor: Any, times: int, **more: Any) -> list[int]:
        """Of checks, one after the other."""
        return [(await self.check(descriptor, **more)).status_code for _ in range(times)]

    async def batch(self, *items: dict[str, Any]) -> httpx2.Response:
        body = {"items": [{"domain": "api", **item} for item in items]}
        return await self.http.post("/v1/check/batch", json=body, headers=CALLER)

    async def metrics(self) -> dict[str, float]:
        """name{labels} -> value."""
        page = (await self.http.get("/metrics")).text
        lines = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
        return {sample: float(value) for sample, _, value in lines}

    def put_rules(self, rules: Sequence[Mapping[str, Any]], **more: Any) -> None:
        self.put_text(rule_text(rules, **more))

    def put_text(self, text: str) -> None:
        beside = self.rules_path.with_suffix(".new")
        beside.write_text(text, "utf-8")
        beside.replace(self.rules_path)


@contextlib.asynccontextmanager
async def running_replica(
    knobs: LimiterKnobs,
    data_dir: Path,
    clock_us: Callable[[], int] | None = None,
    *,
    rules: Sequence[Mapping[str, Any]] | None = None,
    **more: Any,
) -> AsyncIterator[TestReplica]:
    """A replica from the start of its lifespan to the end. `more` are settings; without `rules` it has those of the demo."""
    path = data_dir / "rules.yaml"
    if rules is not None:
        path.write_text(rule_text(rules), "utf-8")
        more["rules"] = path
    app = create_app(knobs, settings(data_dir, **more), clock_us)
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 50_000))
    async with lifespan(app), httpx2.AsyncClient(transport=transport, base_url="http://limiter.example") as http:
        yield TestReplica(app, parts_of(app), http, path)
    thaw_now_and_then()
