"""`designs claims`: measures the runs that a design's claims rest on, records them, and says which claims hold.

A run that fails does not stop the rest, and what is recorded stays recorded when somebody ends the command: naming the runs
that are left goes on where it ended.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from designs.building_blocks.claims import Bench, Claim, Run
from loadtests.comparison.experiment import LEAD_IN_S, SETTLE_S, WARM_UP_S
from workbench.bench import bench_command
from workbench.catalogue import Design
from workbench.claims import Judged, NoClaims, Review, claims_of, review, runs_of
from workbench.comparison import compare_command
from workbench.terminal import say, say_aside

START_S = 5.0  # of a block: processes, data, and the judging of their histories

Measure = Callable[[Design, Run | Bench], int]


def claims_command(
    design: Design,
    names: Sequence[str] = (),
    *,
    check: bool = False,
    listing: bool = False,
    folder: Path | None = None,
    claims: Sequence[Claim] | None = None,
    measure: Measure | None = None,
) -> int:
    """Measure and record the named runs (all unless named), then judge their claims. `check` judges what is recorded already.

    0 when no claim of theirs is contradicted, though some may be unsettled; 1 when one is, or a run is missing, failed, or was
    made under other conditions, or is not safe. `listing` prints the claims and measures nothing.
    """
    claims = claims_of(design) if claims is None else claims
    runs = chosen_runs(design, runs_of(claims), names)
    if listing:
        show_list(design, runs, claims)
        return 0
    failed: list[str] = []
    if not check:
        show_plan(design, runs)
        failed = measure_all(design, runs, measure or measure_and_record)
    found = review(design, folder, claims)
    judged = [each for each in found.judged if each.claim.run.name in runs]
    # Asked for all runs, a record that belongs to none is a fault too.
    faults = [fault for fault in found.faults if not names or fault.partition(":")[0] in runs]
    show_review(Review(judged, faults))
    wrong = failed or faults or any(each.outcome in ("contradicted", "not measured") for each in judged)
    return 1 if wrong else 0


def chosen_runs(design: Design, runs: Mapping[str, Run | Bench], names: Sequence[str]) -> dict[str, Run | Bench]:
    """Runs by the name of their record, or all of a knob by its name. Raises `NoClaims`."""
    chosen: dict[str, Run | Bench] = {}
    for wanted in names:
        found = {
            name: run for name, run in runs.items() if wanted.replace("-", "_") in (name.replace("-", "_"), name.partition(".")[0])
        }
        if not found:
            raise NoClaims(f"{design.name} has no run {wanted!r}; the runs are {', '.join(runs)}")
        chosen |= found
    return chosen or dict(runs)


def measure_all(design: Design, runs: Mapping[str, Run | Bench], measure: Measure) -> list[str]:
    """One after the other; the names of those that failed, whatever stopped them."""
    failed = []
    for place, (name, run) in enumerate(runs.items(), start=1):
        say(f"\n{place} of {len(runs)}  {name}: {command_of(design, run)}")
        try:
            measure(design, run)
        except KeyboardInterrupt:
            left = list(runs)[place - 1 :]
            say_aside(
                f"designs: {place - 1} of {len(runs)} runs are recorded; go on with: designs claims {design.name} {' '.join(left)}"
            )
            raise
        except Exception as error:
            failed.append(name)
            say_aside("".join(traceback.format_exception_only(error)).strip())
            say_aside(f"designs: {name} failed; nothing of it was recorded")
    return failed


def measure_and_record(design: Design, run: Run | Bench) -> int:
    if isinstance(run, Bench):
        return bench_command(run.bench, record=True)
    return compare_command(
        design,
        run.knob,
        run.values,
        assignments=run.assignments,
        mix=run.mix,
        rate_per_s=run.rate_per_s,
        blocks=run.blocks,
        round_s=run.round_s,
        faults=run.faults,
        record=True,
    )


def command_of(design: Design, run: Run | Bench) -> str:
    """What a person types for the same run."""
    if isinstance(run, Bench):
        return f"designs bench {run.bench} --record"
    rate = "" if run.rate_per_s is None else f" --rate {run.rate_per_s:g}"
    shared = "".join(f" --set {word}" for word in run.assignments)
    struck = f" --faults {','.join(run.faults)}" if run.faults else ""
    options = f"--mix {run.mix}{rate} --blocks {run.blocks} --round-s {run.round_s:g}{shared}{struck} --record"
    return f"designs compare {design.name} {run.knob} {' '.join(run.values)} {options}"


def about_s(run: Run | Bench) -> float:
    """Seconds that a run takes when no block is void."""
    if isinstance(run, Bench):
        return run.about_s
    a_round_s = LEAD_IN_S + run.round_s + 2 * SETTLE_S
    return run.blocks * (START_S + len(run.values) * (WARM_UP_S + 2 * SETTLE_S + 2 * a_round_s))


def show_plan(design: Design, runs: Mapping[str, Run | Bench]) -> None:
    for name, run in runs.items():
        say(f"{about_s(run) / 60:5.1f} min  {name}")
    say(f"{len(runs)} run{'s' * (len(runs) != 1)} of {design.name}, about {sum(map(about_s, runs.values())) / 60:.0f} minutes")


def show_list(design: Design, runs: Mapping[str, Run | Bench], claims: Sequence[Claim]) -> None:
    for name, run in runs.items():
        say(f"{name}  {command_of(design, run)}")
        for claim in claims:
            if claim.run.name == name:
                say(f"  {claim.sentence} ({' '.join(filter(None, (claim.variant, claim.figure)))}: {claim.expects.words})")


def show_review(found: Review) -> None:
    """A line per claim with the sentence of its record, then what stands in the way, then the sum."""
    run = ""
    for judged in found.judged:
        if judged.claim.run.name != run:
            run = judged.claim.run.name
            say(f"\n{run}")
        say(f"  {judged.outcome:<12}  {judged.claim.sentence}")
        if judged.said:
            say(f"  {'':<12}  {judged.said}")
    for fault in found.faults:
        say_aside(f"designs: {fault}")
    say(f"\n{summary(found.judged)}")


def summary(judged: Sequence[Judged]) -> str:
    """ "14 claims: 12 hold, 1 contradicted, 1 unsettled"."""
    words = {"holds": "hold", "contradicted": "contradicted", "unsettled": "unsettled", "not measured": "not measured"}
    counted = {said: sum(each.outcome == outcome for each in judged) for outcome, said in words.items()}
    shown = [f"{count} {said}" for said, count in counted.items() if count]
    return f"{len(judged)} claim{'s' * (len(judged) != 1)}: {', '.join(shown)}"
