"""Limits in a file: the contract, the answers of the reference, and several processes that share it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given

from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.backends.sqlite import SqliteLimitStore
from designs.rate_limiter.limits import ALGORITHM_NAMES
from designs.rate_limiter.ports import StoreError
from tests.rate_limiter import racer
from tests.rate_limiter.limit_store_contract import (
    EITHER_WAY,
    FORWARD,
    LEASE_US,
    LIMIT_STORE_CONTRACT,
    Step,
    StoreClock,
    demand,
    one_of_each,
    remaining,
    replayed,
    slot,
)
from tests.rate_limiter.traces import THOROUGH

HOUR_US = 3_600 * 1_000_000


@pytest.mark.parametrize("promise", LIMIT_STORE_CONTRACT)
def test_sqlite_keeps_the_promise(promise: str, tmp_path: Path) -> None:
    async def scene() -> None:
        clock = StoreClock()
        store = SqliteLimitStore(tmp_path / "limits.db", clock)
        try:
            await LIMIT_STORE_CONTRACT[promise](store, clock)
        finally:
            await store.close()

    asyncio.run(scene())


@THOROUGH
@given(EITHER_WAY | FORWARD)
def test_sqlite_answers_every_history_as_memory_does_with_a_clock_that_never_goes_back(history: Sequence[Step]) -> None:
    """The file's time stands still where the clock goes back, if something was taken at the later time: so does the model's."""

    async def scene(folder: Path) -> None:
        clock, forward, latest_us = StoreClock(), list[Step](), StoreClock().us
        now_us = latest_us
        for wait_us, verb, arguments in history:
            now_us += wait_us
            forward.append((max(0, now_us - latest_us), verb, arguments))
            latest_us = max(latest_us, now_us)
        store = SqliteLimitStore(folder / "limits.db", clock)
        try:
            await store.take([demand(item="the first of this file")])
            answers = await replayed(store, clock, forward)
        finally:
            await store.close()
        model_clock = StoreClock()
        assert answers == await replayed(MemoryLimitStore(model_clock), model_clock, forward)

    with TemporaryDirectory() as folder:
        asyncio.run(scene(Path(folder)))


def test_a_clock_that_goes_back_stands_still_for_every_process_of_the_file(tmp_path: Path) -> None:
    async def scene() -> None:
        right, behind = StoreClock(), StoreClock()
        behind.us -= HOUR_US
        one, other = SqliteLimitStore(tmp_path / "limits.db", right), SqliteLimitStore(tmp_path / "limits.db", behind)
        for each in one_of_each():
            await one.take([replace(each, cost=5)])
            said_here, said_there = await one.take([each]), await other.take([each])
            assert said_here == said_there
            assert not said_there.allowed
        await one.close()
        await other.close()

    asyncio.run(scene())


def test_eight_processes_that_race_for_a_key_are_admitted_the_limit_exactly(tmp_path: Path) -> None:
    total = racer.raced("sqlite", str(tmp_path / "limits.db"), "frozen", processes=8)
    assert total == dict.fromkeys([*ALGORITHM_NAMES, "slots"], racer.FROZEN_LIMIT)


def test_what_was_admitted_is_known_to_the_next_process_and_needs_no_sync(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = StoreClock()
        store = SqliteLimitStore(tmp_path / "limits.db", clock)
        await store.take([replace(each, cost=3) for each in one_of_each()])
        # Not closed: another process opens the same file, as after a kill.
        reborn = SqliteLimitStore(tmp_path / "limits.db", clock)
        assert await remaining(reborn, one_of_each()) == [2] * len(ALGORITHM_NAMES)
        assert store._file.syncs == 0
        await reborn.close()
        await store.close()

    asyncio.run(scene())


def test_what_is_over_is_swept_by_those_who_come_so_that_the_file_holds_the_living(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = StoreClock()
        store = SqliteLimitStore(tmp_path / "limits.db", clock)
        lasting = demand(item="lasting", period_us=10**13)
        await store.take([replace(lasting, cost=5)])
        await asyncio.gather(*(store.take([demand(item=f"old-{number}")]) for number in range(400)))
        await asyncio.gather(*(store.acquire([slot(f"old-{number}")], "token") for number in range(400)))
        clock.us += max(LEASE_US, 12_000_000)
        for number in range(110):
            await store.take([demand(item=f"new-{number}")])
            await store.acquire([slot(f"new-{number}")], "token")
        assert not (await store.take([lasting])).allowed
        await store.close()
        with closing(sqlite3.connect(tmp_path / "limits.db")) as db:
            assert db.execute("SELECT count(*) FROM counters").fetchone()[0] == 111
            assert db.execute("SELECT count(*) FROM leases").fetchone()[0] == 110

    asyncio.run(scene())


def test_a_sketch_keeps_two_windows_and_no_more(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = StoreClock()
        store = SqliteLimitStore(tmp_path / "limits.db", clock)
        for _ in range(5):
            for number in range(20):
                await store.take([demand("sketch", item=f"u{number}")])
            clock.us += 60_000_000
        await store.close()
        with closing(sqlite3.connect(tmp_path / "limits.db")) as db:
            assert db.execute("SELECT count(DISTINCT start_us), count(*) <= 160 FROM cells").fetchone() == (2, 1)

    asyncio.run(scene())


def test_an_error_of_sqlite_is_definite_and_the_ports_own(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = StoreClock()
        store = SqliteLimitStore(tmp_path / "limits.db", clock)
        with closing(sqlite3.connect(tmp_path / "limits.db")) as db:
            db.execute("DROP TABLE counters")
        for call in (store.take([demand()]), store.peek([demand()]), store.give_back([demand()]), store.reset([demand()])):
            with pytest.raises(StoreError) as caught:
                await call
            assert caught.value.may_have_happened is False
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.ping()

    asyncio.run(scene())
