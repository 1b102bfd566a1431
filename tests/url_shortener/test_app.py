"""Every turn of every knob is a service that works, and one that can be stopped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from designs.building_blocks.background_tasks import end
from designs.building_blocks.knobs import KnobError, knob_table
from designs.url_shortener.app import create_app
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.worker import create_worker_app
from tests.url_shortener.replicas import BROWSER, LONG_URL, PUBLIC_URL, eventually, knobs, lifespan, running_replica, settings
from tests.virtual_time import run
from workbench.namespaces import delete_namespace

pytestmark = pytest.mark.usefixtures("patient")


def turns() -> Iterator[dict[str, Any]]:
    """Each choice and each example of each knob, the others as they are by default."""
    for row in knob_table(ShortenerKnobs):
        for choice in row.choices:
            if choice != row.default:
                yield {row.name: choice}
    yield {"cache_layers": "process", "cache": "write-through", "stampede": "early-expiry"}
    yield {"cache": "write-behind", "ids": "snowflake", "cache_layers": "redis", "clicks": "sync"}


@pytest.mark.parametrize("turn", [*turns()], ids=lambda turn: " ".join(f"{name}={value}" for name, value in turn.items()))
def test_every_turn_of_a_knob_is_a_service_that_works(
    turn: dict[str, Any], tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("designs.building_blocks.tracing.STOP_WITHIN_S", 0.01)  # nobody takes the spans
    servers = servers_for(turn, request)

    async def scene() -> None:
        nobody = "http://127.0.0.1:1/v1/traces"
        # A busy machine is no outage. The turn to a deadline of 10 ms may refuse an edit now and then, and that is its trade.
        turned = knobs(**{"cache_deadline_ms": 5_000} | turn)
        async with running_replica(turned, tmp_path, redis_url=redis_url, traces_endpoint=nobody, **servers) as replica:

            async def ready() -> bool:
                return (await replica.http.get("/readyz")).json()["status"] == "ready"

            async def moved() -> bool:
                return (await replica.patch(plain["code"], url="https://example.org/moved")).status_code == 200

            async def gone() -> bool:
                return (await replica.delete(plain["code"])).status_code in (204, 404)

            await eventually(ready)
            plain, capped = await replica.create(), await replica.create("https://example.org/capped", max_visits=1)
            for _ in range(3):
                assert await replica.target(plain["code"]) == LONG_URL
            assert [await replica.target(capped["code"]) for _ in range(2)] == ["https://example.org/capped", 410]
            await eventually(moved)
            assert await replica.target(plain["code"]) == "https://example.org/moved"
            await eventually(gone)
            assert await replica.target(plain["code"]) == 404
            await eventually(ready)

    try:
        asyncio.run(scene())
    finally:
        if servers:
            assert delete_namespace(servers.pop("namespace"), {name.upper(): address for name, address in servers.items()})


def servers_for(turn: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of the servers beside Redis that these knobs need."""
    needed = {"cassandra": "cassandra_hosts", "kafka": "kafka_bootstrap"}
    wanted = [fixture for value, fixture in needed.items() if value in turn.values()]
    addresses = {fixture: request.getfixturevalue(fixture) for fixture in wanted}
    return addresses | ({"namespace": request.getfixturevalue("namespace")} if wanted else {})


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        ({"cache": "write-behind", "ids": "random"}, "use ids=lease or snowflake"),
        ({"cache": "write-behind", "ids": "hash"}, "use ids=lease or snowflake"),
        ({"cache": "write-behind", "ids": "counter"}, "use ids=lease or snowflake"),
        ({"cache": "write-behind", "cache_layers": "process"}, "use cache_layers=redis or both"),
        ({"stampede": "lease", "cache_layers": "process"}, "use cache_layers=redis or both"),
        ({"code_length": 3}, "greater than or equal to 4"),
    ],
)
def test_knobs_that_contradict_each_other_are_refused_with_what_would_be_right(turn: dict[str, Any], says: str) -> None:
    with pytest.raises(KnobError, match=says):
        knobs(**turn)


def test_knobs_that_need_a_server_say_so_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ("REDIS_URL", "KAFKA_BOOTSTRAP", "CASSANDRA_HOSTS"):
        monkeypatch.delenv(setting, raising=False)
    with pytest.raises(ValueError, match="set REDIS_URL, or choose cache=none ids=lease clicks=batched"):
        create_app(knobs(), settings(tmp_path))
    with pytest.raises(ValueError, match="set REDIS_URL"):
        create_worker_app(knobs(), settings(tmp_path))
    with pytest.raises(ValueError, match="set CASSANDRA_HOSTS, or choose store=sqlite"):
        create_app(knobs(store="cassandra"), settings(tmp_path, redis_url="redis://127.0.0.1:1/0"))
    with pytest.raises(ValueError, match="set KAFKA_BOOTSTRAP, or choose clicks=redis_streams"):
        create_app(knobs(clicks="kafka"), settings(tmp_path, redis_url="redis://127.0.0.1:1/0"))
    with pytest.raises(ValueError, match="there is nothing for a worker"):
        create_worker_app(knobs(clicks="batched"), settings(tmp_path, redis_url="redis://127.0.0.1:1/0"))
    with pytest.raises(ValueError, match="store=memory keeps the counts inside the replica"):
        create_worker_app(knobs(store="memory"), settings(tmp_path, redis_url="redis://127.0.0.1:1/0"))


def test_a_task_that_swallows_its_cancellation_is_cancelled_again() -> None:
    async def scene() -> int:
        cancelled = 0

        async def stubborn() -> None:
            nonlocal cancelled
            while cancelled < 3:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    cancelled += 1
            raise RuntimeError("and what it says at last is not lost in a warning")

        tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(3600))]
        await asyncio.sleep(0)
        await end(tasks)
        assert all(task.done() for task in tasks)
        return cancelled

    assert run(scene()) == 3


def test_a_click_worker_counts_what_a_replica_queued_and_shows_it(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(click_flush_ms=1)
        worker = create_worker_app(turned, settings(tmp_path, redis_url=redis_url, process_name="click-worker"))
        transport = httpx2.ASGITransport(worker)
        async with (
            lifespan(worker),
            httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL) as http,
            running_replica(turned, tmp_path, redis_url=redis_url) as replica,
        ):
            code = (await replica.create())["code"]
            for _ in range(5):
                await replica.http.get(f"/{code}", headers=BROWSER)

            async def counted() -> bool:
                return bool((await replica.stats(code))["clicks"] == 5)

            await eventually(counted)
            assert [(await http.get(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]
            metrics = (await http.get("/metrics")).text
            replicas = (await replica.http.get("/metrics")).text
            assert 'sd_store_syncs_total{backend="sqlite"} 1.0' in metrics
            assert re.search(r'sd_queue_messages_total{queue="clicks"} [1-5]\.0', replicas)
            assert "sd_clicks_applied_total 5.0" in metrics
            assert 'sd_queue_depth{queue="clicks"}' in metrics

    asyncio.run(scene())
