"""What leases spare, waste and let through is counted on the limiter's own code, and the same each time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from designs.rate_limiter.limits import Limit
from workbench import lease_bench
from workbench.lease_bench import LIMIT, REPLICAS, Found, leases_command, rate_over_a_lease, saved, steady, verdicts


def test_a_lease_of_one_is_none() -> None:
    assert asyncio.run(steady(1, requests=500)) == (500, 500, 0)
    assert asyncio.run(saved(1)) == 0


def test_the_same_is_counted_each_time() -> None:
    assert asyncio.run(steady(10, requests=500)) == asyncio.run(steady(10, requests=500))


def test_what_was_saved_up_is_what_all_replicas_hold() -> None:
    assert asyncio.run(saved(10)) == REPLICAS * (10 - 1)  # one of each block was spent when it was fetched


def test_what_was_saved_up_is_no_more_than_what_came_back_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_bench, "LIMIT", Limit("gcra", 5, LIMIT.period_us, LIMIT.burst))
    assert asyncio.run(saved(10)) <= rate_over_a_lease() == 5


def test_a_lease_that_lets_too_much_through_and_one_that_refuses_somebody_are_missed() -> None:
    found = {size: Found(size, 10_000 // size, lease_bench.REQUESTS, 0, 0) for size in lease_bench.SIZES}
    found[100] = Found(100, 20_000, lease_bench.REQUESTS - 9, 0, 0)
    assert [each.partition(":")[0] for each in verdicts(found)] == ["met"] * 4
    found[5] = Found(5, 2_000, lease_bench.REQUESTS - 1, 0, REPLICAS * 5 + 1)
    found[10] = Found(10, 9_000, lease_bench.REQUESTS, 0, 0)
    said = verdicts(found)
    assert [each.partition(":")[0] for each in said] == ["MISSED", "MISSED", "MISSED", "met"]
    assert said[0].endswith(": 5: 21")
    assert said[2].endswith(": 5")


def test_the_bench_is_recorded_with_a_row_for_each_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workbench.measurements.records_of", lambda design: tmp_path)
    monkeypatch.setattr(lease_bench, "REQUESTS", 1_000)
    leases_command(record=True)
    text = (tmp_path / "bench-leases.json").read_text()
    assert all(f'"{size}"' in text for size in lease_bench.SIZES)
    assert "no lease lets more through" in capsys.readouterr().out
