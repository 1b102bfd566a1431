"""What is kept of a variant: folded as it comes, dated from the moment the seeding began, and in full where it is wanted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from loadtests.history.operation import HistoryItem, Observation, Operation, Struck
from loadtests.recording import Recording, begun, take_all
from loadtests.workload import Mix, Target

MIX = Mix("mixed", "", {"read": 0.5, "write": 0.5}, keys=10, zipf_s=0.0, rate_per_s=1.0, then={"write": ("read", 0.1)})
TARGET = Target("tiny", {"store": "memory"}, ["http://a", "http://b"], "key", [], {})


@dataclass
class Folded:
    operations: list[Operation] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    strikes: list[Struck] = field(default_factory=list)

    def take_operation(self, op: Operation) -> None:
        self.operations.append(op)


def recording(*, keep: bool = True) -> Recording[Folded]:
    return begun("kv_store", TARGET, MIX, 7, Folded(), keep=keep, bounds={"staleness_s": 1.0})


def read(began_s: float) -> Operation:
    return Operation(0, "read", "k", {}, "replica-1", began_s, began_s + 1.0, "ok")


def test_the_header_says_what_is_asked_of_whom_each_operation_once() -> None:
    header = recording().header
    assert (header.design, header.mix, header.seed, header.knobs) == ("kv_store", "mixed", 7, {"store": "memory"})
    assert header.nodes == ("replica-1", "replica-2")
    assert header.ops == ("read", "write")
    assert header.bounds == {"staleness_s": 1.0}
    assert header.clock == pytest.approx(time.time(), abs=60)


def test_faults_and_observations_come_on_the_monotonic_clock_and_are_kept_on_that_of_the_history() -> None:
    kept = recording()
    kept.strike(Struck("kill", "redis", kept.began_s + 1.0, kept.began_s + 2.5))
    kept.note(Observation("losses", "replica-1", kept.began_s + 3.0, {"dropped": 1}))
    [struck], [observation] = kept.history.strikes, kept.history.observations
    assert (struck.began_s, struck.ended_s, observation.at_s) == (1.0, 2.5, 3.0)


def test_what_is_kept_comes_in_its_order_with_a_process_for_each_that_asks_at_the_same_time() -> None:
    kept = recording()
    for began_s in (2.5, 2.0, 1.0):
        kept.take(read(began_s))
    _, items = kept.recorded()
    assert [(item.invoked_s, item.process) for item in items if isinstance(item, Operation)] == [(1.0, 0), (2.0, 0), (2.5, 1)]
    assert len(kept.history.operations) == 3


def test_what_was_not_kept_is_folded_all_the_same_and_cannot_be_recorded() -> None:
    folded = recording(keep=False)
    folded.take(read(1.0))
    assert folded.history.operations == [read(1.0)]
    with pytest.raises(RuntimeError, match="keep=True"):
        folded.recorded()


def test_a_history_takes_each_kind_of_item_to_its_place() -> None:
    struck, observation = Struck("kill", "redis", 1.0, 2.0), Observation("losses", "replica-1", 3.0, {})
    items: list[HistoryItem] = [struck, read(1.0), observation]
    assert take_all(Folded(), items) == Folded([read(1.0)], [observation], [struck])
