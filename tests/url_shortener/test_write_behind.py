"""cache=write-behind: what was acknowledged redirects at once, reaches the store, and survives a replica that is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from designs.building_blocks.redis_connection import connect
from designs.url_shortener.backends.redis import decode_link, encode_link, link_key
from designs.url_shortener.backends.redis_streams import RedisPendingLinks
from designs.url_shortener.backends.sqlite import SqliteLinkStore
from designs.url_shortener.ports import StoreError
from designs.url_shortener.write_behind import WriteBehindTotals, carry_once
from tests.url_shortener.link_store_contract import link
from tests.url_shortener.replicas import LONG_URL, OTHER, Wire, eventually, failing, knobs, running_replica

pytestmark = pytest.mark.usefixtures("patient")

BEHIND = {"cache": "write-behind", "clicks": "off", "cache_deadline_ms": 5_000}  # a busy machine is no outage
AWAY = StoreError("the store is away", may_have_happened=False)


def test_an_acknowledged_link_redirects_at_once_while_the_store_is_away_and_reaches_it_later(
    tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        turned = knobs(**BEHIND)
        async with (
            running_replica(turned, tmp_path, redis_url=redis_url) as here,
            running_replica(turned, tmp_path, redis_url=redis_url, process_name="there") as there,
        ):
            with failing(here.parts.store, "insert_if_absent", AWAY), failing(there.parts.store, "insert_if_absent", AWAY):
                made = [await here.create(f"{LONG_URL}/{number}") for number in range(5)]
                for replica in (here, there):
                    assert [await replica.target(each["code"]) for each in made] == [each["url"] for each in made]
                assert await here.parts.store.count() == 0

            async def all_stored() -> bool:
                return await here.parts.store.count() == 5

            await eventually(all_stored)

            async def all_counted() -> bool:
                totals = (here.parts.write_behind, there.parts.write_behind)
                return sum(each.stored for each in totals) >= 5 and sum(each.conflicts for each in totals) == 0

            await eventually(all_counted)

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["replica-1", "another"])
def test_a_link_acknowledged_by_a_replica_that_was_killed_is_carried_by_whoever_comes_next(
    name: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        client = connect(redis_url, 5.0)
        killed = RedisPendingLinks(client, 100, "replica-1")
        waiting = link("waiting")
        assert await killed.add(waiting)
        if name == "replica-1":
            assert len(await killed.receive(10, 0)) == 1  # in its hands when it was killed
        async with running_replica(knobs(**BEHIND), tmp_path, redis_url=redis_url, process_name=name) as replica:
            assert await replica.target("waiting") == waiting.url

            async def stored() -> bool:
                return await replica.parts.store.get("waiting") == waiting

            await eventually(stored)
        await client.aclose()

    asyncio.run(scene())


@pytest.mark.parametrize("verb", ["receive", "insert_if_absent", "stored"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_carrier_that_dies_between_any_two_steps_carries_the_link_once(
    verb: str, when: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        client, store = connect(redis_url, 5.0), SqliteLinkStore(tmp_path / "links.db")
        pending, totals = RedisPendingLinks(client, 100, "w"), WriteBehindTotals()
        links = [link(f"code-{number}") for number in range(3)]
        for each in links:
            await pending.add(each)
        await carry_once_failing(pending, store, totals, verb, when)
        await carry_once(RedisPendingLinks(client, 100, "w"), store, decode_link, 60_000, totals, 0)
        assert [await store.get(each.code) for each in links] == links
        assert totals.conflicts == 0
        assert await client.xlen("{su}:pending") == 0
        assert all([await client.pttl(link_key(each.code)) > 0 for each in links])
        await store.close()
        await client.aclose()

    asyncio.run(scene())


async def carry_once_failing(
    pending: RedisPendingLinks, store: SqliteLinkStore, totals: WriteBehindTotals, verb: str, when: str
) -> None:
    port = store if verb == "insert_if_absent" else pending
    with failing(port, verb, AWAY, when="after" if when == "after" else "before"), pytest.raises(StoreError):
        await carry_once(pending, store, decode_link, 60_000, totals, 0)


def test_an_acknowledged_link_whose_code_the_store_gave_to_somebody_else_is_counted_as_a_conflict(
    tmp_path: Path, redis_url: str
) -> None:
    """It takes a counter that was restored from a backup, or a store that was written to by other knobs."""

    async def scene() -> None:
        client, store = connect(redis_url, 5.0), SqliteLinkStore(tmp_path / "links.db")
        pending, totals = RedisPendingLinks(client, 100, "w"), WriteBehindTotals()
        holder = link(owner="bob", url="https://example.org/first")
        await store.insert_if_absent(holder)
        await pending.add(link(at_us=2_000))
        await pending.add(link("another"))
        await carry_once(pending, store, decode_link, 60_000, totals, 0)
        assert (totals.stored, totals.conflicts) == (1, 1)
        assert await store.get("abcdefg") == holder
        await store.close()
        await client.aclose()

    asyncio.run(scene())


def test_an_alias_is_asked_of_the_store_because_redis_forgets(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**BEHIND), tmp_path, redis_url=redis_url) as replica:
            await replica.create(alias="my-page")
            client = connect(redis_url, 5.0)
            await client.flushdb()  # as after the entry's life, or an eviction
            await client.aclose()
            taken = await replica.post({"url": "https://evil.example/", "alias": "my-page"}, headers=OTHER)
            assert taken.status_code == 409
            assert await replica.target("my-page") == LONG_URL
            assert replica.parts.write_behind.conflicts == 0

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("alias", "status"), [("a-b", 201), ("short", 201), ("with_under", 201), ("sevenss", 422), ("eightchr", 422)]
)
def test_an_alias_that_could_be_a_generated_code_is_refused(alias: str, status: int, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**BEHIND), tmp_path, redis_url=redis_url) as replica:
            answer = await replica.post({"url": LONG_URL, "alias": alias})
            assert answer.status_code == status
            if status == 422:
                assert "fewer than 7 characters" in answer.json()["detail"]

    asyncio.run(scene())


def test_a_link_that_still_waits_can_be_edited_blocked_and_deleted(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**BEHIND), tmp_path, redis_url=redis_url) as replica:
            client = connect(redis_url, 5.0)
            moved = "https://example.org/moved"
            writes: dict[str, tuple[Callable[[], Awaitable[httpx2.Response]], str | int]] = {
                "waits-1": (lambda: replica.patch("waits-1", url=moved), moved),
                "waits-2": (lambda: replica.delete("waits-2"), 404),
                "waits-3": (lambda: replica.block("waits-3"), 451),
            }
            for code, (write, after) in writes.items():
                # In Redis, and with nobody about to carry it.
                await client.hset(link_key(code), mapping={"v": 1_000, "d": encode_link(link(code)), "c": 0})
                assert (await write()).status_code in (200, 204)
                assert await replica.target(code) == after
                assert await replica.parts.store.get(code) is not None
            await client.aclose()

    asyncio.run(scene())


def test_without_redis_a_create_is_refused_and_a_link_in_the_store_redirects(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with Wire(redis_url) as wire, running_replica(knobs(**BEHIND), tmp_path, redis_url=wire.url) as replica:
            await replica.create(alias="my-page")
            await wire.cut()
            answer = await replica.post({"url": LONG_URL})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert await replica.target("my-page") == LONG_URL

    asyncio.run(scene())
