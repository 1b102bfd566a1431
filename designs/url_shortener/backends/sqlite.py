"""Links and clicks in SQLite: one file each, write-ahead log, shared by all processes of one machine.

    links      code | url | owner | created_at_us | version | expires_at_us | max_visits | enabled | blocked | deleted
               | request_id | visits
    ranges     name | next                               the counter behind `lease_range`
    requests   owner | key | attempt | fingerprint | link    what an Idempotency-Key stands for; link as JSON
    counts     code | day | referrer | clicks | bots     one row per code, UTC day and referrer host
    applied    batch | applied_at_us                     ids of the batches that are in `counts`

Each file has one thread that writes and one that reads. The writer takes all waiting writes into one transaction and syncs once
(group commit): an acknowledgement means that the write-ahead log is on the disk. Links and clicks live in different files
because SQLite allows one writer per file, and a create should not wait for the counting.

`syncs` counts the commits of this process that had the disk sync the log: one for each group that changed something. Those of a
checkpoint are not in it: about three for each thousand pages of log (the log, the file, the head of the next log), made by
whichever process commits then.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from designs.url_shortener.clicks import merged, summed
from designs.url_shortener.links import Link, LinkEdit, edited
from designs.url_shortener.ports import ClickCount, ClickStats, RequestClaim, StoreError

BUSY_TIMEOUT_MS = 5_000
MAX_WAITING = 10_000
OPEN_ATTEMPTS, OPEN_PAUSE_S = 100, 0.05
MAX_GROUP = 500

T = TypeVar("T")

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
        self._file = SqliteFile(path, LINKS_SCHEMA)

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
        self._file = SqliteFile(path, CLICKS_SCHEMA)
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


@dataclass(slots=True, eq=False)
class _Job:
    """One verb on its way through a thread, and the future its caller waits on."""

    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = field(default=None)
    may_have_happened: bool = False  # whatever the error says


class SqliteFile:
    """One SQLite file for asyncio: a reading and a writing thread, each with its own connection and a bounded queue.

    A write's error undoes that write alone (savepoint); an error of the commit reaches all writes of its group.
    """

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with contextlib.closing(_open_first(self._connect)) as db:
            db.executescript(schema)
        self._writer = _Lane(self._connect, group=True, name=f"sqlite-write-{path.stem}")
        self._reader = _Lane(self._connect, group=False, name=f"sqlite-read-{path.stem}")

    @property
    def syncs(self) -> int:
        """Commits so far that synced the log."""
        return self._writer.syncs

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the reading thread; it sees everything acknowledged before."""
        return await self._reader.run(work)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction; returns after the sync."""
        return await self._writer.run(work)

    async def close(self) -> None:
        """Finish what waits, then close."""
        await asyncio.to_thread(self._reader.close)
        await asyncio.to_thread(self._writer.close)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # NORMAL would lose acknowledged writes on a power loss
        db.execute("PRAGMA cache_size = -8192")  # 8 MB a connection: the pages above the leaves of a million links
        return db


def _open_first(connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    """The first connection of a process. Turning a new file to WAL needs it alone, and does not wait for the busy time-out."""
    for _ in range(OPEN_ATTEMPTS):
        try:
            return connect()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(OPEN_PAUSE_S)
    return connect()


class _Lane:
    """A thread that works through jobs in order, and wakes the event loop once per group instead of once per job."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, group: bool, name: str) -> None:
        self.syncs = 0
        self._db = connect()
        self._group = group
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        with self._wake:
            if self._closed:
                raise StoreError("the store is closed", may_have_happened=False)
            if len(self._jobs) >= MAX_WAITING:
                raise StoreError(f"{MAX_WAITING} operations wait for SQLite already", may_have_happened=False)
            self._jobs.append(job)
            self._wake.notify()
        try:
            result: T = await job.future
        except asyncio.CancelledError:  # out of patience: what has not begun need not begin
            with self._wake, contextlib.suppress(ValueError):
                self._jobs.remove(job)
            raise
        return result

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        self._db.close()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._closed:
                    self._wake.wait()
                if not self._jobs:
                    return
                jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), MAX_GROUP))]
            if self._group:
                self._transact(jobs)
            else:
                for job in jobs:
                    _attempt(job, self._db)
            for loop in {job.loop for job in jobs}:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_settle, [job for job in jobs if job.loop is loop])

    def _transact(self, jobs: Sequence[_Job]) -> None:
        changes_before = self._db.total_changes
        committing = False
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._db.execute("SAVEPOINT job")
                _attempt(job, self._db)
                if job.error is not None:
                    self._db.execute("ROLLBACK TO job")
                self._db.execute("RELEASE job")
            committing = True
            self._db.execute("COMMIT")
            # A commit that changed nothing writes no log. One whose changes were all undone does.
            self.syncs += self._db.total_changes > changes_before
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            for job in jobs:
                job.error = error
                job.may_have_happened = committing and _may_be_on_disk(error)


def _may_be_on_disk(error: sqlite3.Error) -> bool:
    """Whether a commit that failed like this may be found done after a crash.

    A commit that had no room or no lock wrote nothing that counts. One that failed to write or to sync may have left its frames in
    the log whole, and whoever opens the file after a crash takes what is whole for committed.
    """
    return getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


def _attempt(job: _Job, db: sqlite3.Connection) -> None:
    try:
        job.result = job.work(db)
    except Exception as error:
        job.error = error


def _settle(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # the caller gave up waiting
            continue
        if isinstance(job.error, sqlite3.Error):
            # A transaction that was rolled back leaves no trace, unless its commit had begun to write.
            job.future.set_exception(StoreError(f"SQLite: {job.error}", may_have_happened=job.may_have_happened))
        elif job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
