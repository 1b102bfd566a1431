"""The injector: the right order at the right time, a slow restart delays nobody else, and all is healed however a run ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.faults.named import RANDOM, schedule_names
from loadtests.faults.plan import plan
from loadtests.faults.schedule import Fault
from loadtests.history.operation import Struck
from loadtests.url_shortener.faults import MENU
from workbench.fault_injection.injector import InjectionFailed, Injector
from workbench.launch import RunningDesign

NODES = ["replica-1", "replica-2", "click-worker", "redis", "kafka", "cassandra"]
NO_DESIGN = cast(RunningDesign, None)
WITHIN_S = 20.0  # never reached unless something hangs

KILL = Fault("kill", "replica-1", at_s=1.0, for_s=0.5, schedule="s")
LATE = Fault("latency", "redis", at_s=0.5, for_s=2.0, attributes={"latency": 20}, toxicity=0.5, schedule="s")
PAUSE = Fault("pause", "redis", at_s=3.0, for_s=1.0, schedule="s")
SLOW = Fault("slow_store", "click-worker", at_s=1.2, for_s=0.1, attributes={"delay": 5}, schedule="s")


class MovedClock:
    """Seconds pass when somebody waits for them. `stop_at_s`: when the run is told to stop."""

    def __init__(self, stop_at_s: float = float("inf")) -> None:
        self.now_s = 100.0
        self.stop_at_s = stop_at_s

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now_s += seconds
        return self.now_s >= self.stop_at_s


class AtOnce(Executor):
    """A lane in the caller's own thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn(*args, **kwargs)
        return Future()


