"""From blocks to sentences."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping

import pytest

from loadtests.findings import (
    block_figures,
    bought_and_paid,
    compare_figure,
    comparisons,
    drift_note,
    headline,
    latency_summary,
    noise_sentence,
    over_time,
    self_comparison,
    without_verdict,
)
from loadtests.result import Comparison, SafetyCheck
from loadtests.schedule import Disturbance, MeasuredBlock, Round

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
    assert comparison.sentence == "aside: 2 redis commands per request, 0 with none"


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


def test_an_overloaded_variant_has_no_percentiles() -> None:
    block = MeasuredBlock(0, [measured(0, {CPU: 80.0}, [0.1] * 2_000, overloaded=True)], "")

    assert "latency_p50_ms" not in block_figures(block, 0)
    assert latency_summary([array("d", [0.1] * 2_000)], overloaded=True).p50_ms is None
    assert latency_summary([array("d", [0.1] * 2_000)], overloaded=False).p50_ms == 100.0
    assert latency_summary([], overloaded=False).max_ms is None


def test_a_figure_that_is_missing_in_a_block_or_0_on_both_sides_is_not_compared() -> None:
    rounds = [measured(0, {CPU: 1.0, "a": 1.0, "zero": 0.0}), measured(1, {CPU: 2.0, "a": 1.0, "b": 1.0, "zero": 0.0})]
    compared = comparisons([MeasuredBlock(0, rounds, "")], 1, ["x", "y"], 0.05, CPU)

    assert [comparison.figure for comparison in compared] == [CPU, "a"]
    assert compared[0].primary
    assert comparisons([], 1, ["x", "y"], 0.05, CPU) == []


def test_the_noise_floor_is_the_baselines_two_rounds_against_each_other() -> None:
    blocks = [
        MeasuredBlock(i, [measured(0, {CPU: 100.0}), measured(1, {CPU: 9.0}), measured(0, {CPU: 110.0})], "") for i in range(8)
    ]
    floor = self_comparison(blocks, CPU)

    assert floor.estimate == pytest.approx(1.0), "a steady rise is turned round in every second block"
    assert floor.blocks == 8
    assert "could not have been seen" in noise_sentence(floor, "CPU per request")
    assert "too few" in noise_sentence(self_comparison(blocks[:3], CPU), "CPU per request")
    assert self_comparison([], CPU).blocks == 0


def test_latency_over_time_has_a_row_for_each_slice_that_saw_requests() -> None:
    rows = over_time([measured(0, {}, [0.001] * 40 + [0.003] * 40)], round_s=1.0)

    assert [row[0] for row in rows] == [0.0, 0.25, 0.5, 0.75]
    assert [row[1] for row in rows] == pytest.approx([1.0, 1.0, 3.0, 3.0])
    assert [row[3] for row in rows] == [80.0] * 4
    assert over_time([], round_s=1.0) == []


def test_a_figure_that_keeps_moving_is_noted_and_one_that_wavers_is_not() -> None:
    assert "+" in drift_note("aside", [100.0 + 3 * i for i in range(10)], margin=0.05)
    assert "-" in drift_note("aside", [100.0 - 3 * i for i in range(10)], margin=0.05)
    assert drift_note("aside", [100.0 + 0.1 * i for i in range(10)], margin=0.05) == ""
    assert drift_note("aside", around(100.0), margin=0.05) == ""
    assert drift_note("aside", [100.0, 200.0], margin=0.05) == ""
