"""A file that many write to at once: one sync for those that wait together, and each has its own error."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from designs.building_blocks.sqlite_file import SqliteFile


class Failed(Exception):
    """As the port of a design has it."""

    def __init__(self, sentence: str, *, may_have_happened: bool) -> None:
        super().__init__(sentence)
        self.may_have_happened = may_have_happened


def test_a_write_that_fails_undoes_itself_and_not_its_neighbours(tmp_path: Path) -> None:
    async def scene() -> None:
        file = SqliteFile(tmp_path / "t.db", "CREATE TABLE t (n INTEGER PRIMARY KEY)", Failed)

        def add(number: int, then_fail: bool) -> Callable[[sqlite3.Connection], None]:
            def work(db: sqlite3.Connection) -> None:
                db.execute("INSERT INTO t VALUES (?)", (number,))
                if then_fail:
                    raise RuntimeError("after the insert")

            return work

        answers = await asyncio.gather(*(file.write(add(n, n == 3)) for n in range(6)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None)] * 3 + [RuntimeError] + [type(None)] * 2
        numbers = await file.read(lambda db: [row[0] for row in db.execute("SELECT n FROM t ORDER BY n")])
        assert numbers == [0, 1, 2, 4, 5]
        await file.close()

    asyncio.run(scene())


def test_writes_that_wait_together_cost_one_sync_and_those_that_change_nothing_cost_none(tmp_path: Path) -> None:
    async def scene() -> None:
        file = SqliteFile(tmp_path / "t.db", "CREATE TABLE t (n INTEGER PRIMARY KEY)", Failed)
        taken, go_on = threading.Event(), threading.Event()

        def slow(db: sqlite3.Connection) -> None:
            taken.set()
            go_on.wait(30)
            db.execute("INSERT INTO t VALUES (0)")

        first = asyncio.create_task(file.write(slow))
        await asyncio.to_thread(taken.wait, 30)
        others = [asyncio.create_task(file.write(lambda db, n=n: db.execute("INSERT INTO t VALUES (?)", (n,)))) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        assert file.syncs == 0
        go_on.set()
        await asyncio.gather(first, *others)
        assert file.syncs == 2
        await file.write(lambda db: db.execute("DELETE FROM t WHERE n > 100").rowcount)
        await file.write(lambda db: db.execute("SELECT count(*) FROM t").fetchone())
        await file.read(lambda db: db.execute("SELECT count(*) FROM t").fetchone())
        assert file.syncs == 2
        await file.close()

    asyncio.run(scene())


def test_a_write_whose_caller_gave_up_before_it_began_is_not_done(tmp_path: Path) -> None:
    async def scene() -> None:
        file = SqliteFile(tmp_path / "links.db", "CREATE TABLE IF NOT EXISTS t (x)", Failed)
        began, go, done = threading.Event(), threading.Event(), list[str]()

        def held(db: sqlite3.Connection) -> None:
            began.set()
            go.wait()
            done.append("held")

        first = asyncio.create_task(file.write(held))
        await asyncio.to_thread(began.wait)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(file.write(lambda db: done.append("late")), 0.01)
        go.set()
        await first
        await file.write(lambda db: done.append("next"))
        assert done == ["held", "next"]
        await file.close()

    asyncio.run(scene())


def test_an_error_of_sqlite_is_the_ports_own_and_one_of_the_work_is_what_it_was(tmp_path: Path) -> None:
    async def scene() -> None:
        file = SqliteFile(tmp_path / "t.db", "", Failed)
        for ask in (file.read, file.write):
            with pytest.raises(Failed, match="no such table") as caught:
                await ask(lambda db: db.execute("SELECT * FROM nowhere"))
            assert caught.value.may_have_happened is False
            with pytest.raises(ZeroDivisionError):
                await ask(lambda db: 1 // 0)
        await file.close()
        with pytest.raises(Failed, match="closed"):
            await file.read(lambda db: None)

    asyncio.run(scene())


def test_a_file_that_need_not_survive_a_power_cut_never_syncs_a_commit(tmp_path: Path) -> None:
    async def scene() -> None:
        file = SqliteFile(tmp_path / "t.db", "CREATE TABLE t (n INTEGER PRIMARY KEY)", Failed, "NORMAL")
        await file.write(lambda db: db.execute("INSERT INTO t VALUES (1)"))
        assert file.syncs == 0
        assert await file.read(lambda db: db.execute("PRAGMA synchronous").fetchone()) == (1,)
        assert await file.read(lambda db: db.execute("SELECT n FROM t").fetchall()) == [(1,)]
        await file.close()

    asyncio.run(scene())
