"""The verdicts of several blocks as one."""

from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from loadtests.comparison.safety import WORST_FIRST, merged
from loadtests.result import SafetyCheck

VERDICTS = st.sampled_from(WORST_FIRST)


def check(verdict: Literal["valid", "invalid", "unknown"], detail: str = "", **counts: int) -> SafetyCheck:
    return SafetyCheck(name="nothing is lost", verdict=verdict, counts=counts, detail=detail)


@given(st.lists(VERDICTS, min_size=1))
def test_a_run_is_as_good_as_its_worst_block(verdicts: list[Literal["valid", "invalid", "unknown"]]) -> None:
    (found,) = merged([[check(verdict, lost=1)] for verdict in verdicts])

    assert found.verdict == min(verdicts, key=WORST_FIRST.index)
    assert found.counts == {"lost": len(verdicts)}


def test_counts_add_up_and_bounds_do_not() -> None:
    (found,) = merged([[check("valid", asked=3, worst_stale_ms=40)], [check("valid", asked=4, worst_stale_ms=20)]])

    assert found.counts == {"asked": 7, "worst_stale_ms": 40}


def test_what_went_wrong_is_told_by_the_block_in_which_it_did() -> None:
    (found,) = merged([[check("valid")], [check("invalid", "code x")], [check("unknown", "no answer")]])

    assert found.detail == "in 1 of 3 blocks: code x"


def test_a_promise_that_one_block_did_not_judge_is_not_established() -> None:
    (found,) = merged([[check("valid")], []])

    assert found.verdict == "unknown"


def test_nothing_judged_is_nothing_said() -> None:
    assert merged([]) == []
    assert merged([[], []]) == []
