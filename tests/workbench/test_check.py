"""`designs check`, end to end: a design that really runs, faults that really strike, and a verdict that its file gives again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from designs.building_blocks.knobs import parse_assignments
from designs.url_shortener.knobs import ShortenerKnobs
from loadtests.check.record import CheckRecord
from loadtests.history.operation import Struck
from loadtests.history.recorded import read_history
from workbench.catalogue import design_named
from workbench.check import command_line, replicas_for, with_mix
from workbench.cli import app
from workbench.cli_faults import complete_schedules
from workbench.cli_words import ExitCode
from workbench.comparison import chosen_mix, workload_of

FAULTS = "redis_black_hole,worker_kill_loop"


def designs(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """One check of 3 s, read by several tests."""
    folder = tmp_path_factory.mktemp("check")
    return designs("check", "url_shortener", "--faults", FAULTS, "--seed", "7", "--minutes", "0.05", "--out", str(folder)), folder


def test_the_design_is_valid_while_redis_is_a_black_hole_and_its_worker_is_killed(checked: tuple[Result, Path]) -> None:
    shown, folder = checked
    record = CheckRecord.model_validate_json((folder / "check.json").read_text())
    assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.output
    assert [check for check in record.checks if check.verdict != "valid"] == []
    assert (record.verdict, shown.exit_code) == ("valid", 0)
    assert "VALID" in shown.stdout


def test_every_fault_of_the_plan_struck_and_is_a_band_of_the_record_and_a_line_of_the_history(
    checked: tuple[Result, Path],
) -> None:
    shown, folder = checked
    record = CheckRecord.model_validate_json((folder / "check.json").read_text())
    planned = [line.split("\t")[2] for line in shown.stdout.splitlines() if line.count("\t") == 3]
    assert planned
    bands = Counter(band.name for band in record.bands)
    # A process that is not up again yet when it is to be struck once more is left alone.
    assert bands <= Counter(planned)
    assert bands.keys() == set(planned)
    assert all(0 < band.start_s < band.end_s < record.seconds + 30 for band in record.bands)
    _, items = read_history(folder / record.history)
    assert [item.detail for item in items if isinstance(item, Struck)] == [band.name for band in record.bands]


def test_the_record_shows_the_load_the_processes_and_the_failure_policy(checked: tuple[Result, Path]) -> None:
    record = CheckRecord.model_validate_json((checked[1] / "check.json").read_text())
    assert sum(each.requests for each in record.slices) > 300
    assert {state.node for state in record.states} == {"replica-1", "replica-2", "click-worker"}
    assert {"gone", "ready"} <= {state.state for state in record.states}
    figures = {figure.name: figure for figure in record.policy}
    assert figures["redirect p99 under redis_black_hole"].bound == 100
    assert (figures["breakers opened"].value or 0) >= 1
    assert (figures["degraded under redis_black_hole"].value or 0) >= 1
    assert record.command.startswith(f"designs check url_shortener --faults {FAULTS} --seed 7 --minutes 0.05 --replicas 2")


def test_the_history_alone_gives_the_same_verdicts(checked: tuple[Result, Path]) -> None:
    _, folder = checked
    record = CheckRecord.model_validate_json((folder / "check.json").read_text())
    again = designs("check", "--history", str(folder / record.history))
    assert again.exit_code == 0
    for check in record.checks:
        counts = ", ".join(f"{name} {count}" for name, count in check.counts.items())
        assert f"{check.verdict}     {check.name} ({counts})" in again.stdout


def test_the_folder_holds_the_history_the_record_and_a_page(checked: tuple[Result, Path]) -> None:
    _, folder = checked
    assert sorted(path.name for path in folder.iterdir()) == ["check.json", "history.jsonl", "index.html"]
    assert "Redis answers nothing" in (folder / "index.html").read_text()


def test_a_link_that_leads_elsewhere_in_the_history_is_invalid_with_its_witness(
    checked: tuple[Result, Path], tmp_path: Path
) -> None:
    lines = (checked[1] / "history.jsonl").read_text().splitlines()
    place, event = next(
        (place, event)
        for place, event in enumerate(map(json.loads, lines))
        if event.get("f") == "visit" and event.get("type") == "ok" and "url" in json.dumps(event.get("value"))
    )
    lines[place] = lines[place].replace("https://", "https://elsewhere.")
    forged = tmp_path / "forged.jsonl"
    forged.write_text("\n".join(lines) + "\n")
    shown = designs("check", "--history", str(forged))
    assert shown.exit_code == ExitCode.INVALID
    assert "INVALID" in shown.stdout.splitlines()[0]
    assert event["key"] in shown.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["url_shortener", "--faults", "earthquake"], "there is no schedule 'earthquake'; there is "),
        (["url_shortener", "--faults", "./none.toml"], "./none.toml can't be read: no such file or directory"),
        (["url_shortener", "--mix", "storm"], "there is no mix 'storm'"),
        (["url_shortener", "cache=shiny"], "cache=shiny: Input should be"),
        (["url_shortener", "--history", "x"], "a history names its design itself; leave out DESIGN or --history"),
        (["--history", "none.jsonl"], "none.jsonl can't be read: no such file or directory"),
        ([], "name a design, or a history to judge again: designs check --history FILE"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence_and_exit_code_2(words: list[str], sentence: str) -> None:
    shown = designs("check", *words)
    assert (shown.exit_code, shown.stdout) == (ExitCode.USAGE, "")
    assert sentence in shown.stderr


def test_a_file_that_is_no_history_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("not a history\n")
    shown = designs("check", "--history", str(file))
    assert shown.exit_code == ExitCode.USAGE
    assert "line 1" in shown.stderr


def test_the_mixs_knobs_stand_unless_they_were_turned_on_purpose() -> None:
    design = design_named("url_shortener")
    workload = workload_of(design)
    mix = chosen_mix(workload, "", workload.check_mix)
    name, value = next((name, value) for name, value in mix.knobs.items() if name == "cache_ttl_s")
    assert getattr(with_mix(design, mix, ShortenerKnobs()), name) == float(value)
    assert getattr(with_mix(design, mix, parse_assignments(ShortenerKnobs, [f"{name}=77"])), name) == 77


def test_the_command_of_a_record_repeats_what_was_turned_and_no_more() -> None:
    design = design_named("url_shortener")
    workload = workload_of(design)
    mix = chosen_mix(workload, "", workload.check_mix)
    knobs = with_mix(design, mix, parse_assignments(ShortenerKnobs, ["cache=none"]))
    said = command_line(design, mix, knobs, names=["random"], seed=3, seconds=5.0, replicas=2, rate_per_s=200)
    assert said == (
        "designs check url_shortener cache=none --faults random --seed 3 --minutes 0.0833333 --replicas 2 --rate 200 "
        f"--mix {mix.name}"
    )


def test_a_store_inside_one_process_has_one_replica() -> None:
    assert replicas_for(ShortenerKnobs()) == 2
    assert replicas_for(ShortenerKnobs(store="memory")) == 1


def test_the_names_of_schedules_complete_one_after_the_other() -> None:
    assert "redis_black_hole" in complete_schedules("redis_b")
    assert complete_schedules("slow_store,worker_k") == ["slow_store,worker_kill_loop"]
    listed = [line.split("\t")[0] for line in designs("faults").stdout.splitlines()]
    assert {*FAULTS.split(","), "random"} <= set(listed)
