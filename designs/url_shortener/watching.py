"""How the servers of a process are asked whether they are there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from designs.building_blocks.cache_layers import CacheUnavailable, SharedCache
from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.deadline import within
from designs.building_blocks.dependencies import Dependency
from designs.building_blocks.guarded_port import Patience
from designs.building_blocks.watching import PROBE_WITHIN_S
from designs.url_shortener.guards import READS, WRITES
from designs.url_shortener.links import Link
from designs.url_shortener.ports import LinkStore, StoreError


async def probe_store(store: LinkStore, dependency: Dependency) -> None:
    """Read, and where the last write failed write too."""
    await _probe(dependency, READS, lambda: store.get("readyz"))
    if WRITES in dependency.bad_signals():
        await _probe(dependency, WRITES, lambda: store.lease_range("probe", 1))


async def probe_queue(queue: Any, dependency: Dependency) -> None:
    """Ask a queue that has a server of its own, by its `ping`."""
    try:
        async with within(PROBE_WITHIN_S):
            await queue.ping()
    except (StoreError, TimeoutError):
        dependency.probed(False)
    else:
        dependency.probed(True)


async def _probe(dependency: Dependency, signal: str, ask: Callable[[], Awaitable[object]]) -> None:
    try:
        async with within(PROBE_WITHIN_S):
            await ask()
    except (StoreError, TimeoutError):
        dependency.hear(signal, False)
    else:
        dependency.hear(signal, True)


async def probe_redis(
    ping: Callable[[], Awaitable[bool]],
    dependency: Dependency,
    patiences: Collection[Patience],
    breaker: CircuitBreaker | None,
    shared: SharedCache[Link] | None,
) -> None:
    """Ping, and be the probe of each half-open breaker where no request comes along to be it. `breaker` is the shared cache's."""
    if shared is not None and breaker is not None and breaker.state == "half-open":
        with contextlib.suppress(CacheUnavailable):
            await shared.get("readyz")
    began_s = time.monotonic()
    well = await ping()
    for patience in patiences:
        patience.probed(well, time.monotonic() - began_s)
    dependency.probed(well)
