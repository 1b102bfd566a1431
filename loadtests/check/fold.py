"""From what a check saw to its record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loadtests.check.policy import policy_figures
from loadtests.check.record import CheckRecord, Verdict
from loadtests.check.run import CheckedLoad, judged
from loadtests.check.slices import slices
from loadtests.check.watch import changes
from loadtests.history.operation import HistoryItem, Operation, Struck
from loadtests.manifest import Conditions
from loadtests.report.number_format import count, enumeration, number
from loadtests.result import Band, SafetyCheck
from loadtests.workload import Mix, Target

LATE_S = 0.01


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """What was asked for. `command` repeats it."""

    design: str
    mix: Mix
    rate_per_s: float
    seconds: float
    replicas: int
    seed: int
    schedules: Sequence[str]
    command: str


def check_record(
    plan: CheckPlan,
    target: Target,
    load: CheckedLoad,
    items: Iterable[HistoryItem],
    around: Conditions,
    *,
    history: str,
    started_at: str,
    duration_s: float,
    in_words: Callable[[Struck], str] = lambda struck: struck.kind,
) -> CheckRecord:
    """`items` is the recorded history, `history` the name of its file; `in_words` says of a fault what it does."""
    checks = judged(load)
    struck = [
        replace(each, began_s=each.began_s - load.began_s, ended_s=each.ended_s - load.began_s)
        for each in sorted(load.struck, key=lambda each: each.began_s)
    ]
    operations = outcomes(items)
    return CheckRecord(
        verdict=worst(checks),
        headline=headline(plan.design, checks, operations, struck),
        design=plan.design,
        knobs=dict(target.knobs),
        mix=plan.mix.name,
        mix_description=plan.mix.who,
        rate_per_s=plan.rate_per_s,
        seconds=plan.seconds,
        replicas=plan.replicas,
        seed=plan.seed,
        plan_hash=load.plan_hash,
        schedules=list(plan.schedules),
        checks=checks,
        operations=operations,
        bands=[
            Band(name=in_words(each), variant=each.target, start_s=round(each.began_s, 3), end_s=round(each.ended_s, 3))
            for each in struck
        ],
        slices=slices(load.exchanges, load.began_s, plan.seconds),
        states=changes(load.looks, load.began_s),
        policy=policy_figures(hottest(plan.mix), load.exchanges, load.struck, load.looks, load.deadline_s),
        history=history,
        started_at=started_at,
        duration_s=round(duration_s, 3),
        command=plan.command,
        commit=around.commit,
        dirty=around.dirty,
        versions=dict(around.versions),
        machine=dict(around.machine),
        notes=[*load.problems, *busy_note(load.lag_p99_s)],
    )


def busy_note(lag_p99_s: float) -> list[str]:
    """What a reader of the times must know when the generator itself was late."""
    if lag_p99_s <= LATE_S:
        return []
    late_ms = number(1e3 * lag_p99_s)
    return [f"the machine was busy: one request in a hundred was sent {late_ms} ms late or more, which is in all times shown here"]


def worst(checks: Sequence[SafetyCheck]) -> Verdict:
    """The verdict of all together; nothing checked is nothing known."""
    verdicts = {check.verdict for check in checks}
    if "invalid" in verdicts:
        return "invalid"
    return "valid" if verdicts == {"valid"} else "unknown"


def headline(
    design: str, checks: Sequence[SafetyCheck], operations: Mapping[str, Mapping[str, int]], struck: Sequence[Struck]
) -> str:
    """The verdict in one sentence."""
    asked = count(sum(sum(by_outcome.values()) for by_outcome in operations.values()))
    while_struck = f"while faults struck {count(len(struck))} time{'s' * (len(struck) != 1)}" if struck else "without faults"
    verdict = worst(checks)
    if verdict == "valid":
        return f"{design} is valid: all {count(len(checks))} checks hold over {asked} operations {while_struck}"
    those = enumeration([check.name for check in checks if check.verdict == verdict])
    how = "broken" if verdict == "invalid" else "not decided"
    return f"{design} is {verdict}: {those or 'nothing was checked'}; {how} over {asked} operations {while_struck}"


def outcomes(items: Iterable[HistoryItem]) -> dict[str, dict[str, int]]:
    """What was asked -> outcome -> how often, most frequent first."""
    counts: dict[str, dict[str, int]] = {}
    for item in items:
        if isinstance(item, Operation):
            of_this = counts.setdefault(item.f, {"ok": 0, "fail": 0, "info": 0})
            of_this[item.outcome] += 1
    return dict(sorted(counts.items(), key=lambda each: -sum(each[1].values())))


def hottest(mix: Mix) -> str:
    """The operation that is asked most."""
    return max(mix.ratios, key=mix.ratios.__getitem__)
