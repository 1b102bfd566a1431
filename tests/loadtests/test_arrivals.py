"""The plan: one draw from a seed, the same for every variant."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.arrivals import cumulative_ratios, draw, key_popularity, make_plan
from loadtests.workload import Mix

MIX = Mix(
    name="mostly reads",
    who="readers of shared links",
    ratios={"read": 0.9, "never": 0.0, "write": 0.1},
    keys=1_000,
    zipf_s=1.0,
    rate_per_s=1_000,
)


def mix(**changes: object) -> Mix:
    values = {name: getattr(MIX, name) for name in ("name", "who", "ratios", "keys", "zipf_s", "rate_per_s")}
    return Mix(**{**values, **changes})


@settings(max_examples=30, deadline=None)
@given(st.integers(), st.integers(min_value=-1, max_value=100), st.floats(min_value=1, max_value=500))
def test_the_same_seed_and_round_give_the_same_plan(seed: int, round_index: int, rate_per_s: float) -> None:
    first = make_plan(MIX, rate_per_s, 1.0, seed, round_index)
    second = make_plan(MIX, rate_per_s, 1.0, seed, round_index)

    assert first.hash == second.hash
    assert first.intended_s == second.intended_s
    assert first.keys == second.keys
    assert first.op_indexes == second.op_indexes


@settings(max_examples=30, deadline=None)
@given(st.integers(), st.floats(min_value=1, max_value=500))
def test_a_plan_rises_in_time_and_stays_inside_the_round_and_the_keys(seed: int, rate_per_s: float) -> None:
    plan = make_plan(MIX, rate_per_s, 1.0, seed)

    assert list(plan.intended_s) == sorted(plan.intended_s)
    assert all(0 <= due_s < 1.0 for due_s in plan.intended_s)
    assert all(0 <= key < MIX.keys for key in plan.keys)
    assert len(plan) == len(plan.keys) == len(plan.op_indexes)


def test_another_seed_round_rate_or_mix_is_another_plan() -> None:
    plans = [
        make_plan(MIX, 100, 1.0, seed=1),
        make_plan(MIX, 100, 1.0, seed=2),
        make_plan(MIX, 100, 1.0, seed=1, round_index=1),
        make_plan(MIX, 101, 1.0, seed=1),
        make_plan(mix(zipf_s=0.5), 100, 1.0, seed=1),
        make_plan(mix(ratios={"read": 0.9, "never": 0.0, "delete": 0.1}), 100, 1.0, seed=1),
    ]

    assert len({plan.hash for plan in plans}) == len(plans)


def test_requests_come_at_the_planned_mean_rate() -> None:
    plan = make_plan(MIX, 1_000, 60.0, seed=11)

    assert abs(len(plan) - 60_000) < 4 * math.sqrt(60_000)


def test_gaps_between_requests_are_exponential() -> None:
    """Kolmogorov-Smirnov: the largest distance from the exponential law stays below the 1 % point, 1.63 / sqrt(n)."""
    plan = make_plan(MIX, 1_000, 20.0, seed=12)
    gaps_s = sorted(b - a for a, b in zip(plan.intended_s, plan.intended_s[1:], strict=False))
    n = len(gaps_s)
    law = [1 - math.exp(-1_000 * gap_s) for gap_s in gaps_s]
    distance = max(max(abs(p - i / n), abs(p - (i + 1) / n)) for i, p in enumerate(law))

    assert distance < 1.63 / math.sqrt(n)


def test_evenly_spaced_requests_would_not_pass_for_exponential() -> None:
    gaps_s = [0.001] * 1_000
    distance = max(abs(1 - math.exp(-1_000 * gap_s) - i / 1_000) for i, gap_s in enumerate(gaps_s))

    assert distance > 1.63 / math.sqrt(1_000)


def test_operations_come_in_their_ratios_and_one_of_ratio_0_never() -> None:
    plan = make_plan(MIX, 1_000, 30.0, seed=13)
    drawn = Counter(plan.ops[index] for index in plan.op_indexes)

    assert drawn["never"] == 0
    assert drawn["read"] / len(plan) == pytest.approx(0.9, abs=0.01)
    assert drawn["write"] / len(plan) == pytest.approx(0.1, abs=0.01)


def test_popular_keys_follow_zipf_and_are_no_neighbours() -> None:
    plan = make_plan(MIX, 2_000, 50.0, seed=14)
    ranked = Counter(plan.keys).most_common()
    harmonic = sum(1 / rank for rank in range(1, MIX.keys + 1))

    for rank in (1, 2, 5, 10):
        assert ranked[rank - 1][1] / len(plan) == pytest.approx(1 / rank / harmonic, rel=0.1)
    assert [key for key, _ in ranked[:10]] != sorted(key for key, _ in ranked[:10])


def test_popular_keys_stay_popular_from_round_to_round() -> None:
    favourites = {Counter(make_plan(MIX, 2_000, 5.0, seed=15, round_index=index).keys).most_common(1)[0][0] for index in range(5)}

    assert len(favourites) == 1


def test_exponent_0_is_uniform() -> None:
    popularity, key_of_rank = key_popularity(4, 0.0, seed=1)

    assert popularity == [0.25, 0.5, 0.75, 1.0]
    assert sorted(key_of_rank) == [0, 1, 2, 3]


@given(st.lists(st.floats(min_value=0, max_value=10), min_size=1, max_size=10).filter(any), st.floats(0, 1, exclude_max=True))
def test_only_operations_with_weight_are_drawn(weights: list[float], u: float) -> None:
    ratios = {str(index): weight for index, weight in enumerate(weights)}

    assert weights[draw(cumulative_ratios(ratios), u)] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rate_per_s": 0.0}, "above 0"),
        ({"duration_s": -1.0}, "above 0"),
        ({"rate_per_s": float("nan")}, "above 0"),
        ({"rate_per_s": 1e6, "duration_s": 3600.0}, "more than"),
        ({"mix": mix(ratios={})}, "1 to 256"),
        ({"mix": mix(ratios={"a": -1.0, "b": 2.0})}, "negative"),
        ({"mix": mix(ratios={"a": 0.0})}, "all 0"),
        ({"mix": mix(keys=0)}, "at least one key"),
        ({"mix": mix(zipf_s=-1.0)}, "exponent"),
    ],
)
def test_what_makes_no_plan_is_refused_with_a_sentence(arguments: dict[str, object], says: str) -> None:
    values: dict[str, object] = {"mix": MIX, "rate_per_s": 100.0, "duration_s": 1.0, "seed": 1, **arguments}
    with pytest.raises(ValueError, match=says):
        make_plan(**values)  # type: ignore[arg-type]
