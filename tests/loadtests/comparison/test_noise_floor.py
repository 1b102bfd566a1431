"""What a run could not have seen."""

from __future__ import annotations

from array import array

import pytest

from loadtests.comparison.noise_floor import copies_compared, noise_sentence, rounds_compared
from loadtests.comparison.schedule import Disturbance, MeasuredBlock, Round
from loadtests.result import Ratio

CPU = "cpu_us_per_request"


def measured(variant: int, cpu_us: float) -> Round:
    return Round(variant, 0.0, {CPU: cpu_us}, Disturbance())


def interval(low: float, high: float) -> Ratio:
    return Ratio(estimate=1.0, low=low, high=high, confidence=0.96, blocks=8, sd_log=0.03)


def test_the_baselines_two_rounds_are_compared_and_a_steady_rise_is_no_difference() -> None:
    blocks = [MeasuredBlock(i, [measured(0, 100.0), measured(1, 9.0), measured(0, 110.0)], "") for i in range(8)]
    floor = rounds_compared(blocks, CPU)

    assert floor.estimate == pytest.approx(1.0), "it is turned round in every second block"
    assert floor.blocks == 8
    assert "could not have been seen" in noise_sentence(floor, "CPU per request")
    assert "too few" in noise_sentence(rounds_compared(blocks[:3], CPU), "CPU per request")
    assert rounds_compared([], CPU).blocks == 0


def test_a_latency_has_a_floor_too() -> None:
    def timed(latency_s: float) -> Round:
        return Round(0, 0.0, {}, Disturbance(), latency_intended_s=array("d", [latency_s] * 50))

    blocks = [MeasuredBlock(i, [timed(0.001), timed(0.002)], "") for i in range(8)]

    assert rounds_compared(blocks, "latency_p50_ms").low == pytest.approx(0.5)


def test_a_second_copy_is_paired_with_the_baseline_as_a_variant_is() -> None:
    blocks = [MeasuredBlock(i, [measured(0, 100.0), measured(1, 9.0), measured(2, 110.0)], "") for i in range(8)]

    assert copies_compared(blocks, 2, CPU).estimate == pytest.approx(1.1)
    assert noise_sentence(copies_compared(blocks, 2, CPU), "CPU", second_copy=True).startswith("A second copy of the baseline")


def test_the_smallest_visible_difference_is_set_by_the_widest_interval_there_is() -> None:
    narrow, wide = interval(0.98, 1.02), interval(0.9, 1.1)

    assert "below about 1.4 %" in noise_sentence(narrow, "CPU")
    assert "below about 2 %" in noise_sentence(narrow, "CPU", second_copy=True), "a copy is compared as variants are"
    assert "below about 11 %" in noise_sentence(narrow, "CPU", found=[wide]), "two processes differ in more than their rounds"
