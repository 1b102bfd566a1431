"""Every limit in one SQLite file, shared by all processes of one machine: no server, and a transaction for each decision.

    counters   key | state | over_us                 what its algorithm keeps of a key; from when on that says nothing
    cells      sketch | start_us | cell | used       the counters of a sketch that are not 0, of this window and the one before
    leases     key | token | until_us                slots
    clock      last_us                               the latest time at which anything was taken

A state is its integers one behind the other, 8 bytes each: the algorithms calculate, SQLite only keeps, and nothing is parsed. A
log of 10,000 is 80 kB that are written anew for each unit; it is the one that does not belong here.

All in one transaction or nothing, decided while this process alone may write, so that any number of processes are admitted the
limit exactly. Decisions that wait together share a transaction (`SqliteFile`). Counters need not survive a power cut, so the log is
not synced: what is lost then are the last admissions. A process that dies loses none.

The time is the later of this machine's clock and the file's: a clock that goes back stands still here until it has caught up, for
all processes alike, and refills nothing in between. What is over is removed by those who come, `SWEPT` rows each time, which is
more than they add.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

from designs.building_blocks.sqlite_file import SqliteFile
from designs.rate_limiter import concurrency, sliding_window
from designs.rate_limiter.algorithms import ALGORITHMS, answer
from designs.rate_limiter.backends.memory import refuse_sketches
from designs.rate_limiter.count_min_sketch import DEPTH, cells_of
from designs.rate_limiter.limits import NEVER_SEEN, State
from designs.rate_limiter.ports import Demand, SlotDemand, StoreError, Taken

SWEPT = 4  # rows for each row that is written

SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, state BLOB NOT NULL, over_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS counters_by_end ON counters (over_us);
CREATE TABLE IF NOT EXISTS cells (
  sketch TEXT, start_us INTEGER, cell INTEGER, used INTEGER NOT NULL, PRIMARY KEY (sketch, start_us, cell)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (key TEXT, token TEXT, until_us INTEGER NOT NULL, PRIMARY KEY (key, token)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_by_key ON leases (key, until_us);
CREATE INDEX IF NOT EXISTS leases_by_end ON leases (until_us);
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY CHECK (one = 1), last_us INTEGER NOT NULL);
INSERT INTO clock VALUES (1, 0) ON CONFLICT DO NOTHING;
"""


