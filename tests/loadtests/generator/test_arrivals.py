"""The plan: one draw from a seed, the same for every variant."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.generator.arrivals import MAX_JOURNEY, Plan, cumulative_ratios, draw, key_popularity, make_plan, stepped_plan
from loadtests.workload import Mix

MIX = Mix(
    name="mostly reads",
    who="readers of shared links",
    ratios={"read": 0.9, "never": 0.0, "write": 0.1},
    keys=1_000,
    zipf_s=1.0,
    rate_per_s=1_000,
)


JOURNEYS = replace(
    MIX,
    ratios={"make": 0.3, "read": 0.7},
    keys=20,
    then={"make": ("share", 0.5), "share": ("look", 0.25)},
)
STEPS = {"make": 3, "read": 1}


def mix(**changes: object) -> Mix:
    return replace(MIX, **changes)  # type: ignore[arg-type]


def columns(plan: Plan) -> list[tuple[float, int, int, int, int]]:
    return list(zip(plan.intended_s, plan.op_indexes, plan.keys, plan.follows, plan.clients, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.integers(), st.integers(min_value=-1, max_value=100), st.floats(min_value=1, max_value=500))
def test_the_same_seed_and_round_give_the_same_plan(seed: int, round_index: int, rate_per_s: float) -> None:
    first = make_plan(MIX, rate_per_s, 1.0, seed, round_index)
    second = make_plan(MIX, rate_per_s, 1.0, seed, round_index)

    assert first.hash == second.hash
    assert columns(first) == columns(second)


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
        make_plan(mix(then={"write": ("read", 0.1)}), 100, 1.0, seed=1),
        make_plan(mix(then={"write": ("read", 0.2)}), 100, 1.0, seed=1),
        make_plan(mix(clients=5), 100, 1.0, seed=1),
        make_plan(mix(clients=6), 100, 1.0, seed=1),
    ]

    assert len({plan.hash for plan in plans}) == len(plans)


def test_requests_come_at_the_planned_mean_rate() -> None:
    plan = make_plan(MIX, 1_000, 60.0, seed=11)

    assert abs(len(plan) - 60_000) < 4 * math.sqrt(60_000)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(),
    st.integers(min_value=0, max_value=5),
    st.floats(min_value=0, max_value=1),
    st.lists(st.tuples(st.floats(1, 300), st.floats(0.1, 1)), min_size=1, max_size=3),
)
def test_a_step_follows_an_earlier_row_of_its_own_key_and_client(
    seed: int, clients: int, pause_s: float, rates: list[tuple[float, float]]
) -> None:
    then = {"make": ("share", pause_s), "share": ("look", 0.25)}
    plan = stepped_plan(replace(JOURNEYS, clients=clients, then=then), rates, seed)
    rows = columns(plan)

    assert list(plan.intended_s) == sorted(plan.intended_s)
    begun = {"share": "make", "look": "share"}
    for row, (due_s, op_index, key, before, client) in enumerate(rows):
        op = plan.ops[op_index]
        assert client < max(clients, 1)
        if op in begun:
            assert 0 <= before < row
            before_s, before_op, *_ = rows[before]
            assert plan.ops[before_op] == begun[op]
            assert due_s == before_s + then[begun[op]][1], "due a pause after the planned start, whatever became of it"
        if before >= 0:
            assert before < row
            assert (rows[before][2], rows[before][4]) == (key, client)
    followed = [before for _, op_index, _, before, _ in rows if plan.ops[op_index] in begun]
    assert len(set(followed)) == len(followed), "each step has one successor in its journey"
    drawn = Counter(plan.ops[op_index] for _, op_index, *_ in rows)
    assert drawn["make"] == drawn["share"] == drawn["look"], "no journey is cut"


def test_a_client_that_asks_the_same_again_follows_the_last_time_it_did() -> None:
    rows = columns(make_plan(mix(keys=3, clients=4), 500, 2.0, seed=16))
    last: dict[tuple[int, int, int], int] = {}
    for row, (_, op_index, key, before, client) in enumerate(rows):
        assert before == last.get((client, op_index, key), -1)
        last[client, op_index, key] = row
    assert len({client for *_, client in rows}) == 4


def test_without_journeys_and_clients_nothing_follows() -> None:
    plan = make_plan(MIX, 500, 1.0, seed=17)

    assert set(plan.follows) == {-1}
    assert set(plan.clients) == {0}


def test_the_rate_counts_requests_and_not_journeys() -> None:
    """A journey has 0.3 * 3 + 0.7 * 1 = 1.6 requests in the mean; 300 seconds of them."""
    plan = make_plan(JOURNEYS, 200, 300.0, seed=18)
    begun = 60_000 / 1.6

    assert abs(len(plan) - 60_000) < 4 * math.sqrt(begun) * math.sqrt(0.3 * 9 + 0.7)


def test_each_rate_step_has_its_own_rate() -> None:
    plan = stepped_plan(MIX, [(100, 20.0), (1_000, 10.0), (10, 50.0)], seed=19)
    counts = [sum(low <= due_s < high for due_s in plan.intended_s) for low, high in ((0, 20), (20, 30), (30, 80))]

    for count, planned in zip(counts, (2_000, 10_000, 500), strict=True):
        assert abs(count - planned) < 4 * math.sqrt(planned)
    assert sum(counts) == len(plan)


def test_a_step_too_slow_for_any_request_does_not_delay_the_next() -> None:
    plan = stepped_plan(MIX, [(0.001, 10.0), (1_000, 10.0)], seed=20)

    assert 9_600 < len(plan) < 10_400
    assert 10.0 <= min(plan.intended_s) < 10.1


@pytest.mark.parametrize("column", ["intended_s", "op_indexes", "keys", "follows", "clients"])
def test_the_hash_covers_every_column(column: str) -> None:
    plan = make_plan(replace(JOURNEYS, clients=2), 100, 1.0, seed=21)
    before = plan.hash
    getattr(plan, column)[3] += 1

    assert plan.hash != before


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
        ({"rate_per_s": 1e6, "duration_s": 3600.0}, "are more than"),
        ({"mix": mix(ratios={})}, "1 to 256"),
        ({"mix": mix(ratios={"a": -1.0, "b": 2.0})}, "negative"),
        ({"mix": mix(ratios={"a": 0.0})}, "all 0"),
        ({"mix": mix(keys=0)}, "at least one key"),
        ({"mix": mix(zipf_s=-1.0)}, "exponent"),
        ({"mix": mix(then={"read": ("read", 0.1)})}, f"within {MAX_JOURNEY} steps"),
        ({"mix": mix(then={"read": ("write", -0.1)})}, "pause"),
        ({"mix": mix(then={"read": ("write", float("nan"))})}, "pause"),
    ],
)
def test_what_makes_no_plan_is_refused_with_a_sentence(arguments: dict[str, object], says: str) -> None:
    values: dict[str, object] = {"mix": MIX, "rate_per_s": 100.0, "duration_s": 1.0, "seed": 1, **arguments}
    with pytest.raises(ValueError, match=says):
        make_plan(**values)  # type: ignore[arg-type]
