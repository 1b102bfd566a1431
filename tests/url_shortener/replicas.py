"""Replicas of the composed design in the test's own process: the application of `create_app`, its lifespan, and a client.

    async with running_replica(knobs(store="memory"), tmp_path) as replica:
        made = await replica.create("https://example.org")
        assert (await replica.visit(made["code"])).status_code == 302

Nothing is replaced: faults are put on the verbs of the ports that a running replica uses, and on the wire to Redis.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from starlette.types import ASGIApp

from designs.building_blocks.knobs import build
from designs.url_shortener.app import create_app
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.replica import Replica
from designs.url_shortener.settings import ShortenerSettings
from tests.scenes import Clock, Wire, counting, eventually, failing, lifespan, parts_of, thaw_now_and_then

__all__ = ["Clock", "TestReplica", "Wire", "counting", "eventually", "failing", "lifespan", "running_replica"]

OWNER_KEY, OTHER_KEY, ADMIN_KEY = "alice-key-0123456789", "bob-key-0123456789ab", "operator-key-012345678"
CODE_KEY = "a-code-key-of-more-than-thirty-two-characters"
PUBLIC_URL = "https://sho.rt"
OWNER = {"Authorization": f"Bearer {OWNER_KEY}"}
OTHER = {"Authorization": f"Bearer {OTHER_KEY}"}
OPERATOR = {"Authorization": f"Bearer {ADMIN_KEY}"}
BROWSER = {"User-Agent": "Mozilla/5.0"}
LONG_URL = "https://example.org/page"
# Without Redis, and without waiting for a disk: what is under test is the design.
PLAIN: dict[str, Any] = {"store": "memory", "cache": "none", "clicks": "off"}


def knobs(**values: Any) -> ShortenerKnobs:
    return build(ShortenerKnobs, values)


def settings(data_dir: Path, **values: Any) -> ShortenerSettings:
    known = {
        "data_dir": data_dir,
        "code_key": CODE_KEY,
        "api_keys": f"alice:{OWNER_KEY},bob:{OTHER_KEY}",
        "admin_key": ADMIN_KEY,
        "public_url": PUBLIC_URL,
    }
    return ShortenerSettings.model_validate(known | values)


@dataclass
class TestReplica:
    """A running replica, and how its clients speak to it."""

    __test__ = False

    app: ASGIApp
    parts: Replica
    http: httpx2.AsyncClient
    _clients: list[httpx2.AsyncClient] = field(default_factory=list)

    async def post(self, body: Any, headers: dict[str, str] = OWNER, key: str = "") -> httpx2.Response:
        with_key = headers | ({"Idempotency-Key": key} if key else {})
        return await self.http.post("/api/v1/links", json=body, headers=with_key)

    async def create(self, url: str = LONG_URL, **more: Any) -> dict[str, Any]:
        """The link of a create that must succeed."""
        answer = await self.post({"url": url, **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def visit(self, code: str, method: str = "GET") -> httpx2.Response:
        return await self.http.request(method, f"/{code}", headers=BROWSER)

    async def target(self, code: str) -> str | int:
        """Where a visitor is sent, or the status that refuses."""
        answer = await self.visit(code)
        return answer.headers.get("location", answer.status_code)

    async def patch(self, code: str, /, **changes: Any) -> httpx2.Response:
        return await self.http.patch(f"/api/v1/links/{code}", json=changes, headers=OWNER)

    async def delete(self, code: str) -> httpx2.Response:
        return await self.http.delete(f"/api/v1/links/{code}", headers=OWNER)

    async def block(self, code: str, blocked: bool = True) -> httpx2.Response:
        return await self.http.put(f"/api/v1/admin/links/{code}/block", json={"blocked": blocked}, headers=OPERATOR)

    async def stats(self, code: str) -> dict[str, Any]:
        return dict((await self.http.get(f"/api/v1/links/{code}/stats", headers=OWNER)).json())

    def client_at(self, address: str) -> httpx2.AsyncClient:
        """A client with an address of its own."""
        client = _client(self.app, address)
        self._clients.append(client)
        return client


@contextlib.asynccontextmanager
async def running_replica(
    knobs: ShortenerKnobs, data_dir: Path, clock_us: Callable[[], int] | None = None, **more: Any
) -> AsyncIterator[TestReplica]:
    """A replica from the start of its lifespan to the end. `more` are settings."""
    app = create_app(knobs, settings(data_dir, **more), clock_us)
    async with lifespan(app):
        replica = TestReplica(app, parts_of(app), _client(app, "127.0.0.1"))
        try:
            yield replica
        finally:
            for client in (replica.http, *replica._clients):
                await client.aclose()
    thaw_now_and_then()


def _client(app: ASGIApp, address: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, client=(address, 50_000))
    return httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL)
