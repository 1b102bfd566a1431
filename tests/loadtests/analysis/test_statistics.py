"""Estimates and intervals: checked by hand, by symmetry, and by how often they are right."""

import math
import random
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.analysis.statistics import (
    FLIPS_COUNTED_UP_TO,
    blocks_at_least,
    blocks_needed,
    ecdf_points,
    holm,
    kendall_cut,
    paired_log_ratios,
    percentile,
    ratio,
    sign_flip_p,
    signed_rank_cut,
    signed_rank_p,
    theil_sen,
    verdict,
    walsh_averages,
)
from loadtests.result import Ratio

few = st.lists(st.integers(min_value=-6, max_value=6), min_size=1, max_size=9)  # small whole numbers: many ties and zeros
p_values = st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=6)
# No finer than a clock could tell: below 1e-15 a ratio and its inverse are rounded differently.
differences = st.lists(st.floats(min_value=-2, max_value=2).map(lambda d: round(d, 9)), min_size=6, max_size=20)


@pytest.mark.parametrize(
    ("blocks", "dropped", "confidence"),
    [(6, 0, 0.969), (8, 3, 0.961), (10, 8, 0.951), (12, 13, 0.958), (16, 29, 0.956), (20, 52, 0.952)],
)
def test_the_interval_drops_as_many_averages_as_the_signed_rank_table_says(blocks: int, dropped: int, confidence: float) -> None:
    cut, covered = signed_rank_cut(blocks)

    assert cut == dropped
    assert covered == pytest.approx(confidence, abs=0.001)


@pytest.mark.parametrize("blocks", range(9))
def test_the_coverage_is_that_of_all_sign_patterns_counted_one_by_one(blocks: int) -> None:
    cut, covered = signed_rank_cut(blocks, confidence=0.5)
    rank_sums = [sum(i + 1 for i, sign in enumerate(signs) if sign) for signs in product((0, 1), repeat=blocks)]

    if cut is None:
        assert 1 - 2 * rank_sums.count(0) / len(rank_sums) < 0.5
    else:
        assert covered == pytest.approx(1 - 2 * sum(total <= cut for total in rank_sums) / len(rank_sums))


@pytest.mark.parametrize("blocks", range(6))
def test_below_six_blocks_there_is_no_interval(blocks: int) -> None:
    paired = ratio([0.1] * blocks)

    assert (paired.low, paired.high, paired.confidence) == (None, None, 0.0)
    assert verdict(paired, 0.05) == "inconclusive"


@given(differences)
def test_swapping_the_variants_turns_the_interval_round(log_ratios: list[float]) -> None:
    there, back = ratio(log_ratios), ratio([-d for d in log_ratios])
    assert there.low is not None
    assert there.high is not None
    assert back.low is not None
    assert back.high is not None

    assert back.estimate == pytest.approx(1 / there.estimate)
    assert back.low == pytest.approx(1 / there.high)
    assert back.high == pytest.approx(1 / there.low)


@given(differences, st.floats(min_value=-1, max_value=1))
def test_a_constant_factor_moves_estimate_and_interval_and_nothing_else(log_ratios: list[float], shift: float) -> None:
    before, after = ratio(log_ratios), ratio([d + shift for d in log_ratios])
    assert before.low is not None
    assert after.low is not None

    assert after.estimate == pytest.approx(before.estimate * math.exp(shift))
    assert after.low == pytest.approx(before.low * math.exp(shift))
    assert after.sd_log == pytest.approx(before.sd_log, abs=1e-9)


@given(differences)
def test_the_estimate_lies_in_its_interval(log_ratios: list[float]) -> None:
    paired = ratio(log_ratios)
    assert paired.low is not None
    assert paired.high is not None

    assert paired.low <= paired.estimate <= paired.high


def test_hodges_lehmann_by_hand() -> None:
    assert walsh_averages([1.0, 2.0, 6.0]) == [1.0, 1.5, 2.0, 3.5, 4.0, 6.0]
    assert ratio([1.0, 2.0, 6.0]).estimate == pytest.approx(math.exp(2.75))


