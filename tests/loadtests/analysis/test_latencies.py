"""Latencies: what the samples carry, and how two distributions differ."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from random import Random

import pytest

from loadtests.analysis.findings import block_figures
from loadtests.analysis.latencies import latency_summary, over_time, ratio_function
from loadtests.comparison.schedule import Disturbance, MeasuredBlock, Round

CPU = "cpu_us_per_request"


def measured(variant: int, latencies_s: Sequence[float], overloaded: bool = False) -> Round:
    times = array("d", latencies_s)
    return Round(
        variant,
        started_s=0.0,
        figures={CPU: 80.0},
        disturbance=Disturbance(),
        intended_s=array("d", [i / max(1, len(times)) for i in range(len(times))]),
        latency_intended_s=times,
        latency_sent_s=times,
        overloaded=overloaded,
    )


def test_an_overloaded_variant_has_no_percentiles() -> None:
    block = MeasuredBlock(0, [measured(0, [0.1] * 2_000, overloaded=True)], "")

    assert "latency_p50_ms" not in block_figures(block, 0)
    assert latency_summary([array("d", [0.1] * 2_000)], overloaded=True).p50_ms is None
    assert latency_summary([array("d", [0.1] * 2_000)], overloaded=False).p50_ms == 100.0
    assert latency_summary([], overloaded=False).max_ms is None


def test_latency_over_time_has_a_row_for_each_slice_that_saw_requests() -> None:
    rows = over_time([measured(0, [0.001] * 40 + [0.003] * 40)], round_s=1.0)

    assert [row[0] for row in rows] == [0.0, 0.25, 0.5, 0.75]
    assert [row[1] for row in rows] == pytest.approx([1.0, 1.0, 3.0, 3.0])
    assert [row[3] for row in rows] == [80.0] * 4
    assert over_time([], round_s=1.0) == []


def blocks_of(other: Sequence[float], blocks: int = 8, samples: int = 600) -> list[MeasuredBlock]:
    """Blocks of two rounds a side. The baseline takes 1 to 2 ms, even over the quantiles; `other` multiplies its q-quantile."""
    found = []
    for index in range(blocks):
        rng = Random(f"block {index}")
        rounds = []
        for variant in (0, 1, 1, 0):
            quantiles = [rng.random() for _ in range(samples)]
            factors = [other[int(q * len(other))] if variant else 1.0 for q in quantiles]
            rounds.append(measured(variant, [0.001 * (1 + q) * factor for q, factor in zip(quantiles, factors, strict=True)]))
        found.append(MeasuredBlock(index, rounds, ""))
    return found


def test_the_ratio_function_of_a_variant_that_is_always_slower_is_flat() -> None:
    found = ratio_function(blocks_of([1.3]), 1)

    assert [each.q for each in found][-1] == 0.99, "1,200 samples a block carry a p99 and no more"
    for each in found:
        assert each.ratio.estimate == pytest.approx(1.3, rel=0.03)
        assert each.ratio.low is not None
        assert each.ratio.low <= each.ratio.estimate


def test_the_ratio_function_shows_distributions_that_cross() -> None:
    """Faster for the quick half, slower for the slow half: the medians alone would say little."""
    found = {each.q: each.ratio for each in ratio_function(blocks_of([0.7, 1.5]), 1)}

    assert found[0.1].high is not None
    assert found[0.1].high < 1
    assert found[0.95].low is not None
    assert found[0.95].low > 1


def test_the_ratio_function_has_only_quantiles_that_every_block_carries() -> None:
    plenty, few = blocks_of([1.0], blocks=1, samples=600), blocks_of([1.0], blocks=1, samples=60)
    found = [each.q for each in ratio_function([*plenty, *few], 1)]

    assert found[0] == 0.1, "the fastest need as many samples as the slowest"
    assert found[-1] == 0.9
    assert ratio_function([], 1) == []


def test_an_overloaded_side_has_no_ratio_function() -> None:
    (block,) = blocks_of([1.0], blocks=1)
    overloaded = MeasuredBlock(1, [measured(0, [0.001] * 100), measured(1, [0.001] * 100, overloaded=True)], "")

    assert ratio_function([block, overloaded], 1) == []
