"""A Redis that comes back has forgotten something. What it kept from an earlier life is not taken for the truth.

The server is killed and started anew on its port; `rolled_back` gives it the files of an earlier moment, as a power loss does that
takes the last second, or a failover to a replica that lagged.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from designs.building_blocks.cache_layers import CacheUnavailable, Entry
from designs.building_blocks.redis_connection import Client, connect
from designs.building_blocks.stampede import monotonic_us
from designs.url_shortener.backends.redis import RedisSharedCache, decode_link, link_key
from designs.url_shortener.backends.redis_streams import RedisClickQueue, RedisPendingLinks
from designs.url_shortener.ports import Delivery, StoreError
from tests.url_shortener.link_store_contract import link
from tests.url_shortener.replicas import LONG_URL, TestReplica, eventually, knobs, running_replica
from workbench.embedded_redis import EmbeddedRedis

MINUTE_US = 60_000_000
MOVED = "https://example.org/moved"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


def kept(server: EmbeddedRedis) -> Path:
    """What is on the disk now. Redis has written what it answered, if not synced it."""
    copy = server.data_dir.with_name("earlier")
    shutil.copytree(server.data_dir, copy)
    return copy


def rolled_back(server: EmbeddedRedis, earlier: Path | None) -> None:
    """Another life, with the files of an earlier moment; None for none at all."""
    server.kill()
    shutil.rmtree(server.data_dir)
    if earlier is not None:
        shutil.copytree(earlier, server.data_dir)
    server.start()


@contextlib.asynccontextmanager
async def client_of(server: EmbeddedRedis) -> AsyncIterator[Client]:
    client = connect(server.url, 5.0)
    try:
        yield client
    finally:
        await client.aclose()


async def patiently(ask: Callable[[], Awaitable[object]]) -> object:
    """The answer, also when the first connections are still those of the earlier life."""
    for _ in range(1_000):
        with contextlib.suppress(CacheUnavailable, StoreError):
            return await ask()
        await asyncio.sleep(0.01)
    raise AssertionError("Redis is not back")


def entry(version: int, url: str = LONG_URL) -> Entry[object]:
    return Entry(version, link("abcdefg", version=version, url=url), monotonic_us() + MINUTE_US)


def test_an_entry_whose_marker_was_lost_is_back_on_the_server_and_served_to_nobody(server: EmbeddedRedis) -> None:
    async def scene() -> None:
        async with client_of(server) as client, client_of(server) as another:
            caches = [RedisSharedCache(each, 30_000) for each in (client, another)]
            assert await caches[0].fill("abcdefg", entry(1))  # type: ignore[arg-type]
            assert await caches[1].get("abcdefg") is not None
            earlier = kept(server)
            await caches[0].invalidate("abcdefg", 2)
            await asyncio.to_thread(rolled_back, server, earlier)
            fresh = RedisSharedCache(client, 30_000)  # a process that was not there in the earlier life
            for cache in (*caches, fresh):
                assert await patiently(lambda cache=cache: cache.get("abcdefg")) is None  # type: ignore[misc]
            body = await client.hget(link_key("abcdefg"), "d")
            assert decode_link(body).url == LONG_URL, "without the old entry on the server this shows nothing"
            assert await caches[1].fill("abcdefg", entry(2, MOVED))  # type: ignore[arg-type]
            for cache in (*caches, fresh):
                found = await cache.get("abcdefg")
                assert found is not None
                assert found.value is not None
                assert found.value.url == MOVED

    asyncio.run(scene())


def test_what_was_loaded_in_an_earlier_life_is_not_filled_in_the_next(server: EmbeddedRedis) -> None:
    async def scene() -> None:
        async with client_of(server) as client, client_of(server) as another:
            cache, there = RedisSharedCache(client, 30_000), RedisSharedCache(another, 30_000)
            assert await cache.get("abcdefg") is None  # and now it loads
            began_us = monotonic_us()
            await there.invalidate("abcdefg", 2)
            await asyncio.to_thread(rolled_back, server, None)

            async def fill() -> bool:
                old = entry(1)
                return await cache.fill("abcdefg", Entry(1, old.value, old.fresh_until_us, monotonic_us() - began_us))  # type: ignore[arg-type]

            assert await patiently(fill) is False
            assert await cache.get("another") is None
            assert await fill() is False, "it has heard of the new life meanwhile, but not when the load began"
            assert await client.exists(link_key("abcdefg")) == 0
            assert await cache.get("abcdefg") is None
            assert await cache.fill("abcdefg", entry(2, MOVED))  # type: ignore[arg-type]

    asyncio.run(scene())


def test_links_that_wait_for_the_store_survive_and_are_found_when_the_store_has_been_asked(server: EmbeddedRedis) -> None:
    async def scene() -> None:
        async with client_of(server) as client:
            pending, cache = RedisPendingLinks(client, 100, "w"), RedisSharedCache(client, 30_000)
            assert await pending.add(link())
            assert await cache.get("abcdefg") is not None
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            assert await patiently(lambda: cache.get("abcdefg")) is None, "the store may know better"
            assert await pending.holds("abcdefg") == link()
            assert not await pending.add(link(owner="another")), "the code is still taken"
            assert [decode_link(each.body) for each in await pending.receive(10, 0)] == [link()]

    asyncio.run(scene())


def test_a_queue_whose_server_lost_everything_goes_on_under_the_same_connections(server: EmbeddedRedis) -> None:
    async def scene() -> None:
        async with client_of(server) as client:
            queue = RedisClickQueue(client)
            await queue.publish(b"lost")
            (lost,) = await queue.receive("w", 1, 0)
            await asyncio.to_thread(rolled_back, server, None)
            await patiently(lambda: queue.publish(b"new"))
            await queue.done([lost])  # of a group that is no more
            assert [delivery.body for delivery in await queue.receive("w", 5, 0)] == [b"new"]

    asyncio.run(scene())


@pytest.mark.parametrize("cache", ["aside", "write-through", "write-behind"])
@pytest.mark.parametrize("loses", ["the last second", "everything", "nothing"])
def test_an_acknowledged_edit_holds_on_every_replica_when_redis_comes_back_without_it(
    loses: str, cache: str, server: EmbeddedRedis, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with two_replicas(server, tmp_path, cache) as (here, there):
            codes = [(await here.create())["code"] for _ in range(5)]
            await eventually(lambda: _stored(here, len(codes)))
            for code in codes:
                assert [await here.target(code), await there.target(code)] == [LONG_URL, LONG_URL]
            earlier = kept(server)
            for code in codes:
                assert (await here.patch(code, url=MOVED)).status_code == 200
            if loses == "nothing":
                await asyncio.to_thread(server.restart)
            else:
                await asyncio.to_thread(rolled_back, server, earlier if loses == "the last second" else None)
            for _ in range(20):
                for code in codes:
                    assert [await here.target(code), await there.target(code)] == [MOVED, MOVED]
                await asyncio.sleep(0.005)

    asyncio.run(scene())


@pytest.mark.parametrize("cache", ["aside", "write-through"])
def test_an_edit_whose_marker_is_lost_before_the_store_has_the_edit_leaves_another(
    cache: str, server: EmbeddedRedis, tmp_path: Path
) -> None:
    """Redis dies right behind the marker, comes back, and another replica fills it with the old link: all before the commit."""

    async def scene() -> None:
        async with two_replicas(server, tmp_path, cache) as (here, there), client_of(server) as client:
            code = (await here.create())["code"]
            commit = here.parts.store.edit

            async def filled() -> bool:
                assert await there.target(code) == LONG_URL
                return bool(await patiently(lambda: _body(client, code)))

            async def late_commit(*args: object) -> object:
                await asyncio.to_thread(rolled_back, server, None)
                await eventually(filled)
                return await commit(*args)  # type: ignore[arg-type]

            here.parts.store.edit = late_commit  # type: ignore[method-assign, assignment]
            answer = await here.patch(code, url=MOVED)
            here.parts.store.edit = commit  # type: ignore[method-assign]
            if answer.status_code == 503:
                assert answer.json()["may_have_happened"] is True
                assert (await here.patch(code, url=MOVED)).status_code == 200
            assert [await here.target(code), await there.target(code)] == [MOVED, MOVED]

    asyncio.run(scene())


def test_a_counter_that_stepped_back_costs_tries_and_no_link(server: EmbeddedRedis, tmp_path: Path) -> None:
    async def scene() -> None:
        turned = knobs(ids="counter", cache="none", clicks="off")
        async with running_replica(turned, tmp_path, redis_url=server.url) as replica, client_of(server) as client:
            made = {(await replica.create())["code"] for _ in range(40)}
            await client.set("{su}:number:links", 0)
            made |= {(await replica.create())["code"] for _ in range(40)}
            assert len(made) == 80

    asyncio.run(scene())


def test_what_was_done_and_is_not_any_more_is_delivered_again_to_who_did_it_without_waiting_for_others(
    server: EmbeddedRedis,
) -> None:
    async def scene() -> None:
        async with client_of(server) as client:
            queue = RedisClickQueue(client)
            await queue.publish(b"a batch")
            taken = await queue.receive("w", 10, 0)
            earlier = kept(server)
            await queue.done(taken)
            assert await queue.depth() == (0, 0.0)
            await asyncio.to_thread(rolled_back, server, earlier)
            again: list[Delivery] = []

            async def delivered() -> bool:
                again.extend(await patiently(lambda: queue.receive("w", 10, 0)))  # type: ignore[call-overload]
                return bool(again)

            await eventually(delivered)
            assert [(delivery.id, delivery.body) for delivery in again] == [(taken[0].id, b"a batch")]
            await queue.done(again)
            assert (await queue.depth())[0] == 0

    asyncio.run(scene())


@contextlib.asynccontextmanager
async def two_replicas(server: EmbeddedRedis, folder: Path, cache: str) -> AsyncIterator[tuple[TestReplica, TestReplica]]:
    # Nothing in the processes' own memory: what is asked for here is what Redis holds.
    turned = knobs(cache=cache, cache_layers="redis", clicks="off", cache_deadline_ms=5_000)
    async with (
        running_replica(turned, folder, redis_url=server.url) as here,
        running_replica(turned, folder, redis_url=server.url, process_name="there") as there,
    ):
        yield here, there


async def _stored(replica: TestReplica, links: int) -> bool:
    return await replica.parts.store.count() == links


async def _body(client: Client, code: str) -> bytes | None:
    body: bytes | None = await client.hget(link_key(code), "d")
    return body