def test_one_wild_block_does_not_move_the_estimate() -> None:
    calm = [0.01 * (i % 5 - 2) for i in range(11)]

    assert ratio([*calm, 5.0]).estimate == pytest.approx(1.0, abs=0.01)
    assert sum([*calm, 5.0]) / 12 > 0.4


def noise(kind: str, rng: random.Random) -> float:
    if kind == "bursty":
        return rng.gauss(0, 0.03) + (rng.choice((-1, 1)) * rng.random() if rng.random() < 0.1 else 0)
    if kind == "heavy-tailed":
        return 0.05 * rng.gauss(0, 1) / math.sqrt(rng.gammavariate(1.5, 2 / 3))
    return rng.gauss(0, 0.08)


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "bursty"])
@pytest.mark.parametrize(("blocks", "lowest", "highest"), [(6, 0.955, 0.983), (10, 0.93, 0.97), (12, 0.935, 0.975)])
def test_the_interval_holds_the_truth_as_often_as_it_says(kind: str, blocks: int, lowest: float, highest: float) -> None:
    rng = random.Random(f"coverage {kind} {blocks}")
    dropped, _ = signed_rank_cut(blocks)
    assert dropped is not None
    held = 0
    for _ in range(2_000):
        averages = walsh_averages([0.2 + noise(kind, rng) for _ in range(blocks)])
        held += averages[dropped] <= 0.2 <= averages[-1 - dropped]

    assert lowest <= held / 2_000 <= highest


def all_flips(values: list[int]) -> list[list[int]]:
    return [[sign * value for sign, value in zip(signs, values, strict=True)] for signs in product((1, -1), repeat=len(values))]


@given(st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=9, unique=True), st.data())
def test_the_signed_rank_p_is_that_of_all_sign_patterns_counted_one_by_one(magnitudes: list[int], data: st.DataObject) -> None:
    values = [data.draw(st.sampled_from((size, -size))) for size in magnitudes]
    ranks = {size: rank for rank, size in enumerate(sorted(magnitudes), start=1)}

    def smaller_sum(signed: list[int]) -> int:
        positive = sum(ranks[abs(value)] for value in signed if value > 0)
        return min(positive, sum(ranks.values()) - positive)

    flips = all_flips(values)
    as_far_out = sum(smaller_sum(flipped) <= smaller_sum(values) for flipped in flips)
    assert signed_rank_p(values) == pytest.approx(as_far_out / len(flips))


@given(few)
def test_with_ties_and_zeros_a_signed_rank_p_is_still_never_too_small(values: list[int]) -> None:
    """Of all equally likely sign patterns at most the share p has a p as small: that is what a p promises."""
    found = [signed_rank_p(flipped) for flipped in all_flips(values)]

    for p in set(found):
        assert sum(other <= p for other in found) / len(found) <= p + 1e-12


@given(
    st.lists(st.integers(min_value=-40, max_value=40), min_size=1, max_size=14), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.975, 0.99])
)
def test_the_interval_excludes_no_difference_exactly_where_the_p_says_so(values: list[int], confidence: float) -> None:
    paired = ratio([value / 100 for value in values], confidence)
    excluded = paired.low is not None and paired.high is not None and (paired.low > 1 or paired.high < 1)

    assert excluded == (signed_rank_p(values) <= 1 - confidence)


@given(few)
def test_the_sign_flip_p_is_that_of_all_sign_patterns_counted_one_by_one(values: list[int]) -> None:
    flips = all_flips(values)
    as_far_out = sum(abs(sum(flipped)) >= abs(sum(values)) for flipped in flips)

    assert sign_flip_p(values) == pytest.approx(as_far_out / len(flips))


@given(st.lists(st.floats(min_value=-1, max_value=1), max_size=12))
def test_a_p_does_not_know_which_variant_is_the_baseline(values: list[float]) -> None:
    assert signed_rank_p(values) == signed_rank_p([-value for value in values])
    assert sign_flip_p(values) == pytest.approx(sign_flip_p([-value for value in values]))


