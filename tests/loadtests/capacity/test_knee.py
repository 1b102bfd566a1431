"""The search for the knee, told how each step went: by a threshold, by a simulated queue, by a noisy service."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.analysis.statistics import percentile
from loadtests.capacity.knee import MAX_STEPS, Outcome, Search, spread, start_again

RATES = st.floats(50, 40_000)


def searched(search: Search, judge: Callable[[float], Outcome]) -> tuple[Search, list[tuple[float, Outcome]]]:
    told: list[tuple[float, Outcome]] = []
    while (rate := search.next_rate) is not None:
        told.append((rate, judge(rate)))
        search = search.after(told[-1][1])
    return search, told


def threshold(capacity_per_s: float) -> Callable[[float], Outcome]:
    return lambda rate: "pass" if rate <= capacity_per_s else "fail"


@given(RATES, st.floats(0.02, 50))
def test_a_search_brackets_the_capacity_from_any_start_in_few_steps(capacity: float, wrong_by: float) -> None:
    found, told = searched(Search(capacity * wrong_by), threshold(capacity))

    assert found.ended == "found"
    assert found.last_pass_per_s is not None
    assert found.first_fail_per_s is not None
    assert found.last_pass_per_s <= capacity < found.first_fail_per_s <= 1.05 * found.last_pass_per_s * (1 + 1e-9)
    assert len(told) <= 2 + math.ceil(abs(math.log2(wrong_by))) + 4


@given(st.lists(st.sampled_from(["pass", "fail", "void"]), min_size=MAX_STEPS, max_size=MAX_STEPS), RATES)
def test_no_search_asks_above_a_failure_or_below_a_pass_or_for_ever(outcomes: list[Outcome], start: float) -> None:
    answers = iter(outcomes)
    found, told = searched(Search(start), lambda rate: next(answers))

    assert found.ended != ""
    assert len(told) <= MAX_STEPS
    for place, (rate, _) in enumerate(told):
        assert all(rate < earlier for earlier, outcome in told[:place] if outcome == "fail")
        assert all(rate > earlier for earlier, outcome in told[:place] if outcome == "pass")
    with pytest.raises(ValueError, match="has ended"):
        found.after("pass")


def test_the_steps_double_then_halve_the_distance_in_ratio() -> None:
    _, told = searched(Search(1_000.0), threshold(5_000))
    assert [round(rate) for rate, _ in told] == [1000, 2000, 4000, 8000, 5657, 4757, 5187, 4967]


def test_a_void_step_is_done_again_and_a_rate_that_stays_void_is_left_for_lower_ones() -> None:
    once = iter(["pass", "void", "pass", "fail"])
    _, steps = searched(Search(1_000.0, resolution=1.0), lambda rate: next(once))  # type: ignore[arg-type]
    assert [round(rate) for rate, _ in steps] == [1000, 2000, 2000, 4000]

    generator_per_s = 3_000.0
    found, steps = searched(Search(1_000.0), lambda rate: "pass" if rate < generator_per_s else "void")
    assert [round(rate) for rate, _ in steps[:5]] == [1000, 2000, 4000, 4000, 2828]
    assert found.ended == "void"
    assert found.first_fail_per_s is None, "nothing is said of the service where the generator was the limit"
    assert found.last_pass_per_s == pytest.approx(generator_per_s, rel=0.05)

    unheard, _ = searched(Search(1_000.0, floor_per_s=40.0), lambda rate: "void")
    assert (unheard.ended, unheard.last_pass_per_s, unheard.first_fail_per_s) == ("void", None, None)


def test_a_service_that_never_fails_is_bounded_from_below_alone_and_one_that_never_passes_from_above() -> None:
    never_failed, _ = searched(Search(1_000.0, ceiling_per_s=10_000.0), lambda rate: "pass")
    never_passed, _ = searched(Search(1_000.0, floor_per_s=40.0), lambda rate: "fail")

    assert (never_failed.ended, never_failed.last_pass_per_s, never_failed.first_fail_per_s) == ("ceiling", 10_000.0, None)
    assert (never_passed.ended, never_passed.last_pass_per_s, never_passed.first_fail_per_s) == ("floor", None, 40.0)
    assert spread([never_failed, never_passed]) == spread([never_passed, never_failed])
    assert (spread([never_failed, never_passed]).low_per_s, spread([never_failed, never_passed]).high_per_s) == (None, None)


def test_a_repetition_starts_where_those_before_ended_and_trusts_none_of_their_verdicts() -> None:
    first, _ = searched(Search(1_000.0), threshold(5_000))
    again = start_again([first])
    assert (again.last_pass_per_s, again.first_fail_per_s) == (None, None)

    slower, told = searched(again, threshold(3_000))
    assert slower.last_pass_per_s is not None
    assert slower.last_pass_per_s <= 3_000
    same, few = searched(again, threshold(5_000))
    assert same.ended == "found"
    assert len(few) <= 5 < len(told)


def md1_p99_s(rate_per_s: float, service_s: float, seed: int, requests: int = 4_000) -> float:
    """Lindley's recursion W' = max(0, W + S - T) over seeded Poisson arrivals; one draw of gaps for all rates, so that the
    latency rises with the rate and the capacity of the draw is one number."""
    rng = random.Random(seed)
    wait_s, latencies_s = 0.0, []
    for _ in range(requests):
        latencies_s.append(wait_s + service_s)
        wait_s = max(0.0, wait_s + service_s - rng.expovariate(1.0) / rate_per_s)
    found = percentile(sorted(latencies_s), 0.99)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_knee_of_an_m_d_1_queue_lies_where_its_p99_meets_the_objective(seed: int) -> None:
    service_s, limit_s = 0.001, 0.01
    low, high = 100.0, 1_500.0
    while high / low > 1.0005:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if md1_p99_s(middle, service_s, seed) < limit_s else (low, middle)

    found, _ = searched(Search(1 / service_s), lambda rate: "pass" if md1_p99_s(rate, service_s, seed) < limit_s else "fail")

    assert found.last_pass_per_s is not None
    assert found.first_fail_per_s is not None
    assert found.last_pass_per_s <= high
    assert low <= found.first_fail_per_s
    assert 600 < found.last_pass_per_s < 1_000, "below the rate of the server, and not far below"


def test_on_a_noisy_service_the_brackets_of_three_searches_together_hold_its_capacity() -> None:
    """Each step meets a capacity of its own, 8 % around 4,000/s: a single bracket misses often, three together seldom."""
    together = alone = 0
    for seed in range(200):
        rng = random.Random(seed)
        searches: list[Search] = []
        for _ in range(3):
            search = start_again(searches) if searches else Search(5_000.0)
            searches.append(
                searched(search, lambda rate, rng=rng: "pass" if rate < 4_000 * math.exp(rng.gauss(0, 0.08)) else "fail")[0]  # type: ignore[misc]
            )
        over = spread(searches)
        assert over.low_per_s is not None
        assert over.high_per_s is not None
        together += over.low_per_s <= 4_000 <= over.high_per_s
        alone += (searches[0].last_pass_per_s or math.inf) <= 4_000 <= (searches[0].first_fail_per_s or 0)
        assert over.estimate_per_s == pytest.approx(4_000, rel=0.35)

    assert together > 160
    assert together > alone + 40
