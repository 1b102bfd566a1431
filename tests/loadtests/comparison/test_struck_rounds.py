"""Faults inside a comparison: every variant is struck alike, in its measured rounds and nowhere else, and the record says when."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from loadtests.comparison.compare import compare
from loadtests.comparison.experiment import Experiment
from loadtests.generator.open_loop import run
from loadtests.history.operation import Struck
from loadtests.workload import Target
from tests.loadtests.comparison.test_compare import MIX, UNDISTURBED, Counting, server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clocks are Linux's")

EXPERIMENT = Experiment(
    design="nothing",
    knob="work",
    variants=["a", "b"],
    mix=MIX,
    rate_per_s=200,
    round_s=0.05,
    blocks=2,
    seed=3,
    margin=0.05,
    primary="cpu_us_per_request",
    warm_up_s=0.05,
    lead_in_s=0.02,
    settle_s=0.01,
    rules=UNDISTURBED,
    faults=("redis_black_hole",),
)


class Strikes:
    """Strikes for the length of the replay, and notes whom and in which round."""

    def __init__(self) -> None:
        self.during_rounds: list[tuple[int, int, float]] = []
        self.open = 0

    @contextlib.asynccontextmanager
    async def during(self, variant: int, plan_index: int, seconds: float) -> AsyncIterator[list[Struck]]:
        self.during_rounds.append((variant, plan_index, seconds))
        struck: list[Struck] = []
        began_s = time.monotonic()
        self.open += 1
        try:
            yield struck
        finally:
            self.open -= 1
            struck.append(Struck("timeout", "redis", began_s, time.monotonic(), detail="Redis answers nothing"))


class Told(Counting):
    def __init__(self, strikes: Strikes) -> None:
        super().__init__()
        self._strikes = strikes
        self.struck: list[tuple[str, Struck]] = []

    def strike(self, target: Target, struck: Struck) -> None:
        assert self._strikes.open == 0, "told once it is over"
        self.struck.append((target.name, struck))


def test_each_variant_is_struck_once_in_every_measured_round_under_the_same_plans_and_the_record_shows_the_bands() -> None:
    strikes = Strikes()
    workload = Told(strikes)
    with server("a", 10) as first, server("b", 10) as second:
        result = run(compare(EXPERIMENT, [first, second], workload, strikes=strikes))
    plans = {variant: sorted(plan for struck, plan, _ in strikes.during_rounds if struck == variant) for variant in (0, 1)}
    assert plans[0] == plans[1] == [0, 1, 2, 3]  # two rounds a block; neither warm-up nor lead-in is struck
    assert {seconds for _, _, seconds in strikes.during_rounds} == {EXPERIMENT.round_s}
    assert [name for name, _ in workload.struck] == ["ab"[variant] for variant, _, _ in strikes.during_rounds]
    assert [(band.name, band.variant) for band in result.bands] == [("Redis answers nothing", name) for name in "aaaabbbb"]
    assert all(0 <= band.start_s < band.end_s for band in result.bands)
    assert result.manifest.faults == ["redis_black_hole"]
    assert any("redis_black_hole" in note for note in result.manifest.notes)


def test_faults_without_somebody_who_strikes_are_refused_and_so_is_somebody_without_faults() -> None:
    targets = [Target(name, {}, ["http://127.0.0.1:1"], "", [], {}) for name in ("a", "b")]
    for experiment, strikes in ((EXPERIMENT, None), (replace(EXPERIMENT, faults=()), Strikes())):
        with pytest.raises(ValueError, match="somebody who strikes"):
            run(compare(experiment, targets, Counting(), strikes=strikes))
