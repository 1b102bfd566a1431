"""Through the whole design: every click is stored, dead-lettered or declared as dropped, and no redirect fails for its click."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from designs.building_blocks.redis_connection import connect
from designs.url_shortener.backends.redis import RedisVisitorCounter
from designs.url_shortener.backends.redis_streams import RedisClickQueue
from designs.url_shortener.backends.sqlite import SqliteClickStore
from designs.url_shortener.click_recorder import ClickTotals
from designs.url_shortener.click_worker import MAX_DELIVERIES, ClickWorker
from designs.url_shortener.clicks import Click, ClickBatch, encode_batch
from designs.url_shortener.ports import QueueFull, StoreError
from tests.url_shortener.replicas import (
    BROWSER,
    LONG_URL,
    OPERATOR,
    TestReplica,
    Wire,
    eventually,
    failing,
    knobs,
    running_replica,
)

pytestmark = pytest.mark.usefixtures("patient")

PATHS = ["asgi", "fastapi"]
DOWN = StoreError("away", may_have_happened=False)
UNSURE = StoreError("no answer", may_have_happened=True)
# Flushed by hand: what is under test is not the interval.
SLOW_FLUSH = {"click_flush_ms": 10_000, "cache": "aside", "cache_layers": "process"}


def known_of(totals: ClickTotals) -> int:
    return totals.accepted + totals.unsure + sum(totals.dropped.values())


async def visit(replica: TestReplica, code: str, times: int) -> None:
    for _ in range(times):
        assert (await replica.visit(code)).status_code == 302


async def flush(replica: TestReplica) -> ClickTotals:
    assert replica.parts.recorder is not None
    await replica.parts.recorder.flush()
    return replica.parts.click_totals


async def work_all(redis_url: str, folder: Path) -> ClickWorker:
    """A worker beside the replica, as long as there is work."""
    client, store = connect(redis_url, 5.0), SqliteClickStore(folder / "clicks.db")
    worker = ClickWorker(RedisClickQueue(client), store, RedisVisitorCounter(client), "worker")
    while await worker.work_once(0):
        pass
    await store.close()
    await client.aclose()
    return worker


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("clicks", ["redis_streams", "batched", "sync"])
def test_every_redirect_is_counted_once_and_nothing_else_is(clicks: str, path: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(**SLOW_FLUSH, clicks=clicks, redirect_path=path)
        async with running_replica(turned, tmp_path, redis_url=redis_url) as replica:
            code, capped = [(await replica.create(max_visits=cap))["code"] for cap in (None, 2)]
            await visit(replica, code, 5)
            for _ in range(4):
                await replica.visit(capped)
            for quiet in ("HEAD", "OPTIONS"):
                await replica.visit(code, quiet)
            await replica.http.get(f"/{code}+")
            await replica.http.get(f"/{code}/qr")
            await replica.visit("never00")
            await replica.http.get(f"/{code}", headers={"User-Agent": "Googlebot", "Referer": "https://a.example/x"})
            await replica.client_at("203.0.113.9").get(f"/{code}", headers=BROWSER | {"Referer": "https://a.example/x"})
            if clicks != "sync":
                assert (await flush(replica)).accepted == 9
            if clicks == "redis_streams":
                assert (await work_all(redis_url, tmp_path)).totals.applied_clicks == 9
            stats = await replica.stats(code)
            assert (stats["clicks"], stats["bots"], stats["unique_visitors"]) == (6, 1, 2)
            assert stats["by_referrer"] == {"": 5, "a.example": 1}
            assert sum(stats["by_day"].values()) == 6
            assert (await replica.stats(capped))["clicks"] == 2

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("clicks", ["redis_streams", "batched", "sync"])
@pytest.mark.parametrize("error", [DOWN, UNSURE, QueueFull()], ids=["down", "unsure", "full"])
def test_a_redirect_never_fails_because_its_click_cannot_be_counted(
    error: StoreError, clicks: str, path: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        turned = knobs(**SLOW_FLUSH, clicks=clicks, redirect_path=path)
        async with running_replica(turned, tmp_path, redis_url=redis_url) as replica:
            code = (await replica.create())["code"]
            port: Any = _queue_of(replica) if clicks == "redis_streams" else replica.parts.clicks
            verb = "publish" if clicks == "redis_streams" else "apply"
            with failing(port, verb, error) as failed:
                await visit(replica, code, 6)
                if clicks != "sync":
                    await flush(replica)
                assert failed[0] >= 1
            await visit(replica, code, 4)
            totals = replica.parts.click_totals if clicks == "sync" else await flush(replica)
            assert known_of(totals) == 10
            assert totals.accepted == 4
            assert totals.unsure == (6 if error.may_have_happened else 0)

    asyncio.run(scene())


def _queue_of(replica: TestReplica) -> Any:
    """The queue behind the recorder: a cell of the closure that sends."""
    assert replica.parts.recorder is not None
    send: Any = replica.parts.recorder._send
    return next(cell.cell_contents for cell in send.__closure__ if hasattr(cell.cell_contents, "publish"))


def test_a_full_buffer_drops_clicks_and_says_how_many(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(**SLOW_FLUSH, clicks="batched", click_buffer=3)
        async with running_replica(turned, tmp_path, redis_url=redis_url) as replica:
            code = (await replica.create())["code"]
            await visit(replica, code, 8)
            totals = await flush(replica)
            assert (totals.accepted, totals.dropped["buffer_full"]) == (3, 5)
            metrics = (await replica.http.get("/metrics")).text
            assert 'sd_clicks_total{outcome="dropped"} 5.0' in metrics
            assert 'sd_clicks_dropped_total{reason="buffer_full"} 5.0' in metrics

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
def test_with_redis_gone_redirects_go_on_and_every_click_is_declared(path: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(click_flush_ms=10_000, redirect_path=path)
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, redis_url=wire.url) as replica:
            code = (await replica.create())["code"]
            await visit(replica, code, 3)
            assert (await flush(replica)).accepted == 3
            await wire.cut()
            await visit(replica, code, 4)
            assert known_of(await flush(replica)) == 7
            # The first try went out on a connection that was cut meanwhile: whether it arrived nobody here can know.
            assert replica.parts.click_totals.unsure + replica.parts.click_totals.dropped["queue_down"] == 4
            stats = await replica.stats(code)
            assert (stats["clicks"], stats["unique_visitors"]) == (
                0,
                None,
            )  # counted by the worker later; an estimate is not made up
            await wire.mend()
            await visit(replica, code, 2)

            async def arrives() -> bool:
                return (await flush(replica)).accepted == 5

            await eventually(arrives)
            assert (await work_all(redis_url, tmp_path)).totals.applied_clicks == 5
            assert (await replica.stats(code))["clicks"] == 5

    asyncio.run(scene())


def test_a_replica_that_is_stopped_sends_the_clicks_it_holds(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**SLOW_FLUSH, clicks="redis_streams"), tmp_path, redis_url=redis_url) as replica:
            code = (await replica.create())["code"]
            await visit(replica, code, 5)
        assert (await work_all(redis_url, tmp_path)).totals.applied_clicks == 5

    asyncio.run(scene())


def test_with_links_in_memory_the_replica_counts_what_it_queued_by_itself(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(store="memory", cache="none", clicks="redis_streams", click_flush_ms=1)
        async with running_replica(turned, tmp_path, redis_url=redis_url) as replica:
            code = (await replica.create())["code"]
            await visit(replica, code, 5)

            async def counted() -> bool:
                return bool((await replica.stats(code))["clicks"] == 5)

            await eventually(counted)

    asyncio.run(scene())


def test_a_poison_batch_is_parked_seen_and_driven_back_by_the_operator(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        client = connect(redis_url, 5.0)
        queue = RedisClickQueue(client)
        poison = encode_batch(ClickBatch("poison", [Click("abc", 10**15, "", "v", False)] * 4))
        async with running_replica(knobs(**SLOW_FLUSH, clicks="redis_streams"), tmp_path, redis_url=redis_url) as replica:
            code = (await replica.create())["code"]
            await visit(replica, code, 5)
            assert (await flush(replica)).accepted == 5
            for body in (b"no batch at all", poison):
                await queue.publish(body)
            store = SqliteClickStore(tmp_path / "clicks.db")
            worker = ClickWorker(queue, store, RedisVisitorCounter(client), "worker")
            for _ in range(MAX_DELIVERIES):
                await worker.work_once(0)
            assert (worker.totals.applied_clicks, worker.totals.dead_lettered_clicks) == (5, 4)
            assert (await queue.depth())[0] == 0
            url = "/api/v1/admin/dead-letters"
            letters = (await replica.http.get(url, headers=OPERATOR)).json()
            assert [(letter["deliveries"], letter["size_bytes"]) for letter in letters] == [(1, 15), (MAX_DELIVERIES, len(poison))]
            assert "OverflowError" in letters[1]["reason"] or "Value" in letters[1]["reason"]
            page = await replica.http.get(url, params={"limit": 1, "after": letters[0]["id"]}, headers=OPERATOR)
            assert [letter["id"] for letter in page.json()] == [letters[1]["id"]]
            moved = await replica.http.post(f"{url}/redrive", json={"ids": [letters[1]["id"], "unknown"]}, headers=OPERATOR)
            assert moved.json() == {"redriven": 1}
            assert [each.body for each in await queue.receive("worker", 10, 0)] == [poison]
            assert (await replica.http.post(f"{url}/redrive", json={"limit": 5}, headers=OPERATOR)).json() == {"redriven": 1}
            assert (await replica.http.get(url, headers=OPERATOR)).json() == []
            for refused in ({"limit": 0}, {"limit": 101}, {"ids": ["x"] * 101}, {"other": 1}):
                assert (await replica.http.post(f"{url}/redrive", json=refused, headers=OPERATOR)).status_code == 422
            await store.close()
        await client.aclose()

    asyncio.run(scene())


@pytest.mark.parametrize("clicks", ["off", "batched"])
def test_without_a_queue_there_are_no_dead_letters_and_without_counting_no_stats(clicks: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(store="memory", cache="none", clicks=clicks), tmp_path) as replica:
            code = (await replica.create(LONG_URL))["code"]
            url = "/api/v1/admin/dead-letters"
            assert (await replica.http.get(url, headers=OPERATOR)).json() == []
            assert (await replica.http.post(f"{url}/redrive", json={}, headers=OPERATOR)).json() == {"redriven": 0}
            stats = await replica.stats(code)
            assert stats["type"] == "/problems/clicks-off" if clicks == "off" else stats["clicks"] == 0

    asyncio.run(scene())