class SqliteLimitStore:
    """`LimitStore` in one file. `clock_us()` is asked in another thread."""

    def __init__(self, path: Path, clock_us: Callable[[], int]) -> None:
        self._file = SqliteFile(path, SCHEMA, StoreError, synchronous="NORMAL")
        self._clock_us = clock_us

    async def take(self, demands: Sequence[Demand]) -> Taken:
        return await self._file.write(lambda db: self._decided(db, demands, spend=True))

    async def peek(self, demands: Sequence[Demand]) -> Taken:
        return await self._file.read(lambda db: self._decided(db, demands, spend=False))

    async def give_back(self, demands: Sequence[Demand]) -> None:
        refuse_sketches(demands)

        def work(db: sqlite3.Connection) -> None:
            now_us = self._now_us(db)
            for demand in demands:
                if demand.cost and (state := _state(db, demand)) != NEVER_SEEN:
                    algorithm = ALGORITHMS[demand.limit.algorithm]
                    _keep(db, demand, algorithm.give_back(demand.limit, state, now_us, demand.cost), now_us)

        await self._file.write(work)

    async def reset(self, demands: Sequence[Demand]) -> None:
        refuse_sketches(demands)
        keys = [(demand.key,) for demand in demands]
        await self._file.write(lambda db: db.executemany("DELETE FROM counters WHERE key = ?", keys))

    async def acquire(self, demands: Sequence[SlotDemand], token: str) -> Taken:
        def work(db: sqlite3.Connection) -> Taken:
            now_us = self._now_us(db)
            oks = [_holds(db, demand, token, now_us) or _held(db, demand, now_us)[0] < demand.slots.limit for demand in demands]
            allowed = all(ok or demand.shadow for ok, demand in zip(oks, demands, strict=True))
            decisions = []
            for demand, ok in zip(demands, oks, strict=True):
                if allowed and ok:
                    _lease(db, demand, token, now_us)
                decisions.append(concurrency.decide(demand.slots, *_held(db, demand, now_us), now_us, ok))
            return Taken(allowed, tuple(decisions))

        return await self._file.write(work)

    async def renew(self, demands: Sequence[SlotDemand], token: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            now_us = self._now_us(db)
            if not all(_holds(db, demand, token, now_us) for demand in demands):
                return False
            for demand in demands:
                _lease(db, demand, token, now_us)
            return True

        return await self._file.write(work)

    async def release(self, demands: Sequence[SlotDemand], token: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            now_us = self._now_us(db)
            held = [_holds(db, demand, token, now_us) for demand in demands]
            db.executemany("DELETE FROM leases WHERE key = ? AND token = ?", [(demand.key, token) for demand in demands])
            return any(held)

        return await self._file.write(work)

    async def ping(self) -> None:
        await self._file.read(lambda db: db.execute("SELECT last_us FROM clock").fetchone())

    async def close(self) -> None:
        await self._file.close()

    def _now_us(self, db: sqlite3.Connection) -> int:
        return max(self._clock_us(), int(db.execute("SELECT last_us FROM clock").fetchone()[0]))

    def _decided(self, db: sqlite3.Connection, demands: Sequence[Demand], spend: bool) -> Taken:
        now_us = self._now_us(db)
        found: list[tuple[Demand, State, State | None]] = []
        for demand in demands:
            state = _state_of_sketch(db, demand, now_us) if demand.limit.algorithm == "sketch" else _state(db, demand)
            found.append((demand, state, ALGORITHMS[demand.limit.algorithm].take(demand.limit, state, now_us, demand.cost)))
        allowed = all(after is not None or demand.shadow for demand, _, after in found)
        decisions = []
        for demand, state, after in found:
            taken = spend and allowed and after is not None and demand.cost > 0
            if taken and after is not None:
                _keep(db, demand, after, now_us)
            kept = after if taken and after is not None else state
            view = ALGORITHMS[demand.limit.algorithm].view(demand.limit, kept, now_us, demand.cost)
            decisions.append(answer(demand, view, now_us, passed=after is not None, taken=taken))
        return Taken(allowed, tuple(decisions))


def _state(db: sqlite3.Connection, demand: Demand) -> State:
    row = db.execute("SELECT state FROM counters WHERE key = ?", (demand.key,)).fetchone()
    return tuple(array("q", row[0])) if row else NEVER_SEEN


def _keep(db: sqlite3.Connection, demand: Demand, state: State, now_us: int) -> None:
    db.execute("UPDATE clock SET last_us = ?", (now_us,))
    if demand.limit.algorithm == "sketch":
        _keep_in_sketch(db, demand, state)
        return
    algorithm = ALGORITHMS[demand.limit.algorithm]
    said = algorithm.decide(demand.limit, algorithm.view(demand.limit, state, now_us, 0), now_us, 0, True)
    upsert = "INSERT INTO counters VALUES (?,?,?) ON CONFLICT DO UPDATE SET state = excluded.state, over_us = excluded.over_us"
    db.execute(upsert, (demand.key, array("q", state).tobytes(), now_us + said.reset_after_us))
    sweep = "DELETE FROM counters WHERE key IN (SELECT key FROM counters WHERE over_us <= ? LIMIT ?)"
    db.execute(sweep, (now_us, SWEPT))


def _sketch(demand: Demand) -> str:
    """As in Redis: all keys of a rule are one sketch, and its windows have one length."""
    return f"{demand.bucket}:{demand.limit.period_us}"


def _state_of_sketch(db: sqlite3.Connection, demand: Demand, now_us: int) -> State:
    sketch = _sketch(demand)
    start_us = db.execute("SELECT max(start_us) FROM cells WHERE sketch = ?", (sketch,)).fetchone()[0]
    if start_us is None:
        return sliding_window.state_at(demand.limit, NEVER_SEEN, now_us)
    used, before = (_least(db, sketch, at_us, demand.item) for at_us in (start_us, start_us - demand.limit.period_us))
    return sliding_window.state_at(demand.limit, (start_us, used, before), now_us)


def _least(db: sqlite3.Connection, sketch: str, start_us: int, item: str) -> int:
    select = f"SELECT min(used), count(*) FROM cells WHERE sketch = ? AND start_us = ? AND cell IN ({_MARKS})"  # noqa: S608
    least, there = db.execute(select, (sketch, start_us, *cells_of(item))).fetchone()
    return int(least) if there == DEPTH else 0


_MARKS = ",".join("?" * DEPTH)


def _keep_in_sketch(db: sqlite3.Connection, demand: Demand, state: State) -> None:
    sketch, (start_us, used, _) = _sketch(demand), state
    db.executemany(
        "INSERT INTO cells VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET used = max(used, excluded.used)",
        [(sketch, start_us, cell, used) for cell in cells_of(demand.item)],
    )
    db.execute("DELETE FROM cells WHERE sketch = ? AND start_us < ?", (sketch, start_us - demand.limit.period_us))


def _holds(db: sqlite3.Connection, demand: SlotDemand, token: str, now_us: int) -> bool:
    row = db.execute("SELECT until_us FROM leases WHERE key = ? AND token = ?", (demand.key, token)).fetchone()
    return row is not None and row[0] > now_us


def _held(db: sqlite3.Connection, demand: SlotDemand, now_us: int) -> tuple[int, int]:
    """(slots in use, when the first of them ends)."""
    select = "SELECT count(*), min(until_us) FROM leases WHERE key = ? AND until_us > ?"
    used, first_us = db.execute(select, (demand.key, now_us)).fetchone()
    return int(used), int(first_us or 0)


def _lease(db: sqlite3.Connection, demand: SlotDemand, token: str, now_us: int) -> None:
    db.execute("UPDATE clock SET last_us = ?", (now_us,))
    upsert = "INSERT INTO leases VALUES (?,?,?) ON CONFLICT DO UPDATE SET until_us = excluded.until_us"
    db.execute(upsert, (demand.key, token, now_us + demand.slots.lease_us))
    sweep = "DELETE FROM leases WHERE (key, token) IN (SELECT key, token FROM leases WHERE until_us <= ? LIMIT ?)"
    db.execute(sweep, (now_us, SWEPT))
