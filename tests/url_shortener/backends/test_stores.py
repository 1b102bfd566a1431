"""Link stores and click stores keep their contract, and SQLite answers as the reference in memory does."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings

from designs.url_shortener.backends.memory import MemoryClickStore, MemoryLinkStore
from designs.url_shortener.backends.sqlite import SqliteClickStore, SqliteLinkStore
from designs.url_shortener.links import LinkEdit
from designs.url_shortener.ports import ClickCount, ClickStore, LinkStore, StoreError
from tests.url_shortener import click_store_contract, link_store_contract
from tests.url_shortener.click_store_contract import CLICK_STORE_CONTRACT, StoreClock
from tests.url_shortener.link_store_contract import LINK_STORE_CONTRACT, link

LINK_STORES: dict[str, Callable[[Path], LinkStore]] = {
    "memory": lambda folder: MemoryLinkStore(),
    "sqlite": lambda folder: SqliteLinkStore(folder / "links.db"),
}
CLICK_STORES: dict[str, Callable[[Path, StoreClock], ClickStore]] = {
    "memory": lambda folder, clock: MemoryClickStore(clock),
    "sqlite": lambda folder, clock: SqliteClickStore(folder / "clicks.db", clock),
}


LINK_PROMISES = LINK_STORE_CONTRACT | link_store_contract.FORGETS_WHEN_TOLD
CLICK_PROMISES = CLICK_STORE_CONTRACT | click_store_contract.FORGETS_WHEN_TOLD


@pytest.mark.parametrize("backend", LINK_STORES)
@pytest.mark.parametrize("promise", LINK_PROMISES)
def test_the_link_store_keeps_the_promise(promise: str, backend: str, tmp_path: Path) -> None:
    async def scene() -> None:
        store = LINK_STORES[backend](tmp_path)
        try:
            await LINK_PROMISES[promise](store)
        finally:
            await store.close()

    asyncio.run(scene())


@pytest.mark.parametrize("backend", CLICK_STORES)
@pytest.mark.parametrize("promise", CLICK_PROMISES)
def test_the_click_store_keeps_the_promise(promise: str, backend: str, tmp_path: Path) -> None:
    async def scene() -> None:
        clock = StoreClock()
        store = CLICK_STORES[backend](tmp_path, clock)
        try:
            await CLICK_PROMISES[promise](store, clock)
        finally:
            await store.close()

    asyncio.run(scene())


@settings(max_examples=60, deadline=None)
@given(link_store_contract.HISTORIES)
def test_sqlite_answers_every_history_of_links_as_memory_does(history: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
    async def scene(folder: Path) -> None:
        store = SqliteLinkStore(folder / "links.db")
        try:
            answers = await link_store_contract.replayed(store, history)
        finally:
            await store.close()
        assert answers == await link_store_contract.replayed(MemoryLinkStore(), history)

    with TemporaryDirectory() as folder:
        asyncio.run(scene(Path(folder)))


@settings(max_examples=40, deadline=None)
@given(click_store_contract.HISTORIES)
def test_sqlite_answers_every_history_of_clicks_as_memory_does(
    history: Sequence[tuple[Mapping[str, Sequence[ClickCount]], str, int]],
) -> None:
    async def scene(folder: Path) -> None:
        clock, model_clock = StoreClock(), StoreClock()
        store = SqliteClickStore(folder / "clicks.db", clock)
        try:
            answers = await click_store_contract.replayed(store, clock, history)
        finally:
            await store.close()
        assert answers == await click_store_contract.replayed(MemoryClickStore(model_clock), model_clock, history)

    with TemporaryDirectory() as folder:
        asyncio.run(scene(Path(folder)))


def test_what_sqlite_acknowledged_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    async def scene() -> None:
        store = SqliteLinkStore(tmp_path / "links.db")
        await store.insert_if_absent(link(max_visits=2))
        await store.take_visit("abcdefg")
        first = await store.lease_range("links", 10)
        # Not closed: another process opens the same file, as after a kill.
        reborn = SqliteLinkStore(tmp_path / "links.db")
        assert await reborn.get("abcdefg") == link(max_visits=2)
        assert await reborn.visits_taken("abcdefg") == 1
        assert await reborn.lease_range("links", 10) == first + 10
        await reborn.close()
        await store.close()

    asyncio.run(scene())


def test_two_processes_on_one_file_give_a_code_once_and_keep_to_a_cap(tmp_path: Path) -> None:
    async def scene() -> None:
        stores = [SqliteLinkStore(tmp_path / "links.db") for _ in range(2)]
        holders = await asyncio.gather(*(stores[n % 2].insert_if_absent(link(owner=f"o{n}", max_visits=5)) for n in range(40)))
        assert holders.count(None) == 1
        assert sum(await asyncio.gather(*(stores[n % 2].take_visit("abcdefg") for n in range(40)))) == 5
        starts = await asyncio.gather(*(stores[n % 2].lease_range("links", 3) for n in range(40)))
        assert sorted(starts) == list(range(0, 120, 3))
        for store in stores:
            await store.close()

    asyncio.run(scene())


def test_a_create_syncs_once_and_a_refused_one_not_at_all(tmp_path: Path) -> None:
    async def scene() -> None:
        store = SqliteLinkStore(tmp_path / "links.db")
        await store.insert_if_absent(link())
        assert store.syncs == 1
        await store.insert_if_absent(link())
        await store.get("abcdefg")
        assert store.syncs == 1
        await store.close()

    asyncio.run(scene())


def test_an_error_of_sqlite_is_definite_and_the_ports_own(tmp_path: Path) -> None:
    async def scene() -> None:
        store = SqliteLinkStore(tmp_path / "links.db")
        with closing(sqlite3.connect(tmp_path / "links.db")) as db:
            db.execute("DROP TABLE links")
        for call in (store.get("abc"), store.insert_if_absent(link()), store.edit("abc", LinkEdit(enabled=False), 1)):
            with pytest.raises(StoreError) as caught:
                await call
            assert caught.value.may_have_happened is False
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.get("abc")

    asyncio.run(scene())


def test_sqlite_applies_all_batches_of_a_call_or_none(tmp_path: Path) -> None:
    asyncio.run(_all_or_none(tmp_path))


async def _all_or_none(folder: Path) -> None:
    store = SqliteClickStore(folder / "clicks.db")
    too_many: Any = None
    with pytest.raises(Exception, match=r"NOT NULL|NoneType"):
        await store.apply({"good": [click_store_contract.count()], "bad": [ClickCount("abc", "2026-03-02", "", too_many, 0)]})
    assert (await store.stats("abc", 1, "2026-03-02")).clicks == 0
    assert [*await store.apply({"good": [click_store_contract.count()]})] == ["good"]
    await store.close()


class FailingCommit:
    """A connection whose commits fail as the system makes them fail; what the driver does is its own."""

    def __init__(self, db: sqlite3.Connection, errorcode: int) -> None:
        self._db, self._errorcode = db, errorcode

    def execute(self, statement: str, *args: Any) -> Any:
        if statement == "COMMIT" and self._errorcode:
            error = sqlite3.OperationalError("as the disk has it")
            error.sqlite_errorcode = self._errorcode
            raise error
        return self._db.execute(statement, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.mark.parametrize(
    ("errorcode", "may_have_happened"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_BUSY, False),
    ],
)
def test_a_commit_that_failed_at_the_disk_may_be_found_done_after_a_crash_and_one_without_room_may_not(
    errorcode: int, may_have_happened: bool, tmp_path: Path
) -> None:
    async def scene() -> None:
        store = SqliteLinkStore(tmp_path / "links.db")
        lane: Any = store._file._writer
        healthy, lane._db = lane._db, FailingCommit(lane._db, errorcode)
        try:
            with pytest.raises(StoreError) as failed:
                await store.insert_if_absent(link("first"))
            assert failed.value.may_have_happened is may_have_happened
            assert await store.get("first") is None, "for those who live on, it has not happened"
            lane._db = healthy
            assert await store.insert_if_absent(link("second")) is None
            assert await store.get("second") == link("second")
        finally:
            lane._db = healthy
            await store.close()

    asyncio.run(scene())
