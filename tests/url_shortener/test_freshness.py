"""What is written is seen: at once where it was written, and everywhere after S at the latest. Few store reads do it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designs.building_blocks.cache_layers import LocalCache, MemorySharedCache
from designs.building_blocks.caching import CachePolicy, LayeredCache
from designs.url_shortener.assembly import layered_cache
from designs.url_shortener.backends.memory import MemoryLinkStore
from designs.url_shortener.codes import RandomCodes
from designs.url_shortener.links import Link, LinkEdit, Redirect, Refusal
from designs.url_shortener.shortener import Created, NewLink, Shortener
from tests.known_bad.url_shortener import CreateLeavesCacheAlone
from tests.url_shortener.replicas import LONG_URL, OWNER, counting, eventually, knobs, running_replica
from tests.virtual_time import now_us, run

pytestmark = pytest.mark.usefixtures("patient")

MOVED = "https://example.org/moved"
PATIENT = {"cache_deadline_ms": 5_000}  # a busy machine is no outage
LAYERS: dict[str, dict[str, Any]] = {
    f"{cache} {layers}": {"cache": cache, "cache_layers": layers, "clicks": "off", **PATIENT}
    for cache, layers in (
        ("aside", "process"),
        ("aside", "redis"),
        ("aside", "both"),
        ("write-through", "process"),
        ("write-through", "redis"),
        ("write-through", "both"),
        ("write-behind", "redis"),
        ("write-behind", "both"),
    )
}
SHARED = [name for name in LAYERS if "process" not in name]


# -- two replicas on SQLite and a real Redis -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", SHARED)
def test_a_new_link_is_found_at_once_also_where_it_was_missed_just_before(layers: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with AsyncExitStack() as stack:
            turned = knobs(**LAYERS[layers], negative_ttl_s=60)
            here, there = [
                await stack.enter_async_context(running_replica(turned, tmp_path, redis_url=redis_url, process_name=name))
                for name in ("here", "there")
            ]
            for _ in range(2):
                assert [await here.target("my-alias"), await there.target("my-alias")] == [404, 404]
            await here.create(alias="my-alias")
            assert [await here.target("my-alias"), await there.target("my-alias")] == [LONG_URL, LONG_URL]

    asyncio.run(scene())


@pytest.mark.parametrize("layers", LAYERS)
def test_the_replica_that_wrote_sees_its_write_at_once_and_the_other_hears_of_it(
    layers: str, tmp_path: Path, redis_url: str
) -> None:
    """S is a minute here, and nobody waits for it: the news travels by the shared layer and its channel."""

    async def scene() -> None:
        async with AsyncExitStack() as stack:
            turned = knobs(**LAYERS[layers], staleness_s=60)
            here, there = [
                await stack.enter_async_context(running_replica(turned, tmp_path, redis_url=redis_url, process_name=name))
                for name in ("here", "there")
            ]
            if "write-behind" not in layers and turned.local_layer:
                await eventually(lambda: _listeners_are(redis_url, 2))
            code = (await here.create())["code"]
            await eventually(lambda: _is(there.target, code, LONG_URL))
            assert [await here.target(code), await there.target(code)] == [LONG_URL, LONG_URL]
            steps: list[tuple[Callable[[], Any], str | int]] = [
                (lambda: here.patch(code, url=MOVED), MOVED),
                (lambda: here.patch(code, enabled=False), 404),
                (lambda: here.patch(code, enabled=True), MOVED),
                (lambda: here.block(code), 451),
                (lambda: here.block(code, blocked=False), MOVED),
                (lambda: here.delete(code), 404),
            ]
            for write, expected in steps:
                assert (await write()).status_code in (200, 204)
                assert await here.target(code) == expected
                # Hit without a pause, which must not keep the old copy alive.
                await eventually(lambda expected=expected: _is(there.target, code, expected))  # type: ignore[misc]

    asyncio.run(scene())


async def _is(target: Callable[[str], Any], code: str, expected: str | int) -> bool:
    return bool(await target(code) == expected)


async def _listeners_are(redis_url: str, count: int) -> bool:
    from redis.asyncio import Redis

    async with Redis.from_url(redis_url) as client:
        return bool(dict(await client.pubsub_numsub("{su}:invalidations"))[b"{su}:invalidations"] == count)


def test_a_flood_of_an_unknown_code_reaches_the_store_once_and_one_of_many_codes_is_bounded_by_the_miss_limit(
    tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        turned = knobs(cache="aside", clicks="off", negative_ttl_s=60, misses_per_minute=50, **PATIENT)
        async with running_replica(turned, tmp_path, redis_url=redis_url) as replica:
            visitors = [replica.client_at(f"203.0.113.{number}") for number in range(30)]
            with counting(replica.parts.store, "get") as reads:
                for visitor in visitors:
                    assert {(await visitor.get("/unknown")).status_code for _ in range(5)} == {404}
                assert reads == [1]
                for wave in range(30):
                    await asyncio.gather(*(visitors[0].get(f"/guess{wave:02}{number}") for number in range(10)))
                # What a client has under way when it reaches its limit still gets through: here ten at a time.
                assert reads[0] <= 1 + 50 + 10

    asyncio.run(scene())


@pytest.mark.parametrize("stampede", ["single-flight", "lease"])
def test_many_who_ask_at_once_for_a_link_nobody_holds_read_the_store_once(stampede: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        turned = knobs(cache="aside", clicks="off", stampede=stampede, **PATIENT)
        async with AsyncExitStack() as stack:
            some = [
                await stack.enter_async_context(running_replica(turned, tmp_path, redis_url=redis_url, process_name=name))
                for name in ("one", "two")
            ]
            code = (await some[0].create())["code"]
            with counting(some[0].parts.store, "get") as first, counting(some[1].parts.store, "get") as second:
                answers = await asyncio.gather(*(replica.visit(code) for replica in some for _ in range(50)))
                assert {answer.status_code for answer in answers} == {302}
                assert first[0] + second[0] <= (1 if stampede == "lease" else 2)

    asyncio.run(scene())


# -- the bound itself, on a clock that jumps -------------------------------------------------------------------------------------


class SlowStore(MemoryLinkStore):
    """The reference with a way to it that takes time, there and back; `until` is what the reader sees at the store."""

    def __init__(self, latency_s: Callable[[], float]) -> None:
        super().__init__()
        self._latency_s = latency_s

    async def get(self, code: str) -> Link | None:
        await asyncio.sleep(self._latency_s())
        found = await super().get(code)
        await asyncio.sleep(self._latency_s())
        return found

    async def edit(self, code: str, edit: LinkEdit, now_us: int) -> Link | None:
        await asyncio.sleep(self._latency_s())
        after = await super().edit(code, edit, now_us)
        await asyncio.sleep(self._latency_s())
        return after


def clock_us() -> int:
    return 1_800_000_000_000_000 + now_us()


@settings(max_examples=25, deadline=None)
@given(
    layers=st.sampled_from([name for name in LAYERS if "write-behind" not in name]),
    stampede=st.sampled_from(["none", "single-flight", "lease", "early-expiry"]),
    ttl_s=st.sampled_from([0.3, 2.0, 60.0]),
    latencies_s=st.lists(st.floats(0, 0.2), min_size=1, max_size=7),
    edit_at_s=st.floats(0.5, 3.0),
    deletes=st.booleans(),
)
def test_nobody_is_sent_to_an_old_place_later_than_s_after_an_edit_however_hot_the_link(
    layers: str, stampede: str, ttl_s: float, latencies_s: list[float], edit_at_s: float, deletes: bool
) -> None:
    if stampede == "lease" and "process" in layers:
        stampede = "single-flight"
    turned = knobs(**LAYERS[layers], stampede=stampede, staleness_s=0.5, cache_ttl_s=ttl_s, cache_ttl_jitter=0)
    turn = iter(latencies_s * 10_000)

    async def scene() -> None:
        store = SlowStore(lambda: next(turn))
        shared = MemorySharedCache[Link](clock_us=now_us, hop=lambda: asyncio.sleep(0.001)) if turned.shared_layer else None
        replicas = [
            Shortener(
                turned,
                store,
                RandomCodes(7),
                clock_us=clock_us,
                # No channel between them: what is bounded here is the case in which every message is lost.
                cache=layered_cache(turned, store, shared, now_us),
            )
            for _ in range(3)
        ]
        made = await replicas[0].create("alice", NewLink(LONG_URL))
        assert isinstance(made, Created)
        code, old_until_us, acknowledged_us = made.link.code, [0, 0, 0], 0

        async def hit(number: int, offset_s: float) -> None:
            await asyncio.sleep(offset_s)
            while now_us() < 6_000_000:
                verdict = await replicas[number].visit(code, counts=True)
                if isinstance(verdict, Redirect) and verdict.url == LONG_URL:
                    old_until_us[number] = now_us()
                else:
                    assert verdict is Refusal.MISSING or (isinstance(verdict, Redirect) and verdict.url == MOVED)
                await asyncio.sleep(0.01)

        async def write() -> None:
            nonlocal acknowledged_us
            await asyncio.sleep(edit_at_s)
            edit = LinkEdit(deleted=True) if deletes else LinkEdit(url=MOVED)
            assert await replicas[0].edit("alice", code, edit) is not None
            acknowledged_us = now_us()

        # Several readers a replica, so that one that waits for the store does not leave the link alone.
        await asyncio.gather(write(), *(hit(number % 3, number / 1000) for number in range(9)))
        # A visit that began within S may be answered a store's round trip later.
        slack_us = round(4 * max(latencies_s) * 1e6) + 10_000
        assert max(old_until_us) <= acknowledged_us + 500_000 + slack_us

    run(scene())


async def assert_a_create_is_seen_after_a_cached_miss(cache: LayeredCache[Link], store: MemoryLinkStore) -> None:
    shortener = Shortener(knobs(cache="write-through"), store, RandomCodes(7), clock_us=clock_us, cache=cache)
    assert await shortener.visit("my-alias", counts=True) is Refusal.MISSING
    await shortener.create("alice", NewLink(LONG_URL, "my-alias"))
    assert isinstance(await shortener.visit("my-alias", counts=True), Redirect)


@pytest.mark.parametrize(("kind", "flawed"), [(LayeredCache, False), (CreateLeavesCacheAlone, True)])
def test_the_same_check_catches_a_create_that_leaves_the_cached_miss_alone(kind: type[LayeredCache[Link]], flawed: bool) -> None:
    async def scene() -> None:
        store = MemoryLinkStore()

        async def load(code: str) -> tuple[int, Link | None]:
            link = await store.get(code)
            return (link.version, link) if link is not None else (0, None)

        policy = CachePolicy(ttl_us=10**9, local_ttl_us=10**6, negative_ttl_us=10**6)
        cache = kind(local=LocalCache(100, now_us), shared=None, load=load, policy=policy, clock_us=now_us)
        if flawed:
            with pytest.raises(AssertionError):
                await assert_a_create_is_seen_after_a_cached_miss(cache, store)
        else:
            await assert_a_create_is_seen_after_a_cached_miss(cache, store)

    run(scene())


def test_a_client_that_keeps_a_permanent_redirect_never_sees_an_edit(tmp_path: Path) -> None:
    """Why 301 is a knob and not the default: the answer says for how long nobody will ask again."""

    async def scene() -> None:
        async with running_replica(knobs(cache="none", clicks="off", store="memory", redirect=301), tmp_path) as replica:
            code = (await replica.create())["code"]
            kept = await replica.visit(code)
            await replica.patch(code, url=MOVED)
            assert "max-age=86400" in kept.headers["cache-control"]
            assert kept.headers["location"] == LONG_URL != await replica.target(code)
            assert (await replica.http.get(f"/api/v1/links/{code}", headers=OWNER)).json()["url"] == MOVED

    asyncio.run(scene())
