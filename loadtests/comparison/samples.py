"""The raw samples of a comparison as `samples.npz`: whoever doubts a percentile can compute it anew.

For each variant, by its position v in `variants`, columns of equal length, one row for each answered request of accepted blocks:

    <v>_block                 int32    index of the block
    <v>_intended_s            float64  planned start, since the variant's first round
    <v>_latency_intended_ms   float32  from the planned start to the end
    <v>_latency_sent_ms       float32  from the actual send to the end

Failed requests have no latency and are counted in `result.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.comparison.schedule import MeasuredBlock


def write_samples(path: Path, names: Sequence[str], blocks: Sequence[MeasuredBlock]) -> Path:
    """Compressed; returns the path. ImportError where numpy is not installed."""
    import numpy as np

    columns: dict[str, Any] = {"variants": np.array(list(names))}
    accepted = [block for block in blocks if block.accepted]
    for variant in range(len(names)):
        rounds = [(block.index, measured) for block in accepted for measured in block.rounds if measured.variant == variant]
        first_s = rounds[0][1].started_s if rounds else 0.0

        def joined(parts: Sequence[Any], kind: str) -> Any:
            return np.concatenate([np.asarray(part, dtype=kind) for part in parts]) if parts else np.empty(0, dtype=kind)

        columns[f"{variant}_block"] = joined([[index] * len(each.latency_sent_s) for index, each in rounds], "int32")
        columns[f"{variant}_intended_s"] = joined(
            [np.asarray(each.intended_s) + (each.started_s - first_s) for _, each in rounds], "float64"
        )
        columns[f"{variant}_latency_intended_ms"] = joined(
            [np.asarray(each.latency_intended_s) * 1e3 for _, each in rounds], "float32"
        )
        columns[f"{variant}_latency_sent_ms"] = joined([np.asarray(each.latency_sent_s) * 1e3 for _, each in rounds], "float32")
    np.savez_compressed(path, **columns)
    return path
