"""The bench of a silent Redis: it is silent indeed, each rule answers as it may then, and a late decision is missed."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from loadtests.workload import Exchange
from workbench import black_hole_bench
from workbench.bench import BenchFailed
from workbench.black_hole_bench import Found, Variant, black_hole_command, degraded, measured, verdict

THIRTY = Variant(30, "off")


def answered(op: str, status: int, *, without_store: bool) -> Exchange:
    body = orjson.dumps({"degraded": without_store})
    return Exchange(op, 0, 0, 0.0, 0.0, 0.0, 0.0, status, b"HTTP/1.1 %d x\r\n\r\n%b" % (status, body))


def found(silent_ms: float, *, late: int = 0, counted: int = 0, variant: Variant = THIRTY) -> Found:
    """2,000 decisions, of which so many were late, and so many counted by the store that says nothing."""
    return Found(variant, [1.0] * 2_000, sorted([silent_ms] * (2_000 - late) + [500.0] * late), 2_000 - counted)


def test_all_is_decided_without_a_store_that_says_nothing() -> None:
    counted = measured(Variant(250, "off"), seconds=1.0)  # time enough for a Redis that is well, however busy the machine
    assert len(counted.silent_ms) == len(counted.well_ms) == counted.degraded


@pytest.mark.parametrize(
    ("op", "status", "without_store"),
    [("local", 503, True), ("closed", 200, True), ("open", 503, True), ("closed", 503, False), ("local", 0, False)],
)
def test_an_answer_that_its_rule_may_not_give_ends_the_bench(op: str, status: int, without_store: bool) -> None:
    with pytest.raises(BenchFailed, match=f"{op} without the store was answered {status}"):
        degraded(answered(op, status, without_store=without_store))


@pytest.mark.parametrize(("op", "status"), [("local", 200), ("local", 429), ("open", 200), ("closed", 503)])
def test_an_answer_that_its_rule_may_give_is_counted(op: str, status: int) -> None:
    assert degraded(answered(op, status, without_store=True))


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (found(40.0), "met"),
        (found(40.1), "MISSED"),
        (found(35.0, late=20), "met"),
        (found(35.0, late=21), "MISSED"),
        (found(35.0, counted=1), "MISSED"),
    ],
    ids=["at the limit", "beyond it", "one in a hundred late", "one more", "one counted after all"],
)
def test_met_is_who_decides_all_without_the_store_and_99_of_100_in_time(seen: Found, says: str) -> None:
    assert verdict(seen).startswith(f"{says}: with a deadline of 30 ms and the breaker off")


def test_a_run_that_is_too_short_for_its_percentile_says_so() -> None:
    with pytest.raises(BenchFailed, match="too few for a p99"):
        verdict(Found(THIRTY, [1.0] * 50, [1.0] * 50, 50))


def test_the_bench_is_recorded_with_a_row_for_each_variant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workbench.measurements.records_of", lambda design: tmp_path)
    monkeypatch.setattr(black_hole_bench, "measured", lambda variant, seconds: found(35.0, variant=variant))
    black_hole_command(record=True)
    text = (tmp_path / "bench-black-hole.json").read_text()
    assert all(f'"{variant.deadline_ms} ms"' in text for variant in black_hole_bench.VARIANTS)
    assert "while Redis is silent: 35.0 ms, 2,000 of 2,000 without the store" in capsys.readouterr().out
