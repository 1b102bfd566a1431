"""What goes on when Redis or the store is away, what is refused, and that what is refused changed nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from designs.url_shortener.ports import StoreError
from tests.url_shortener.replicas import BROWSER, LONG_URL, OWNER, PLAIN, Wire, eventually, failing, knobs, running_replica

MOVED = "https://example.org/moved"
DOWN = StoreError("the store is away", may_have_happened=False)


def is_refused(answer: httpx2.Response) -> bool:
    """503 that says when to try again, as a problem document."""
    return (
        answer.status_code == 503
        and int(answer.headers["retry-after"]) >= 1
        and answer.headers["content-type"] == "application/problem+json"
        and answer.headers["cache-control"] == "no-store"
    )


@pytest.mark.parametrize("path", ["asgi", "fastapi"])
def test_an_error_that_nobody_foresaw_is_a_problem_document_on_both_paths(path: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN | {"redirect_path": path}), tmp_path) as replica:
            code = (await replica.create())["code"]
            with failing(replica.parts.store, "get", ZeroDivisionError("a bug")):
                answer = await replica.visit(code)
            assert answer.status_code == 500
            assert answer.headers["content-type"] == "application/problem+json"
            assert "a bug" not in answer.text

    asyncio.run(scene())


@pytest.mark.parametrize("path", ["asgi", "fastapi"])
@pytest.mark.parametrize("layers", ["redis", "both"])
@pytest.mark.parametrize("cache", ["aside", "write-through"])
@pytest.mark.parametrize("how", ["cut", "silent"])
def test_without_redis_redirects_and_creates_go_on_and_edits_are_refused_with_nothing_changed(
    how: str, cache: str, layers: str, path: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        turned = knobs(cache=cache, cache_layers=layers, clicks="off", redirect_path=path, cache_deadline_ms=40)
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, redis_url=wire.url) as replica:
            codes = [(await replica.create())["code"] for _ in range(3)]
            await replica.visit(codes[0])
            if how == "cut":
                await wire.cut()
            else:
                wire.silent = True
            assert [await replica.target(code) for code in codes] == [LONG_URL] * 3
            assert await replica.target("never00") == 404
            made = await replica.create()
            assert await replica.target(made["code"]) == LONG_URL
            for refused in (
                await replica.patch(codes[0], url=MOVED),
                await replica.delete(codes[1]),
                await replica.block(codes[2]),
            ):
                assert is_refused(refused)
            assert [await replica.target(code) for code in codes] == [LONG_URL] * 3
            assert (await replica.http.get(f"/api/v1/links/{codes[0]}", headers=OWNER)).json()["url"] == LONG_URL
            ready = await replica.http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert replica.parts.telemetry.registry.get_sample_value("sd_degraded", {"dependency": "redis"}) == 1

    asyncio.run(scene())


def test_when_redis_is_back_so_are_edits_and_what_was_missed_meanwhile(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(cache="aside", clicks="off", staleness_s=60)
        async with (
            Wire(redis_url) as wire,
            running_replica(turned, tmp_path, redis_url=wire.url) as here,
            running_replica(turned, tmp_path, redis_url=redis_url, process_name="there") as there,
        ):
            code = (await here.create())["code"]
            assert await here.target(code) == LONG_URL
            await wire.cut()
            # An edit that this replica hears nothing of. It holds the old copy, for S at most.
            assert (await there.patch(code, url=MOVED)).status_code == 200
            await wire.mend()

            async def knows() -> bool:
                return bool(await here.target(code) == MOVED)

            # The subscription stands again, and everything that may have been missed is dropped: long before S.
            await eventually(knows)

            async def edits() -> bool:
                return (await here.patch(code, enabled=True)).status_code == 200

            await eventually(edits)

    asyncio.run(scene())


@pytest.mark.parametrize("path", ["asgi", "fastapi"])
def test_a_replica_told_to_refuse_without_redis_spares_the_store_and_serves_what_it_holds(
    path: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        turned = knobs(cache="aside", clicks="off", on_cache_down="refuse", staleness_s=60, redirect_path=path)
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, redis_url=wire.url) as replica:
            held, cold = [(await replica.create())["code"] for _ in range(2)]
            await replica.visit(held)
            await wire.cut()
            with failing(replica.parts.store, "get", DOWN) as reads:
                assert await replica.target(held) == LONG_URL
                for suffix in ("", "+", "/qr"):
                    assert is_refused(await replica.http.get(f"/{cold}{suffix}", headers=BROWSER))
                assert reads == [0]

    asyncio.run(scene())


def test_a_silent_redis_costs_a_few_visitors_a_deadline_and_then_nobody(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(cache="aside", cache_layers="redis", clicks="off", cache_deadline_ms=30)
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, redis_url=wire.url) as replica:
            code = (await replica.create())["code"]
            await replica.visit(code)
            wire.silent = True
            for _ in range(6):
                assert await replica.target(code) == LONG_URL
            breaker = replica.parts.breakers["shared_cache"]
            assert breaker.state == "open"
            calls = replica.parts.telemetry.registry.get_sample_value
            labels = {"backend": "redis", "op": "shared_get", "outcome": "error"}
            failed = calls("sd_backend_calls_total", labels)
            await asyncio.gather(*(replica.visit(code) for _ in range(100)))
            assert calls("sd_backend_calls_total", labels) == failed  # nobody asked

    asyncio.run(scene())


@pytest.mark.parametrize("path", ["asgi", "fastapi"])
def test_without_the_store_links_in_memory_redirect_and_everything_else_says_try_again(
    path: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        turned = knobs(cache="aside", clicks="off", staleness_s=60, redirect_path=path)
        async with running_replica(turned, tmp_path, redis_url=redis_url) as replica:
            held, cold = [(await replica.create())["code"] for _ in range(2)]
            await replica.visit(held)
            store = replica.parts.store
            with failing(store, "get", DOWN), failing(store, "insert_if_absent", DOWN), failing(store, "edit", DOWN):
                assert await replica.target(held) == LONG_URL
                answers = [
                    await replica.visit(cold),
                    await replica.http.get(f"/{cold}+"),
                    await replica.post({"url": LONG_URL}),
                    await replica.patch(held, url=MOVED),
                    await replica.http.get(f"/api/v1/links/{held}", headers=OWNER),
                ]
                assert all(is_refused(answer) for answer in answers)
                ready = await replica.http.get("/readyz")
                assert (ready.status_code, ready.json()["status"]) == (503, "down")
                items = (
                    await replica.http.post("/api/v1/links/bulk", json={"links": [{"url": LONG_URL}] * 2}, headers=OWNER)
                ).json()["items"]
                assert [item["status"] for item in items] == [503, 503]
            assert [await replica.target(code) for code in (held, cold)] == [LONG_URL, LONG_URL]

    asyncio.run(scene())


def test_an_edit_that_fails_at_the_store_is_not_seen_anywhere(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with running_replica(knobs(cache="write-through", clicks="off"), tmp_path, redis_url=redis_url) as replica:
            code = (await replica.create())["code"]
            with failing(replica.parts.store, "edit", DOWN):
                assert is_refused(await replica.patch(code, url=MOVED))
            assert await replica.target(code) == LONG_URL
            assert (await replica.patch(code, url=MOVED)).status_code == 200
            assert await replica.target(code) == MOVED

    asyncio.run(scene())


@pytest.mark.parametrize("verb", ["get", "write", "visits"])
def test_an_error_nobody_thought_of_is_a_problem_document_that_tells_nothing(verb: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN, redirect_path="fastapi"), tmp_path) as replica:
            transport = httpx2.ASGITransport(replica.app, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="https://sho.rt") as client:
                code = (await replica.create(max_visits=5))["code"]
                surprise: Any = RuntimeError("password=hunter2")
                verbs = {"get": "get", "write": "insert_if_absent", "visits": "take_visit"}
                with failing(replica.parts.store, verbs[verb], surprise):
                    answer = (
                        await client.post("/api/v1/links", json={"url": LONG_URL}, headers=OWNER)
                        if verb == "write"
                        else await client.get(f"/{code}")
                    )
                assert answer.status_code == 500
                assert answer.headers["content-type"] == "application/problem+json"
                assert "hunter2" not in answer.text

    asyncio.run(scene())
