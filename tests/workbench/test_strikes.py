from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.faults.schedule import NETWORK_KINDS, BadSchedule
from tests.loadtests.comparison.test_struck_rounds import EXPERIMENT
from workbench.strikes import EndsProcesses, drawn_for_round, refuse_ended_processes, strikes_planned

NODES = ["replica-1", "click-worker", "redis", "kafka", "cassandra"]
OURS = replace(EXPERIMENT, design="url_shortener")


def test_a_round_is_struck_alike_for_all_variants_and_another_round_otherwise() -> None:
    first = drawn_for_round(OURS, NODES, 0, 4.0)
    assert first
    assert first == drawn_for_round(OURS, NODES, 0, 4.0)
    assert first != drawn_for_round(OURS, NODES, 1, 4.0)
    assert first != drawn_for_round(replace(OURS, seed=OURS.seed + 1), NODES, 0, 4.0)


def test_without_schedules_nothing_strikes() -> None:
    assert strikes_planned("url_shortener", NODES, (), 1, 4.0) == []


@pytest.mark.parametrize("name", ["worker_kill_loop", "redis_wipe", "redis_power_loss"])
def test_a_schedule_that_ends_processes_is_no_part_of_a_comparison(name: str) -> None:
    with pytest.raises(EndsProcesses, match=f"{name} ends processes .* designs check"):
        refuse_ended_processes(strikes_planned("url_shortener", NODES, [name], 1, 6.0))


@pytest.mark.parametrize("name", ["redis_black_hole", "redis_pause", "slow_store", "disk_full"])
def test_a_schedule_that_leaves_them_alive_is(name: str) -> None:
    refuse_ended_processes(strikes_planned("url_shortener", NODES, [name], 1, 6.0))


@pytest.mark.parametrize("name", ["kafka_black_hole", "kafka_pause", "cassandra_latency", "cassandra_pause"])
def test_so_is_one_of_a_server_that_was_given(name: str) -> None:
    refuse_ended_processes(strikes_planned("url_shortener", NODES, [name], 1, 6.0))


def test_a_server_that_is_not_ours_to_break_is_not_broken_and_its_connections_may_be() -> None:
    fixed = {"kafka": "kafka is far away", "cassandra": "cassandra is somebody else's"}
    for name, why in (("kafka_kill", "far away"), ("cassandra_pause", "somebody else's")):
        with pytest.raises(BadSchedule, match=f"{name}: .*{why}"):
            strikes_planned("url_shortener", NODES, [name], 1, 6.0, fixed)
    assert strikes_planned("url_shortener", NODES, ["kafka_down", "cassandra_black_hole"], 1, 6.0, fixed)
    drawn = [fault for seed in range(60) for fault in strikes_planned("url_shortener", NODES, ["random"], seed, 6.0, fixed)]
    assert {"kafka", "cassandra"} <= {fault.target.partition("@")[0] for fault in drawn}
    assert {fault.kind for fault in drawn if fault.target in fixed} <= NETWORK_KINDS


def test_a_schedule_for_a_process_that_not_all_variants_have_is_refused() -> None:
    with pytest.raises(BadSchedule, match="click-worker"):
        strikes_planned("url_shortener", ["replica-1"], ["worker_pause"], 1, 6.0)
