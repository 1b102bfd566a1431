"""Links and clicks in SQLite: one file each, write-ahead log, shared by all processes of one machine.

    links      code | url | owner | created_at_us | version | expires_at_us | max_visits | enabled | blocked | deleted
               | request_id | visits
    ranges     name | next                               the counter behind `lease_range`
    requests   owner | key | attempt | fingerprint | link    what an Idempotency-Key stands for; link as JSON
    counts     code | day | referrer | clicks | bots     one row per code, UTC day and referrer host
    applied    batch | applied_at_us                     ids of the batches that are in `counts`

An acknowledgement means that the write-ahead log is on the disk; writes that wait together share a sync (`SqliteFile`). Links and
clicks live in different files because SQLite allows one writer per file, and a create should not wait for the counting.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import orjson

from designs.building_blocks.sqlite_file import SqliteFile
from designs.url_shortener.clicks import merged, summed
from designs.url_shortener.links import Link, LinkEdit, edited
from designs.url_shortener.ports import ClickCount, ClickStats, RequestClaim, StoreError

LINKS_SCHEMA = """
CREATE TABLE IF NOT EXISTS links (
  code TEXT PRIMARY KEY, url TEXT NOT NULL, owner TEXT NOT NULL, created_at_us INTEGER NOT NULL, version INTEGER NOT NULL,
  expires_at_us INTEGER, max_visits INTEGER, enabled INTEGER NOT NULL, blocked INTEGER NOT NULL, deleted INTEGER NOT NULL,
  request_id TEXT NOT NULL, visits INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_of_owner ON links (owner, created_at_us DESC, code DESC) WHERE NOT deleted;
CREATE TABLE IF NOT EXISTS ranges (name TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
  owner TEXT, key TEXT, attempt INTEGER, fingerprint TEXT NOT NULL, link BLOB NOT NULL, created_at_us INTEGER NOT NULL,
  PRIMARY KEY (owner, key, attempt)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_age ON requests (created_at_us);
"""
CLICKS_SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (
  code TEXT, day TEXT, referrer TEXT, clicks INTEGER NOT NULL, bots INTEGER NOT NULL, PRIMARY KEY (code, day, referrer)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS applied (batch TEXT PRIMARY KEY, applied_at_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS applied_by_age ON applied (applied_at_us);
"""
_COLUMNS = "code, url, owner, created_at_us, version, expires_at_us, max_visits, enabled, blocked, deleted, request_id"


class SqliteLinkStore:
    """Links in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, LINKS_SCHEMA, StoreError)

    @property
    def syncs(self) -> int:
        return self._file.syncs

    async def insert_if_absent(self, link: Link) -> Link | None:
        def work(db: sqlite3.Connection) -> Link | None:
            insert = f"INSERT INTO links ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"  # noqa: S608
            done = db.execute(insert, astuple(link))
            return None if done.rowcount else _get(db, link.code)

        return await self._file.write(work)

    async def get(self, code: str) -> Link | None:
        return await self._file.read(lambda db: _get(db, code))

    async def edit(self, code: str, edit: LinkEdit, now_us: int) -> Link | None:
        def work(db: sqlite3.Connection) -> Link | None:
            before = _get(db, code)
            if before is None:
                return None
            after = edited(before, edit, now_us)
            db.execute(
                "UPDATE links SET url=?, version=?, expires_at_us=?, max_visits=?, enabled=?, blocked=?, deleted=? WHERE code=?",
                (
                    after.url,
                    after.version,
                    after.expires_at_us,
                    after.max_visits,
                    after.enabled,
                    after.blocked,
                    after.deleted,
                    code,
                ),
            )
            return after

        return await self._file.write(work)

    async def take_visit(self, code: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            done = db.execute(
                "UPDATE links SET visits = visits + 1 WHERE code = ? AND (max_visits IS NULL OR visits < max_visits)", (code,)
            )
            return done.rowcount == 1

        return await self._file.write(work)

    async def visits_taken(self, code: str) -> int:
        def work(db: sqlite3.Connection) -> int:
            row = db.execute("SELECT visits FROM links WHERE code = ?", (code,)).fetchone()
            return int(row[0]) if row else 0

        return await self._file.read(work)

    async def page(self, owner: str, after: tuple[int, str] | None, limit: int) -> Sequence[Link]:
        def work(db: sqlite3.Connection) -> list[Link]:
            seek = "AND (created_at_us, code) < (?, ?)" if after else ""
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM links WHERE owner = ? AND NOT deleted {seek} "  # noqa: S608 (the parts are constants)
                "ORDER BY created_at_us DESC, code DESC LIMIT ?",
                (owner, *(after or ()), limit),
            )
            return [_link(row) for row in rows]

        return await self._file.read(work)

    async def lease_range(self, name: str, size: int) -> int:
        def work(db: sqlite3.Connection) -> int:
            upsert = "INSERT INTO ranges VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET next = next + excluded.next RETURNING next"
            return int(db.execute(upsert, (name, size)).fetchone()[0]) - size

        return await self._file.write(work)

    async def find_request(self, owner: str, key: str, attempt: int) -> RequestClaim | None:
        return await self._file.read(lambda db: _request(db, owner, key, attempt))

    async def claim_request(self, owner: str, key: str, attempt: int, claim: RequestClaim) -> RequestClaim:
        def work(db: sqlite3.Connection) -> RequestClaim:
            row = (owner, key, attempt, claim.fingerprint, orjson.dumps(asdict(claim.link)), claim.link.created_at_us)
            if db.execute("INSERT INTO requests VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING", row).rowcount:
                return claim
            held = _request(db, owner, key, attempt)
            assert held is not None  # the row that was in the way
            return held

        return await self._file.write(work)

    async def forget_requests(self, before_us: int) -> int:
        return await self._file.write(lambda db: db.execute("DELETE FROM requests WHERE created_at_us < ?", (before_us,)).rowcount)

    async def count(self) -> int:
        return await self._file.read(lambda db: int(db.execute("SELECT count(*) FROM links").fetchone()[0]))

    async def close(self) -> None:
        await self._file.close()


class SqliteClickStore:
    """Click counts in one SQLite file; counts and the ids of the batches in them change in one transaction."""

    def __init__(self, path: Path, clock_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._file = SqliteFile(path, CLICKS_SCHEMA, StoreError)
        self._clock_us = clock_us

    @property
    def syncs(self) -> int:
        return self._file.syncs

    async def apply(self, batches: Mapping[str, Sequence[ClickCount]]) -> Collection[str]:
        now_us = self._clock_us()

        def work(db: sqlite3.Connection) -> list[str]:
            add = "INSERT INTO applied VALUES (?, ?) ON CONFLICT DO NOTHING"
            new = [batch_id for batch_id in batches if db.execute(add, (batch_id, now_us)).rowcount]
            sums = merged([count for batch_id in new for count in batches[batch_id]])
            db.executemany(
                "INSERT INTO counts VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE "
                "SET clicks = clicks + excluded.clicks, bots = bots + excluded.bots",
                [(*place, *added) for place, added in sums.items()],
            )
            return new

        return await self._file.write(work)

    async def stats(self, code: str, days: int, today: str) -> ClickStats:
        def work(db: sqlite3.Connection) -> list[tuple[str, str, int, int]]:
            return db.execute("SELECT day, referrer, clicks, bots FROM counts WHERE code = ?", (code,)).fetchall()

        return summed(await self._file.read(work), days, today)

    async def forget_batches(self, before_us: int) -> int:
        return await self._file.write(lambda db: db.execute("DELETE FROM applied WHERE applied_at_us < ?", (before_us,)).rowcount)

    async def close(self) -> None:
        await self._file.close()


def _get(db: sqlite3.Connection, code: str) -> Link | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM links WHERE code = ?", (code,)).fetchone()  # noqa: S608
    return _link(row) if row else None


def _request(db: sqlite3.Connection, owner: str, key: str, attempt: int) -> RequestClaim | None:
    select = "SELECT fingerprint, link FROM requests WHERE owner = ? AND key = ? AND attempt = ?"
    row = db.execute(select, (owner, key, attempt)).fetchone()
    return RequestClaim(row[0], Link(**orjson.loads(row[1]))) if row else None


def _link(row: tuple[Any, ...]) -> Link:
    code, url, owner, created_at_us, version, expires_at_us, max_visits, enabled, blocked, deleted, request_id = row
    flags = (bool(enabled), bool(blocked), bool(deleted))
    return Link(code, url, owner, created_at_us, version, expires_at_us, max_visits, *flags, request_id)