class Doer:
    """Writes down what is done and when, and what is in force. `refuse`: what fails, ("begin" | "end", kind) -> how often."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.done: list[tuple[float, str, str, str]] = []
        self.in_force: list[Fault] = []
        self.refuse: dict[tuple[str, str], int] = {}
        self.resets = 0

    def begin(self, fault: Fault) -> str:
        self._maybe("begin", fault)
        self.in_force.append(fault)
        return "done"

    def end(self, fault: Fault) -> str:
        self._maybe("end", fault)
        if fault in self.in_force:
            self.in_force.remove(fault)
        return "undone"

    def reset(self) -> None:
        self.resets += 1
        self.in_force.clear()

    def _maybe(self, verb: str, fault: Fault) -> None:
        left = self.refuse.get((verb, fault.kind), 0)
        if left:
            self.refuse[verb, fault.kind] = left - 1
            raise RuntimeError(f"{verb} refused")
        self.done.append((round(self.clock() - 100, 6), verb, fault.kind, fault.target))


class Made:
    """An injector that breaks nothing, in a time that does not pass."""

    def __init__(self, *faults: Fault, stop_at_s: float = float("inf")) -> None:
        self.clock = MovedClock(stop_at_s + 100)
        self.links, self.processes = Doer(self.clock), Doer(self.clock)
        self.told: list[Struck] = []
        self.injector = Injector(
            NO_DESIGN,
            faults,
            self.told.append,
            self.clock,
            links=self.links,
            processes=self.processes,
            wait=self.clock.wait,
            new_lane=AtOnce,
        )

    def in_force(self) -> list[Fault]:
        return self.links.in_force + self.processes.in_force


def test_each_fault_begins_and_ends_when_it_is_due_and_is_told_when_it_has_ended() -> None:
    made = Made(PAUSE, KILL, LATE)
    struck = made.injector.run(100.0)
    made.injector.stop()

    assert sorted(made.links.done + made.processes.done) == [
        (0.5, "begin", "latency", "redis"),
        (1.0, "begin", "kill", "replica-1"),
        (1.5, "end", "kill", "replica-1"),
        (2.5, "end", "latency", "redis"),
        (3.0, "begin", "pause", "redis"),
        (4.0, "end", "pause", "redis"),
    ]
    assert [(each.kind, each.began_s, each.ended_s) for each in struck] == [
        ("latency", 100.5, 102.5),
        ("kill", 101.0, 101.5),
        ("pause", 103.0, 104.0),
    ]
    assert [each.kind for each in made.told] == ["kill", "latency", "pause"]
    assert struck[0] == Struck(
        "latency",
        "redis",
        100.5,
        102.5,
        "s",
        {"latency": 20, "toxicity": 0.5},
        "Redis answers 20 ms late, on 50 % of the connections",
    )


def test_a_fault_that_ends_when_the_next_one_begins_ends_first() -> None:
    made = Made(Fault("pause", "redis", 1.0, 1.0), Fault("pause", "redis", 2.0, 1.0))
    made.injector.run(100.0)

    assert [verb for _, verb, _, _ in made.processes.done] == ["begin", "end", "begin", "end"]


def test_a_run_that_is_stopped_early_heals_at_once_and_strikes_no_more() -> None:
    made = Made(KILL, LATE, PAUSE, stop_at_s=1.2)
    struck = made.injector.run(100.0)
    made.injector.stop()

    assert made.in_force() == []
    assert [each.kind for each in struck] == ["latency", "kill"]
    assert all(each.ended_s == made.clock.now_s for each in struck)


def test_a_run_that_is_stopped_before_it_began_does_nothing() -> None:
    real = Injector(NO_DESIGN, [KILL], links=None, processes=Doer(lambda: 100.0))
    real.stop()

    assert real.run(0.0) == []


def test_healing_starts_with_connections_and_servers() -> None:
    made = Made(KILL, LATE, Fault("kill", "redis", 0.9, 5.0), stop_at_s=1.1)
    made.injector.run(100.0)

    assert made.links.resets == 1
    assert [target for _, verb, _, target in made.processes.done if verb == "end"] == ["redis", "replica-1"]


def test_a_fault_that_could_not_be_done_ends_the_schedule_and_is_said_when_all_is_healed() -> None:
    made = Made(KILL, LATE, PAUSE)
    made.processes.refuse["begin", "kill"] = 1
    struck = made.injector.run(100.0)

    assert made.in_force() == []
    assert "pause" not in [each.kind for each in struck]
    assert {each.kind for each in struck} == {"latency", "kill"}  # nobody knows what became of the kill
    for _ in range(2):
        with pytest.raises(InjectionFailed, match="replica-1 is killed: it could not be done: begin refused"):
            made.injector.stop()


def test_a_fault_that_could_not_be_ended_is_ended_by_healing() -> None:
    made = Made(KILL)
    made.processes.refuse["end", "kill"] = 2
    struck = made.injector.run(100.0)

    assert made.in_force() == []
    assert len(struck) == 1
    with pytest.raises(InjectionFailed, match="replica-1 is killed: it could not be ended: end refused"):
        made.injector.stop()


def test_what_healing_could_not_end_is_tried_again_by_the_next_stop() -> None:
    made = Made(KILL)
    made.processes.refuse["end", "kill"] = 4
    made.injector.run(100.0)
    assert made.in_force() == [KILL]
    with pytest.raises(InjectionFailed):
        made.injector.stop()

    assert made.in_force() == []
    assert [each.kind for each in made.injector.struck] == ["kill"]


def test_a_proxy_that_can_not_be_reset_is_healed_toxic_by_toxic() -> None:
    made = Made(LATE, stop_at_s=1.0)
    made.links.reset = lambda: (_ for _ in ()).throw(RuntimeError("no answer"))  # type: ignore[method-assign]
    made.injector.run(100.0)

    assert made.in_force() == []
    with pytest.raises(InjectionFailed, match="the proxy could not be reset: no answer"):
        made.injector.stop()


def test_a_listener_that_fails_leaves_nothing_broken() -> None:
    clock, doer = MovedClock(), Doer(lambda: 100.0)

    def listener(struck: Struck) -> None:
        raise RuntimeError("no paper")

    injector = Injector(NO_DESIGN, [KILL, PAUSE], listener, clock, processes=doer, wait=clock.wait, new_lane=AtOnce)
    injector.run(100.0)

    assert doer.in_force == []
    with pytest.raises(InjectionFailed, match="replica-1 is killed: it could not be told: no paper"):
        injector.stop()


@given(st.lists(st.sampled_from([*schedule_names(), RANDOM]), min_size=1, max_size=4), st.integers(0, 1000), st.floats(0, 12))
def test_nothing_stays_broken_whatever_strikes_and_whenever_it_is_stopped(names: list[str], seed: int, stop_at_s: float) -> None:
    faults = plan(names, seed=seed, seconds=10.0, nodes=NODES, menu=MENU)
    made = Made(*faults, stop_at_s=stop_at_s)
    struck = made.injector.run(100.0)
    made.injector.stop()
    made.injector.stop()

    assert made.in_force() == []
    assert len(struck) == len([fault for fault in faults if fault.at_s < stop_at_s])
    assert all(100 <= each.began_s <= each.ended_s for each in struck)


class Gate(Doer):
    """Ends a kill no sooner than it is opened."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.open = threading.Event()
        self.waiting = threading.Event()

    def end(self, fault: Fault) -> str:
        if fault.kind == "kill":
            self.waiting.set()
            assert self.open.wait(WITHIN_S)
        return super().end(fault)


