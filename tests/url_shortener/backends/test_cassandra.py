"""Cassandra keeps the contracts of both stores, and answers histories as the reference in memory does. On a real node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from designs.url_shortener.backends import cassandra_clicks, cassandra_links
from designs.url_shortener.backends.cassandra import CassandraClickStore, CassandraCluster, CassandraLinkStore
from designs.url_shortener.backends.cassandra_folding import rows_of
from designs.url_shortener.backends.memory import MemoryClickStore, MemoryLinkStore
from designs.url_shortener.clicks import merged
from designs.url_shortener.links import LinkEdit
from designs.url_shortener.ports import ClickCount, RequestClaim, StoreError
from tests.url_shortener import click_store_contract, link_store_contract
from tests.url_shortener.backends.cassandra_nodes import CLICK_TABLES, LINK_TABLES, ask, cluster_of, emptied, keyspace_of_a_module
from tests.url_shortener.click_store_contract import CLICK_STORE_CONTRACT, TODAY, StoreClock, count
from tests.url_shortener.link_store_contract import LINK_STORE_CONTRACT, link
from tests.url_shortener.replicas import failing

# A history that fails is shown as it was found: to shrink it on a real node would take minutes.
AGAINST_A_NODE = settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LINK_PROMISES = LINK_STORE_CONTRACT | link_store_contract.FORGETS_BY_ITSELF
CLICK_PROMISES = CLICK_STORE_CONTRACT | click_store_contract.FORGETS_BY_ITSELF


@pytest.fixture(scope="module")
def cluster(cassandra_hosts: str) -> Iterator[CassandraCluster]:
    with keyspace_of_a_module(cassandra_hosts) as cluster:
        yield cluster


async def empty_links(cluster: CassandraCluster) -> CassandraLinkStore:
    store = CassandraLinkStore(cluster)
    await cluster.ready()
    await emptied(cluster, LINK_TABLES)
    return store


async def empty_clicks(cluster: CassandraCluster, clock: StoreClock) -> CassandraClickStore:
    store = CassandraClickStore(cluster, clock)
    await cluster.ready()
    await emptied(cluster, CLICK_TABLES)
    return store


@pytest.mark.parametrize("promise", LINK_PROMISES)
def test_cassandra_keeps_the_promise_of_a_link_store(promise: str, cluster: CassandraCluster) -> None:
    async def scene() -> None:
        await LINK_PROMISES[promise](await empty_links(cluster))

    asyncio.run(scene())


@pytest.mark.parametrize("promise", CLICK_PROMISES)
def test_cassandra_keeps_the_promise_of_a_click_store(promise: str, cluster: CassandraCluster) -> None:
    async def scene() -> None:
        clock = StoreClock()
        await CLICK_PROMISES[promise](await empty_clicks(cluster, clock), clock)

    asyncio.run(scene())


@AGAINST_A_NODE
@given(link_store_contract.HISTORIES)
def test_cassandra_answers_every_history_of_links_as_memory_does(
    cluster: CassandraCluster, history: Sequence[tuple[str, tuple[Any, ...]]]
) -> None:
    told_nothing = [step for step in history if step[0] != "forget_requests"]

    async def scene() -> None:
        answers = await link_store_contract.replayed(await empty_links(cluster), told_nothing)
        assert answers == await link_store_contract.replayed(MemoryLinkStore(), told_nothing)

    asyncio.run(scene())


class Unforgetting(MemoryClickStore):
    """The reference for stores that forget by themselves, later than any history lasts."""

    async def forget_batches(self, before_us: int) -> int:
        return 0


@AGAINST_A_NODE
@given(click_store_contract.HISTORIES)
def test_cassandra_answers_every_history_of_clicks_as_memory_does_however_it_folds(
    cluster: CassandraCluster, history: Sequence[tuple[Mapping[str, Sequence[ClickCount]], str, int]]
) -> None:
    async def scene() -> None:
        clock, model_clock = StoreClock(), StoreClock()
        with patch.multiple(cassandra_clicks, FOLD_AT=3, WORTH_FOLDING=1, MAX_FOLD=2):
            answers = await click_store_contract.replayed(await empty_clicks(cluster, clock), clock, history)
        assert answers == await click_store_contract.replayed(Unforgetting(model_clock), model_clock, history)

    asyncio.run(scene())


def test_of_creates_of_one_code_by_two_processes_one_wins_and_a_cap_holds(cluster: CassandraCluster, cassandra_hosts: str) -> None:
    async def scene() -> None:
        other = cluster_of(cassandra_hosts, cluster._keyspace)
        stores = [await empty_links(cluster), CassandraLinkStore(other)]
        try:
            await other.ready(30)
            holders = await asyncio.gather(*(stores[n % 2].insert_if_absent(link(owner=f"o{n}", max_visits=5)) for n in range(50)))
            assert holders.count(None) == 1
            assert len({holder for holder in holders if holder is not None}) == 1
            assert sum(await asyncio.gather(*(stores[n % 2].take_visit("abcdefg") for n in range(40)))) == 5
            starts = await asyncio.gather(*(stores[n % 2].lease_range("links", 3) for n in range(40)))
            assert sorted(starts) == list(range(0, 120, 3))
            named = [LinkEdit(enabled=False), LinkEdit(blocked=True)] * 5
            after = await asyncio.gather(*(stores[n % 2].edit("abcdefg", edit, 2_000) for n, edit in enumerate(named)))
            assert len({each.version for each in after if each is not None}) == 10
        finally:
            await other.close()

    asyncio.run(scene())


def test_a_create_that_lost_its_code_and_one_that_never_got_there_are_on_no_page(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        store = await empty_links(cluster)
        await store.insert_if_absent(link("taken", owner="alice"))
        await store.insert_if_absent(link("taken", owner="bob"))
        await store.insert_if_absent(link("hers", owner="alice"))
        broken = StoreError("no", may_have_happened=False)
        for code in ("never", "hers"):  # as after a crash between the row of the page and the link
            with failing(cluster, "applied", broken), pytest.raises(StoreError):
                await store.insert_if_absent(link(code, owner="bob"))
        await store.insert_if_absent(link("deleted", owner="bob"))
        with failing(store, "_unlist", broken):
            await store.edit("deleted", LinkEdit(deleted=True), 2_000)
        await store.insert_if_absent(link("kept", owner="bob", at_us=999))
        assert [each.code for each in await store.page("bob", None, 1)] == ["kept"]
        assert [row[0] for row in await ask(cluster, "SELECT code FROM links_by_owner WHERE owner = 'bob' ALLOW FILTERING")] == [
            "never",
            "hers",
            "deleted",
            "kept",
        ]

    asyncio.run(scene())


def test_a_page_goes_back_over_months_and_skips_what_was_deleted(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        store, month_us = await empty_links(cluster), 31 * 86_400 * 1_000_000
        for number in range(6):
            await store.insert_if_absent(link(f"c{number}", at_us=number * 5 * month_us))
        await store.edit("c3", LinkEdit(deleted=True), 1)
        assert [each.code for each in await store.page("alice", None, 4)] == ["c5", "c4", "c2", "c1"]
        assert [each.code for each in await store.page("alice", (5 * month_us, "c1"), 4)] == ["c0"]

    asyncio.run(scene())


def test_claims_and_batch_ids_end_by_themselves_and_links_never(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        links, clicks = await empty_links(cluster), await empty_clicks(cluster, StoreClock())
        await links.insert_if_absent(link(expires_at_us=2_000))
        await links.claim_request("alice", "key", 0, RequestClaim("print", link()))
        await clicks.apply({"batch": [count()]})
        assert (await ask(cluster, "SELECT ttl(url) FROM links"))[0][0] is None
        assert 86_000 < (await ask(cluster, "SELECT ttl(link) FROM requests"))[0][0] <= 86_400
        assert 604_000 < (await ask(cluster, "SELECT ttl(applied_at_us) FROM click_batches"))[0][0] <= 604_800
        assert (await ask(cluster, "SELECT ttl(clicks) FROM click_counts"))[0][0] is None

    asyncio.run(scene())


def test_clicks_of_a_hot_link_are_spread_over_every_bucket_and_folded_to_a_few_rows(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        store = await empty_clicks(cluster, StoreClock())
        with patch.multiple(cassandra_clicks, FOLD_AT=20, WORTH_FOLDING=1):
            for turn in range(5):
                await store.apply({f"b{turn}-{n}": [count(), count(referrer="a.example", bots=1)] for n in range(60)})
            rows = await ask(cluster, "SELECT bucket, batch_id FROM click_counts")
            assert {row[0] for row in rows} == set(range(8))
            assert len(rows) < 8 * (2 + 20 + 20), "of 600"
            await store.forget_batches(0)
        rows = await ask(cluster, "SELECT bucket, batch_id FROM click_counts")
        assert len(rows) == 16, "one for each bucket and referrer"
        assert (await store.stats("abc", 1, TODAY)).by_referrer == {"": 300, "a.example": 300}

    asyncio.run(scene())


def test_folds_by_two_processes_amid_batches_that_come_again_lose_and_double_nothing(
    cluster: CassandraCluster, cassandra_hosts: str
) -> None:
    async def scene() -> None:
        other = cluster_of(cassandra_hosts, cluster._keyspace)
        stores = [await empty_clicks(cluster, StoreClock()), CassandraClickStore(other, StoreClock())]
        try:
            await other.ready(30)
            with patch.multiple(cassandra_clicks, FOLD_AT=2, WORTH_FOLDING=1, MAX_FOLD=3):
                calls = [stores[n % 2].apply({f"b{n // 3}": [count(clicks=3)], f"c{n}": [count()]}) for n in range(30)]
                new = await asyncio.gather(*calls, *(store.forget_batches(0) for store in stores * 3))
            assert sum(len(each) for each in new[:30]) == 40
            assert (await stores[0].stats("abc", 1, TODAY)).clicks == 10 * 3 + 30
        finally:
            await other.close()

    asyncio.run(scene())


def test_a_row_that_is_written_once_more_after_its_fold_is_not_seen(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        store = await empty_clicks(cluster, StoreClock())
        await store.apply({"b1": [count(clicks=2)], "b2": [count(clicks=3)]})
        with patch.object(cassandra_clicks, "WORTH_FOLDING", 1):
            await store.forget_batches(0)
        # A worker that was halted between its reading of the marker and its rows, and goes on now.
        for place, row in rows_of("b1", merged([count(clicks=2)])):
            await store._add(place, row, asyncio.Semaphore(1))
        assert (await store.stats("abc", 1, TODAY)).clicks == 5
        assert not await store.fold_place(place)
        assert (await store.stats("abc", 1, TODAY)).clicks == 5

    asyncio.run(scene())


def test_of_folds_of_one_place_at_once_one_counts(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        store = await empty_clicks(cluster, StoreClock())
        await store.apply({"b1": [count(clicks=2)]})
        ((place, _),) = rows_of("b1", merged([count(clicks=2)]))
        assert sum(await asyncio.gather(*(store.fold_place(place) for _ in range(5)))) == 1
        assert (await store.stats("abc", 1, TODAY)).clicks == 2

    asyncio.run(scene())


def test_what_a_call_wrote_before_it_failed_is_seen_and_the_next_call_makes_it_whole(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        store = await empty_clicks(cluster, StoreClock())
        batches = {"b1": [count(clicks=2)], "b2": [count(clicks=3)]}
        with failing(cluster, "applied", StoreError("broken", may_have_happened=False)), pytest.raises(StoreError) as failed:
            await store.apply(batches)
        assert failed.value.may_have_happened, "rows are written before markers"
        assert 0 < (await store.stats("abc", 1, TODAY)).clicks <= 5
        assert sorted(await store.apply(batches)) == ["b1", "b2"]
        assert (await store.stats("abc", 1, TODAY)).clicks == 5

    asyncio.run(scene())


def test_a_batch_that_no_row_can_hold_is_no_outage_and_nothing_of_the_call_is_written(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        store = await empty_clicks(cluster, StoreClock())
        for bad in (count(clicks=2**63), count(code="c" * 100_000), count(day="someday"), count(clicks=-1)):
            with pytest.raises(ValueError, match=r"row|isoformat"):
                await store.apply({"good": [count()], "bad": [bad]})
        with pytest.raises(ValueError, match="id of a batch"):
            await store.apply({"": [count()]})
        assert (await store.stats("abc", 1, TODAY)).clicks == 0

    asyncio.run(scene())


def test_the_driver_keeps_one_prepared_statement_for_each_there_is(cluster: CassandraCluster) -> None:
    async def scene() -> None:
        store = await empty_links(cluster)
        CassandraClickStore(cluster)
        for number in range(20):
            await store.insert_if_absent(link(f"code-{number}"))
            await store.page("alice", None, number + 1)
        await cluster.ready()
        statements = {*cassandra_links.STATEMENTS, *cassandra_clicks.STATEMENTS}
        assert set(cluster._prepared) == statements
        assert len(cluster._driver._prepared_statements) == len({each.cql for each in statements})

    asyncio.run(scene())