def test_p_values_by_hand() -> None:
    assert signed_rank_p([]) == sign_flip_p([]) == 1.0
    assert signed_rank_p([0.0] * 8) == sign_flip_p([0.0] * 8) == 1.0
    assert signed_rank_p([0.1 * i for i in range(1, 11)]) == sign_flip_p([0.1 * i for i in range(1, 11)]) == 2 / 1024
    assert signed_rank_p([1.0, 2.0, 3.0, 4.0, 5.0, -6.0]) == pytest.approx(2 * 14 / 64)


def test_beyond_what_can_be_counted_the_sign_flip_p_goes_on_smoothly() -> None:
    rng = random.Random("flips")
    values = [rng.gauss(0.05, 0.1) for _ in range(FLIPS_COUNTED_UP_TO)]
    approximate = math.erfc(abs(sum(values)) / math.sqrt(2 * sum(value * value for value in values)))
    twice_the_blocks = [value / 2 for value in values for _ in range(2)]  # the same sum of half the squares

    assert sign_flip_p(values) == pytest.approx(approximate, abs=0.01)
    assert sign_flip_p(twice_the_blocks) < sign_flip_p(values)


def test_holm_by_hand() -> None:
    """Three tests: 0.01 against 0.05 / 3, then 0.02 against 0.05 / 2, then 0.04 against 0.05."""
    steps = holm([0.04, 0.01, 0.02])
    assert [step.p_value for step in steps] == pytest.approx([0.04, 0.03, 0.04])
    assert [step.confidence for step in steps] == pytest.approx([0.95, 1 - 0.05 / 3, 0.975])

    stopped = holm([0.04, 0.01, 0.03])
    assert [step.p_value for step in stopped] == pytest.approx([0.06, 0.03, 0.06])
    assert [step.confidence for step in stopped] == pytest.approx([0.975, 1 - 0.05 / 3, 0.975]), "who comes after shares the step"
    assert holm([]) == []


@given(st.floats(min_value=0, max_value=1), st.floats(min_value=0.5, max_value=0.99))
def test_a_single_test_is_as_if_holm_had_not_been_there(p: float, confidence: float) -> None:
    (step,) = holm([p], confidence)

    assert step.p_value == p
    assert step.confidence == pytest.approx(confidence, abs=1e-15)
    assert holm([p])[0].confidence == 0.95


@given(p_values)
def test_holm_claims_by_the_interval_exactly_what_it_claims_by_the_p(found: list[float]) -> None:
    for p, step in zip(found, holm(found), strict=True):
        assert (p <= 1 - step.confidence + 1e-15) == (step.p_value <= 0.05 + 1e-15)
        assert step.p_value >= p


@given(p_values, st.randoms())
def test_the_order_of_the_variants_does_not_change_their_adjusted_p(found: list[float], rng: random.Random) -> None:
    order = list(range(len(found)))
    rng.shuffle(order)
    steps, shuffled = holm(found), holm([found[i] for i in order])

    assert [step.p_value for step in shuffled] == [steps[i].p_value for i in order]


def test_a_stricter_interval_needs_more_blocks_to_exist_and_is_wider() -> None:
    assert [blocks_at_least(1 - 0.05 / others) for others in (1, 2, 3, 4)] == [6, 7, 7, 8]
    assert ratio([0.1] * 6, 0.975).low is None
    assert ratio([0.1] * 7, 0.975).confidence == pytest.approx(1 - 2 / 128)
    log_ratios = [0.01 * i for i in range(12)]
    usual, strict = ratio(log_ratios), ratio(log_ratios, 0.99)
    assert usual.low is not None
    assert strict.low is not None
    assert strict.low < usual.low
    assert blocks_needed(0.08, 0.05, 0.99) > blocks_needed(0.08, 0.05)


def given_interval(low: float, high: float) -> Ratio:
    return Ratio(estimate=math.sqrt(low * high), low=low, high=high, confidence=0.95, blocks=10, sd_log=0.05)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.79, 0.85, "less"),
        (0.90, 0.99, "less"),
        (1.15, 1.21, "more"),
        (0.97, 1.04, "same"),
        (0.97, 0.99, "same"),
        (0.90, 1.04, "inconclusive"),
        (0.97, 1.10, "inconclusive"),
        (0.50, 2.00, "inconclusive"),
    ],
)
def test_the_verdict_reads_the_interval_against_the_margin(low: float, high: float, says: str) -> None:
    assert verdict(given_interval(low, high), 0.05) == says


