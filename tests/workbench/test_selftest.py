"""The self-test: what it asks, and that it notices what does not come."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from loadtests.analysis.simulated_noise import Rates, one_after_the_other
from workbench import bench, selftest
from workbench.selftest import Asked, Check, around, bounds, checks, lines, simulated
from workbench.terminal import say


def test_bounds_read_as_words() -> None:
    assert bounds(0.93, 0.97) == "93 to 97 %"
    assert bounds(0.0, 0.0714) == "at most 7.1 %"
    assert bounds(0.25, 1.0) == "at least 25 %"
    assert bounds(1.0, 1.0) == "100 %"


def test_a_count_over_many_runs_may_be_off_by_less() -> None:
    few, many = around(0.05, 100), around(0.05, 10_000)

    assert few[0] < many[0] < 0.05 < many[1] < few[1]


def test_what_is_not_as_asked_is_seen() -> None:
    check = Check(
        "drift", checks()[0].noise, (1.0, 1.0), (Asked("said to differ", 0.0, 0.05, lambda rates: rates.share(rates.claimed)),)
    )

    assert lines([check], [Rates(runs=100, claimed=5)])[0] == ("said to differ", "drift", "100", "at most 5 %", "5.0 %", True)
    assert lines([check], [Rates(runs=100, claimed=6)])[0][-1] is False
    assert lines([check], [Rates(runs=100, too_noisy=50, claimed=3)])[0][-1] is False, "of those with a verdict"


def test_seeds_dealt_to_processes_are_counted_once_each() -> None:
    check = replace(checks(coverage_runs=300)[0], runs=300)
    (rates,) = simulated([check])

    assert rates.runs == 300
    assert all(line[-1] for line in lines([check], [rates]))


def test_a_bad_protocol_in_place_of_the_good_one_fails_the_self_test() -> None:
    honest = next(check for check in checks(alike_runs=200) if check.noise_name == "drift" and check.effects == (1.0, 1.0))
    (rates,) = simulated([replace(honest, protocol=one_after_the_other)])

    assert not any(line[-1] for line in lines([honest], [rates]))


def test_the_bench_runs_all_three_parts_and_fails_with_any(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stalls_shown = [0, 1]
    monkeypatch.setattr(selftest, "checks", list)
    monkeypatch.setitem(sys.modules, "workbench.generator_bench", SimpleNamespace(generator_command=lambda record: 0))
    demo = SimpleNamespace(coordinated_omission_command=lambda: stalls_shown.pop(0))
    monkeypatch.setitem(sys.modules, "workbench.coordinated_omission", demo)

    assert bench.bench_command("selftest") == 0
    assert bench.bench_command("selftest") == 1
    assert "0 of 0 checks came as asked" in capsys.readouterr().out


def test_a_machine_too_busy_for_the_generators_ceiling_still_shows_the_stall(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_busy(record: bool) -> int:
        raise bench.BenchFailed("some requests were not answered")

    def demo() -> int:
        say("the stall")
        return 0

    monkeypatch.setattr(selftest, "checks", list)
    monkeypatch.setitem(sys.modules, "workbench.generator_bench", SimpleNamespace(generator_command=too_busy))
    monkeypatch.setitem(sys.modules, "workbench.coordinated_omission", SimpleNamespace(coordinated_omission_command=demo))

    assert bench.bench_command("selftest") == 1
    out = capsys.readouterr().out
    assert "MISSED: some requests were not answered" in out
    assert "the stall" in out
