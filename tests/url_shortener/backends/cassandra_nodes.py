"""What the tests of Cassandra share: a keyspace for a module, emptied for a test, and a relay that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from designs.url_shortener.backends.cassandra import CassandraCluster, drop_keyspace
from designs.url_shortener.backends.cassandra_cluster import qualified
from tests.url_shortener.replicas import Wire

LINK_TABLES = ("links", "links_by_owner", "months_by_owner", "ranges", "requests")
CLICK_TABLES = ("click_counts", "click_batches")
READY_S = 30.0
REQUEST_S = 15.0  # a contract is about answers: a node that shares two cores with other tests may take its time


def cluster_of(hosts: str, keyspace: str, **more: Any) -> CassandraCluster:
    return CassandraCluster(hosts, keyspace, **({"consistency": "local_quorum", "speculative_ms": 0.0} | more))


@contextlib.contextmanager
def keyspace_of_a_module(hosts: str) -> Iterator[CassandraCluster]:
    """Contact with a keyspace that is gone afterwards. It serves one event loop after the other."""
    name = f"test_{secrets.token_hex(6)}"
    cluster = cluster_of(hosts, name, request_s=REQUEST_S)
    try:
        asyncio.run(cluster.ready(READY_S))
        yield cluster
    finally:
        asyncio.run(cluster.close())
        asyncio.run(drop_keyspace(hosts, name))


async def ask(cluster: CassandraCluster, cql: str) -> list[Any]:
    """Rows of a statement that no store runs."""
    session: Any = cluster._session
    rows = await asyncio.to_thread(lambda: session.execute(qualified(cql, cluster._keyspace), execution_profile="schema").all())
    return list(rows)


async def emptied(cluster: CassandraCluster, tables: Sequence[str]) -> None:
    for table in tables:
        await ask(cluster, f"TRUNCATE {cluster._keyspace}.{table}")


@contextlib.asynccontextmanager
async def wire_to(hosts: str) -> AsyncIterator[tuple[Wire, str]]:
    """A relay to the node, and its address."""
    async with Wire(f"redis://{hosts}/0") as wire:
        yield wire, wire.url.removeprefix("redis://").partition("/")[0]
