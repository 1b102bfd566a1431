"""Each flaw of the URL shortener in the small: with its parts exchanged a promise is broken that holds with the right ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from designs.building_blocks.cache_layers import Entry
from designs.building_blocks.id_generation import ClockMovedBack
from designs.building_blocks.stampede import monotonic_us
from designs.url_shortener import codes
from designs.url_shortener.backends.redis import RedisSharedCache
from designs.url_shortener.clicks import Click, ClickBatch, encode_batch
from designs.url_shortener.links import Link
from designs.url_shortener.ports import QueueError
from tests.url_shortener.replicas import LONG_URL, TestReplica, knobs, running_replica
from tests.workbench.museum.exchanged import SCENES, exchange, redis_client, shown, shows
from workbench.museum.exhibit import Exhibit, chosen

MANY = 20


@pytest.mark.parametrize("name", shown("url_shortener"))
def test_a_promise_that_holds_is_broken_by_the_exchanged_part(
    name: str, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (exhibit,) = chosen([name])
    assert asyncio.run(SCENES[name](exhibit, tmp_path / "right", redis_url))
    exchange(exhibit, monkeypatch)
    assert not asyncio.run(SCENES[name](exhibit, tmp_path / "bad", redis_url))


@asynccontextmanager
async def two_replicas(exhibit: Exhibit, folder: Path, redis_url: str) -> AsyncIterator[tuple[TestReplica, TestReplica]]:
    """Two replicas on one file and one emptied Redis, with the knobs of the exhibit and without clicks."""
    async with redis_client(redis_url):
        pass  # it is empty now
    turned = knobs(**{"clicks": "off", **exhibit.knobs})
    async with (
        running_replica(turned, folder, redis_url=redis_url, process_name="replica-1") as one,
        running_replica(turned, folder, redis_url=redis_url, process_name="replica-2") as other,
    ):
        yield one, other


async def made_at_once(replicas: tuple[TestReplica, TestReplica], count: int = MANY) -> list[str]:
    """The codes of so many creates at once, by turns on both."""
    made = await asyncio.gather(*(replicas[turn % 2].create(f"https://example.org/{turn}") for turn in range(count)))
    return [link["code"] for link in made]


# -- codes -----------------------------------------------------------------------------------------------------------------------


@shows("hash_prefix")
async def two_urls_have_two_codes(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as (one, other):
        first, second = [
            (await replica.post({"url": url})).json()["code"] for replica, url in zip((one, other), UNLUCKY, strict=True)
        ]
    return bool(first != second)


UNLUCKY = ("https://example.org/u/467119", "https://example.org/u/1646267")  # both begin with 5JvlmFQ


@shows("non_atomic_counter")
async def creates_at_once_have_different_codes(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as both:
        made = await made_at_once(both)
    return len(set(made)) == len(made)


@shows("counter_that_went_back")
async def a_lost_counter_costs_no_link(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as both:
        made = await made_at_once(both, 4)
        async with redis_client(redis_url):  # empties it
            made += await made_at_once(both, 4)
    return len(set(made)) == len(made)


@shows("trusted_clock")
async def no_second_is_used_twice(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    clock_ms = iter([10_000, 11_000, 12_000, 11_500]).__next__
    snowflake = codes.Snowflake(1, clock_ms, epoch_ms=0)
    made = [snowflake.next(), snowflake.next()]
    try:
        return snowflake.next() not in made
    except ClockMovedBack:
        return True


# -- creates ---------------------------------------------------------------------------------------------------------------------


@shows("check_then_insert")
async def an_alias_has_one_owner(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as both:
        wanted = [{"url": f"https://example.org/{turn}", "alias": "big-sale"} for turn in range(MANY)]
        answers = await asyncio.gather(*(both[turn % 2].post(body) for turn, body in enumerate(wanted)))
    return [answer.status_code for answer in answers].count(201) == 1


@shows("overwritten_claim")
async def a_key_stands_for_one_link(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as both:
        answers = await asyncio.gather(*(both[turn % 2].post({"url": LONG_URL}, key="once") for turn in range(MANY)))
    return len({answer.json()["code"] for answer in answers}) == 1


@shows("ack_before_store")
async def an_acknowledged_link_is_in_the_store(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as (one, _):
        link = await one.create()
        return await one.parts.store.get(link["code"]) is not None


# -- caches ----------------------------------------------------------------------------------------------------------------------


@shows("sticky_negative")
async def a_new_link_is_found_where_it_was_missed(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as (one, other):
        assert await other.target("my-sale") == 404
        await one.create(alias="my-sale")
        return await other.target("my-sale") == LONG_URL


@shows("unbounded_staleness")
async def a_hot_link_is_not_old_for_longer_than_the_bound(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as (one, other):
        code = (await one.create())["code"]
        assert await other.target(code) == LONG_URL
        assert (await one.patch(code, url="https://example.org/moved")).status_code == 200
        for _ in range(200):  # opened without a pause for twice the bound
            await asyncio.sleep(0.005)
            if await other.target(code) != LONG_URL:
                return True
        return False


@shows("unversioned_fill")
async def a_late_reader_does_not_put_an_old_value_back(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_client(redis_url) as client:
        cache = RedisSharedCache(client, 30_000)
        old = Link("code", LONG_URL, "alice", 1, 1)
        await cache.get("code")
        await cache.invalidate("code", 2)
        await cache.fill("code", Entry(1, old, monotonic_us() + 60_000_000))
        return await cache.get("code") is None


@shows("expiry_in_the_query")
async def an_expiry_is_kept_with_the_cache_on(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as (one, _):
        now_us = one.parts.clock_us()
        link = Link("code", LONG_URL, "alice", now_us, now_us, expires_at_us=now_us + 1)
        return not hasattr(one.parts.shortener.judge(link), "url")


# -- visits and clicks -------------------------------------------------------------------------------------------------------------


@shows("overshot_cap")
async def a_cap_holds_under_many_visitors(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with two_replicas(exhibit, folder, redis_url) as both:
        code = (await both[0].create(max_visits=3))["code"]
        visits = await asyncio.gather(*(both[turn % 2].target(code) for turn in range(MANY)))
    return visits.count(LONG_URL) <= 3


@shows("click_lost_on_kill")
async def a_batch_is_acknowledged_after_it_was_counted(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    from designs.url_shortener import worker
    from designs.url_shortener.backends.memory import MemoryClickQueue, MemoryClickStore, MemoryVisitorCounter

    called: list[str] = []

    class Queue(MemoryClickQueue):
        async def done(self, *arguments: object) -> None:
            called.append("acknowledged")

    class Store(MemoryClickStore):
        async def apply(self, *arguments: object) -> list[str]:
            called.append("counted")
            return []

    queue = Queue()
    await queue.publish(encode_batch(ClickBatch("id", [Click("code", 1_800_000_000, "", "v", False)])))
    await worker.ClickWorker(queue, Store(), MemoryVisitorCounter(), "worker").work_once(0)
    return called == ["counted", "acknowledged"]


@shows("click_counted_twice")
async def a_batch_has_one_id_however_often_it_comes(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    from designs.url_shortener import click_worker

    body = encode_batch(ClickBatch("id", [Click("code", 1_800_000_000, "", "v", False)]))
    return click_worker.decode_batch(body).id == click_worker.decode_batch(body).id


@shows("fire_and_forget")
async def a_batch_that_was_not_sent_is_known_as_such(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    from designs.url_shortener import assembly
    from designs.url_shortener.backends.memory import MemoryClickQueue

    class Refusing(MemoryClickQueue):
        async def publish(self, body: bytes) -> None:
            raise QueueError("refused", may_have_happened=False)

    try:
        await assembly.to_queue(Refusing())(ClickBatch("id", []))
    except QueueError:
        return True
    return False
