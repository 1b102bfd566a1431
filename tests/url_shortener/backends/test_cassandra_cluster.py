"""How a process makes its tables and asks its cluster. On a real node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from cassandra import ConsistencyLevel

from designs.url_shortener.backends import cassandra_clicks, cassandra_driver, cassandra_schema
from designs.url_shortener.backends.cassandra import (
    CassandraLinkStore,
    NewerSchema,
    drop_keyspace,
)
from designs.url_shortener.backends.cassandra_links import CLAIM, COUNT, GET, LIST
from designs.url_shortener.backends.cassandra_schema import ensure_schema
from designs.url_shortener.ports import RequestClaim, StoreError
from tests.url_shortener.backends.cassandra_nodes import READY_S, ask, cluster_of, keyspace_of_a_module
from tests.url_shortener.link_store_contract import link
from tests.url_shortener.replicas import eventually

CLAIMED = RequestClaim("print", link())


@pytest.fixture(scope="module")
def keyspace(cassandra_hosts: str) -> Iterator[str]:
    with keyspace_of_a_module(cassandra_hosts) as cluster:
        yield cluster._keyspace


# -- the schema -----------------------------------------------------------------------------------------------------------------


def test_four_processes_that_find_no_keyspace_make_it_once_and_a_newer_one_is_refused(cassandra_hosts: str, namespace: str) -> None:
    async def scene() -> None:
        clusters = [cluster_of(cassandra_hosts, namespace) for _ in range(4)]
        stores = [CassandraLinkStore(cluster) for cluster in clusters]
        late = cluster_of(cassandra_hosts, namespace)
        CassandraLinkStore(late)
        try:
            await asyncio.gather(*(cluster.ready(READY_S) for cluster in clusters))
            for number, store in enumerate(stores):
                assert await store.insert_if_absent(link(f"code-{number}")) is None
            assert await stores[0].count() == 4
            tables = await ask(clusters[0], f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{namespace}'")
            assert len(tables) == 8
            replication = await ask(
                clusters[0], f"SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = '{namespace}'"
            )
            assert "NetworkTopologyStrategy" in replication[0][0]["class"]
            newer = cassandra_schema.VERSION + 1
            await ask(clusters[0], f"INSERT INTO schema_version (name, version) VALUES ('schema', {newer})")
            with pytest.raises(NewerSchema, match=f"has version {newer} of the schema") as refused:
                await late.ready(READY_S)
            assert not refused.value.may_have_happened
        finally:
            for cluster in (*clusters, late):
                await cluster.close()
            await drop_keyspace(cassandra_hosts, namespace)

    asyncio.run(scene())


def test_a_usual_start_reads_one_row_and_changes_no_schema(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        cluster = cluster_of(cassandra_hosts, keyspace)
        try:
            await cluster.ready(READY_S)
            session: Any = cluster._session
            ran: list[str] = []

            def run(cql: str, *values: Any) -> Any:
                ran.append(cql)
                return session.execute(cql, values or None).all()

            await asyncio.to_thread(ensure_schema, run, keyspace, "datacenter1", 1)
            assert [cql.partition(" ")[0] for cql in ran] == ["SELECT"]
        finally:
            await cluster.close()

    asyncio.run(scene())


def test_one_who_finds_the_lock_taken_waits_for_the_tables(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        cluster = cluster_of(cassandra_hosts, keyspace)
        try:
            await cluster.ready(READY_S)
            session: Any = cluster._session
            await ask(cluster, "DELETE FROM schema_version WHERE name = 'schema'")
            await ask(cluster, "INSERT INTO schema_version (name, owner) VALUES ('lock', 'somebody') IF NOT EXISTS USING TTL 60")
            waited: list[float] = []

            def sleep(seconds: float) -> None:
                waited.append(seconds)
                if len(waited) == 3:  # somebody has finished
                    session.execute(f"INSERT INTO {keyspace}.schema_version (name, version) VALUES ('schema', 1)")

            def run(cql: str, *values: Any) -> Any:
                assert "CREATE" not in cql
                return session.execute(cql, values or None).all()

            await asyncio.to_thread(ensure_schema, run, keyspace, "datacenter1", 1, sleep)
            assert len(waited) == 3
            await ask(cluster, "DELETE FROM schema_version WHERE name = 'lock' IF EXISTS")
        finally:
            await cluster.close()

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["", "Upper", "9lives", "a;DROP KEYSPACE b", "a" * 49])
def test_a_keyspace_whose_name_could_be_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a keyspace is named by"):
        cluster_of("127.0.0.1:9042", name)


def test_every_table_says_which_query_it_serves() -> None:
    text = cassandra_schema.FILE.read_text()
    for part in text.split("CREATE TABLE IF NOT EXISTS ")[:-1]:
        assert any(verb in part.rpartition(");")[2] for verb in ("SELECT", "INSERT", "UPDATE"))
    assert len(cassandra_schema.statements(text)) == 8
    assert COUNT.kind == "read"
    assert f"Version {cassandra_schema.VERSION}." in text
    assert str(cassandra_clicks.MARKER_TTL_S) in text


# -- how it is asked ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knob", "level"),
    [("local_quorum", ConsistencyLevel.LOCAL_QUORUM), ("one", ConsistencyLevel.ONE), ("all", ConsistencyLevel.ALL)],
)
def test_consistency_and_speculation_reach_what_the_driver_sends(
    knob: str, level: int, cassandra_hosts: str, keyspace: str
) -> None:
    async def scene() -> None:
        cluster = cluster_of(cassandra_hosts, keyspace, consistency=knob, speculative_ms=5.0)
        store = CassandraLinkStore(cluster)
        try:
            await cluster.ready(READY_S)
            sent: list[Any] = []
            session: Any = cluster._session
            send = session.execute_async

            def noting(*args: Any, **kwargs: Any) -> Any:
                response = send(*args, **kwargs)
                sent.append(response)
                return response

            session.execute_async = noting
            await store.get("abc")
            await store.claim_request("alice", knob, 0, CLAIMED)
            read, claim = sent
            assert [read.message.consistency_level, claim.message.consistency_level] == [level, level]
            assert claim.message.serial_consistency_level == ConsistencyLevel.LOCAL_SERIAL
            assert [read.timeout, claim.timeout] == [cassandra_driver.REQUEST_S] * 2
            assert read._spec_execution_plan.delay == 0.005
            assert claim._spec_execution_plan.next_execution(None) < 0, "what is not idempotent is sent once"
            assert [cluster._prepared[each].is_idempotent for each in (GET, LIST, CLAIM)] == [True, True, False]
        finally:
            await cluster.close()

    asyncio.run(scene())


def test_who_holds_a_row_is_known_so_that_its_own_nodes_are_asked(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        cluster = cluster_of(cassandra_hosts, keyspace)
        CassandraLinkStore(cluster)
        try:
            await cluster.ready(READY_S)
            bound = cluster._prepared[GET].bind(("abc",))
            assert bound.routing_key == b"abc"
            assert cluster._driver.metadata.get_replicas(keyspace, bound.routing_key)
        finally:
            await cluster.close()

    asyncio.run(scene())


def test_what_waits_is_done_off_the_event_loop_and_close_ends_every_thread(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        cluster = cluster_of(cassandra_hosts, keyspace)
        store = CassandraLinkStore(cluster)
        threads: list[threading.Thread] = []
        contact = cluster._contact

        def noting() -> tuple[Any, Any]:
            threads.append(threading.current_thread())
            return contact()

        cluster._contact = noting  # type: ignore[method-assign]
        assert await asyncio.gather(*(store.get("abc") for _ in range(20))) == [None] * 20
        assert len(threads) == 1
        assert threads[0] is not threading.current_thread()
        driver: Any = cluster._driver
        await cluster.close()
        assert driver.is_shutdown
        assert driver.executor._shutdown
        with pytest.raises(StoreError, match="closed"):
            await store.get("abc")
        await cluster.close()

    before = set(threading.enumerate())
    asyncio.run(scene())
    left = [thread for thread in set(threading.enumerate()) - before if thread.name != "event_loop"]  # shared; ends by itself
    for thread in left:
        thread.join(10)
    assert not [thread for thread in left if thread.is_alive()]


def test_who_gives_up_waiting_harms_nobody(cassandra_hosts: str, keyspace: str) -> None:
    async def scene() -> None:
        cluster = cluster_of(cassandra_hosts, keyspace)
        store = CassandraLinkStore(cluster)
        try:
            hasty = [asyncio.create_task(store.get("abc")) for _ in range(20)]
            await asyncio.sleep(0)
            for task in hasty[::2]:
                task.cancel()
            assert await asyncio.gather(*hasty[1::2]) == [None] * 10
            hasty = [asyncio.create_task(store.get("abc")) for _ in range(20)]
            await asyncio.sleep(0)
            for task in hasty[::2]:
                task.cancel()
            assert await asyncio.gather(*hasty[1::2]) == [None] * 10

            async def none_in_flight() -> bool:
                return cluster._in_flight == 0

            await eventually(none_in_flight)
        finally:
            await cluster.close()

    asyncio.run(scene())
