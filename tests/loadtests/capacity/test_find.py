"""The capacity test as a whole, in virtual time, on a server whose capacity is known."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from loadtests import cpu_clock
from loadtests.capacity.find import StepDone, find_capacity
from loadtests.capacity.fold import CapacityExperiment
from loadtests.capacity.result import CapacityResult
from loadtests.capacity.slo import parse_slo
from loadtests.generator.one_shot_timer import LoopTimer
from loadtests.generator.open_loop import LoadGenerator
from loadtests.result import SafetyCheck
from loadtests.workload import Exchange, Mix, Target
from tests.loadtests.no_history import NoHistory
from tests.loadtests.simulated_server import SimulatedNetwork, SimulatedServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clocks are Linux's")

SERVICE_S = 0.004
MIX = Mix(name="reads", who="Readers.", ratios={"get": 0.9, "put": 0.1}, keys=50, zipf_s=1.0, rate_per_s=100, touch="get")


class QuietGenerator(LoadGenerator):
    """In virtual time the process computes all the time; it is the simulation that does."""

    cpu_ratio = property(lambda self: 0.2, lambda self, value: None)  # type: ignore[assignment]


class Remembering(NoHistory):
    mixes: Mapping[str, Mix] = {"reads": MIX}
    default_mix: Mapping[str, str] = {"": "reads"}

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.seen: dict[str, list[Exchange]] = {}

    async def seed(self, target: Target, mix: Mix, seed: int) -> None:
        self.seen[target.name] = []

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
        return 0, b"GET /%d HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % exchange.key

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        self.seen[target.name].extend(exchanges)

    async def counters(self, target: Target) -> Mapping[str, float]:
        return {}

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        verdict = "invalid" if target.name == self.broken else "valid"
        return [SafetyCheck(name="nothing is lost", verdict=verdict, counts={})]  # type: ignore[arg-type]

    def card(self, knob: str, baseline: str, other: str) -> tuple[str, ...]:
        return ()


def measured(workload: Remembering, names: Sequence[str] = ("toy",), told: list[StepDone] | None = None) -> CapacityResult:
    server = SimulatedServer(SERVICE_S)
    loop = SimulatedNetwork(server)
    experiment = CapacityExperiment(
        design="toy",
        knob="",
        mix=MIX,
        slo=parse_slo("p90<50ms"),
        clients=(1, 2, 3, 4, 6, 8),
        repeats=2,
        step_s=1.0,
        seed=3,
        resamples=20,
    )
    targets = [Target(name, {"size": 1}, ["http://127.0.0.1:1"], "", [], {"service": [os.getpid()]}) for name in names]
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=lambda: loop) as runner:
        patch.setattr(cpu_clock, "tree_cpu_ns", lambda pids: round(server.served * SERVICE_S * 1e9))  # virtual CPU time
        return runner.run(
            find_capacity(
                experiment,
                targets,
                workload,
                server_cpus=1,
                load=lambda target: QuietGenerator(target.urls, connections_per_url=8, clock=loop.time, make_timer=LoopTimer),
                progress=(told if told is not None else []).append,
            )
        )


@pytest.fixture(scope="module")
def run() -> tuple[CapacityResult, Remembering]:
    workload = Remembering()
    return measured(workload), workload


def test_the_knee_lies_a_little_below_what_the_server_can_do(run: tuple[CapacityResult, Remembering]) -> None:
    """One server with 4 ms a request does 250/s; with Poisson arrivals nine of ten wait less than 50 ms up to some 90 % of it."""
    variant = run[0].variants[0]

    assert [bracket.ended for bracket in variant.knee.brackets] == ["found", "found"]
    assert variant.knee.low_per_s is not None
    assert variant.knee.high_per_s is not None
    assert 170 < variant.knee.low_per_s < variant.knee.high_per_s < 270
    assert run[0].headline.startswith("toy serves ")


def test_more_clients_than_one_get_no_more_out_of_one_server(run: tuple[CapacityResult, Remembering]) -> None:
    variant = run[0].variants[0]

    assert len(variant.closed) == 12
    assert variant.most_per_s == pytest.approx(250, rel=0.02)
    assert variant.fit is not None
    assert variant.fit.sigma.estimate == pytest.approx(1, abs=0.01), "all the work is done one after the other"
    assert variant.fit.lambda_per_s.estimate == pytest.approx(250, rel=0.02)
    assert variant.fit.peak_clients is None


def test_the_server_itself_was_the_limit_and_its_cpu_time_said_so_beforehand(run: tuple[CapacityResult, Remembering]) -> None:
    variant = run[0].variants[0]
    assert variant.one_core_per_s == pytest.approx(250, rel=0.02)
    assert variant.limiter.what == "service CPU"


def test_by_littles_law_throughput_times_response_is_the_clients(run: tuple[CapacityResult, Remembering]) -> None:
    for step in run[0].variants[0].closed:
        assert step.littles_law_clients == pytest.approx(step.clients, rel=0.02)
        assert step.mean_response_ms == pytest.approx(step.clients * SERVICE_S * 1e3, rel=0.02)


def test_the_curve_shows_latency_below_the_knee(run: tuple[CapacityResult, Remembering]) -> None:
    variant = run[0].variants[0]
    curve = [step for step in variant.open if step.purpose == "curve"]

    assert variant.knee.estimate_per_s is not None
    shares = [step.planned_per_s / variant.knee.estimate_per_s for step in curve]
    assert shares == pytest.approx([0.3, 0.5, 0.7, 0.85])
    assert [step.p50_ms for step in curve] == sorted(step.p50_ms or 0 for step in curve)


def test_safety_is_judged_on_the_very_requests_that_found_the_capacity(run: tuple[CapacityResult, Remembering]) -> None:
    result, workload = run
    seen = workload.seen["toy"]
    variant = result.variants[0]

    serials = [exchange.serial for exchange in seen]
    assert len(set(serials)) == len(serials), "no serial number was used twice"
    assert [exchange.key for exchange in seen[:50]] == list(range(50)), "every key was touched first"
    assert {exchange.op for exchange in seen} == {"get", "put"}
    assert len(seen) > sum(step.requests for step in variant.closed) + sum(step.requests for step in variant.open)
    assert result.safety_verdict() == "valid"


def test_a_broken_promise_comes_before_the_capacity_and_variants_take_turns() -> None:
    told: list[StepDone] = []
    result = measured(Remembering(broken="size=2"), ("size=1", "size=2"), told)

    assert result.safety_verdict() == "invalid"
    assert result.headline.startswith("Not safe: size=2 breaks “nothing is lost”; size=1 serves ")
    turns = [done.variant for done in told if done.phase == "clients"]
    assert {turns[:12].count("size=1"), turns[:12].count("size=2")} == {6}, "each repetition holds every number on each variant"
    assert sum(a != b for a, b in pairwise(turns)) > 4
    assert all(done.steps_done <= done.steps_expected for done in told)


def test_two_variants_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        measured(Remembering(), ("a", "a"))


def test_a_test_that_is_repeated_plans_the_same_requests(run: tuple[CapacityResult, Remembering]) -> None:
    again = Remembering()
    measured(again)
    first = [replace(e, intended_s=0, sent_s=0, first_byte_s=0, end_s=0) for e in run[1].seen["toy"][:400]]
    assert [replace(e, intended_s=0, sent_s=0, first_byte_s=0, end_s=0) for e in again.seen["toy"][:400]] == first
