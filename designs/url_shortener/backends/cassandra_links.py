"""Links in Cassandra: what must be decided once is decided by compare-and-set (a lightweight transaction, four rounds of Paxos).

insert_if_absent   INSERT ... IF NOT EXISTS, after the row by which the owner's page finds it
edit               read, then UPDATE ... IF version = the one that was read
take_visit         read, then UPDATE visits ... IF visits and the cap are as they were read
lease_range        read, then UPDATE next ... IF next is as it was read

A compare-and-set that lost starts over, `MAX_TRIES` times at most. Within a process those of one key wait for each other instead,
so that rounds only fight across processes.

An error with `may_have_happened` leaves the outcome of a write open for a moment: the next compare-and-set on the same key finishes
or buries it. A visit like that counts as taken, and a range as given away.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, astuple
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from cassandra.query import UNSET_VALUE

from designs.building_blocks.retries import full_jitter_s
from designs.url_shortener.backends.cassandra_cluster import CassandraCluster, Statement
from designs.url_shortener.links import Link, LinkEdit, edited
from designs.url_shortener.ports import RequestClaim, StoreError

MAX_TRIES = 20
MONTHS_REMEMBERED = 10_000
READ_AT_ONCE = 100
REQUEST_TTL_S = 86_400

_COLUMNS = "code, url, owner, created_at_us, version, expires_at_us, max_visits, enabled, blocked, deleted, request_id"
GET = Statement("read", f"SELECT {_COLUMNS} FROM links WHERE code = ?")  # noqa: S608
GET_SURELY = Statement("serial_read", f"SELECT {_COLUMNS} FROM links WHERE code = ?")  # noqa: S608
INSERT = Statement("conditional", f"INSERT INTO links ({_COLUMNS}, visits) VALUES (?,?,?,?,?,?,?,?,?,?,?,0) IF NOT EXISTS")  # noqa: S608
EDIT = Statement(
    "conditional",
    "UPDATE links SET url = ?, version = ?, expires_at_us = ?, max_visits = ?, enabled = ?, blocked = ?, deleted = ? "
    "WHERE code = ? IF version = ?",
)
VISITS = Statement("read", "SELECT visits, max_visits FROM links WHERE code = ?")
VISITS_SURELY = Statement("serial_read", "SELECT visits, max_visits FROM links WHERE code = ?")
TAKE = Statement("conditional", "UPDATE links SET visits = ? WHERE code = ? IF visits = ? AND max_visits = ?")
LIST = Statement("write", "INSERT INTO links_by_owner (owner, month, created_at_us, code) VALUES (?,?,?,?)")
UNLIST = Statement("write", "DELETE FROM links_by_owner WHERE owner = ? AND month = ? AND created_at_us = ? AND code = ?")
LISTED = Statement("read", "SELECT created_at_us, code FROM links_by_owner WHERE owner = ? AND month = ? LIMIT ?")
LISTED_AFTER = Statement(
    "read",
    "SELECT created_at_us, code FROM links_by_owner WHERE owner = ? AND month = ? AND (created_at_us, code) < (?, ?) LIMIT ?",
)
NOTE_MONTH = Statement("write", "INSERT INTO months_by_owner (owner, month) VALUES (?,?)")
MONTHS = Statement("read", "SELECT month FROM months_by_owner WHERE owner = ? AND month <= ?")
RANGE = Statement("read", "SELECT next FROM ranges WHERE name = ?")
LEASE = Statement("conditional", "UPDATE ranges SET next = ? WHERE name = ? IF next = ?")
FIND = Statement("read", "SELECT fingerprint, link FROM requests WHERE owner = ? AND key = ? AND attempt = ?")
CLAIM = Statement(
    "conditional",
    "INSERT INTO requests (owner, key, attempt, fingerprint, link) VALUES (?,?,?,?,?) "  # noqa: S608
    f"IF NOT EXISTS USING TTL {REQUEST_TTL_S}",
)
COUNT = Statement("read", "SELECT count(*) FROM links")
STATEMENTS = [each for each in globals().values() if isinstance(each, Statement)]
LATEST_US = 253_402_300_799_999_999  # the last microsecond of the year 9999


class CassandraLinkStore:
    """Links in one keyspace of a cluster, which it shares and does not close."""

    def __init__(self, cluster: CassandraCluster) -> None:
        cluster.use(STATEMENTS)
        self._cluster = cluster
        self._noted: OrderedDict[tuple[str, int], None] = OrderedDict()  # months that are in months_by_owner
        self._turns: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    async def insert_if_absent(self, link: Link) -> Link | None:
        await self._list(link)
        fields = [UNSET_VALUE if value is None else value for value in astuple(link)]  # a null would be a tombstone
        found = await self._cluster.applied(INSERT, *fields)
        if found is None:
            return None
        holder = Link(*(found[column] for column in _COLUMNS.split(", ")))
        if (holder.owner, holder.created_at_us) != (link.owner, link.created_at_us):
            with contextlib.suppress(StoreError):  # the page would skip it
                await self._unlist(link)
        return holder

    async def get(self, code: str) -> Link | None:
        return _link(await self._cluster.rows(GET, code))

    async def edit(self, code: str, edit: LinkEdit, now_us: int) -> Link | None:
        async with self._turn("link", code):
            read = GET
            for tried in range(1, MAX_TRIES + 1):
                before = _link(await self._cluster.rows(read, code))
                if before is None:
                    return None
                after = edited(before, edit, now_us)
                if after == before or await self._cluster.applied(EDIT, *_edited_fields(after), code, before.version) is None:
                    break
                read = GET_SURELY
                await _step_aside(tried)
            else:
                raise _too_many("edits of one link")
        if after.deleted and edit.deleted:
            with contextlib.suppress(StoreError):  # the page would skip it
                await self._unlist(after)
        return after

    async def take_visit(self, code: str) -> bool:
        async with self._turn("link", code):
            read = VISITS
            for tried in range(1, MAX_TRIES + 1):
                rows = await self._cluster.rows(read, code)
                if not rows:
                    return False
                taken, cap = rows[0]
                if cap is not None and taken >= cap:
                    return False
                if await self._cluster.applied(TAKE, taken + 1, code, taken, cap) is None:
                    return True
                read = VISITS_SURELY
                await _step_aside(tried)
        raise _too_many("visits of one link")

    async def visits_taken(self, code: str) -> int:
        rows = await self._cluster.rows(VISITS, code)
        return int(rows[0][0]) if rows else 0

    async def page(self, owner: str, after: tuple[int, str] | None, limit: int) -> Sequence[Link]:
        page: list[Link] = []
        newest = _month_of(LATEST_US if after is None else after[0])
        for (month,) in await self._cluster.rows(MONTHS, owner, newest):
            while len(page) < limit:  # ends: each round begins after the last row of the one before
                wanted = min(limit - len(page), READ_AT_ONCE)
                if after is None:
                    rows = await self._cluster.rows(LISTED, owner, month, wanted)
                else:
                    rows = await self._cluster.rows(LISTED_AFTER, owner, month, *after, wanted)
                links = await asyncio.gather(*(self.get(code) for _, code in rows))
                page += [
                    link
                    for (created_at_us, _), link in zip(rows, links, strict=True)
                    if link is not None and not link.deleted and (link.owner, link.created_at_us) == (owner, created_at_us)
                ]
                if len(rows) < wanted:
                    break
                after = rows[-1]
        return page

    async def lease_range(self, name: str, size: int) -> int:
        async with self._turn("range", name):
            rows = await self._cluster.rows(RANGE, name)
            held: int | None = rows[0][0] if rows else None
            for tried in range(1, MAX_TRIES + 1):
                found = await self._cluster.applied(LEASE, (held or 0) + size, name, held)
                if found is None:
                    return held or 0
                held = found.get("next")
                await _step_aside(tried)
        raise _too_many("leases of one range")

    async def find_request(self, owner: str, key: str, attempt: int) -> RequestClaim | None:
        rows = await self._cluster.rows(FIND, owner, key, attempt)
        return _claim(*rows[0]) if rows else None

    async def claim_request(self, owner: str, key: str, attempt: int, claim: RequestClaim) -> RequestClaim:
        document = orjson.dumps(asdict(claim.link)).decode()
        found = await self._cluster.applied(CLAIM, owner, key, attempt, claim.fingerprint, document)
        return claim if found is None else _claim(found["fingerprint"], found["link"])

    async def forget_requests(self, before_us: int) -> int:
        """Nothing to do: claims end by themselves a day after they were made. Always 0."""
        return 0

    async def count(self) -> int:
        """Reads every row: for small tables, and late for large ones."""
        return int((await self._cluster.rows(COUNT))[0][0])

    async def close(self) -> None:
        """Nothing: the cluster is closed by who made it."""

    # -- the owner's list -----------------------------------------------------------------------------------------------

    async def _list(self, link: Link) -> None:
        """Before the link, so that one that was acknowledged is always found. The month is written once per process."""
        month = (link.owner, _month_of(link.created_at_us))
        writes = [self._cluster.rows(LIST, *month, link.created_at_us, link.code)]
        if month not in self._noted:
            writes.append(self._cluster.rows(NOTE_MONTH, *month))
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(outcome, StoreError):  # whatever became of it: no link was made
                raise StoreError(str(outcome), may_have_happened=False) from outcome
            if isinstance(outcome, BaseException):
                raise outcome
        self._noted[month] = None
        if len(self._noted) > MONTHS_REMEMBERED:
            self._noted.popitem(last=False)

    async def _unlist(self, link: Link) -> None:
        await self._cluster.rows(UNLIST, link.owner, _month_of(link.created_at_us), link.created_at_us, link.code)

    @contextlib.asynccontextmanager
    async def _turn(self, kind: str, key: str) -> AsyncIterator[None]:
        """One at a time of this process for one key."""
        lock, waiting = self._turns.get((kind, key)) or (asyncio.Lock(), 0)
        self._turns[kind, key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns[kind, key]
            if waiting == 1:
                del self._turns[kind, key]
            else:
                self._turns[kind, key] = (lock, waiting - 1)


def _month_of(at_us: int) -> int:
    """Months from the year 0 to a time in UTC.

    >>> divmod(_month_of(0), 12)
    (1970, 0)
    """
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(max(at_us, 0), LATEST_US))
    return at.year * 12 + at.month - 1


async def _step_aside(tried: int) -> None:
    await asyncio.sleep(full_jitter_s(tried, 0.002, 0.1, random.random))


def _too_many(what: str) -> StoreError:
    return StoreError(f"too many {what} at once: {MAX_TRIES} attempts lost to others", may_have_happened=False)


def _edited_fields(link: Link) -> tuple[Any, ...]:
    return link.url, link.version, link.expires_at_us, link.max_visits, link.enabled, link.blocked, link.deleted


def _link(rows: Sequence[Any]) -> Link | None:
    return Link(*rows[0]) if rows else None


def _claim(fingerprint: str, document: str) -> RequestClaim:
    return RequestClaim(fingerprint, Link(**orjson.loads(document)))
