"""What a run of the museum says: as it must be only if the bad variant is caught for its flaw and the right one is valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loadtests.check.record import CheckRecord
from loadtests.result import SafetyCheck
from tests.loadtests.sample_check import calm_check
from workbench.museum import run
from workbench.museum.exhibit import exhibits
from workbench.museum.run import Showing, lines_of, museum_command

FLAW = next(iter(exhibits().values()))


def found(name: str, verdict: str) -> SafetyCheck:
    witness = ["1.0 s create u -> code", "1.2 s create v -> code"] if verdict == "invalid" else []
    return SafetyCheck.model_validate({"name": name, "verdict": verdict, "counts": {"bad": 2, "none": 0}, "witness": witness})


def record(*checks: SafetyCheck) -> CheckRecord:
    verdicts = [check.verdict for check in checks]
    worst = next((verdict for verdict in ("invalid", "unknown") if verdict in verdicts), "valid")
    return calm_check().model_copy(update={"verdict": worst, "checks": list(checks)})


def showing(bad: Sequence[SafetyCheck], right: Sequence[SafetyCheck]) -> Showing:
    return Showing(FLAW, record(*bad), record(*right), 7.4)


def test_a_flaw_that_is_caught_beside_a_valid_variant_is_as_it_must_be() -> None:
    shown = showing([found(FLAW.flagged_by, "invalid")], [found(FLAW.flagged_by, "valid")])
    assert shown.as_it_must_be
    assert lines_of(shown) == [
        f"{FLAW.name}  bad: invalid, {FLAW.flagged_by} (bad 2); right: valid; 7 s",
        "    1.0 s create u -> code",
        "    1.2 s create v -> code",
    ]


def test_a_flaw_that_is_caught_for_something_else_is_not() -> None:
    shown = showing([found("another promise", "invalid")], [found(FLAW.flagged_by, "valid")])
    assert not shown.as_it_must_be
    assert lines_of(shown)[0].startswith(f"{FLAW.name}  bad: invalid, not found: {FLAW.flagged_by}; found: another promise;")


@pytest.mark.parametrize("verdict", ["invalid", "unknown"])
def test_a_right_variant_that_is_not_valid_is_told_with_its_reason(verdict: str) -> None:
    shown = showing([found(FLAW.flagged_by, "invalid")], [found("another promise", verdict)])
    assert not shown.as_it_must_be
    assert any(line.startswith(f"    right, {verdict}: another promise") for line in lines_of(shown))


def test_one_exhibit_that_is_not_as_it_must_be_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = showing([found(FLAW.flagged_by, "invalid")], [found(FLAW.flagged_by, "valid")])
    monkeypatch.setattr(run, "show", lambda exhibit, folder: replace(good, exhibit=exhibit))
    assert museum_command(True, ["hash_prefix"]) == 0
    assert capsys.readouterr().err == "1 of 1 as they must be, in 0 s\n"
    missed = showing([], [found(FLAW.flagged_by, "valid")])
    monkeypatch.setattr(run, "show", lambda exhibit, folder: missed)
    assert museum_command(True, ["hash_prefix"]) == 1


def test_the_list_has_a_line_for_each_exhibit(capsys: pytest.CaptureFixture[str]) -> None:
    assert museum_command(False, []) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == [*exhibits()]
    assert {len(row) for row in rows} == {5}
