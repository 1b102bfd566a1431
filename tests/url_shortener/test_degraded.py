"""While something is away every answer comes early, `/readyz` and `sd_degraded` say so, and both end by themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from designs.url_shortener import guards
from designs.url_shortener.backends import redis as redis_backend
from designs.url_shortener.backends.memory import MemoryLinkStore
from designs.url_shortener.ports import StoreError
from designs.url_shortener.redirects import MAX_WAITING
from designs.url_shortener.worker import create_worker_app
from tests.url_shortener.replicas import (
    LONG_URL,
    OWNER,
    PLAIN,
    TestReplica,
    Wire,
    eventually,
    failing,
    knobs,
    lifespan,
    running_replica,
    settings,
)

MOVED = "https://example.org/moved"
FULL = StoreError("SQLite: database or disk is full", may_have_happened=False)
# Far above every deadline of a request, and below the time-out of what waits for work (5 s).
PATIENCE_S, DRIVER_S = 20.0, 120.0


async def readiness(replica: TestReplica) -> tuple[str, float, float | None]:
    """What /readyz says, and what the metric said behind it, of the store and of Redis."""
    status = (await replica.http.get("/readyz")).json()["status"]
    return status, degraded(replica, "store") or 0.0, degraded(replica, "redis")


def degraded(replica: TestReplica, dependency: str) -> float | None:
    return replica.parts.telemetry.registry.get_sample_value("sd_degraded", {"dependency": dependency})


async def says(replica: TestReplica, status: str) -> bool:
    return (await readiness(replica))[0] == status


@pytest.mark.parametrize("how", ["cut", "silent"])
@pytest.mark.parametrize("layers", ["process", "redis", "both"])
def test_readiness_and_the_metric_agree_that_redis_is_away_and_that_it_is_back_though_nobody_came(
    layers: str, how: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        turned = knobs(cache_layers=layers, clicks="off")
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, redis_url=wire.url) as replica:
            assert await readiness(replica) == ("ready", 0, 0)
            if how == "cut":
                await wire.cut()
            else:
                wire.silent = True

            async def noticed() -> bool:
                return degraded(replica, "redis") == 1

            await eventually(noticed)  # by the replica itself: nobody has asked for /readyz
            assert await readiness(replica) == ("degraded", 0, 1)
            await wire.cut()
            wire.silent = False
            await wire.mend()

            async def recovered() -> bool:
                return degraded(replica, "redis") == 0

            await eventually(recovered)
            assert await readiness(replica) == ("ready", 0, 0)

    asyncio.run(scene())


def test_an_open_breaker_is_probed_closed_where_no_request_comes_along(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(cache_layers="redis", clicks="off", ids="counter")
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, redis_url=wire.url) as replica:
            codes = [(await replica.create())["code"] for _ in range(6)]
            wire.silent = True
            await asyncio.gather(*map(replica.visit, codes), *(replica.post({"url": LONG_URL}) for _ in codes))
            breakers = replica.parts.breakers
            assert [breakers[name].state for name in ("shared_cache", "redis_requests")] == ["open", "open"]
            await wire.cut()
            wire.silent = False
            await wire.mend()

            async def closed() -> bool:
                return all(breaker.state == "closed" for breaker in breakers.values())

            await eventually(closed)

    asyncio.run(scene())


def test_an_outage_is_logged_once_at_its_beginning_and_once_at_its_end(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> list[Any]:
        turned = knobs(cache_layers="redis", clicks="off")
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, redis_url=wire.url) as replica:
            codes = [(await replica.create())["code"] for _ in range(3)]
            await wire.cut()
            for _ in range(10):
                await asyncio.gather(*(replica.visit(code) for code in codes))
            await wire.mend()

            async def recovered() -> bool:
                return degraded(replica, "redis") == 0

            await eventually(recovered)
        return [line for line in logged if line["event"] in ("degraded", "recovered")]

    with structlog.testing.capture_logs() as logged:
        lines = asyncio.run(scene())
    assert [(line["event"], line["server"]) for line in lines] == [("degraded", "redis"), ("recovered", "redis")]
    assert lines[1]["seconds"] > 0


def test_clicks_that_cannot_be_sent_show_before_anything_else_does(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(clicks="redis_streams", click_flush_ms=5)
        async with running_replica(turned, tmp_path, redis_url=redis_url) as replica:
            dependency = replica.parts.dependencies["redis"]
            code = (await replica.create())["code"]
            dependency.hear("clicks", False)
            assert (degraded(replica, "redis"), dependency.bad_signals()) == (1, ["clicks"])
            await replica.visit(code)

            async def sent() -> bool:
                return degraded(replica, "redis") == 0

            await eventually(sent)

    asyncio.run(scene())


def test_a_disk_that_is_full_is_degraded_and_one_that_cannot_be_read_is_down(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(cache="none", clicks="off"), tmp_path) as replica:
            code = (await replica.create())["code"]
            store = _behind_the_guards(replica)
            with failing(store, "write", FULL):
                assert (await replica.post({"url": LONG_URL})).status_code == 503
                assert await replica.target(code) == LONG_URL
                assert await readiness(replica) == ("degraded", 1, None)
                with failing(store, "read", FULL):
                    assert await replica.target(code) == 503
                    assert await readiness(replica) == ("down", 1, None)
                assert await replica.target(code) == LONG_URL
                assert await readiness(replica) == ("degraded", 1, None)

            async def recovered() -> bool:
                return degraded(replica, "store") == 0

            await eventually(recovered)  # nobody has written since but the replica's own probe
            assert await readiness(replica) == ("ready", 0, None)
            assert (await replica.post({"url": LONG_URL})).status_code == 201

    asyncio.run(scene())


def _behind_the_guards(replica: TestReplica) -> Any:
    return replica.parts.store._file  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", ["get", "insert_if_absent"])
def test_a_store_that_does_not_answer_is_not_waited_for_for_ever(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = getattr(MemoryLinkStore, verb)
    answers = True

    async def stuck(store: MemoryLinkStore, *args: Any) -> Any:
        return await healthy(store, *args) if answers else await asyncio.Event().wait()

    async def scene() -> None:
        nonlocal answers
        async with running_replica(knobs(**PLAIN), tmp_path) as replica:
            code = (await replica.create())["code"]
            answers = False
            answer = await (replica.visit(code) if verb == "get" else replica.post({"url": LONG_URL}))
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            if verb == "insert_if_absent":
                assert answer.json()["may_have_happened"] is True
            answers = True
            assert await replica.target(code) == LONG_URL
            assert (await replica.post({"url": LONG_URL})).status_code == 201

    monkeypatch.setattr(guards, "STORE_DEADLINE_S", 0.05)
    monkeypatch.setattr(MemoryLinkStore, verb, stuck)
    asyncio.run(scene())


KNOBS: dict[str, dict[str, Any]] = {
    "a counter, clicks at once": {"ids": "counter", "clicks": "sync", "cache_layers": "redis"},
    "a lease against stampedes": {"stampede": "lease", "cache_layers": "redis", "clicks": "off"},
    "write-through": {"cache": "write-through", "clicks": "off"},
    "write-behind": {"cache": "write-behind", "cache_layers": "redis", "clicks": "off"},
    "the process layer": {"cache_layers": "process", "clicks": "redis_streams"},
    "no cache": {"cache": "none", "ids": "counter", "clicks": "redis_streams"},
}


@pytest.mark.parametrize("turned", KNOBS.values(), ids=KNOBS)
def test_whatever_the_knobs_a_redis_that_answers_nothing_keeps_nobody_waiting(
    turned: dict[str, Any], tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_backend, "QUEUE_DEADLINE_S", DRIVER_S)  # so that nothing but our own deadlines ends a call

    async def scene() -> None:
        async with (
            Wire(redis_url) as wire,
            running_replica(knobs(**{"clicks": "off"} | turned), tmp_path, redis_url=wire.url) as replica,
        ):
            codes = [(await replica.create())["code"] for _ in range(3)]

            async def stored() -> bool:
                return await replica.parts.store.count() == len(codes)

            await eventually(stored)
            wire.silent = True
            for _ in range(2):
                async with asyncio.timeout(PATIENCE_S):
                    answers = await asyncio.gather(
                        *(replica.visit(code) for code in codes for _ in range(100)),  # more than there are connections
                        replica.http.get(f"/{codes[0]}+"),
                        replica.http.get(f"/api/v1/links/{codes[0]}/stats", headers=OWNER),
                        replica.post({"url": LONG_URL}),
                        replica.patch(codes[0], enabled=True),
                        replica.http.get("/readyz"),
                    )
                visits, (preview, _, create, edit, ready) = answers[:-5], answers[-5:]
                assert {visit.headers.get("location") for visit in visits} == {LONG_URL}
                assert (preview.status_code, ready.status_code) == (200, 200)
                for refused in (create, edit):
                    assert refused.status_code in (200, 201) or _is_refused(refused)
                if turned.get("ids") == "counter" or turned.get("cache") == "write-behind":
                    assert _is_refused(create), "it needs Redis"
            await wire.cut()  # or the last clicks would wait for it

    asyncio.run(scene())


def _is_refused(answer: httpx2.Response) -> bool:
    return answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1 and "may_have_happened" in answer.json()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", ["asgi", "fastapi"])
def test_too_many_who_wait_for_the_store_are_refused_early_and_what_is_in_memory_is_answered(path: str, tmp_path: Path) -> None:
    async def scene() -> None:
        layers = {"cache": "aside", "cache_layers": "process", "stampede": "none", "staleness_s": 60}
        turned = knobs(store="memory", clicks="off", redirect_path=path, **layers)
        async with running_replica(turned, tmp_path, redis_url="redis://127.0.0.1:1/0") as replica:
            held, cold = [(await replica.create())["code"] for _ in range(2)]
            assert await replica.target(held) == LONG_URL
            go = asyncio.Event()
            healthy = replica.parts.store.get

            async def slow(code: str) -> Any:
                await go.wait()
                return await healthy(code)

            replica.parts.store.get = slow  # type: ignore[method-assign]
            waiting = [asyncio.create_task(replica.visit(cold)) for _ in range(MAX_WAITING + 5)]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().status_code for task in done} == {503}
            assert replica.parts.redirect.refused > 0 or path == "fastapi"
            if path == "asgi":
                assert await replica.target(held) == LONG_URL
            assert (await replica.http.get("/healthz")).status_code == 200
            go.set()
            answers = [task.result() if task.done() else await task for task in waiting]
            assert sum(answer.status_code == 302 for answer in answers) == MAX_WAITING
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 503)

    asyncio.run(scene())


def test_a_click_worker_says_too_what_it_is_doing_without(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with Wire(redis_url) as wire:
            app = create_worker_app(knobs(), settings(tmp_path, redis_url=wire.url, process_name="click-worker"))
            async with (
                lifespan(app),
                httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://worker") as client,
            ):

                async def says(status: str) -> bool:
                    ready = await client.get("/readyz")
                    return bool(ready.json()["status"] == status and ready.status_code == (200 if status == "ready" else 503))

                async def metric() -> float:
                    [line] = [
                        line
                        for line in (await client.get("/metrics")).text.splitlines()
                        if line.startswith('sd_degraded{dependency="redis"}')
                    ]
                    return float(line.split()[-1])

                await eventually(lambda: says("ready"))
                assert await metric() == 0
                wire.silent = True
                await eventually(lambda: says("degraded"))
                assert await metric() == 1
                await wire.cut()
                wire.silent = False
                await wire.mend()
                await eventually(lambda: says("ready"))
                assert await metric() == 0

    asyncio.run(scene())
