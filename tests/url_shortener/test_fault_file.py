"""The fault file of a replica: every wall clock it decides by goes wrong together, and without the file nothing is wrapped."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from designs.building_blocks.fault_hooks import FaultHooks, write_fault_file
from designs.building_blocks.id_generation import Snowflake, decode_base62
from designs.url_shortener.worker import create_worker_app
from tests.url_shortener.replicas import Clock, knobs, running_replica, settings

DAY = dt.timedelta(days=1)
NOW = dt.datetime(2027, 1, 15, 12, tzinfo=dt.UTC)


class TickingClock(Clock):
    """A millisecond passes with each look: a source of ids waits for the next one."""

    def __call__(self) -> int:
        self.pass_s(0.001)
        return self.now_us


def test_links_ids_and_clicks_are_dated_by_a_clock_that_is_a_day_ahead(tmp_path: Path) -> None:
    file = tmp_path / "faults"
    write_fault_file(file, clock_offset_us=DAY // dt.timedelta(microseconds=1))

    async def story() -> None:
        turned = knobs(store="sqlite", cache="none", clicks="sync", ids="snowflake")
        clock = TickingClock(round(NOW.timestamp() * 1e6))
        async with running_replica(turned, tmp_path, clock, fault_file=file) as replica:
            made = await replica.create()
            assert dt.datetime.fromisoformat(made["created_at"]).date() == (NOW + DAY).date()
            id_ms = (decode_base62(made["code"]) >> Snowflake.WORKER_BITS + Snowflake.SEQUENCE_BITS) + Snowflake.EPOCH_MS
            assert dt.datetime.fromtimestamp(id_ms / 1000, dt.UTC).date() == (NOW + DAY).date()
            assert (await replica.visit(made["code"])).status_code == 302
            assert (await replica.stats(made["code"]))["by_day"] == {(NOW + DAY).date().isoformat(): 1}
            write_fault_file(file, clock_offset_us=0)
            refused = await replica.post({"url": "https://example.org"})
            assert refused.status_code == 503, "the clock has gone back by a day, so an id made now could repeat one"

    asyncio.run(story())


def test_without_a_fault_file_nothing_is_hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FaultHooks, "__init__")
    monkeypatch.delattr(FaultHooks, "slowed")

    async def story() -> None:
        clock = Clock()
        async with running_replica(knobs(cache="none", clicks="sync"), tmp_path, clock) as replica:
            await replica.create()
            assert replica.parts.clock_us is clock

    asyncio.run(story())


def test_a_fault_file_that_is_not_there_is_refused_when_a_process_starts(tmp_path: Path) -> None:
    astray = settings(tmp_path, redis_url="redis://127.0.0.1:1/0", fault_file=tmp_path / "absent")
    with pytest.raises(ValueError, match="absent is no fault file"):
        create_worker_app(knobs(), astray)
