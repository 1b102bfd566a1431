"""The store side of the composition: where a process keeps links and counts of clicks, as the knob `store` chose.

memory      this process; the counts can only be kept by who serves the links
sqlite      two files of one machine, `links.db` and `clicks.db`
cassandra   one keyspace; both stores of a process share its connections
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from designs.building_blocks.fault_hooks import FaultHooks
from designs.url_shortener.backends.memory import MemoryClickStore, MemoryLinkStore
from designs.url_shortener.backends.sqlite import SqliteClickStore, SqliteLinkStore
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.ports import ClickStore, LinkStore
from designs.url_shortener.settings import ShortenerSettings

LINK_VERBS = (
    "insert_if_absent",
    "get",
    "edit",
    "take_visit",
    "visits_taken",
    "page",
    "lease_range",
    "find_request",
    "claim_request",
)


class StoreParts:
    """The stores of one process; nothing is opened before it is asked for. `synced` are those that count their syncs of a disk."""

    def __init__(
        self, knobs: ShortenerKnobs, settings: ShortenerSettings, clock_us: Callable[[], int], hooks: FaultHooks | None
    ) -> None:
        self.synced: list[Any] = []
        self._kind, self._settings, self._clock_us, self._hooks = knobs.store, settings, clock_us, hooks
        self._cluster: Any = None
        if knobs.needs_cassandra:
            if settings.cassandra_hosts is None:
                raise ValueError("store=cassandra needs Cassandra; set CASSANDRA_HOSTS, or choose store=sqlite")
            try:
                from designs.url_shortener.backends.cassandra import CassandraCluster
            except ModuleNotFoundError as error:
                raise ValueError(f"store=cassandra needs the extra system-designs[cassandra]: {error}") from None
            self._cluster = CassandraCluster(
                settings.cassandra_hosts,
                settings.namespace,
                consistency=knobs.consistency,
                speculative_ms=knobs.speculative_ms,
                replication_factor=settings.replication_factor,
            )

    def links(self) -> LinkStore:
        store: Any
        if self._kind == "memory":
            store = MemoryLinkStore()
        elif self._kind == "sqlite":
            store = SqliteLinkStore(self._settings.links_file)
            self.synced.append(store)
        else:
            from designs.url_shortener.backends.cassandra import CassandraLinkStore

            store = CassandraLinkStore(self._cluster)
        slowed: LinkStore = self._slowed(store, [*LINK_VERBS, "forget_requests", "count"])
        return slowed

    def clicks(self) -> ClickStore:
        """Beside the links, and apart from them: a create should not wait for the counting."""
        store: Any
        if self._kind == "memory":
            store = MemoryClickStore(self._clock_us)
        elif self._kind == "sqlite":
            store = SqliteClickStore(self._settings.clicks_file, self._clock_us)
            self.synced.append(store)
        else:
            from designs.url_shortener.backends.cassandra import CassandraClickStore

            store = CassandraClickStore(self._cluster, self._clock_us)
        slowed: ClickStore = self._slowed(store, ["apply", "stats", "forget_batches"])
        return slowed

    async def close(self) -> None:
        """What the stores share; each store is closed by who has it."""
        if self._cluster is not None:
            await self._cluster.close()

    def _slowed(self, store: Any, verbs: list[str]) -> Any:
        return self._hooks.slowed(store, verbs) if self._hooks is not None else store
