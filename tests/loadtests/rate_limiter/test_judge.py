"""The judge as a whole: a right limiter is never flagged, whatever gets lost or goes away; a flaw is; the order is of no matter."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designs.rate_limiter.limits import ALGORITHM_NAMES, AlgorithmName
from loadtests.rate_limiter.judge import judge
from loadtests.rate_limiter.mixes import MIXES
from loadtests.rate_limiter.promises import ANSWERED, RETRY, SLOTS, TOGETHER
from loadtests.workload import Mix
from tests.loadtests.rate_limiter.simulated_limiter import FLAWS, SimulatedLimiter

AWAY = ((1.0, 2.2),)
# Some flaws show only where much is asked of few.
OF_FEW = {
    "gives back twice": replace(MIXES["costs"], keys=2, ratios={"spend_back": 1.0}),
    "counts a look": Mix("looks", "", {"peek": 0.5, "check": 0.5}, keys=5, zipf_s=1.0, rate_per_s=200.0),
}


@settings(max_examples=24, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    algorithm=st.sampled_from(ALGORITHM_NAMES),
    lossy=st.sampled_from([0.0, 0.1]),
    away=st.sampled_from([(), AWAY]),
)
def test_a_right_limiter_is_never_flagged_whatever_gets_lost_or_goes_away(
    seed: int, algorithm: AlgorithmName, lossy: float, away: tuple[tuple[float, float], ...]
) -> None:
    limiter = SimulatedLimiter(seed, algorithm=algorithm, lossy=lossy, away=away).run(seconds=3.0)
    flagged = limiter.invalid()
    if lossy:  # an answer that is lost without a fault is a failure, and the only one
        flagged.pop(ANSWERED, None)
    assert {name: check.witness for name, check in flagged.items()} == {}


@pytest.mark.parametrize("mix", MIXES.values(), ids=lambda mix: mix.name)
@pytest.mark.parametrize("algorithm", ["gcra", "fixed_window", "sliding_log"])
def test_a_right_limiter_is_valid_under_every_mix(mix: Mix, algorithm: AlgorithmName) -> None:
    limiter = SimulatedLimiter(7, algorithm=algorithm).run(mix, seconds=2.5)
    checks = limiter.checks()
    assert {name: check.witness for name, check in checks.items() if check.verdict == "invalid"} == {}
    assert {check.verdict for check in checks.values()} == {"valid"}, "every check of a mix finds something to judge by"


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_flagged_by_the_check_it_belongs_to(flaw: str) -> None:
    away = ((1.0, 3.0),) if "without the store" in flaw else ()
    mix = OF_FEW.get(flaw, MIXES["mixed"])
    check = SimulatedLimiter(2, flaw, away=away).run(mix, seconds=4.0, rate_per_s=250.0).checks()[FLAWS[flaw]]
    assert check.verdict == "invalid"
    assert 1 <= len(check.witness) <= 6
    assert check.detail


def test_every_check_has_a_flaw_that_shows_that_it_bites() -> None:
    names = {check.name for check in judge(SimulatedLimiter().header, [])}
    assert names == set(FLAWS.values())


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**9), flaw=st.sampled_from(["", *FLAWS]))
def test_the_order_of_intake_does_not_matter(seed: int, flaw: str) -> None:
    limiter = SimulatedLimiter(seed, flaw).run(seconds=1.5)
    shuffled = list(limiter.items)
    random.Random(seed).shuffle(shuffled)
    assert judge(limiter.header, shuffled) == judge(limiter.header, limiter.items)


def test_a_wiped_store_may_count_anew_and_what_it_admits_beyond_is_told() -> None:
    wiped = SimulatedLimiter(5, wiped_s=1.5).run(MIXES["hot"], seconds=3.0).checks()
    assert {check.verdict for check in wiped.values()} == {"valid"}
    [beyond] = [check.counts["beyond_by_a_loss_of_the_count"] for check in wiped.values() if "over_admitted" in check.counts]
    assert beyond > 0
    silent = SimulatedLimiter(5, wiped_s=1.5).run(MIXES["hot"], seconds=3.0)
    silent.items.pop()  # nobody says that it was wiped
    assert silent.invalid()


def test_what_the_mix_never_asks_for_is_not_judged() -> None:
    names = set(SimulatedLimiter(1).run(MIXES["checks"], seconds=0.5).checks())
    assert not names & {TOGETHER, RETRY, SLOTS}


def test_a_history_of_nothing_is_unknown() -> None:
    assert {check.verdict for check in judge(SimulatedLimiter().header, [])} == {"unknown"}
