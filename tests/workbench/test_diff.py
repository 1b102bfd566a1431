"""`designs diff`: what it reads, what it prints, and how it says no."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadtests.result import Result
from tests.loadtests.sample_result import sample_result
from workbench.cli import app

run = CliRunner().invoke


def kept(folder: Path, result: Result) -> str:
    folder.mkdir()
    (folder / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
    return str(folder)


def test_two_runs_of_one_experiment_are_compared_by_folder_or_by_file(tmp_path: Path) -> None:
    before = kept(tmp_path / "before", sample_result())
    after = kept(tmp_path / "after", sample_result())
    answer = run(app, ["diff", before, f"{after}/result.json"])
    assert answer.exit_code == 0
    assert answer.stdout.startswith("CPU per request, all processes, 10 and 10 blocks. cache=aside: the verdicts agree.")
    rows = [line.split("\t") for line in answer.stdout.splitlines() if "\t" in line]
    assert {len(row) for row in rows} == {6}
    assert "not paired" in answer.stdout


def test_machines_read_every_number(tmp_path: Path) -> None:
    before = kept(tmp_path / "before", sample_result())
    answer = run(app, ["diff", before, before, "--json"])
    told = json.loads(answer.stdout)
    assert answer.exit_code == 0
    assert told["comparable"] is True
    assert {row["agreement"] for row in told["ratios"]} == {"agree"}
    assert {row["variant"] for row in told["figures"]} == {"cache=none", "cache=aside"}


def test_runs_that_are_not_comparable_are_refused_in_one_sentence_with_every_reason(tmp_path: Path) -> None:
    before = kept(tmp_path / "before", sample_result())
    unsafe = sample_result(("cache=none", "cache=off"), unsafe=True)
    after = kept(tmp_path / "after", unsafe.model_copy(update={"schema_version": 1}))
    answer = run(app, ["diff", before, after])
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert len(answer.stderr.splitlines()) == 1
    for reason in ("schema 1", "what is compared differs", "not safe"):
        assert reason in answer.stderr
    machine = run(app, ["diff", before, after, "--json"])
    assert machine.exit_code == 2
    assert len(json.loads(machine.stdout)["reasons"]) == 3


def test_a_record_without_blocks_is_compared_by_its_paired_ratios(tmp_path: Path) -> None:
    before = kept(tmp_path / "before", sample_result())
    after = kept(tmp_path / "after", sample_result().model_copy(update={"blocks": []}))
    answer = run(app, ["diff", before, after])
    assert answer.exit_code == 0
    assert "keeps no blocks" in answer.stdout
    assert "no blocks\tagree" in answer.stdout


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no record of a run"),
        ("", "no record of a comparison"),
        ("[1]", "no record of a comparison"),
        ('{"schema_version": 9}', "it is schema 9, this version reads 2"),
    ],
)
def test_what_is_no_run_is_said_in_one_sentence(tmp_path: Path, text: str | None, reason: str) -> None:
    good = kept(tmp_path / "good", sample_result())
    bad = tmp_path / "bad"
    bad.mkdir()
    if text is not None:
        (bad / "result.json").write_text(text, encoding="utf-8")
    answer = run(app, ["diff", good, str(bad)])
    assert answer.exit_code == 2
    assert reason in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
