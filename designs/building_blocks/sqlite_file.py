"""One SQLite file for asyncio, shared by all processes of one machine: group commit, bounded queues, errors of the port.

Each file has one thread that writes and one that reads. The writer takes all waiting writes into one transaction and syncs once
(group commit), so that a hundred writes that wait together cost what one does.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

BUSY_TIMEOUT_MS = 5_000
MAX_WAITING = 10_000
OPEN_ATTEMPTS, OPEN_PAUSE_S = 100, 0.05
MAX_GROUP = 500

T = TypeVar("T")
# FULL: an acknowledged write survives a power cut. NORMAL: the last ones may be lost then, the file stays whole, and nothing is
# synced but at a checkpoint. A process that dies loses nothing either way.
Synchronous: TypeAlias = Literal["FULL", "NORMAL"]


class ErrorOfPort(Protocol):
    """The error that a design's port has for its store, mostly the class itself."""

    def __call__(self, sentence: str, /, *, may_have_happened: bool) -> Exception: ...


class SqliteFile:
    """One SQLite file for asyncio: a reading and a writing thread, each with its own connection and a bounded queue.

    A write's error undoes that write alone (savepoint); an error of the commit reaches all writes of its group. What SQLite says is
    raised as `error`, what `work` itself raises as it is.
    """

    def __init__(self, path: Path, schema: str, error: ErrorOfPort, synchronous: Synchronous = "FULL") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._synchronous = path, synchronous
        with contextlib.closing(_open_first(self._connect)) as db:
            db.executescript(schema)
        self._writer = _Lane(self._connect, error, group=True, name=f"sqlite-write-{path.stem}")
        self._reader = _Lane(self._connect, error, group=False, name=f"sqlite-read-{path.stem}")

    @property
    def syncs(self) -> int:
        """Commits so far that synced the log."""
        return self._writer.changes if self._synchronous == "FULL" else 0

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the reading thread; it sees everything acknowledged before."""
        return await self._reader.run(work)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction; returns after the commit."""
        return await self._writer.run(work)

    async def close(self) -> None:
        """Finish what waits, then close."""
        await asyncio.to_thread(self._reader.close)
        await asyncio.to_thread(self._writer.close)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
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


@dataclass(slots=True, eq=False)
class _Job:
    """One verb on its way through a thread, and the future its caller waits on."""

    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = field(default=None)
    may_have_happened: bool = False  # whatever the error says


class _Lane:
    """A thread that works through jobs in order, and wakes the event loop once per group instead of once per job."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], error: ErrorOfPort, *, group: bool, name: str) -> None:
        self.changes = 0  # commits that changed something
        self._db = connect()
        self._error = error
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
                raise self._error("the store is closed", may_have_happened=False)
            if len(self._jobs) >= MAX_WAITING:
                raise self._error(f"{MAX_WAITING} operations wait for SQLite already", may_have_happened=False)
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
                    loop.call_soon_threadsafe(_settle, [job for job in jobs if job.loop is loop], self._error)

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
            self.changes += self._db.total_changes > changes_before
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


def _settle(jobs: Sequence[_Job], error_of_port: ErrorOfPort) -> None:
    for job in jobs:
        if job.future.done():  # the caller gave up waiting
            continue
        if isinstance(job.error, sqlite3.Error):
            # A transaction that was rolled back leaves no trace, unless its commit had begun to write.
            job.future.set_exception(error_of_port(f"SQLite: {job.error}", may_have_happened=job.may_have_happened))
        elif job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
