"""Click counts in Cassandra: exactly once without a transaction, because writing the same row again changes nothing.

apply    a row for each count of each batch, then the batch's marker (insert-if-absent), which says who was first
stats    reads every bucket of the window's months, at once
folding  after `FOLD_AT` rows in one place, and for what is left when `forget_batches` is called: `cassandra_folding` has the idea

An id names what is in a batch: one that comes again says the same.

What it promises less than a store with transactions: while `apply` goes on, and after one that failed, readers may see a part of a
batch. Calling it again writes what is missing and nothing twice; a batch whose marker was written before the failure is then no
longer answered as new.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from designs.url_shortener.backends.cassandra_cluster import CassandraCluster, Statement
from designs.url_shortener.backends.cassandra_folding import FOLDED, Place, Row, fold, rows_of, window
from designs.url_shortener.clicks import merged, summed
from designs.url_shortener.ports import ClickCount, ClickStats, StoreError

AT_ONCE = 64
FOLDS_AT_ONCE = 8
FOLD_AT, WORTH_FOLDING, MAX_FOLD = 200, 16, 500  # rows
PLACES_REMEMBERED = 20_000
MARKER_TTL_S = 7 * 86_400

ADD = Statement(
    "write",
    "INSERT INTO click_counts (code, month, bucket, day, batch_id, referrer, clicks, bots) VALUES (?,?,?,?,?,?,?,?) "
    "USING TIMESTAMP 1",
)
MARKED = Statement("read", "SELECT batch_id FROM click_batches WHERE batch_id = ?")
MARK = Statement(
    "conditional",
    f"INSERT INTO click_batches (batch_id, applied_at_us) VALUES (?,?) IF NOT EXISTS USING TTL {MARKER_TTL_S}",  # noqa: S608
)
READ = Statement(
    "read",
    "SELECT day, referrer, clicks, bots FROM click_counts WHERE code = ? AND month = ? AND bucket = ? AND day >= ? AND day <= ?",
)
READ_PLACE = Statement(
    "serial_read",
    "SELECT folds, batch_id, referrer, clicks, bots FROM click_counts WHERE code = ? AND month = ? AND bucket = ? AND day = ?",
)
RAISE_FOLDS = Statement("conditional", "UPDATE click_counts SET folds = ? WHERE code = ? AND month = ? AND bucket = ? IF folds = ?")
PUT_SUM = Statement(
    "write", "INSERT INTO click_counts (code, month, bucket, day, batch_id, referrer, clicks, bots) VALUES (?,?,?,?,?,?,?,?)"
)
TAKE_ROW = Statement(
    "write", "DELETE FROM click_counts WHERE code = ? AND month = ? AND bucket = ? AND day = ? AND batch_id = ? AND referrer = ?"
)
STATEMENTS = [each for each in globals().values() if isinstance(each, Statement)]


class CassandraClickStore:
    """Counts in one keyspace of a cluster, which it shares and does not close."""

    def __init__(self, cluster: CassandraCluster, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        cluster.use(STATEMENTS)
        self._cluster, self._clock_us = cluster, clock_us
        self._unfolded: OrderedDict[Place, int] = OrderedDict()  # rows this process wrote since it last folded there

    async def apply(self, batches: Mapping[str, Sequence[ClickCount]]) -> Collection[str]:
        # All of it is judged before any of it is written.
        rows = {batch_id: rows_of(batch_id, merged(counts)) for batch_id, counts in batches.items()}
        await self._cluster.ready()  # fails before anything is written
        permits = asyncio.Semaphore(AT_ONCE)
        new: list[str] = []

        async def apply_one(batch_id: str) -> None:
            async with permits:
                if await self._cluster.rows(MARKED, batch_id):  # it came before: spare the rows, which would change nothing
                    return
            await _together(self._add(place, row, permits) for place, row in rows[batch_id])
            async with permits:
                if await self._cluster.applied(MARK, batch_id, self._clock_us()) is None:
                    new.append(batch_id)

        try:
            await _together(apply_one(batch_id) for batch_id in batches)
        except StoreError as error:
            raise StoreError(str(error), may_have_happened=True) from error  # other rows may be there
        full = [place for place, count in self._unfolded.items() if count >= FOLD_AT]
        with contextlib.suppress(StoreError):  # the clicks are counted; the next call tries again
            await self._fold_all(full)
        return new

    async def stats(self, code: str, days: int, today: str) -> ClickStats:
        first, partitions = window(code, days, today)
        read = [self._cluster.rows(READ, *partition, first, today) for partition in partitions]
        return summed([row for rows in await asyncio.gather(*read) for row in rows], days, today)

    async def forget_batches(self, before_us: int) -> int:
        """Markers end by themselves after seven days, so nothing is forgotten and the answer is 0. Folds what is worth it."""
        await self._fold_all([place for place, count in self._unfolded.items() if count >= WORTH_FOLDING])
        return 0

    async def fold_place(self, place: Place) -> bool:
        """Fold what is there now; False when there was nothing, or when another fold came first."""
        rows = await self._cluster.rows(READ_PLACE, *place)
        folded = fold([Row(*row[1:]) for row in rows], MAX_FOLD)
        if folded is None:
            return False
        folds: int | None = rows[0][0]
        parts: list[tuple[Statement, Sequence[Any]]] = [(RAISE_FOLDS, ((folds or 0) + 1, *place[:3], folds))]
        parts += [(PUT_SUM, (*place, FOLDED, row.referrer, row.clicks, row.bots)) for row in folded.sums]
        parts += [(TAKE_ROW, (*place, row.batch, row.referrer)) for row in folded.taken]
        return await self._cluster.applied_together(parts)

    async def close(self) -> None:
        """Nothing: the cluster is closed by who made it."""

    async def _add(self, place: Place, row: Row, permits: asyncio.Semaphore) -> None:
        async with permits:
            await self._cluster.rows(ADD, *place, *row)
        self._unfolded[place] = self._unfolded.pop(place, 0) + 1
        if len(self._unfolded) > PLACES_REMEMBERED:
            self._unfolded.popitem(last=False)

    async def _fold_all(self, places: Iterable[Place]) -> None:
        permits = asyncio.Semaphore(FOLDS_AT_ONCE)

        async def fold_one(place: Place) -> None:
            async with permits:
                count = self._unfolded.pop(place, 0)
                try:
                    await self.fold_place(place)
                except BaseException:
                    self._unfolded[place] = self._unfolded.get(place, 0) + count
                    raise

        await _together(map(fold_one, places))


async def _together(work: Iterable[Awaitable[None]]) -> None:
    """Await all; at the first error the others are cancelled, and it is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
