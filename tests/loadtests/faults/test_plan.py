"""What strikes when: the same for the same arguments, within the load, and never two faults where one makes the other senseless."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.faults.drawn import random_strikes
from loadtests.faults.named import RANDOM, schedule_names
from loadtests.faults.pattern import MIN_FOR_S, FaultPattern
from loadtests.faults.plan import clash, plan, within
from loadtests.faults.schedule import NETWORK_KINDS, BadSchedule, Fault
from loadtests.url_shortener.faults import MENU

NODES = ["replica-1", "replica-2", "click-worker", "redis", "kafka", "cassandra"]
NAMES = [*schedule_names(), RANDOM]

names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5)
seeds = st.integers(0, 2**32)
lengths = st.floats(4.0, 90.0)


def planned(wanted: list[str], seed: int, seconds: float) -> list[Fault]:
    return plan(wanted, seed=seed, seconds=seconds, nodes=NODES, menu=MENU)


@given(names, seeds, lengths)
def test_the_same_names_seed_and_length_give_the_same_schedule_in_any_order(wanted: list[str], seed: int, seconds: float) -> None:
    assert planned(wanted, seed, seconds) == planned([*reversed(wanted), *wanted], seed, seconds)


@given(names, seeds, lengths)
def test_calm_at_the_start_and_at_the_end_and_everything_sorted_and_long_enough(
    wanted: list[str], seed: int, seconds: float
) -> None:
    struck = planned(wanted, seed, seconds)

    assert struck
    assert [fault.at_s for fault in struck] == sorted(fault.at_s for fault in struck)
    for fault in struck:
        assert fault.at_s >= 0.3
        assert fault.until_s <= 0.9 * seconds + 0.001
        assert fault.for_s >= MIN_FOR_S
        assert fault.schedule in wanted


@given(names, seeds, lengths)
def test_what_clashes_never_overlaps(wanted: list[str], seed: int, seconds: float) -> None:
    for one, other in combinations(planned(wanted, seed, seconds), 2):
        if clash(one, other):
            assert one.until_s <= other.at_s


@given(seeds, lengths)
def test_another_schedule_beside_it_moves_nothing_of_what_it_does_not_push_out(seed: int, seconds: float) -> None:
    alone = planned(["redis_latency"], seed, seconds)
    beside = [fault for fault in planned(["redis_latency", "worker_kill_loop"], seed, seconds) if fault.schedule == "redis_latency"]

    assert alone == beside


@given(seeds, st.integers(1, 40))
def test_random_strikes_one_to_four_times_in_every_five_seconds(seed: int, stretches: int) -> None:
    until_s = 0.3 + 5 * stretches + 0.5
    struck = list(random_strikes([FaultPattern("pause", "replica-1", 0.1)], seed=seed, nodes=NODES, from_s=0.3, until_s=until_s))

    assert stretches <= len(struck) <= 4 * stretches
    for number in range(stretches):
        assert [fault for fault in struck if -0.001 <= fault.at_s - 0.3 - 5 * number <= 5.001]


def test_random_strikes_the_whole_menu_in_time() -> None:
    struck = [fault for seed in range(300) for fault in planned([RANDOM], seed, 5.0)]

    assert {fault.kind for fault in struck} == {pattern.kind for pattern in MENU}


def test_random_leaves_out_what_does_not_run() -> None:
    for seed in range(50):
        struck = plan([RANDOM], seed=seed, seconds=5.0, nodes=["replica-1"], menu=MENU)
        assert {fault.target for fault in struck} <= {"replica-1", "host"}
        assert not {fault.kind for fault in struck} & NETWORK_KINDS


def test_random_needs_a_menu() -> None:
    with pytest.raises(BadSchedule, match="random: nothing of the design's menu can strike replica-1"):
        plan([RANDOM], seed=1, seconds=5.0, nodes=["replica-1"])


def test_a_load_that_is_over_before_the_schedule_has_begun_is_refused() -> None:
    with pytest.raises(BadSchedule, match=r"redis_power_loss: nothing of it fits into a load of 1 s; make it longer"):
        planned(["redis_power_loss"], 1, 1.0)


def test_what_is_due_too_early_begins_a_moment_later_and_what_goes_on_too_long_is_cut_or_dropped() -> None:
    early, long, late = (Fault("down", "redis", at_s, for_s) for at_s, for_s in ((0.0, 1.0), (3.0, 9.0), (4.45, 1.0)))

    assert within([early, long, late], 4.5) == [Fault("down", "redis", 0.3, 1.0), Fault("down", "redis", 3.0, 1.5)]


def test_the_worker_is_killed_while_its_store_is_slow() -> None:
    struck = planned(["worker_kill_loop", "slow_store"], 1, 5.0)
    slow = next(fault for fault in struck if fault.kind == "slow_store" and fault.target == "click-worker")

    assert [fault for fault in struck if fault.kind == "kill" and slow.at_s < fault.at_s < slow.until_s]


@pytest.mark.parametrize(
    ("one", "other", "clashes"),
    [
        (("kill", "redis"), ("wipe", "redis"), True),
        (("kill", "replica-1"), ("pause", "replica-1"), True),
        (("disk_full", "replica-1"), ("kill", "replica-1"), True),
        (("kill", "replica-1"), ("kill", "replica-2"), False),
        (("power_loss", "host"), ("pause", "replica-1"), True),
        (("slow_store", "replica-1"), ("power_loss", "host"), False),
        (("slow_store", "replica-1"), ("slow_store", "replica-1"), True),
        (("slow_store", "replica-1"), ("clock_offset", "replica-1"), False),
        (("down", "redis"), ("down", "redis@replica-1"), True),
        (("down", "redis@replica-2"), ("down", "redis@replica-1"), False),
        (("down", "redis"), ("kill", "redis"), False),
        (("latency", "redis"), ("timeout", "redis"), False),
    ],
)
def test_what_may_overlap(one: tuple[str, str], other: tuple[str, str], clashes: bool) -> None:
    first, second = Fault(*one, at_s=1, for_s=1), Fault(*other, at_s=1, for_s=1)

    assert clash(first, second) is clash(second, first) is clashes


def test_a_toxic_in_one_direction_bears_the_same_one_in_the_other() -> None:
    up, down, both = (
        Fault("timeout", "redis", 1, 1, {"timeout": 0}, stream=stream) for stream in ("upstream", "downstream", "both")
    )

    assert not clash(up, down)
    assert clash(up, both)
    assert clash(both, down)
