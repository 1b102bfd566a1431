"""A real Envoy, with the file that the chapter gives people, in front of an API and asking this service.

Looked for on the PATH, then in .cache/envoy, where scripts/get-envoy puts one. Missing at home is a skip, with CI=1 a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import uvloop

from designs.building_blocks.processes import ProcessSpec
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.envoy_service import EnvoyService, serve
from designs.rate_limiter.limiter import Limiter
from designs.rate_limiter.limits import Limit
from designs.rate_limiter.rules import Domain, Rule, RuleSet
from loadtests.manifest import REPOSITORY
from loadtests.plain_http import TRUSTS_NOBODY
from workbench.processes import Supervisor, free_port

CONFIGURATION = REPOSITORY / "designs" / "rate_limiter" / "envoy.yaml"
HOW_TO_GET_IT = "envoy is neither on the PATH nor in .cache/envoy; scripts/get-envoy puts it there on Linux and on macOS (arm64)"
MINUTE_US = 60_000_000
PATIENCE_S = 10
RULES = (
    Rule("per-user", {"user": "*"}, Limit("gcra", 5, MINUTE_US, 5)),
    Rule("per-tenant", {"tenant": "*"}, Limit("gcra", 1, MINUTE_US, 1), tiers={"pro": Limit("gcra", 2, MINUTE_US, 2)}),
    Rule("per-address", {"masked_remote_address": "*"}, Limit("fixed_window", 1_000, MINUTE_US, 1_000)),
)


def program() -> str:
    """The path of `envoy`, else the test is skipped (with CI=1: fails)."""
    found = shutil.which("envoy") or shutil.which("envoy", path=str(REPOSITORY / ".cache" / "envoy"))
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(HOW_TO_GET_IT, pytrace=False)
    pytest.skip(HOW_TO_GET_IT)


def configuration(public: int, api: int, limiter: int, deny: bool) -> str:
    """The chapter's file with other ports, and for `deny` the other failure mode."""
    text = CONFIGURATION.read_text()
    changes = {
        "port_value: 10000}": f"port_value: {public}}}",
        "port_value: 8080}": f"port_value: {api}}}",
        "port_value: 8081}": f"port_value: {limiter}}}",
        "failure_mode_deny: false": f"failure_mode_deny: {str(deny).lower()}",
        "          timeout: 0.25s": f"          timeout: {PATIENCE_S}s",  # or a busy machine would fail it open
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@dataclass
class Edge:
    """Envoy, what is behind it, and a client before it. `served` counts what came through to the API, by its user."""

    service: EnvoyService
    http: httpx2.AsyncClient
    served: Counter[bytes]

    async def get(self, **headers: str | bytes) -> httpx2.Response:
        return await self.http.get("/", headers=[(f"x-{name}".encode(), _bytes(value)) for name, value in headers.items()])

    async def statuses(self, times: int, **headers: str | bytes) -> Counter[int]:
        """Asked all at once."""
        return Counter(answer.status_code for answer in await asyncio.gather(*(self.get(**headers) for _ in range(times))))


@contextlib.asynccontextmanager
async def edge(folder: Path, *, deny: bool = False) -> AsyncIterator[Edge]:
    """Time stands still for the limiter, so that what passes is a number and not a range."""
    envoy = program()
    store = MemoryLimitStore(lambda: 1_800_000_000_000_000)
    limiter = Limiter(store, store, lambda: RuleSet({"demo": Domain("demo", RULES)}, "1"))
    served: Counter[bytes] = Counter()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [user] = [line[len(b"x-user: ") :] for line in head.split(b"\r\n") if line.startswith(b"x-user: ")] or [b""]
        served[user] += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nserved")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    api = await asyncio.start_server(answer, "127.0.0.1", 0)
    service = await serve(limiter)
    supervisor = Supervisor(folder / "logs")
    public = free_port()
    url = f"http://127.0.0.1:{public}"
    written = folder / "envoy.yaml"
    written.write_text(configuration(public, api.sockets[0].getsockname()[1], service.port, deny))
    argv = (envoy, "-c", str(written), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    try:
        # In a thread, since the answer it waits for comes through the service and the API of this loop.
        await asyncio.to_thread(supervisor.start_all, [ProcessSpec("envoy", "edge", argv, {}, url, f"{url}/")])
        async with httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False, verify=TRUSTS_NOBODY) as http:
            yield Edge(service, http, served)
    finally:
        await asyncio.to_thread(supervisor.stop)
        await service.stop(0)
        api.close()
        await api.wait_closed()


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def test_exactly_the_limit_passes_envoy_and_the_rest_is_refused_with_our_fields(tmp_path: Path) -> None:
    async def scene() -> None:
        async with edge(tmp_path) as here:
            first = await here.get(user="u1")
            assert (first.status_code, first.text) == (200, "served")
            assert first.headers["ratelimit-policy"] == '"per-user";q=5;w=60, "per-address";q=1000;w=60'
            assert first.headers["ratelimit"].startswith('"per-user";r=4;t=12, "per-address";r=')
            assert await here.statuses(20, user="u1") == {200: 4, 429: 16}
            assert here.served[b"u1"] == 5

            over = await here.get(user="u1")
            assert (over.status_code, over.headers["retry-after"]) == (429, "12")
            assert over.headers["cache-control"] == "no-store"
            assert over.headers["content-type"] == "application/problem+json"
            assert over.json()["violated-policies"] == ["per-user"]
            assert await here.statuses(1, user="u2") == {200: 1}

    uvloop.run(scene())


def test_a_tier_is_an_entry_of_a_descriptor_and_a_refusal_takes_nothing_from_the_user(tmp_path: Path) -> None:
    async def scene() -> None:
        async with edge(tmp_path) as here:
            assert await here.statuses(6, user="u1", tenant="acme", tier="pro") == {200: 2, 429: 4}
            assert await here.statuses(6, user="u1", tenant="other") == {200: 1, 429: 5}
            assert await here.statuses(6, user="u1") == {200: 2, 429: 4}

    uvloop.run(scene())


@pytest.mark.parametrize("user", [b"\xff\xfe", b"", "ü".encode(), b"x" * 50_000])
def test_no_header_is_let_through_uncounted(user: bytes, tmp_path: Path) -> None:
    async def scene() -> None:
        async with edge(tmp_path) as here:
            assert await here.statuses(8, user=user) == {200: 5, 429: 3}

    uvloop.run(scene())


@pytest.mark.parametrize(("deny", "status"), [(False, 200), (True, 500)], ids=["passes", "refuses"])
def test_without_the_limiter_envoys_own_switch_decides(deny: bool, status: int, tmp_path: Path) -> None:
    async def scene() -> None:
        async with edge(tmp_path, deny=deny) as here:
            assert await here.statuses(6, user="u1") == {200: 5, 429: 1}
            await here.service.stop(0)
            gone = await here.get(user="u1")
            assert (gone.status_code, "ratelimit" in gone.headers) == (status, False)

    uvloop.run(scene())