def slow_restart(*faults: Fault) -> tuple[Gate, list[Struck], Injector, threading.Thread]:
    """A run in real threads whose killed process takes long to start again; the clock does not matter, all is due at once."""
    gate, told = Gate(lambda: 100.0), list[Struck]()
    injector = Injector(NO_DESIGN, faults, told.append, lambda: 1000.0, links=gate, processes=gate)
    thread = threading.Thread(target=injector.run, args=(100.0,), daemon=True)
    thread.start()
    assert gate.waiting.wait(WITHIN_S)
    return gate, told, injector, thread


def until(true: Callable[[], bool]) -> None:
    """Bounded; a test must not hang."""
    waiting = threading.Event()
    for _ in range(2000):
        if true():
            return
        waiting.wait(0.01)
    raise AssertionError("it never came true")


def test_a_process_that_takes_long_to_start_delays_no_other_fault_but_the_next_of_its_own() -> None:
    again = Fault("pause", "replica-1", 2.0, 0.5)
    wrong_clock = Fault("clock_offset", "replica-1", 1.1, 0.2, {"seconds": 1})  # its hook needs no process
    gate, told, injector, thread = slow_restart(KILL, LATE, PAUSE, SLOW, wrong_clock, again)
    until(lambda: {each.kind for each in told} >= {"latency", "pause", "slow_store", "clock_offset"})
    assert [each.kind for each in told if each.target == "replica-1"] == ["clock_offset"]
    gate.open.set()
    thread.join(WITHIN_S)
    injector.stop()

    assert [each.kind for each in told if each.target == "replica-1"] == ["clock_offset", "kill", "pause"]
    assert gate.in_force == []


def test_when_the_host_falls_no_process_is_struck_before_it_is_up_again() -> None:
    gate, told, injector, thread = slow_restart(KILL, Fault("power_loss", "host", 3.0, 1.0), LATE, SLOW)
    until(lambda: {each.kind for each in told} >= {"latency", "slow_store"})
    assert not [entry for entry in gate.done if entry[2] == "power_loss"]
    gate.open.set()
    thread.join(WITHIN_S)
    injector.stop()

    assert [each.kind for each in told if each.kind in ("kill", "power_loss")] == ["kill", "power_loss"]


def test_stop_waits_for_what_is_under_way_and_lets_nothing_begin_after_it() -> None:
    gate, told, injector, thread = slow_restart(KILL, Fault("pause", "replica-1", 2.0, 0.5))
    stopping = threading.Thread(target=injector.stop, daemon=True)
    stopping.start()
    assert stopping.is_alive()
    gate.open.set()
    stopping.join(WITHIN_S)
    thread.join(WITHIN_S)

    assert not stopping.is_alive()
    assert gate.in_force == []
    assert told[0].kind == "kill"


def test_an_injector_runs_once() -> None:
    made = Made(KILL)
    made.injector.run(100.0)
    with pytest.raises(RuntimeError, match="an injector runs once"):
        made.injector.run(100.0)
