"""A whole round in virtual time: a generator that was kept busy voids its block, a server that can't keep up is overloaded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from loadtests.analysis.latencies import latency_summary
from loadtests.comparison.experiment import Experiment
from loadtests.comparison.rounds import RoundTaker
from loadtests.comparison.schedule import Round, Rules, void_because
from loadtests.generator.one_shot_timer import LoopTimer
from loadtests.generator.open_loop import LoadGenerator
from loadtests.result import SafetyCheck
from loadtests.workload import Exchange, Mix, Target
from tests.loadtests.no_history import NoHistory
from tests.loadtests.simulated_server import SimulatedNetwork, SimulatedServer

MIX = Mix("reads", "readers", {"get": 1.0}, keys=10, zipf_s=0.0, rate_per_s=600)
URL = "http://127.0.0.1:1"


class Reads(NoHistory):
    mixes: Mapping[str, Mix] = {MIX.name: MIX}
    default_mix: Mapping[str, str] = {"": MIX.name}

    async def seed(self, target: Target, mix: Mix, seed: int) -> None:
        return

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes] | None:
        return 0, b"GET / HTTP/1.1\r\n\r\n"

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        return

    async def counters(self, target: Target) -> Mapping[str, float]:
        return {}

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        return []

    def card(self, knob: str, baseline: str, other: str) -> tuple[str, ...]:
        return ()


def measured_round(service_s: float, busy: tuple[float, float] | None = None) -> Round:
    """`busy`: from when and for how long the generator's process does something else."""
    loop = SimulatedNetwork(SimulatedServer(service_s))
    experiment = Experiment("reads", "knob", ["one"], MIX, 600.0, 3.0, blocks=6, seed=7, margin=0.05, primary="cpu_us_per_request")

    async def main() -> Round:
        generator = LoadGenerator([URL], clock=loop.time, make_timer=LoopTimer)
        target = Target("one", {}, [URL], "", [], pids={})
        taker = RoundTaker([target], [generator], Reads(), experiment, loop.time, asyncio.sleep)
        if busy:
            loop.call_at(busy[0], loop.busy_for, busy[1])
        try:
            return await taker.measure(0, 0)
        finally:
            await generator.close()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


@pytest.mark.parametrize(("busy", "void"), [(None, False), ((2.0, 0.2), True)])
def test_a_generator_that_was_kept_busy_voids_its_block(busy: tuple[float, float] | None, void: bool) -> None:
    measured = measured_round(0.0004, busy)
    because = void_because([measured], [[]], Rules(generator_cpu_ratio=1e9, steal_ratio=1.0))  # virtual time says nothing of CPUs

    assert because.startswith("generator late") is void
    assert bool(because) is void


@pytest.mark.parametrize(("service_s", "overloaded"), [(0.0005, False), (0.0025, True)])
def test_a_server_that_cannot_keep_up_is_overloaded_and_has_no_percentiles(service_s: float, overloaded: bool) -> None:
    measured = measured_round(service_s)
    summary = latency_summary([measured.latency_intended_s], measured.overloaded)

    assert measured.overloaded is overloaded
    assert (summary.p50_ms is None) is overloaded
    assert void_because([measured], [[]], Rules(generator_cpu_ratio=1e9, steal_ratio=1.0)) == "", "the generator was punctual"
