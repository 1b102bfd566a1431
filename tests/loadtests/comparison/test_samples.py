"""The raw samples beside a result."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from loadtests.comparison.samples import write_samples
from loadtests.comparison.schedule import Disturbance, MeasuredBlock, Round

np = pytest.importorskip("numpy")


def measured(variant: int, started_s: float, latencies_s: list[float]) -> Round:
    return Round(
        variant,
        started_s,
        {},
        Disturbance(),
        intended_s=array("d", [0.1 * (i + 1) for i in range(len(latencies_s))]),
        latency_intended_s=array("d", latencies_s),
        latency_sent_s=array("d", [each / 2 for each in latencies_s]),
    )


def test_every_answer_of_an_accepted_block_is_kept_with_its_block_and_time(tmp_path: Path) -> None:
    blocks = [
        MeasuredBlock(0, [measured(0, 100.0, [0.001, 0.002]), measured(1, 102.0, [0.003])], ""),
        MeasuredBlock(1, [measured(0, 104.0, [9.0]), measured(1, 106.0, [9.0])], "CPU stolen: 5.0%"),
        MeasuredBlock(1, [measured(0, 108.0, [0.004]), measured(1, 110.0, [])], ""),
    ]
    kept = np.load(write_samples(tmp_path / "samples.npz", ["a", "b"], blocks))

    assert list(kept["variants"]) == ["a", "b"]
    assert list(kept["0_block"]) == [0, 0, 1]
    assert kept["0_intended_s"] == pytest.approx([0.1, 0.2, 8.1])
    assert kept["0_latency_intended_ms"] == pytest.approx([1.0, 2.0, 4.0])
    assert kept["1_latency_sent_ms"] == pytest.approx([1.5])


def test_a_run_without_a_block_that_counts_has_a_file_without_samples(tmp_path: Path) -> None:
    kept = np.load(write_samples(tmp_path / "samples.npz", ["a", "b"], []))

    assert len(kept["1_latency_sent_ms"]) == 0
