"""The control port answers as Toxiproxy's does. Bodies and codes were compared with those of a Toxiproxy 2.5 server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from loadtests.faults.proxy import proxies, server
from loadtests.faults.proxy.control import MAX_BODY, create_control
from loadtests.faults.proxy.proxies import Proxies
from loadtests.faults.proxy.toxics import KINDS
from tests.loadtests.faults.proxy.loopback import echo

NOBODY = "127.0.0.1:1"


@asynccontextmanager
async def control(**options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    ours = Proxies(**options)
    transport = httpx2.ASGITransport(create_control(ours))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client
    finally:
        ours.close()


def asking(main: Callable[[httpx2.AsyncClient], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with control(**options) as client:
            await main(client)

    asyncio.run(asyncio.wait_for(run(), 20))


async def create(client: httpx2.AsyncClient, name: str = "a", **fields: Any) -> dict[str, Any]:
    created = await client.post("/proxies", json={"name": name, "listen": "127.0.0.1:0", "upstream": NOBODY, **fields})
    assert created.status_code == 201, created.text
    proxy: dict[str, Any] = created.json()
    return proxy


def test_a_proxy_is_created_shown_changed_and_deleted() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        proxy = await create(client, "redis@replica-1")
        port = int(proxy["listen"].removeprefix("127.0.0.1:"))
        assert port > 0
        expected = {"name": "redis@replica-1", "listen": proxy["listen"], "upstream": NOBODY, "enabled": True, "toxics": []}
        assert proxy == expected
        assert (await client.get("/proxies")).json() == {"redis@replica-1": expected}
        assert (await client.get("/proxies/redis%40replica-1")).json() == expected
        down = await client.post("/proxies/redis@replica-1", json={"enabled": False})
        assert (down.status_code, down.json()) == (200, {**expected, "enabled": False})
        up = await client.patch("/proxies/redis@replica-1", json={"enabled": True})
        assert up.json() == expected
        moved = await client.post("/proxies/redis@replica-1", json={"upstream": "localhost:2"})
        assert moved.json() == {**expected, "upstream": "127.0.0.1:2"}
        deleted = await client.delete("/proxies/redis@replica-1")
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert (await client.get("/proxies")).json() == {}

    asking(main)


def test_a_proxy_that_is_led_elsewhere_keeps_its_toxics_and_its_port() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        proxy = await create(client)
        toxic = (await client.post("/proxies/a/toxics", json={"type": "timeout"})).json()
        moved = await client.post("/proxies/a", json={"upstream": "127.0.0.1:2"})
        assert moved.json() == {**proxy, "upstream": "127.0.0.1:2", "toxics": [toxic]}

    asking(main)


def test_a_toxic_is_added_shown_changed_and_removed() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        await create(client)
        added = await client.post("/proxies/a/toxics", json={"type": "latency", "attributes": {"latency": 10}})
        toxic = {
            "attributes": {"latency": 10, "jitter": 0},
            "name": "latency_downstream",
            "type": "latency",
            "stream": "downstream",
            "toxicity": 1,
        }
        assert (added.status_code, added.json()) == (200, toxic)
        changed = await client.post("/proxies/a/toxics/latency_downstream", json={"attributes": {"jitter": 3}})
        toxic["attributes"] = {"latency": 10, "jitter": 3}
        assert (changed.status_code, changed.json()) == (200, toxic)
        changed = await client.patch("/proxies/a/toxics/latency_downstream", json={"toxicity": 0.5})
        assert changed.json() == {**toxic, "toxicity": 0.5}
        assert (await client.get("/proxies/a/toxics")).json() == [changed.json()]
        assert (await client.get("/proxies/a/toxics/latency_downstream")).json() == changed.json()
        assert (await client.get("/proxies/a")).json()["toxics"] == [changed.json()]
        removed = await client.delete("/proxies/a/toxics/latency_downstream")
        assert (removed.status_code, removed.content) == (204, b"")
        assert (await client.get("/proxies/a/toxics")).json() == []

    asking(main)


def test_a_reset_enables_everything_and_removes_every_toxic() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        first, second = await create(client, "a", enabled=False), await create(client, "b")
        await client.post("/proxies/b/toxics", json={"type": "timeout"})
        assert (await client.post("/reset")).status_code == 204
        after = (await client.get("/proxies")).json()
        assert [proxy["enabled"] for proxy in after.values()] == [True, True]
        assert [proxy["toxics"] for proxy in after.values()] == [[], []]
        assert after["b"]["listen"] == second["listen"]
        assert first["enabled"] is False

    asking(main)


def test_populate_creates_replaces_what_leads_elsewhere_and_leaves_the_rest() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        stays, goes = await create(client, "stays"), await create(client, "goes")
        for name in ("stays", "goes"):
            await client.post(f"/proxies/{name}/toxics", json={"type": "latency"})
        wanted = [
            {"name": "stays", "listen": stays["listen"], "upstream": NOBODY},
            {"name": "goes", "listen": goes["listen"], "upstream": "127.0.0.1:2"},
            {"name": "new", "listen": "127.0.0.1:0", "upstream": NOBODY, "enabled": False},
        ]
        populated = await client.post("/populate", json=wanted)
        assert populated.status_code == 201
        by_name = {proxy["name"]: proxy for proxy in populated.json()["proxies"]}
        assert len(by_name["stays"]["toxics"]) == 1
        assert (by_name["goes"]["toxics"], by_name["goes"]["upstream"]) == ([], "127.0.0.1:2")
        assert by_name["new"]["enabled"] is False

    asking(main)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/proxies/zz", "", 404, "proxy not found"),
        ("POST", "/proxies/zz", "{", 404, "proxy not found"),
        ("DELETE", "/proxies/zz", "", 404, "proxy not found"),
        ("GET", "/proxies/zz/toxics", "", 404, "proxy not found"),
        ("GET", "/proxies/a/toxics/zz", "", 404, "toxic not found"),
        ("POST", "/proxies/a/toxics/zz", "{}", 404, "toxic not found"),
        ("DELETE", "/proxies/a/toxics/zz", "", 404, "toxic not found"),
        ("POST", "/proxies", '{"name": "a", "upstream": "127.0.0.1:1"}', 409, "proxy already exists"),
        ("POST", "/proxies", '{"name": "b"}', 400, "missing required field: upstream"),
        ("POST", "/proxies", '{"upstream": "127.0.0.1:1"}', 400, "missing required field: name"),
        ("POST", "/proxies", "{", 400, "bad request body: "),
        ("POST", "/proxies", '{"name": 1}', 400, "bad request body: "),
        ("POST", "/proxies", '{"name": "b/c", "upstream": "127.0.0.1:1"}', 400, "bad request body: "),
        ("POST", "/proxies", '{"name": "b", "upstream": "127.0.0.1"}', 400, "an address is host:port"),
        ("POST", "/proxies", '{"name": "b", "upstream": "10.0.0.1:1"}', 400, "the proxy stays on this machine"),
        ("POST", "/proxies", '{"name": "b", "upstream": "127.0.0.1:1", "listen": "0.0.0.0:0"}', 400, "the proxy stays"),
        ("POST", "/proxies", " " * (MAX_BODY + 1), 400, "bad request body: more than"),
        ("POST", "/proxies/a/toxics", '{"type": "nope"}', 400, "invalid toxic type"),
        ("POST", "/proxies/a/toxics", '{"type": "timeout", "stream": "x"}', 400, "stream was invalid"),
        ("POST", "/proxies/a/toxics", '{"type": "bandwidth", "attributes": {"rate": "x"}}', 400, "bad request body: "),
        ("POST", "/proxies/a/toxics", '{"type": "latency"}', 409, "toxic already exists"),
        ("POST", "/populate", '[{"upstream": "127.0.0.1:1"}]', 400, "missing required field: name at proxy 1"),
        ("POST", "/populate", "{}", 400, "bad request body: "),
    ],
)
def test_what_is_refused_is_refused_with_toxiproxys_code_and_words_and_changes_nothing(
    method: str, path: str, body: str, status: int, error: str
) -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        await create(client)
        await client.post("/proxies/a/toxics", json={"type": "latency"})
        before = (await client.get("/proxies")).json()
        refused = await client.request(method, path, content=body)
        assert refused.status_code == status
        answer = refused.json()
        assert set(answer) == {"error", "status"}
        assert answer["status"] == status
        assert answer["error"].startswith(error)
        assert (await client.get("/proxies")).json() == before

    asking(main)


def test_a_port_that_is_taken_is_an_error_and_leaves_no_proxy() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        taken = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        refused = await client.post("/proxies", json={"name": "b", "listen": f"127.0.0.1:{port}", "upstream": NOBODY})
        assert refused.status_code == 500
        assert "in use" in refused.json()["error"]
        assert (await client.get("/proxies")).json() == {}
        taken.close()

    asking(main)


def test_other_paths_and_methods_are_not_there() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.delete("/proxies")).status_code == 405

    asking(main)


@pytest.mark.parametrize(
    "headers", [{"user-agent": "Mozilla/5.0 (X11; Linux x86_64)"}, {"origin": "https://example.org"}, {"origin": "null"}]
)
def test_a_page_in_a_browser_can_not_steer_it(headers: dict[str, str]) -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        for method, path in [("GET", "/proxies"), ("POST", "/reset"), ("POST", "/proxies"), ("GET", "/metrics")]:
            refused = await client.request(method, path, headers=headers, content='{"name": "b", "upstream": "127.0.0.1:1"}')
            assert refused.status_code == 403
        assert (await client.get("/proxies")).json() == {}

    asking(main)


def test_proxies_and_toxics_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "MAX_PROXIES", 1)
    monkeypatch.setattr(server, "MAX_TOXICS", 1)

    async def main(client: httpx2.AsyncClient) -> None:
        await create(client)
        refused = await client.post("/proxies", json={"name": "b", "upstream": NOBODY})
        assert (refused.status_code, refused.json()["error"]) == (400, "there are at most 1 proxies")
        await client.post("/proxies/a/toxics", json={"type": "latency"})
        refused = await client.post("/proxies/a/toxics", json={"type": "timeout"})
        assert (refused.status_code, refused.json()["error"]) == (400, "a proxy has at most 1 toxics")

    asking(main)


def test_it_forwards_to_other_machines_only_when_told_and_listens_on_this_one_always() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        assert (await create(client, upstream="redis.example:6379"))["upstream"] == "redis.example:6379"
        refused = await client.post("/proxies", json={"name": "b", "listen": "0.0.0.0:0", "upstream": NOBODY})
        assert refused.status_code == 400

    asking(main, any_upstream=True)


def test_the_metrics_count_connections_and_bytes_of_each_direction() -> None:
    async def main(client: httpx2.AsyncClient) -> None:
        echoing = await asyncio.start_server(echo, "127.0.0.1", 0)
        upstream = f"127.0.0.1:{echoing.sockets[0].getsockname()[1]}"
        listen = (await create(client, upstream=upstream))["listen"]
        host, port = listen.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"hello")
        await reader.readexactly(5)
        text = (await client.get("/metrics")).text
        for direction in ("upstream", "downstream"):
            labels = f'direction="{direction}",listener="{listen}",proxy="a",upstream="{upstream}"'
            assert f"toxiproxy_proxy_received_bytes_total{{{labels}}} 5.0" in text
            assert f"toxiproxy_proxy_sent_bytes_total{{{labels}}} 5.0" in text
        assert 'fault_proxy_connections_total{proxy="a"} 1.0' in text
        assert 'fault_proxy_open_connections{proxy="a"} 1.0' in text
        assert 'fault_proxy_turned_away_total{proxy="a"} 0.0' in text
        writer.transport.abort()
        echoing.close()

    asking(main)


def test_the_metrics_say_which_faults_are_in_force_and_where() -> None:
    async def active(client: httpx2.AsyncClient) -> set[tuple[str, str]]:
        families = [*text_string_to_metric_families((await client.get("/metrics")).text)]
        [faults] = [family for family in families if family.name == "sd_fault_active"]
        assert len(faults.samples) == 2 * (len(KINDS) + 1)
        return {(sample.labels["fault"], sample.labels["target"]) for sample in faults.samples if sample.value == 1}

    async def main(client: httpx2.AsyncClient) -> None:
        await create(client, "redis@replica-1")
        await create(client, "redis@click-worker")
        assert await active(client) == set()
        latency = {"type": "latency", "attributes": {"latency": 10}}
        await client.post("/proxies/redis@replica-1/toxics", json=latency)
        await client.post("/proxies/redis@replica-1/toxics", json=latency | {"stream": "upstream"})
        await client.post("/proxies/redis@click-worker", json={"enabled": False})
        assert await active(client) == {("latency", "redis@replica-1"), ("down", "redis@click-worker")}
        for stream in ("downstream", "upstream"):
            await client.post(f"/proxies/redis@replica-1/toxics/latency_{stream}", json={"toxicity": 0})
        assert await active(client) == {("down", "redis@click-worker")}
        await client.post("/reset")
        assert await active(client) == set()

    asking(main)
