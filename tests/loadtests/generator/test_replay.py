"""Steps that follow others: when they are sent, when they are not, and that each ends once."""

from __future__ import annotations

import asyncio
from array import array

import pytest

from loadtests.comparison.rounds import is_overloaded
from loadtests.generator.arrivals import Plan, make_plan
from loadtests.generator.one_shot_timer import LoopTimer
from loadtests.generator.open_loop import Encode, LoadGenerator
from loadtests.generator.replay import is_sent
from loadtests.workload import NO_ANSWER, NOT_SENT, Exchange, Mix
from tests.loadtests.simulated_server import SimulatedNetwork, SimulatedServer

REQUEST = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


def always(exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
    return 0, REQUEST


def plan_of(*rows: tuple[float, int]) -> Plan:
    """(intended_s, follows) each."""
    count = len(rows)
    return Plan(
        ("get",),
        array("d", [due_s for due_s, _ in rows]),
        array("B", bytes(count)),
        array("Q", bytes(8 * count)),
        array("q", [follows for _, follows in rows]),
        array("I", bytes(4 * count)),
    )


def simulate(
    server: SimulatedServer, plan: Plan, encode: Encode = always, timeout_s: float = 5.0, connections: int = 4
) -> tuple[list[Exchange], array[float]]:
    loop = SimulatedNetwork(server)

    async def main() -> tuple[list[Exchange], array[float]]:
        generator = LoadGenerator(
            ["http://127.0.0.1:1"], connections_per_url=connections, timeout_s=timeout_s, clock=loop.time, make_timer=LoopTimer
        )
        try:
            return await generator.replay(plan, encode, 1_000), generator.lags_s
        finally:
            await generator.close()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def test_a_step_is_sent_when_it_is_due_if_the_one_before_has_ended() -> None:
    (first, second), _ = simulate(SimulatedServer(0.010), plan_of((0.0, -1), (0.1, 0)))

    assert second.sent_s == pytest.approx(second.intended_s, abs=1e-6)
    assert second.intended_s - first.intended_s == pytest.approx(0.1)


def test_a_step_whose_predecessor_is_slow_waits_for_it_and_the_wait_is_part_of_its_latency() -> None:
    (first, second), lags_s = simulate(SimulatedServer(0.3), plan_of((0.0, -1), (0.1, 0)))

    assert second.sent_s == pytest.approx(first.end_s, abs=1e-6)
    assert second.end_s - second.intended_s == pytest.approx(0.3 - 0.1 + 0.3, abs=1e-6)
    assert second.end_s - second.sent_s == pytest.approx(0.3, abs=1e-6)
    assert max(lags_s) < 1e-6, "the wait is the target's doing, not the generator's"


def test_a_step_is_encoded_with_the_finished_one_it_follows_and_a_first_step_before_the_round() -> None:
    seen: list[tuple[int, float, int | None]] = []

    def encode(exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
        seen.append((exchange.serial, asyncio.get_running_loop().time(), before and before.serial))
        assert before is None or (before.status == 200 and before.end_s > 0 and before.response)
        return 0, REQUEST

    (first, *_), _ = simulate(SimulatedServer(0.2), plan_of((0.0, -1), (0.1, 0), (0.15, 1), (0.2, -1)), encode)

    assert [(serial, before) for serial, _, before in seen] == [(1000, None), (1003, None), (1001, 1000), (1002, 1001)]
    assert [at_s <= first.intended_s for _, at_s, _ in seen] == [True, True, False, False]


def test_what_the_client_has_no_reason_to_send_is_not_sent_and_reaches_no_server() -> None:
    def only_first_steps(exchange: Exchange, before: Exchange | None) -> tuple[int, bytes] | None:
        return None if before or exchange.serial == 1001 else (0, REQUEST)

    server = SimulatedServer(0.2)
    exchanges, _ = simulate(server, plan_of((0.0, -1), (0.01, -1), (0.05, 0), (0.5, 2)), only_first_steps)

    assert [exchange.status for exchange in exchanges] == [200, NOT_SENT, NOT_SENT, NOT_SENT]
    assert [is_sent(exchange) for exchange in exchanges] == [True, False, False, False]
    assert server.served == 1
    first, unsent, waited, late = exchanges
    assert unsent.sent_s == unsent.first_byte_s == unsent.end_s == pytest.approx(unsent.intended_s, abs=1e-6)
    assert waited.end_s == pytest.approx(first.end_s, abs=1e-6), "whether to ask is known when the answer before is there"
    assert late.end_s == pytest.approx(late.intended_s, abs=1e-6)


def test_a_long_line_of_steps_that_end_at_once_is_no_recursion() -> None:
    exchanges, _ = simulate(
        SimulatedServer(1.0),
        plan_of((0.0, -1), *((0.0001 * row, row) for row in range(5_000))),
        lambda exchange, before: None if before else (0, REQUEST),
    )

    assert sum(is_sent(exchange) for exchange in exchanges) == 1


@pytest.mark.parametrize("connections", [1, 4])
def test_every_step_behind_a_server_that_hangs_ends_within_the_time_out_of_its_own_start(connections: int) -> None:
    mix = Mix("j", "", {"a": 0.5, "b": 0.5}, keys=5, zipf_s=0.0, rate_per_s=200, then={"a": ("b", 0.1), "b": ("c", 0.2)}, clients=3)
    exchanges, _ = simulate(
        SimulatedServer(0.001, pauses=((0.5, 1e9),)), make_plan(mix, 200, 2.0, seed=41), timeout_s=0.4, connections=connections
    )

    assert {exchange.status for exchange in exchanges} == {200, NO_ANSWER}
    for exchange in exchanges:
        assert exchange.intended_s <= exchange.sent_s <= exchange.end_s <= exchange.intended_s + 0.4 * 1.06


def test_a_mistake_of_the_workload_ends_the_replay_with_its_error() -> None:
    def broken(exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
        if before:
            raise KeyError("code")
        return 0, REQUEST

    with pytest.raises(KeyError, match="code"):
        simulate(SimulatedServer(0.01), plan_of((0.0, -1), (0.1, 0), (5.0, -1)), broken)


@pytest.mark.parametrize(("service_s", "overloaded"), [(0.0005, False), (0.004, True)])
def test_journeys_against_a_server_that_cannot_keep_up_read_as_overloaded(service_s: float, overloaded: bool) -> None:
    mix = Mix("j", "", {"a": 1.0}, keys=5, zipf_s=0.0, rate_per_s=500, then={"a": ("b", 0.05)})
    exchanges, _ = simulate(SimulatedServer(service_s), make_plan(mix, 500, 3.0, seed=42))

    assert is_overloaded(exchanges) is overloaded
