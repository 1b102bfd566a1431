"""The demo of a stall: what each of two watches sees of it, in simulated time and with a process that is really stopped."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from loadtests.generator import open_loop
from loadtests.generator.arrivals import make_plan
from loadtests.generator.one_shot_timer import LoopTimer
from loadtests.generator.open_loop import LEAD_S, LoadGenerator
from loadtests.workload import Exchange
from tests.loadtests.simulated_server import SimulatedNetwork, SimulatedServer
from workbench.bench import BenchFailed
from workbench.coordinated_omission import (
    CONNECTIONS,
    DURATION_S,
    EXPECTED_P99_MS,
    MIX,
    RATE_PER_S,
    SEED,
    STALL_AT_S,
    STALL_S,
    Seen,
    seen,
    stall_once,
    verdict,
)
from workbench.null_server import null_server
from workbench.processes import answers_200


def simulated(stall_s: float, service_s: float = 0.0002) -> Seen:
    from_s = STALL_AT_S + LEAD_S
    loop = SimulatedNetwork(SimulatedServer(service_s, pauses=((from_s, from_s + stall_s),)))

    async def main() -> list[Exchange]:
        generator = LoadGenerator(["http://127.0.0.1:1"], connections_per_url=CONNECTIONS, clock=loop.time, make_timer=LoopTimer)
        exchanges = await generator.replay(make_plan(MIX, RATE_PER_S, DURATION_S, SEED), lambda exchange, before: (0, b"GET"))
        await generator.close()
        return exchanges

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return seen(runner.run(main()), (from_s, from_s + stall_s))


def test_a_stall_shows_from_the_intended_start_and_hides_from_the_actual_send() -> None:
    run = simulated(STALL_S)

    assert run.shown
    assert run.hidden
    assert run.from_intended_ms["p99"] == pytest.approx(EXPECTED_P99_MS, rel=0.03)
    assert run.from_sent_ms["p99"] < 5
    assert run.sent_into_stall == CONNECTIONS
    assert 250 < run.intended_into_stall < 350
    assert run.from_sent_ms["max"] == pytest.approx(1e3 * STALL_S, rel=0.02), "both watches see the worst one"
    assert verdict(run).startswith("met")


def test_without_a_stall_both_watches_agree_and_the_demo_has_nothing_to_show() -> None:
    run = simulated(0.0)

    assert not run.shown
    assert run.from_intended_ms["p99"] < 5
    assert verdict(run).startswith("MISSED")


def test_a_stall_that_both_watches_see_is_not_hidden() -> None:
    run = simulated(STALL_S)

    assert verdict(replace(run, from_sent_ms=run.from_intended_ms)).startswith("MISSED")


def test_a_server_that_is_gone_is_no_stall() -> None:
    with pytest.raises(BenchFailed, match="1 of 1"):
        seen([Exchange("get", 0, 0, 0.0, 0.0, 0.0, 0.0, 0, b"")], (0.0, 1.0))


def test_a_stopped_process_answers_nobody_and_goes_on_afterwards() -> None:
    plan = make_plan(MIX, RATE_PER_S, 0.4, SEED)
    with null_server(None) as (url, pid):
        run = open_loop.run(stall_once(url, pid, plan, stall_at_s=0.1, stall_s=0.2))

        assert run.requests == len(plan)
        assert run.from_intended_ms["max"] > 150, "some of them came when it had just begun"
        assert 1 <= run.sent_into_stall <= CONNECTIONS
        assert answers_200(url)
