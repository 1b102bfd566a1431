"""From blocks to sentences."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Mapping

import pytest

from loadtests.analysis.findings import (
    block_figures,
    bought_and_paid,
    compare_figure,
    comparisons,
    drift_note,
    headline,
    steadiness,
    without_verdict,
)
from loadtests.analysis.statistics import paired_log_ratios, ratio, signed_rank_p
from loadtests.comparison.schedule import Disturbance, MeasuredBlock, Round
from loadtests.result import Comparison, SafetyCheck

CPU = "cpu_us_per_request"


def around(value: float, n: int = 10, spread: float = 0.02) -> list[float]:
    rng = random.Random(f"{value}")
    return [value * (1 + spread * (rng.random() - 0.5)) for _ in range(n)]


def found(figure: str, baseline: list[float], other: list[float]) -> Comparison:
    return compare_figure(figure, baseline, other, "aside", "none", margin=0.05)


def sentence(figure: str, baseline: list[float], other: list[float]) -> str:
    return found(figure, baseline, other).sentence


def test_sentences_say_who_how_much_and_how_sure() -> None:
    hundred = [100.0] * 10

    assert sentence(CPU, hundred, [62.0] * 10) == "aside uses 38 % less CPU per request [38, 38]"
    assert sentence(CPU, hundred, [118.0] * 10) == "aside uses 18 % more CPU per request [18, 18]"
    assert sentence(CPU, hundred, [312.0] * 10) == "aside uses 3.1 times the CPU per request [3.1, 3.1]"
    assert sentence(CPU, hundred, [101.0] * 10) == "aside: no difference above 5 % in CPU per request"
    assert sentence("store_reads", hundred, [0.3] * 10) == "aside has 99.7 % fewer store reads per request [99.7, 99.7]"
    assert sentence("disk_bytes", hundred, [50.0] * 10) == "aside has 50 % fewer disk bytes per request [50, 50]"
    assert sentence("requests_sent", [1.0] * 10, [0.4] * 10) == "aside has 60 % fewer requests sent per planned request [60, 60]"
    assert sentence("fsyncs", [0.01] * 10, [1.0] * 10) == "aside has 100 times the fsyncs per request [100, 100]"
    assert sentence("cache_hit_ratio", [0.5] * 10, [0.9] * 10) == "aside has 80 % higher cache hit ratio [80, 80]"
    assert "(a noisy figure)" in sentence("latency_p99_ms", hundred, [50.0] * 10)


def test_an_inconclusive_sentence_says_how_many_more_blocks_would_tell() -> None:
    wide = [80.0, 130.0, 90.0, 120.0, 70.0, 140.0, 100.0, 105.0, 95.0, 110.0]

    assert "inconclusive, ±" in sentence(CPU, [100.0] * 10, wide)
    assert "more blocks would tell" in sentence(CPU, [100.0] * 10, wide)
    assert sentence(CPU, [100.0] * 4, wide[:4]) == "aside: CPU per request inconclusive, 4 blocks are too few (6 needed)"


def test_where_one_side_counts_nothing_there_are_counts_and_no_ratio() -> None:
    comparison = found("redis_commands", [0.0] * 10, [2.0] * 10)

    assert comparison.ratio is None
    assert comparison.verdict == "count"
    assert comparison.sentence == "aside: 2 Redis commands per request, 0 with none"


def test_less_of_a_cost_is_bought_and_less_of_a_benefit_is_paid() -> None:
    compared = [
        found(CPU, around(100), around(60)),
        found("store_reads", around(1.0), around(0.1)),
        found("cache_hit_ratio", around(0.9), around(0.5)),
        found("redis_commands", [0.0] * 10, [2.0] * 10),
        found("clicks_dropped", [0.5] * 10, [0.0] * 10),
        found("rss_mb", around(50), around(80)),
        found("latency_p50_ms", around(1.0), around(1.0)),
    ]
    bought, paid = bought_and_paid(compared, card=())

    assert bought == [compared[i].sentence for i in (0, 1, 4)]
    assert paid == [compared[i].sentence for i in (2, 3, 5)]


def test_the_card_shows_the_figures_it_names_in_its_order_and_the_primary_one() -> None:
    compared = [
        found(CPU, around(100), around(60)).model_copy(update={"primary": True}),
        found("store_reads", around(1.0), around(0.1)),
        found("redis_bytes", around(1.0), around(0.1)),
        found("rss_mb", around(50), around(80)),
    ]
    bought, paid = bought_and_paid(compared, card=("rss_mb", "store_reads"))

    assert bought == [compared[1].sentence, compared[0].sentence]
    assert paid == [compared[3].sentence]


def invalid(name: str = "no click is lost") -> SafetyCheck:
    return SafetyCheck(name=name, verdict="invalid", counts={"lost_clicks": 3, "duplicated": 0})


def primary(other: float) -> list[Comparison]:
    return [found(CPU, [100.0] * 10, [other] * 10).model_copy(update={"primary": True})]


def test_a_broken_promise_comes_before_any_speed() -> None:
    ok = SafetyCheck(name="no click is lost", verdict="valid", counts={})

    assert headline([primary(60.0)], ["none", "aside"], {"none": [ok], "aside": [ok]}, "") == primary(60.0)[0].sentence
    assert headline([primary(60.0)], ["none", "aside"], {"none": [ok], "aside": [invalid()]}, "").startswith(
        "faster, but wrong: aside broke “no click is lost” (3 lost clicks); aside uses 40 % less"
    )
    assert headline([primary(160.0)], ["none", "aside"], {"aside": [invalid()]}, "").startswith("wrong: aside broke")
    assert headline([primary(60.0)], ["none", "aside"], {"none": [invalid()]}, "").startswith("wrong: none broke")


def test_a_machine_too_noisy_gives_no_verdict_but_keeps_the_counts() -> None:
    compared = [*primary(60.0), found("store_reads", [1.0] * 10, [0.5] * 10)]
    judged = without_verdict(compared, "machine too noisy")

    assert judged[0].verdict == "inconclusive"
    assert judged[0].ratio == compared[0].ratio
    assert judged[1] == compared[1]
    assert headline([judged], ["none", "aside"], {}, "machine too noisy") == "inconclusive: machine too noisy"
    assert headline([[]], ["none", "aside"], {}, "machine too noisy") == "inconclusive: machine too noisy"


def measured(variant: int, figures: Mapping[str, float], latencies_s: list[float] | None = None, overloaded: bool = False) -> Round:
    times = array("d", latencies_s or [])
    return Round(
        variant,
        started_s=0.0,
        figures=figures,
        disturbance=Disturbance(),
        intended_s=array("d", [i / max(1, len(times)) for i in range(len(times))]),
        latency_intended_s=times,
        latency_sent_s=times,
        overloaded=overloaded,
    )


def test_a_block_takes_means_of_costs_and_percentiles_of_merged_samples() -> None:
    """Two rounds of 600 samples carry a p99 together that neither carries alone; the mean of two percentiles is none."""
    fast, slow = [0.001] * 600, [0.001] * 580 + [0.1] * 20
    block = MeasuredBlock(0, [measured(0, {CPU: 80.0}, fast), measured(0, {CPU: 90.0}, slow)], "")

    assert block_figures(block, 0) == {CPU: 85.0, "latency_p50_ms": 1.0, "latency_p99_ms": 100.0}


def block_of(*sides: Mapping[str, float], index: int = 0) -> MeasuredBlock:
    """One block in which each variant has the same figures in both rounds."""
    return MeasuredBlock(index, [measured(variant, side) for variant, side in enumerate(sides) for _ in range(2)], "")


def test_a_figure_that_is_missing_in_a_block_or_0_on_both_sides_is_not_compared() -> None:
    blocks = [block_of({CPU: 1.0, "a": 1.0, "zero": 0.0}, {CPU: 2.0, "a": 1.0, "b": 1.0, "zero": 0.0})]
    (compared,) = comparisons(blocks, ["x", "y"], 0.05, CPU)

    assert [comparison.figure for comparison in compared] == [CPU, "a"]
    assert [comparison.primary for comparison in compared] == [True, False]
    assert comparisons([], ["x", "y", "z"], 0.05, CPU) == [[], []]


def test_two_variants_are_compared_as_if_holm_had_not_been_there() -> None:
    base, other = around(100.0), around(97.0)
    blocks = [block_of({CPU: a}, {CPU: b}) for a, b in zip(base, other, strict=True)]
    ((compared,),) = comparisons(blocks, ["none", "aside"], 0.05, CPU)

    log_ratios = paired_log_ratios(base, other)
    assert compared.ratio == ratio(log_ratios)
    assert compared.p_value == signed_rank_p(log_ratios)


def test_with_several_variants_the_verdicts_on_one_figure_are_given_together() -> None:
    """p = 0.037 claims alone and after a clear claim, and not beside a variant that claims nothing."""
    calm = [100.0] * 10
    clear = [80.0 + 0.1 * i for i in range(10)]
    marginal = [100 * math.exp(0.08 + 0.01 * i) for i in range(8)] + [100 * math.exp(-0.115), 100 * math.exp(-0.075)]
    wavering = [100 * math.exp(0.05 * (-1) ** i * (1 + 0.1 * i)) for i in range(10)]

    def together(*others: list[float]) -> list[Comparison]:
        rows = zip(calm, *others, strict=True)
        blocks = [block_of(*({CPU: value} for value in row)) for row in rows]
        return [found[0] for found in comparisons(blocks, [str(i) for i in range(len(others) + 1)], 0.05, CPU)]

    (alone,) = together(marginal)
    assert alone.verdict == "more"
    assert alone.p_value == pytest.approx(0.0371, abs=0.0001)

    beside_noise = together(marginal, wavering)
    assert [found.verdict for found in beside_noise] == ["inconclusive", "inconclusive"]
    assert beside_noise[0].p_value == pytest.approx(2 * 0.0371, abs=0.0001)
    assert all(found.ratio is not None and found.ratio.confidence >= 0.975 for found in beside_noise)

    after_a_clear_one = together(marginal, clear)
    assert [found.verdict for found in after_a_clear_one] == ["more", "less"]
    assert after_a_clear_one[0].ratio == alone.ratio, "the last step of Holm asks no more than a single test"
    assert after_a_clear_one[1].ratio is not None
    assert after_a_clear_one[1].ratio.confidence >= 0.975


def test_a_variant_without_a_ratio_does_not_make_the_others_stricter() -> None:
    blocks = [
        block_of({"store_reads": a}, {"store_reads": 0.5 * a}, {"store_reads": 0.0}, index=i) for i, a in enumerate(around(1.0))
    ]
    (halved,), (none,) = comparisons(blocks, ["a", "b", "c"], 0.05, CPU)

    assert halved.ratio is not None
    assert halved.ratio.confidence == pytest.approx(0.951, abs=0.001)
    assert none.verdict == "count"
    assert none.p_value is None


def test_blocks_that_are_enough_for_two_variants_can_be_too_few_for_three() -> None:
    blocks = [block_of({CPU: 100.0}, {CPU: 50.0}, {CPU: 60.0}, index=i) for i in range(6)]

    assert comparisons(blocks, ["a", "b"], 0.05, CPU)[0][0].verdict == "less"
    for (compared,) in comparisons(blocks, ["a", "b", "c"], 0.05, CPU):
        assert compared.verdict == "inconclusive"
        assert "6 blocks are too few (7 needed)" in compared.sentence


def test_a_claim_that_the_mean_does_not_share_says_so() -> None:
    """Nine blocks a little dearer, one far cheaper: the ranks say more, the mean does not."""
    swayed = [100 * math.exp(0.08 + 0.01 * i) for i in range(11)] + [100 * math.exp(-1.5)]

    claim = found(CPU, [100.0] * 12, swayed)
    assert claim.verdict == "more"
    assert "the mean over blocks does not show it" in claim.sentence
    assert "the mean" not in found(CPU, [100.0] * 12, around(120.0, n=12)).sentence


def test_a_figure_that_keeps_moving_is_noted_and_one_that_wavers_is_not() -> None:
    rising = steadiness([100.0 + 3 * i for i in range(10)], margin=0.05)
    assert rising.change_per_block == pytest.approx(3 / 113.5)
    assert rising.low is not None
    assert rising.low > 0
    assert not rising.steady
    assert "+24 %" in drift_note("aside", rising, 10)
    assert "-" in drift_note("aside", steadiness([100.0 - 3 * i for i in range(10)], margin=0.05), 10)

    slow = steadiness([100.0 + 0.1 * i for i in range(10)], margin=0.05)
    assert slow.low is not None
    assert slow.low > 0
    assert slow.steady, "within the margin over the whole run"
    assert steadiness(around(100.0), margin=0.05).steady
    assert drift_note("aside", steadiness(around(100.0), margin=0.05), 10) == ""


def test_of_few_blocks_nothing_can_be_said_about_steadiness() -> None:
    two = steadiness([100.0, 200.0], margin=0.05)

    assert (two.low, two.high, two.steady) == (None, None, True)
