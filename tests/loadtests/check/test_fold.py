from __future__ import annotations

from loadtests.check.fold import CheckPlan, check_record, headline, outcomes, worst
from loadtests.check.run import CheckedLoad
from loadtests.check.watch import Look
from loadtests.history.operation import HistoryItem, Observation, Operation
from loadtests.manifest import Conditions
from loadtests.result import SafetyCheck
from loadtests.workload import Mix, Target
from tests.loadtests.check.exchanges import asked, struck

MIX = Mix(name="reads", who="readers", ratios={"create": 0.1, "redirect": 0.9}, keys=5, zipf_s=0.0, rate_per_s=200)
HOLDS = SafetyCheck(name="it holds", verdict="valid", counts={})
BROKEN = SafetyCheck(name="codes are unique", verdict="invalid", counts={"twice": 1})
OPEN = SafetyCheck(name="links are kept", verdict="unknown", counts={})


def operation(f: str, outcome: str) -> Operation:
    return Operation(1, f, "c", {}, "replica-1", 0.0, 1.0, outcome)  # type: ignore[arg-type]


def test_the_worst_check_is_the_verdict_and_nothing_checked_is_nothing_known() -> None:
    assert worst([HOLDS, OPEN, BROKEN]) == "invalid"
    assert worst([HOLDS, OPEN]) == "unknown"
    assert worst([HOLDS]) == "valid"
    assert worst([]) == "unknown"


def test_operations_are_counted_by_outcome_the_most_frequent_first() -> None:
    items: list[HistoryItem] = [operation("create", "ok"), operation("visit", "ok"), operation("visit", "info")]
    items.append(Observation("losses", "replica-1", 0.0, {}))
    counted = outcomes(items)
    assert list(counted.items()) == [("visit", {"ok": 1, "fail": 0, "info": 1}), ("create", {"ok": 1, "fail": 0, "info": 0})]


def test_the_headline_names_what_is_broken() -> None:
    asked_for = {"visit": {"ok": 1_000, "fail": 2}}
    assert headline("toy", [HOLDS], asked_for, []) == "toy is valid: all 1 checks hold over 1,002 operations without faults"
    assert headline("toy", [HOLDS, BROKEN, OPEN], asked_for, [struck(0, 1)]) == (
        "toy is invalid: codes are unique; broken over 1,002 operations while faults struck 1 time"
    )


def test_all_times_of_the_record_count_from_the_beginning_of_the_load() -> None:
    load = CheckedLoad(
        plan_hash="abc",
        began_s=100.0,
        ended_s=101.0,
        exchanges=[asked(100.05), asked(100.55)],
        struck=[struck(100.4, 100.8), struck(100.1, 100.2)],
        looks=[Look(99.9, "replica-1", "ready"), Look(100.5, "replica-1", "degraded")],
        checks=[HOLDS],
        deadline_s=0.05,
        problems=["replica-2 was gone 30 s after the faults"],
        lag_p99_s=0.04,
    )
    plan = CheckPlan("toy", MIX, 200, 1.0, 2, 7, ["redis_black_hole"], "designs check toy")
    record = check_record(
        plan,
        Target("toy", {"store": "sqlite"}, [], "", [], {}),
        load,
        [],
        Conditions("c0ffee", False, {}, {}),
        history="history.jsonl",
        started_at="2026-01-01T00:00:00+00:00",
        duration_s=3.0,
        in_words=lambda each: each.detail,
    )
    assert [(band.name, band.variant, band.start_s, band.end_s) for band in record.bands] == [
        ("Redis answers nothing", "redis", 0.1, 0.2),
        ("Redis answers nothing", "redis", 0.4, 0.8),
    ]
    assert [(state.at_s, state.state) for state in record.states] == [(0, "ready"), (0.5, "degraded")]
    assert [each.requests for each in record.slices if each.requests] == [1, 1]
    assert record.verdict == "unknown"
    assert record.notes[0] == "replica-2 was gone 30 s after the faults"
    assert "one request in a hundred was sent 40 ms late or more" in record.notes[1]
    assert "redirect p99 under redis_black_hole" in {figure.name for figure in record.policy}
