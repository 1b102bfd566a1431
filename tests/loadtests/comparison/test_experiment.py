"""What is fixed before a run has a hash of its own."""

from __future__ import annotations

import json
from dataclasses import replace

from loadtests.comparison.experiment import Experiment
from loadtests.comparison.schedule import Rules
from loadtests.workload import Mix

MIX = Mix(name="reads", who="readers", ratios={"get": 1.0}, keys=10, zipf_s=1.0, rate_per_s=5)
EXPERIMENT = Experiment(
    "d", "k", ["k=a", "k=b"], MIX, 5.0, 1.0, 6, 7, 0.05, "cpu_us_per_request", command="designs compare d k a b"
)


def test_whoever_changes_a_rule_the_margin_or_the_figure_after_the_run_has_another_hash() -> None:
    changed = [
        replace(EXPERIMENT, margin=0.2),
        replace(EXPERIMENT, primary="latency_p99_ms"),
        replace(EXPERIMENT, rules=Rules(steal_ratio=1.0)),
        replace(EXPERIMENT, mix=replace(MIX, zipf_s=1.2)),
        replace(EXPERIMENT, fresh=True),
        replace(EXPERIMENT, warm_up_s=0.0),
    ]

    assert len({each.hash for each in [EXPERIMENT, *changed]}) == len(changed) + 1


def test_the_file_is_readable_and_the_way_it_was_called_is_not_part_of_it() -> None:
    held = json.loads(EXPERIMENT.document())

    assert held["margin"] == 0.05
    assert held["rules"]["lag_p99_ms"] == Rules().lag_p99_ms
    assert replace(EXPERIMENT, command="").hash == EXPERIMENT.hash
