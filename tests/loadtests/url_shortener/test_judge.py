"""The judge as a whole: a right service is never flagged, whatever gets lost; a flaw is; the order of intake is of no matter."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.url_shortener.judge import judge
from loadtests.url_shortener.promises import TARGETS, UNIQUE
from tests.loadtests.url_shortener.histories import Story, header
from tests.loadtests.url_shortener.simulated_service import FLAWS, SimulatedService


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 10**9), lossy=st.sampled_from([0.0, 0.1, 0.5]))
def test_a_right_service_is_never_flagged_whatever_gets_lost(seed: int, lossy: float) -> None:
    story = SimulatedService(seed, lossy=lossy).run()
    assert {name: check for name, check in story.checks().items() if check.verdict == "invalid"} == {}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_flagged_by_the_check_it_belongs_to(flaw: str) -> None:
    flagged = [SimulatedService(seed, flaw).run(400).judged(FLAWS[flaw]) for seed in range(12)]
    invalid = [check for check in flagged if check.verdict == "invalid"]
    assert len(invalid) >= 9, "the load is drawn, and some draws show nothing"
    for check in invalid:
        assert 1 <= len(check.witness) <= 6
        assert check.detail


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**9), flaw=st.sampled_from(["", *FLAWS]))
def test_the_order_of_intake_does_not_matter(seed: int, flaw: str) -> None:
    items = SimulatedService(seed, flaw).run().items
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    assert judge(header(), shuffled) == judge(header(), items)


def test_what_the_mix_never_asks_for_is_not_judged() -> None:
    story = Story().seeded("a")
    only = header()
    object.__setattr__(only, "ops", ("create",))
    assert [check.name for check in judge(only, story.items)] == [UNIQUE, "no acknowledged link is lost"]
    assert TARGETS in story.checks()
