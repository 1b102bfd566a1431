"""`designs claims`: runs are measured, recorded and judged one by one, and none stops the others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from designs.building_blocks.claims import Bench, Claim, Run, more
from tests.workbench.recorded_claims import (
    CHEAPER,
    DEARER,
    DESIGN,
    GROWTH,
    RUN,
    SAFE,
    SMALL,
    record_growth,
    record_run,
    result_of,
    with_comparison,
)
from workbench.catalogue import Design
from workbench.claims import NoClaims, runs_of
from workbench.remeasure import about_s, chosen_runs, claims_command, command_of

CLAIMS = (CHEAPER, SAFE, SMALL)


class Machine:
    """Stands for the measuring: records at once what a run might have found, unless it is told to fail."""

    def __init__(self, folder: Path, failing: Sequence[str] = (), interrupted: Sequence[str] = ()) -> None:
        self.folder, self.failing, self.interrupted = folder, failing, interrupted
        self.measured: list[str] = []

    def __call__(self, design: Design, run: Run | Bench) -> int:
        assert design == DESIGN
        if run.name in self.interrupted:
            raise KeyboardInterrupt
        if run.name in self.failing:
            raise ValueError("the store is on fire")
        self.measured.append(run.name)
        if isinstance(run, Bench):
            record_growth(self.folder)
        else:
            record_run(self.folder, result_of(run))
        return 0


def run_claims(machine: Machine, names: Sequence[str] = (), claims: Sequence[Claim] = CLAIMS, check: bool = False) -> int:
    return claims_command(DESIGN, names, folder=machine.folder, claims=claims, measure=machine, check=check)


def test_all_runs_are_measured_recorded_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path)
    assert run_claims(machine) == 0
    assert machine.measured == ["cache.redirects", "bench-growth"]
    told = capsys.readouterr()
    assert "2 runs of url_shortener, about " in told.out
    assert "  holds         A cache saves CPU\n                cache=aside uses 39 % less CPU per request [38, 40]\n" in told.out
    assert told.out.endswith("\n3 claims: 3 hold\n")
    assert told.err == ""


def test_only_the_runs_that_were_named_are_measured_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path)
    assert run_claims(machine, ["cache"]) == 0
    assert machine.measured == ["cache.redirects"]
    assert capsys.readouterr().out.endswith("\n2 claims: 2 hold\n")
    with pytest.raises(NoClaims, match=r"no run 'tea'; the runs are cache\.redirects, bench-growth"):
        run_claims(machine, ["tea"])


@pytest.mark.parametrize("wanted", ["cache.redirects", "cache"])
def test_a_run_is_named_by_its_record_or_by_its_knob(wanted: str) -> None:
    runs = runs_of(CLAIMS)
    assert chosen_runs(DESIGN, runs, [wanted]) == {"cache.redirects": RUN}
    assert chosen_runs(DESIGN, runs, []) == {"cache.redirects": RUN, "bench-growth": GROWTH}


def test_a_run_that_fails_does_not_stop_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path, failing=["cache.redirects"])
    assert run_claims(machine) == 1
    assert machine.measured == ["bench-growth"]
    told = capsys.readouterr()
    assert "the store is on fire" in told.err
    assert "designs: cache.redirects failed; nothing of it was recorded" in told.err
    assert told.out.endswith("\n3 claims: 1 hold, 2 not measured\n")


def test_an_earlier_record_does_not_hide_that_the_run_failed_now(tmp_path: Path) -> None:
    assert run_claims(Machine(tmp_path)) == 0
    assert run_claims(Machine(tmp_path, failing=["cache.redirects"])) == 1


def test_whoever_ends_it_keeps_what_is_recorded_and_is_told_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path, interrupted=["bench-growth"])
    with pytest.raises(KeyboardInterrupt):
        run_claims(machine)
    assert [path.stem for path in tmp_path.iterdir()] == ["cache.redirects"]
    assert "1 of 2 runs are recorded; go on with: designs claims url_shortener bench-growth" in capsys.readouterr().err


def test_a_check_measures_nothing_and_judges_what_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path)
    assert run_claims(machine, check=True) == 1
    assert machine.measured == []
    run_claims(machine)
    assert run_claims(machine, check=True) == 0
    (tmp_path / "cache.tea.json").write_text("{}")
    capsys.readouterr()
    assert run_claims(machine, check=True) == 1
    assert capsys.readouterr().err == "designs: cache.tea: recorded, and no claim speaks of it\n"


def test_a_contradicted_claim_is_exit_code_1_and_an_unsettled_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_claims(Machine(tmp_path), claims=(DEARER,)) == 1
    assert "  contradicted  A cache costs CPU\n" in capsys.readouterr().out
    result = result_of()
    wide = result.comparisons[0][0].ratio
    assert wide is not None
    open_question = with_comparison(result, ratio=wide.model_copy(update={"low": 0.8, "high": 1.3}), verdict="inconclusive")
    record_run(tmp_path, open_question)
    assert run_claims(Machine(tmp_path), claims=(DEARER,), check=True) == 0
    assert "  unsettled     A cache costs CPU\n" in capsys.readouterr().out


def test_the_list_says_what_is_expected_and_what_would_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path)
    claims = (CHEAPER, SMALL, replace(DEARER, expects=more(0.5)))
    assert claims_command(DESIGN, folder=tmp_path, claims=claims, measure=machine, listing=True) == 0
    assert machine.measured == []
    compare = "designs compare url_shortener cache none aside --mix redirects --rate 300 --blocks 10 --round-s 2 --record"
    assert capsys.readouterr().out.splitlines() == [
        f"cache.redirects  {compare}",
        "  A cache saves CPU (aside cpu_us_per_request: at least 20 % less)",
        "  A cache costs CPU (aside cpu_us_per_request: at least 50 % more)",
        "bench-growth  designs bench growth --record",
        "  It stays small (it stays small: requirement met)",
    ]


def test_a_command_names_the_knobs_that_all_sides_share() -> None:
    run = Run("stampede", ("none", "lease"), "expiring", assignments=("cache=aside",), blocks=6)
    assert command_of(DESIGN, run) == (
        "designs compare url_shortener stampede none lease --mix expiring --blocks 6 --round-s 1 --set cache=aside --record"
    )


def test_the_time_of_a_run_grows_with_its_blocks_and_its_variants() -> None:
    assert about_s(replace(RUN, blocks=20)) == 2 * about_s(RUN)
    assert about_s(replace(RUN, values=("none", "aside", "write-through"))) > about_s(RUN)
    assert about_s(GROWTH) == GROWTH.about_s
