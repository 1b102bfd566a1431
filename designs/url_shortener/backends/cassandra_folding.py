"""Keeping a day's clicks short: rows of single batches are folded into one row per referrer. Pure functions.

    batch  | referrer  | clicks | bots          batch  | referrer  | clicks | bots
    ""     | a.example |     10 |    1          ""     | ""        |      2 |    0
    b7     | ""        |      2 |    0    ->    ""     | a.example |     13 |    1
    b7     | a.example |      3 |    0

The row of a batch says the same whenever it is written, and is written at the lowest timestamp there is: one that was folded lies
under its tombstone, so it can be written again, in any order and by anybody, and is not counted twice. So a fold need not know
which batches are finished. Two folds of the same rows would count twice: they are compared on a version that each one raises.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from designs.url_shortener.clicks import last_days
from designs.url_shortener.ports import ClickCount

BUCKETS = 8
FOLDED = ""  # where a batch's id stands otherwise
MAX_CHARS = 10_000
MAX_COUNT = 2**63 - 1


class Place(NamedTuple):
    """Rows that are folded together: a day of a code in a bucket. The first three fields are a partition of the table."""

    code: str
    month: int
    bucket: int
    day: str


class Row(NamedTuple):
    batch: str
    referrer: str
    clicks: int
    bots: int


@dataclass(frozen=True, slots=True)
class Fold:
    """What a fold writes: sums to put in place of those there are, and the rows that are in them now."""

    sums: Sequence[Row]
    taken: Sequence[Row]


def fold(rows: Sequence[Row], most: int) -> Fold | None:
    """The fold of a place's rows, of `most` rows at most; None when there is nothing to fold."""
    taken = [row for row in rows if row.batch != FOLDED][:most]
    if not taken:
        return None
    sums = {row.referrer: row for row in rows if row.batch == FOLDED}
    for row in taken:
        held = sums.get(row.referrer, Row(FOLDED, row.referrer, 0, 0))
        sums[row.referrer] = held._replace(clicks=held.clicks + row.clicks, bots=held.bots + row.bots)
    return Fold([sums[referrer] for referrer in dict.fromkeys(row.referrer for row in taken)], taken)


def rows_of(batch_id: str, sums: Mapping[tuple[str, str, str], tuple[int, int]]) -> list[tuple[Place, Row]]:
    """The rows of a batch, from its counts by (code, day, referrer). Raises ValueError for what no row can hold."""
    if not batch_id or len(batch_id) > MAX_CHARS:
        raise ValueError(f"the id of a batch has 1 to {MAX_CHARS} characters")
    bucket = bucket_of(batch_id)
    rows = []
    for (code, day, referrer), (clicks, bots) in sums.items():
        count = ClickCount(code, day, referrer, clicks, bots)
        if not code or max(len(code), len(referrer)) > MAX_CHARS or not (0 <= clicks <= MAX_COUNT and 0 <= bots <= MAX_COUNT):
            raise ValueError(f"a count that no row can hold: {str(count)[:200]}")
        rows.append((Place(code, month_of(day), bucket, day), Row(batch_id, referrer, clicks, bots)))
    return rows


def bucket_of(batch_id: str) -> int:
    """Batches of one hot code are spread evenly, and a batch always comes to the same place."""
    return zlib.crc32(batch_id.encode()) % BUCKETS


def month_of(day: str) -> int:
    """Months from the year 0. Raises ValueError for what is no day.

    >>> divmod(month_of("2026-03-02"), 12)
    (2026, 2)
    """
    date = dt.date.fromisoformat(day)
    return date.year * 12 + date.month - 1


def window(code: str, days: int, today: str) -> tuple[str, list[tuple[str, int, int]]]:
    """(first day, the partitions that hold the last `days` days of a code)."""
    first = last_days(days, today)[0]
    months = range(month_of(first), month_of(today) + 1)
    return first, [(code, month, bucket) for month in months for bucket in range(BUCKETS)]
