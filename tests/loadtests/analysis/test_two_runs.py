"""Two runs of one experiment: what moved, what the weather moved, and what can't be said."""

from __future__ import annotations

import pytest

from loadtests.analysis.two_runs import COMPACT, agreement, compare_runs, summary
from loadtests.result import Ratio, Result
from tests.loadtests.sample_result import PRIMARY, sample_result

FIRST = sample_result()
ASIDE = "cache=aside"


def slower(run: Result, by: float, only: str = "") -> Result:
    """The same run with CPU figures `by` times as large, of one variant or of all: a change, or a day of bad weather."""

    def figures(variant: str, own: dict[str, float]) -> dict[str, float]:
        hit = not only or variant == only
        return {name: value * by if hit and name.startswith("cpu_") else value for name, value in own.items()}

    blocks = [
        block.model_copy(update={"figures": {variant: figures(variant, own) for variant, own in block.figures.items()}})
        for block in run.blocks
    ]
    return run.model_copy(update={"blocks": blocks})


def test_a_run_against_itself_changed_nothing() -> None:
    diff = compare_runs(FIRST, FIRST)
    assert diff.comparable
    assert {change.agreement for change in diff.ratios} == {"agree"}
    assert {change.verdict for change in diff.figures} <= {"same", "inconclusive", "count"}
    assert "the verdicts agree" in summary(diff, FIRST, FIRST)


def test_bad_weather_moves_the_figures_and_leaves_the_paired_ratios() -> None:
    diff = compare_runs(FIRST, slower(FIRST, 1.4))
    cpu = {change.variant: change for change in diff.figures if change.figure == PRIMARY}
    assert [change.verdict for change in cpu.values()] == ["more", "more"]
    paired = next(change for change in diff.ratios if change.primary)
    assert paired.change is not None
    assert paired.change.estimate == pytest.approx(1.0)
    assert paired.change_verdict == "same"


def test_a_change_of_one_variant_moves_its_paired_ratio_by_as_much() -> None:
    diff = compare_runs(FIRST, slower(FIRST, 1.4, only=ASIDE))
    paired = next(change for change in diff.ratios if change.primary)
    assert paired.change is not None
    assert paired.change.estimate == pytest.approx(1.4)
    assert paired.change_verdict == "more"


def test_a_count_of_zero_has_no_ratio_and_a_count_of_nothing_is_left_out() -> None:
    def counting(run: Result, stale: float) -> Result:
        blocks = [
            block.model_copy(update={"figures": {v: {**own, "stale": stale, "lost": 0.0} for v, own in block.figures.items()}})
            for block in run.blocks
        ]
        return run.model_copy(update={"blocks": blocks})

    figures = compare_runs(counting(FIRST, 0.0), counting(FIRST, 2.0)).figures
    stale = next(change for change in figures if change.figure == "stale")
    assert (stale.ratio, stale.verdict, stale.second) == (None, "count", 2.0)
    assert "lost" not in {change.figure for change in figures}


def test_records_without_blocks_compare_only_what_they_keep() -> None:
    diff = compare_runs(FIRST.model_copy(update={"blocks": []}), FIRST)
    assert diff.figures == []
    assert diff.notes[0] == COMPACT
    assert {change.change for change in diff.ratios} == {None}
    assert {change.agreement for change in diff.ratios} == {"agree"}


def test_runs_that_are_not_paired_are_said_not_to_be() -> None:
    assert any("not paired" in note for note in compare_runs(FIRST, FIRST).notes)


def test_runs_that_are_not_comparable_have_reasons_and_no_figures() -> None:
    diff = compare_runs(FIRST, sample_result(unsafe=True))
    assert not diff.comparable
    assert diff.reasons
    assert diff.ratios == []
    assert diff.figures == []


def ratio(low: float | None, estimate: float, high: float | None) -> Ratio:
    return Ratio(estimate=estimate, low=low, high=high, confidence=0.95, blocks=10, sd_log=0.1)


def test_verdicts_agree_where_the_words_do_and_the_intervals_meet() -> None:
    assert agreement(ratio(0.7, 0.8, 0.9), ratio(0.75, 0.85, 0.95), same_word=True) == "agree"
    assert agreement(ratio(0.7, 0.8, 0.9), ratio(0.85, 0.95, 1.1), same_word=False) == "compatible"
    assert agreement(ratio(0.5, 0.55, 0.6), ratio(0.8, 0.85, 0.9), same_word=True) == "moved"
    assert agreement(ratio(0.8, 0.85, 0.9), ratio(0.5, 0.55, 0.6), same_word=False) == "moved"
    assert agreement(ratio(None, 0.8, None), ratio(0.7, 0.8, 0.9), same_word=False) == "unknown"
