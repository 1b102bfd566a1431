"""A Cassandra that is down, silent or back again: what each call says, and that the same object goes on. On a real node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from cassandra import ReadTimeout, Unavailable, WriteTimeout, WriteType
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionShutdown

from designs.url_shortener.backends.cassandra import (
    CassandraClickStore,
    CassandraCluster,
    CassandraLinkStore,
)
from designs.url_shortener.backends.cassandra_driver import store_error
from designs.url_shortener.links import LinkEdit
from designs.url_shortener.ports import RequestClaim, StoreError
from tests.url_shortener.backends.cassandra_nodes import READY_S, cluster_of, keyspace_of_a_module, wire_to
from tests.url_shortener.click_store_contract import TODAY, count
from tests.url_shortener.link_store_contract import link
from tests.url_shortener.replicas import eventually

CLAIMED = RequestClaim("print", link())


@pytest.fixture(scope="module")
def keyspace(cassandra_hosts: str) -> Iterator[str]:
    with keyspace_of_a_module(cassandra_hosts) as cluster:
        yield cluster._keyspace


async def answers(call: Callable[[], Awaitable[object]]) -> bool:
    try:
        await call()
    except StoreError:
        return False
    return True


def test_a_node_that_is_down_at_the_start_is_told_at_once_and_used_when_it_comes(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        async with wire_to(cassandra_hosts) as (wire, address):
            await wire.cut()
            cluster = cluster_of(address, keyspace)
            links, clicks = CassandraLinkStore(cluster), CassandraClickStore(cluster)
            try:
                calls: list[Callable[[], Awaitable[object]]] = [
                    lambda: links.get("abc"),
                    lambda: links.insert_if_absent(link("down")),
                    lambda: links.take_visit("abc"),
                    lambda: clicks.stats("abc", 1, TODAY),
                    lambda: clicks.apply({"down": [count()]}),
                ]
                for call in calls:
                    with pytest.raises(StoreError) as failed:
                        await call()
                    assert not failed.value.may_have_happened
                await wire.mend()
                await eventually(lambda: answers(lambda: links.get("abc")))
                assert await links.insert_if_absent(link("down")) is None
            finally:
                await cluster.close()

    asyncio.run(scene())


def test_a_connection_cut_in_flight_leaves_writes_open_and_reads_not_and_the_same_object_serves_again(
    cassandra_hosts: str, keyspace: str
) -> None:
    async def scene() -> None:
        async with wire_to(cassandra_hosts) as (wire, address):
            cluster = cluster_of(address, keyspace)
            links, clicks = CassandraLinkStore(cluster), CassandraClickStore(cluster)
            try:
                await cluster.ready(READY_S)
                wire.silent = True
                in_flight = [
                    asyncio.create_task(links.get("abc")),
                    asyncio.create_task(links.claim_request("alice", "cut", 0, CLAIMED)),
                    asyncio.create_task(clicks.apply({"cut": [count()]})),
                    asyncio.create_task(links.insert_if_absent(link("cut"))),  # it is still at the page's row: no link was made
                    asyncio.create_task(links.edit("abc", LinkEdit(enabled=False), 1)),  # it is still reading
                ]
                await eventually(lambda: is_true(lambda: cluster._in_flight == 6))
                await wire.cut()
                failed = await asyncio.gather(*in_flight, return_exceptions=True)
                assert [getattr(each, "may_have_happened", each) for each in failed] == [False, True, True, False, False]
                with pytest.raises(StoreError) as refused:
                    await links.claim_request("alice", "down", 0, CLAIMED)
                assert not refused.value.may_have_happened, "nobody is there to have heard it"
                wire.silent = False
                await wire.mend()
                await eventually(lambda: answers(lambda: links.get("abc")))
                assert await links.claim_request("alice", "cut", 0, CLAIMED) == CLAIMED
                assert [*await clicks.apply({"cut": [count()]})] in (["cut"], [])
                assert await links.insert_if_absent(link("cut")) is None
            finally:
                await cluster.close()

    asyncio.run(scene())


def test_a_node_that_says_nothing_is_given_up_and_what_it_was_told_stays_open(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        async with wire_to(cassandra_hosts) as (wire, address):
            cluster = cluster_of(address, keyspace)
            links = CassandraLinkStore(cluster)
            try:
                await cluster.ready(READY_S)
                wire.silent = True
                failed = await asyncio.gather(
                    links.get("abc"), links.claim_request("alice", "silent", 0, CLAIMED), return_exceptions=True
                )
                assert [getattr(each, "may_have_happened", each) for each in failed] == [False, True]
                wire.silent = False
                await eventually(lambda: answers(lambda: links.get("abc")))
            finally:
                await cluster.close()

    asyncio.run(scene())


def test_after_long_without_any_node_everything_is_begun_anew(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        async with wire_to(cassandra_hosts) as (wire, address):
            cluster = cluster_of(address, keyspace)
            links = CassandraLinkStore(cluster)
            try:
                await cluster.ready(READY_S)
                first: Any = cluster._driver
                await wire.cut()
                await eventually(lambda: no(answers(lambda: links.get("abc"))))
                cluster._nobody_since_s = 0.0  # as if it had lasted
                await eventually(lambda: no(answers(lambda: links.get("abc"))))
                await eventually(lambda: is_true(lambda: first.is_shutdown))
                await wire.mend()
                await eventually(lambda: answers(lambda: links.get("abc")))
                assert cluster._driver is not first
            finally:
                await cluster.close()

    asyncio.run(scene())


async def no(answer: Awaitable[bool]) -> bool:
    return not await answer


async def is_true(holds: Callable[[], bool]) -> bool:
    return holds()


def test_more_requests_than_the_driver_has_numbers_for_are_refused_and_not_waited_for(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        cluster: CassandraCluster = cluster_of(cassandra_hosts, keyspace)
        links = CassandraLinkStore(cluster)
        try:
            await cluster.ready(READY_S)
            cluster._in_flight = 100_000
            with pytest.raises(StoreError, match="wait for Cassandra already") as refused:
                await links.insert_if_absent(link("crowd"))
            assert not refused.value.may_have_happened
        finally:
            await cluster.close()

    asyncio.run(scene())


_TIMED_OUT = WriteTimeout("late", write_type=WriteType.CAS)


@pytest.mark.parametrize(
    ("error", "kind", "may_have_happened"),
    [
        (NoHostAvailable("none", {}), "conditional", False),
        (Unavailable("few"), "write", False),
        (Unavailable("few"), "conditional", True),
        (_TIMED_OUT, "conditional", True),
        (WriteTimeout("late", write_type=WriteType.SIMPLE), "write", True),
        (ReadTimeout("late"), "read", False),
        (ReadTimeout("late"), "conditional", True),
        (ConnectionShutdown("gone"), "write", True),
        (ConnectionShutdown("gone"), "serial_read", False),
    ],
)
def test_an_error_of_the_driver_says_whether_it_may_have_happened(error: Exception, kind: Any, may_have_happened: bool) -> None:
    assert store_error(error, kind).may_have_happened is may_have_happened
