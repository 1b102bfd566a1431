"""Soaks: what they turn, how a check's end is read, and that one that hangs is ended."""

from __future__ import annotations

import importlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from designs.building_blocks.knobs import build, knob_table
from tests.loadtests.sample_check import sample_check
from tests.workbench.bounded_wait import alive, wait_until
from workbench import soak
from workbench.catalogue import DESIGNS, Design, design_named
from workbench.soak import Soaked, Soaking, check_words, drawn_knobs, line_of, read_outcome, soak_command, worst_exit
from workbench.spawner import spawn

BIG = {"clicks=kafka", "store=cassandra"}


def swarm(design: str) -> Any:
    """What its soaks turn."""
    return importlib.import_module(f"loadtests.{design}.swarm")


@pytest.mark.parametrize("design", DESIGNS)
def test_every_knob_is_turned_by_a_soak_or_left_alone_for_a_reason(design: str) -> None:
    knobs, varied, left_out = DESIGNS[design].processes().KNOBS, swarm(design).VARIED, swarm(design).LEFT_OUT
    assert {*varied, *swarm(design).LEFT_ALONE} == set(knobs.model_fields)
    assert not set(varied) & set(swarm(design).LEFT_ALONE)
    for row in knob_table(knobs):
        if row.closed and row.name in varied:
            assert {*varied[row.name], *left_out.get(row.name, ())} == set(row.choices), row.name
            assert not set(varied[row.name]) & set(left_out.get(row.name, ())), row.name


@pytest.mark.parametrize("design", DESIGNS)
def test_what_a_soak_draws_is_always_possible_and_turns_everything_sooner_or_later(design: str) -> None:
    knobs, varied = DESIGNS[design].processes().KNOBS, swarm(design).VARIED
    drawn = [drawn_knobs(knobs, varied, seed) for seed in range(500)]
    for turned in drawn:
        build(knobs, turned)
    seen = {(name, value) for turned in drawn for name, value in turned.items()}
    assert seen == {(name, value) for name, values in varied.items() for value in values}


def test_the_same_number_draws_the_same_check() -> None:
    design = design_named("url_shortener")
    assert check_words(design, 17, 5.0) == check_words(design, 17, 5.0)
    assert check_words(design, 17, 5.0) != check_words(design, 18, 5.0)
    assert check_words(design, 17, 5.0)[-6:] == ["--faults", "random", "--seed", "17", "--minutes", "0.0833333"]


def test_a_soak_needs_no_server_that_is_not_given() -> None:
    design, everything = design_named("url_shortener"), {"KAFKA_BOOTSTRAP": "127.0.0.1:9094", "CASSANDRA_HOSTS": "127.0.0.1:9042"}
    for environ, there in (({}, set()), ({"KAFKA_BOOTSTRAP": "127.0.0.1:9094"}, {"clicks=kafka"}), (everything, {*BIG})):
        words = {word for seed in range(200) for word in check_words(design, seed, 5.0, environ)}
        assert words & BIG == there


def test_the_outcome_of_a_check_is_read_from_its_record(tmp_path: Path) -> None:
    (tmp_path / "check.json").write_text(sample_check().model_dump_json())
    assert read_outcome(tmp_path) == ("valid", "")
    (tmp_path / "check.json").write_text(sample_check(broken=True).model_dump_json())
    outcome, why = read_outcome(tmp_path)
    assert outcome == "invalid"
    assert next(check.name for check in sample_check(broken=True).checks if check.verdict == "invalid") in why


def test_a_check_without_a_record_failed_and_its_log_says_why(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) == ("failed", "it said nothing")
    (tmp_path / "log").write_text("starting\ndesigns: replica-1 ended with exit code 1\n")
    assert read_outcome(tmp_path) == ("failed", "designs: replica-1 ended with exit code 1")


def test_one_bad_check_decides_the_exit_code() -> None:
    def ended(*outcomes: str) -> list[Soaked]:
        return [Soaked(1, outcome, 1.0, "", "") for outcome in outcomes]  # type: ignore[arg-type]

    assert worst_exit(ended("valid", "valid")) == 0
    assert worst_exit(ended("valid", "unknown")) == 2
    assert worst_exit(ended("unknown", "invalid")) == 1
    assert worst_exit(ended("valid", "hang")) == 1
    assert line_of(Soaked(3, "invalid", 12.34, "a link was lost", ""), 2, 9) == (
        "   2 of 9  seed     3   12.3 s  invalid: a link was lost"
    )


PROGRAMS = {
    1: "import os, pathlib; pathlib.Path(os.environ['TMPDIR'], 'left behind').touch()",
    2: "import time; time.sleep(60)",
}


def test_a_soak_ends_what_hangs_keeps_what_is_not_valid_and_leaves_no_temporary_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratches: list[Path] = []
    pids: list[int] = []

    def started(design: Design, seed: int, seconds: float, folder: Path) -> Soaking:
        own, scratch = folder / str(seed), tmp_path / f"scratch-{seed}"
        for each in (own, scratch):
            each.mkdir(parents=True)
        if seed == 1:
            (own / "check.json").write_text(sample_check().model_dump_json())
        argv: Sequence[str] = [sys.executable, "-S", "-c", PROGRAMS[seed]]
        process = spawn(argv, {"TMPDIR": str(scratch)}, own / "log", signal.SIGTERM)
        scratches.append(scratch)
        pids.append(process.pid)
        return Soaking(seed, ["check", "url_shortener", "--seed", str(seed)], own, scratch, process, time.monotonic())

    monkeypatch.setattr(soak, "start", started)
    monkeypatch.setattr(soak, "HANG_S", 1.0)
    out = tmp_path / "kept"
    code = soak_command(design_named("url_shortener"), schedules=2, seconds=0.0, seed=1, parallel=2, out_dir=out)
    said = capsys.readouterr().out
    assert code == 1
    assert "1 valid and 1 hang" in said
    assert "designs check url_shortener --seed 2" in said
    assert [path.name for path in out.iterdir()] == ["2"]
    assert not any(scratch.exists() for scratch in scratches)
    wait_until(lambda: not any(map(alive, pids)), "both checks are over")