@given(differences, st.floats(min_value=0.01, max_value=0.5))
def test_swapping_the_variants_turns_the_verdict_round(log_ratios: list[float], margin: float) -> None:
    opposite = {"less": "more", "more": "less", "same": "same", "inconclusive": "inconclusive"}

    there = verdict(ratio(log_ratios), margin)
    assert verdict(ratio([-d for d in log_ratios]), margin) == opposite[there]


def test_blocks_needed_follow_the_rule_of_thumb() -> None:
    assert blocks_needed(0.08, 0.05) == 24
    assert blocks_needed(0.25, 0.20) == 18
    assert blocks_needed(0.001, 0.05) == 6


def test_the_promised_blocks_find_the_effect_in_about_four_runs_of_five() -> None:
    rng = random.Random(5)
    blocks = blocks_needed(0.08, 0.05)
    dropped, _ = signed_rank_cut(blocks)
    assert dropped is not None
    found = 0
    for _ in range(400):
        averages = walsh_averages([math.log(1.05) + rng.gauss(0, 0.08) for _ in range(blocks)])
        found += averages[dropped] > 0

    assert 0.72 <= found / 400 <= 0.88


def test_a_ratio_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        paired_log_ratios([0.0, 1.0], [1.0, 1.0])


def test_percentiles_that_the_samples_do_not_carry_are_none() -> None:
    values = [float(i) for i in range(1, 1_001)]

    assert percentile(values, 0.5) == 500
    assert percentile(values, 0.9) == 900
    assert percentile(values, 0.99) == 990
    assert percentile(values, 0.999) is None
    assert percentile(values[:999], 0.99) is None
    assert percentile(values[:20], 0.5) == 10
    assert percentile([], 0.5) is None


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=3_000), st.integers(min_value=10, max_value=200))
def test_an_ecdf_is_bounded_rises_and_keeps_both_ends(values: list[float], limit: int) -> None:
    ordered = sorted(values)
    points = ecdf_points(ordered, limit)

    assert len(points) <= limit
    assert points == sorted(points)
    assert points[0] == (ordered[0], 1 / len(ordered))
    assert points[-1] == (ordered[-1], 1.0)
    for value, fraction in points:
        assert sum(v <= value for v in ordered) / len(ordered) >= fraction - 1e-12


def test_an_ecdf_keeps_the_tail_where_even_steps_would_lose_it() -> None:
    points = ecdf_points([float(i) for i in range(100_000)])

    assert sum(fraction > 0.999 for _, fraction in points) > 20
    assert ecdf_points([]) == []


def test_theil_sen_finds_a_slope_through_outliers() -> None:
    values = [10 + 0.5 * i for i in range(20)]
    values[3] = values[17] = 1_000.0
    slope, low, high = theil_sen(values)
    assert low is not None
    assert high is not None

    assert slope == pytest.approx(0.5)
    assert 0 < low <= 0.5 <= high


def test_theil_sen_sees_no_slope_in_noise_as_often_as_it_says() -> None:
    rng = random.Random(6)
    claims = 0
    for _ in range(1_000):
        _, low, high = theil_sen([rng.gauss(100, 8) for _ in range(10)])
        assert low is not None
        assert high is not None
        claims += not low <= 0 <= high

    assert claims / 1_000 <= 0.065


def test_a_slope_of_few_values_has_no_interval() -> None:
    assert theil_sen([]) == (0.0, None, None)
    assert theil_sen([1.0]) == (0.0, None, None)
    assert theil_sen([1.0, 2.0, 3.0]) == (1.0, None, None)


@pytest.mark.parametrize("n", range(1, 8))
def test_the_slopes_dropped_are_those_of_all_orders_counted_one_by_one(n: int) -> None:
    cut, covered = kendall_cut(n, confidence=0.5)
    inversions = [sum(order[i] > order[j] for i in range(n) for j in range(i + 1, n)) for order in permutations(range(n))]

    if cut is None:
        assert 1 - 2 * inversions.count(0) / len(inversions) < 0.5
    else:
        assert covered == pytest.approx(1 - 2 * sum(count <= cut for count in inversions) / len(inversions))
