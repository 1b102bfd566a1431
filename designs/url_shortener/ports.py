"""What the URL shortener asks of the outside: few verbs, each atomic, and the errors it may get.

The ports suit a store without joins and without transactions over several rows: the one conditional write is
insert-if-absent. Plain data crosses; drivers stay in `backends/`. The memory backend is the reference, and
`tests/url_shortener/*_contract.py` is the definition that each backend has to pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from designs.building_blocks.dead_letter_queue import DeadLetterQueue
from designs.url_shortener.links import Link, LinkEdit


class StoreError(Exception):
    """The store could not do it. `may_have_happened` decides whether trying again is safe."""

    def __init__(self, sentence: str, *, may_have_happened: bool) -> None:
        super().__init__(sentence)
        self.may_have_happened = may_have_happened


class QueueError(StoreError):
    """The click queue could not take or hand out a batch."""


class QueueFull(QueueError):
    """The queue is at its stated bound; nothing was added."""

    def __init__(self) -> None:
        super().__init__("the click queue is full", may_have_happened=False)


@dataclass(frozen=True, slots=True)
class RequestClaim:
    """Which code an idempotent request uses at its nth attempt, and the link as it was first answered."""

    fingerprint: str
    link: Link


class LinkStore(Protocol):
    """The final authority on links. Anything it acknowledged survives a killed process; in sqlite and cassandra a power loss."""

    async def insert_if_absent(self, link: Link) -> Link | None:
        """None when the link was written; otherwise the link that has the code already (tombstones count)."""

    async def get(self, code: str) -> Link | None:
        """The link, tombstones included; None when the code was never used."""

    async def edit(self, code: str, edit: LinkEdit, now_us: int) -> Link | None:
        """Change the named fields (`links.edited`) and return the link after it; None when there is no such code.

        Two edits at once both apply, field by field; of one field the later wins. Deletion is final.
        """

    async def take_visit(self, code: str) -> bool:
        """Count one visit of a capped link; False when `max_visits` were taken. Exact under any number of callers.

        A store whose only conditional write is insert-if-absent claims numbered visits (code, n) instead of counting.
        """

    async def visits_taken(self, code: str) -> int:
        """How many visits `take_visit` has granted."""

    async def page(self, owner: str, after: tuple[int, str] | None, limit: int) -> Sequence[Link]:
        """The owner's links that are not deleted, newest first, after the (created_at_us, code) of the last one seen."""

    async def lease_range(self, name: str, size: int) -> int:
        """The first of `size` numbers that nobody else was or will be given under this name. Starts at 0."""

    async def find_request(self, owner: str, key: str, attempt: int) -> RequestClaim | None:
        """The claim that holds, if there is one."""

    async def claim_request(self, owner: str, key: str, attempt: int, claim: RequestClaim) -> RequestClaim:
        """Insert-if-absent of what an `Idempotency-Key` stands for: the claim that holds, ours or the earlier one."""

    async def forget_requests(self, before_us: int) -> int:
        """Drop claims whose link was created before then; returns how many. 0 where they end by themselves, after a day."""

    async def count(self) -> int:
        """How many codes are used, tombstones included. For gauges; may be slow."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ClickCount:
    """Clicks of one code on one UTC day from one referrer host ("" when there was none)."""

    code: str
    day: str
    referrer: str
    clicks: int
    bots: int


@dataclass(frozen=True, slots=True)
class ClickStats:
    """What the click store knows of one code. `bots` are counted apart and are not in `clicks`."""

    clicks: int
    bots: int
    by_day: Mapping[str, int]
    by_referrer: Mapping[str, int]


class ClickStore(Protocol):
    """Counts of clicks. Applying a batch twice counts it once, which is what makes at-least-once delivery exact.

    After an error in `apply` the counts are those of before (memory, sqlite), or a part of them is there already (cassandra).
    Either way the same call again, from anybody, makes them whole and counts nothing twice. Only then is a batch done.
    """

    async def apply(self, batches: Mapping[str, Sequence[ClickCount]]) -> Collection[str]:
        """Add each batch (by its id) unless it was added before; returns the ids that were new."""

    async def stats(self, code: str, days: int, today: str) -> ClickStats:
        """Totals of the last `days` days up to and with `today`; at most 20 referrers, most clicks first."""

    async def forget_batches(self, before_us: int) -> int:
        """Drop the memory of batches applied before then; it must outlast any redelivery. Returns how many.

        Where it ends by itself, after seven days, this only tidies up, and answers 0.
        """

    async def close(self) -> None: ...


class VisitorCounter(Protocol):
    """Unique visitors per code and day, as an estimate that may be added to twice without harm (HyperLogLog)."""

    async def add(self, visitors: Mapping[tuple[str, str], Sequence[str]]) -> None:
        """Visitors' hashes by (code, day)."""

    async def count(self, code: str, days: Sequence[str]) -> int:
        """Distinct visitors over these days; about 0.8 % off with Redis."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch handed to one worker. `deliveries` counts how often it has been handed out, this time included.

    `put_off` counts how often `retry_later` was said of it, where the queue knows; None where it does not.
    """

    id: str
    body: bytes
    deliveries: int
    put_off: int | None = None

    @property
    def tries(self) -> int:
        """Its tries so far that count against it, this one included. An outage uses none up where the queue can tell."""
        return self.deliveries if self.put_off is None else self.put_off + 1


class ClickQueue(Protocol):
    """Batches of clicks on their way to the click store: at least once, in any order, bounded.

    What backends promise differently (each is a test):

        deliveries      exact in memory and in Redis; Kafka counts those to one consumer since it has the partition
        the depth       in Kafka what is done behind something unfinished counts until that is done
        the bound       exact in memory and in Redis; Kafka looks at its backlog now and then, and overshoots
        who falls silent is noticed by what he holds (memory, Redis) or by his session (Kafka)
    """

    @property
    def dead_letters(self) -> DeadLetterQueue:
        """The batches that were given up."""

    async def publish(self, body: bytes) -> None:
        """Append a batch. Raises `QueueFull` at the bound and `QueueError` otherwise."""

    async def receive(self, consumer: str, limit: int, wait_ms: int) -> Sequence[Delivery]:
        """Batches for this consumer: its own unfinished ones first, then those of silent consumers, then new ones."""

    async def done(self, deliveries: Sequence[Delivery]) -> None:
        """These were applied; they will not be delivered again."""

    async def retry_later(self, delivery: Delivery) -> None:
        """It could not be applied for a reason of its own (not for an outage): deliver it again later, others first."""

    async def park(self, delivery: Delivery, reason: str) -> None:
        """Move a batch that can't be applied to the dead letters."""

    async def depth(self) -> tuple[int, float]:
        """(batches not done, age in seconds of the oldest of them)."""
