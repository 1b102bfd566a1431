"""Every port in the memory of one process: the reference that the other backends are compared with. Nothing survives it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence

from designs.building_blocks.dead_letter_queue import DeadLetter, MemoryDeadLetterQueue
from designs.url_shortener.clicks import summed
from designs.url_shortener.links import Link, LinkEdit, edited
from designs.url_shortener.ports import ClickCount, ClickStats, Delivery, QueueFull, RequestClaim


class MemoryLinkStore:
    """Links in a dict. Atomic because nothing in a verb awaits."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._visits: Counter[str] = Counter()
        self._next: Counter[str] = Counter()
        self._requests: dict[tuple[str, str, int], RequestClaim] = {}

    async def insert_if_absent(self, link: Link) -> Link | None:
        holder = self._links.setdefault(link.code, link)
        return None if holder is link else holder

    async def get(self, code: str) -> Link | None:
        return self._links.get(code)

    async def edit(self, code: str, edit: LinkEdit, now_us: int) -> Link | None:
        link = self._links.get(code)
        if link is None:
            return None
        self._links[code] = after = edited(link, edit, now_us)
        return after

    async def take_visit(self, code: str) -> bool:
        link = self._links.get(code)
        if link is None or (link.max_visits is not None and self._visits[code] >= link.max_visits):
            return False
        self._visits[code] += 1
        return True

    async def visits_taken(self, code: str) -> int:
        return self._visits[code]

    async def page(self, owner: str, after: tuple[int, str] | None, limit: int) -> Sequence[Link]:
        mine = [link for link in self._links.values() if link.owner == owner and not link.deleted]
        mine.sort(key=lambda link: (link.created_at_us, link.code), reverse=True)
        return [link for link in mine if after is None or (link.created_at_us, link.code) < after][:limit]

    async def lease_range(self, name: str, size: int) -> int:
        self._next[name] += size
        return self._next[name] - size

    async def find_request(self, owner: str, key: str, attempt: int) -> RequestClaim | None:
        return self._requests.get((owner, key, attempt))

    async def claim_request(self, owner: str, key: str, attempt: int, claim: RequestClaim) -> RequestClaim:
        return self._requests.setdefault((owner, key, attempt), claim)

    async def forget_requests(self, before_us: int) -> int:
        old = [key for key, claim in self._requests.items() if claim.link.created_at_us < before_us]
        for key in old:
            del self._requests[key]
        return len(old)

    async def count(self) -> int:
        return len(self._links)

    async def close(self) -> None:
        pass


class MemoryClickStore:
    """Counts in dicts, with the ids of the batches that are in them."""

    def __init__(self, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._clock_us = clock_us
        self._applied: dict[str, int] = {}
        self._counts: dict[str, dict[tuple[str, str], list[int]]] = defaultdict(dict)

    async def apply(self, batches: Mapping[str, Sequence[ClickCount]]) -> Collection[str]:
        new = [batch_id for batch_id in batches if batch_id not in self._applied]
        for batch_id in new:
            self._applied[batch_id] = self._clock_us()
            for count in batches[batch_id]:
                held = self._counts[count.code].setdefault((count.day, count.referrer), [0, 0])
                held[0] += count.clicks
                held[1] += count.bots
        return new

    async def stats(self, code: str, days: int, today: str) -> ClickStats:
        rows = [(day, referrer, held[0], held[1]) for (day, referrer), held in self._counts.get(code, {}).items()]
        return summed(rows, days, today)

    async def forget_batches(self, before_us: int) -> int:
        old = [batch_id for batch_id, applied_at_us in self._applied.items() if applied_at_us < before_us]
        for batch_id in old:
            del self._applied[batch_id]
        return len(old)

    async def close(self) -> None:
        pass


class MemoryVisitorCounter:
    """Sets instead of sketches: exact, and unbounded, which is why only tests and store=memory use it."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], set[str]] = defaultdict(set)

    async def add(self, visitors: Mapping[tuple[str, str], Sequence[str]]) -> None:
        for place, hashes in visitors.items():
            self._seen[place].update(hashes)

    async def count(self, code: str, days: Sequence[str]) -> int:
        return len(set().union(*(self._seen.get((code, day), set()) for day in days)))


class MemoryClickQueue:
    """A bounded queue with redelivery: what a consumer took and did not finish it gets again, others after `reclaim_ms`."""

    def __init__(
        self, bound: int = 10_000, reclaim_ms: int = 30_000, clock_ms: Callable[[], float] = lambda: time.monotonic() * 1000
    ) -> None:
        self._bound, self._reclaim_ms, self._clock_ms = bound, reclaim_ms, clock_ms
        self._new: deque[tuple[str, bytes, float]] = deque()
        self._taken: dict[str, tuple[str, bytes, float, int, str, float]] = {}  # id -> id, body, added, deliveries, consumer, at
        self._serial = 0
        self.dead_letters = MemoryDeadLetterQueue(self.publish)

    async def publish(self, body: bytes) -> None:
        if len(self._new) + len(self._taken) >= self._bound:
            raise QueueFull
        self._serial += 1
        self._new.append((str(self._serial), body, self._clock_ms()))

    async def receive(self, consumer: str, limit: int, wait_ms: int) -> Sequence[Delivery]:
        now = self._clock_ms()
        own = [held for held in self._taken.values() if held[4] == consumer]
        silent = [held for held in self._taken.values() if held[4] != consumer and now - held[5] >= self._reclaim_ms]
        taken = []
        for identity, body, added, deliveries, _, _ in (own + silent)[:limit]:
            self._taken[identity] = (identity, body, added, deliveries + 1, consumer, now)
            taken.append(Delivery(identity, body, deliveries + 1))
        while self._new and len(taken) < limit:
            identity, body, added = self._new.popleft()
            self._taken[identity] = (identity, body, added, 1, consumer, now)
            taken.append(Delivery(identity, body, 1))
        if not taken:
            await asyncio.sleep(wait_ms / 1000)  # a worker asks in a loop, and others have to get their turn
        return taken

    async def done(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._taken.pop(delivery.id, None)

    async def retry_later(self, delivery: Delivery) -> None:
        """What is not done is delivered again anyway, and holds up nobody."""

    async def park(self, delivery: Delivery, reason: str) -> None:
        await self.dead_letters.park(
            DeadLetter(delivery.id, delivery.body, reason, delivery.deliveries, int(self._clock_ms() * 1000))
        )
        self._taken.pop(delivery.id, None)

    async def depth(self) -> tuple[int, float]:
        waiting = [added for _, _, added in self._new] + [held[2] for held in self._taken.values()]
        return len(waiting), (self._clock_ms() - min(waiting)) / 1000 if waiting else 0.0
