"""cache=write-behind: carries acknowledged links from Redis to the store, and keeps them in Redis until they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from designs.url_shortener.links import Link
from designs.url_shortener.ports import Delivery, LinkStore, StoreError

LINKS_AT_ONCE = 100  # where each takes a round of Paxos, more would only wait for one another, and some too long
WAIT_MS = 500
PAUSE_S = 0.5


class PendingQueue(Protocol):
    """The links that wait, and the news that they need not wait any more."""

    async def receive(self, limit: int, wait_ms: int) -> Sequence[Delivery]: ...

    async def stored(self, deliveries: Sequence[Delivery], ttl_ms: int) -> None: ...


@dataclass(slots=True)
class WriteBehindTotals:
    """`conflicts` counts acknowledged links whose code the store had given to somebody else: lost, and an alarm."""

    stored: int = 0
    conflicts: int = 0
    failures: int = 0


async def carry_once(
    pending: PendingQueue, store: LinkStore, decode: Callable[[bytes], Link], ttl_ms: int, totals: WriteBehindTotals, wait_ms: int
) -> int:
    """Write what waits into the store, then let it go. Returns how many links were carried; repeating it is harmless."""
    deliveries = await pending.receive(LINKS_AT_ONCE, wait_ms)
    if not deliveries:
        return 0
    links = [decode(delivery.body) for delivery in deliveries]
    holders = await asyncio.gather(*(store.insert_if_absent(link) for link in links))
    for link, holder in zip(links, holders, strict=True):
        ours = holder is None or (holder.owner, holder.created_at_us) == (link.owner, link.created_at_us)
        totals.stored += ours
        totals.conflicts += not ours
    await pending.stored(deliveries, ttl_ms)
    return len(deliveries)


async def carry_forever(
    pending: PendingQueue, store: LinkStore, decode: Callable[[bytes], Link], ttl_ms: int, totals: WriteBehindTotals
) -> None:
    """`carry_once` until cancelled; an outage of either side is waited out."""
    while True:
        try:
            await carry_once(pending, store, decode, ttl_ms, totals, WAIT_MS)
        except StoreError:
            totals.failures += 1
            await asyncio.sleep(PAUSE_S)
