"""Claims against their records: which hold, which are contradicted, which this machine could not settle, and what is missing.

A design's claims are `CLAIMS` of its module `claims`; their runs are the runs that it has to have records of, no more and no
fewer. Nothing is measured here; `remeasure` does that.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from designs.building_blocks.claims import SAFETY, Bench, Claim, Expectation, Run
from designs.building_blocks.knobs import KnobError
from loadtests.analysis.statistics import verdict
from loadtests.comparison.experiment import Experiment
from loadtests.comparison.rounds import plan_hash
from loadtests.report.verdict import safety_findings
from loadtests.result import SCHEMA_VERSION, Comparison, Result
from workbench.bench_verdicts import MET
from workbench.catalogue import Design
from workbench.comparison import (
    UnknownMix,
    chosen_mix,
    command_line,
    experiment_of,
    variant_knobs,
    variant_names,
    workload_of,
)
from workbench.measurements import BadRecord, BenchRecord, NoRecord, read_bench, read_comparison, records_of

Outcome = Literal["holds", "contradicted", "unsettled", "not measured"]
SAFETY_OUTCOMES: dict[str, Outcome] = {"valid": "holds", "invalid": "contradicted", "unknown": "unsettled"}


class NoClaims(LookupError):
    """The design claims nothing, or has no run of that name. The message says what there is."""


class BadClaims(ValueError):
    """Claims that contradict each other before anything is measured. The message says how."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim and what its record says. `said` is the record's own sentence, "" when there is none."""

    claim: Claim
    outcome: Outcome
    said: str
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """All claims of a design. `faults`: why the records can't stand for them, a sentence each."""

    judged: Sequence[Judged]
    faults: Sequence[str]

    def of(self, outcome: Outcome) -> list[Judged]:
        return [judged for judged in self.judged if judged.outcome == outcome]


def claims_of(design: Design) -> Sequence[Claim]:
    """Raises `NoClaims` for a design without any."""
    try:
        claims: Sequence[Claim] = importlib.import_module(f"{design.module}.claims").CLAIMS
    except ModuleNotFoundError as error:
        if error.name != f"{design.module}.claims":
            raise
        raise NoClaims(f"{design.name} makes no claims") from None
    return claims


def runs_of(claims: Sequence[Claim]) -> dict[str, Run | Bench]:
    """The runs that the claims rest on, by the name of their record, each once. Raises `BadClaims` for two runs of one name."""
    runs: dict[str, Run | Bench] = {}
    for claim in claims:
        if runs.setdefault(claim.run.name, claim.run) != claim.run:
            raise BadClaims(f"two different runs are called {claim.run.name}; one knob is run once under one mix")
    return runs


def review(design: Design, folder: Path | None = None, claims: Sequence[Claim] | None = None) -> Review:
    """All claims (of the design unless given) against the records in `folder` (its own unless given)."""
    claims = claims_of(design) if claims is None else claims
    folder = folder or records_of(design.name)
    runs = runs_of(claims)
    judged: list[Judged] = []
    faults: list[str] = []
    for name, run in runs.items():
        mine = [claim for claim in claims if claim.run == run]
        try:
            record = read_record(design, run, folder)
        except (NoRecord, BadRecord) as error:
            missing = f"not recorded yet; {how(design, name)} does it"
            faults.append(f"{name}: {error if isinstance(error, BadRecord) else missing}")
            judged += [Judged(claim, "not measured", "") for claim in mine]
            continue
        other = differences(design, run, record)
        if other:
            faults += [f"{name}: {told}; {how(design, name)} makes it anew" for told in other]
            judged += [Judged(claim, "not measured", "") for claim in mine]
            continue
        if isinstance(record, Result) and record.safety_verdict() != "valid":
            faults.append(f"{name}: safety is {record.safety_verdict()}: {safety_said(record)}")
        found = [judge(claim, record) for claim in mine]
        judged += found
        faults += [f"{name}: {each.claim.figure} of “{each.claim.sentence}” was not measured" for each in found if not each.said]
    unclaimed = [path.stem for path in sorted(folder.glob("*.json")) if path.stem not in runs]
    faults += [f"{name}: recorded, and no claim speaks of it" for name in unclaimed]
    return Review(judged, faults)


def how(design: Design, run_name: str) -> str:
    """The command that records a run."""
    return f"`designs claims {design.name} {run_name}`"


def read_record(design: Design, run: Run | Bench, folder: Path | None = None) -> Result | BenchRecord:
    """Raises `NoRecord` or `BadRecord`."""
    if isinstance(run, Bench):
        return read_bench(design.name, run.bench, folder)
    return read_comparison(design.name, run.name, folder)


def judge(claim: Claim, record: Result | BenchRecord) -> Judged:
    """One claim against the record of its run."""
    if isinstance(record, BenchRecord):
        return judge_requirement(claim, record)
    if claim.figure == SAFETY:
        safe = record.safety_verdict()
        return Judged(claim, SAFETY_OUTCOMES[safe], safety_said(record))
    compared = comparison_of(record, claim)
    if compared is None:
        return Judged(claim, "not measured", "")
    found = outcome(claim.expects, compared, record.manifest.margin, record.manifest.blocks_planned)
    return Judged(claim, found, compared.sentence, compared)


def outcome(expected: Expectation, compared: Comparison, margin: float, planned: int) -> Outcome:
    """Where the measured interval lies. One inside the margin counts as no difference, a ratio of 1.

    A ratio that has no interval because a count is 0 is judged by its medians. What a run too noisy to finish says is unsettled.
    """
    ratio = compared.ratio
    if ratio is None:
        low = high = point_ratio(compared.baseline, compared.other)
    elif ratio.low is None or ratio.high is None or (compared.verdict == "inconclusive" and ratio.blocks < planned):
        return "unsettled"
    else:
        low, high = (1.0, 1.0) if verdict(ratio, margin) == "same" else (ratio.low, ratio.high)
    if expected.low <= low and high <= expected.high:
        return "holds"
    return "contradicted" if high < expected.low or low > expected.high else "unsettled"


def point_ratio(baseline: float, other: float) -> float:
    if baseline:
        return other / baseline
    return float("inf") if other else 1.0


def judge_requirement(claim: Claim, record: BenchRecord) -> Judged:
    """By what the bench said of the requirement that the claim names."""
    for sentence in record.sentences:
        met, _, requirement = sentence.partition(": ")
        if requirement.startswith(claim.figure):
            return Judged(claim, "holds" if met == MET else "contradicted", sentence)
    return Judged(claim, "not measured", "")


def comparison_of(record: Result, claim: Claim) -> Comparison | None:
    """The figure of the claim's variant, None where it was not measured or stayed 0 on both sides."""
    names = [variant.name for variant in record.variants[1:]]
    name = f"{record.manifest.knob}={claim.variant}"
    found = dict(zip(names, record.comparisons, strict=False)).get(name, [])
    return next((compared for compared in found if compared.figure == claim.figure), None)


def differences(design: Design, run: Run | Bench, record: Result | BenchRecord) -> list[str]:
    """How the record was made otherwise than the run says: by another version, by another command, or with other knobs."""
    told = []
    if record.schema_version != SCHEMA_VERSION:
        told.append(f"recorded in schema {record.schema_version}, now it is {SCHEMA_VERSION}")
    if isinstance(run, Bench) or isinstance(record, BenchRecord):
        if (
            record.schema_version == SCHEMA_VERSION
            and isinstance(record, BenchRecord)
            and record.command != f"designs bench {record.name}"
        ):
            told.append(f"recorded by `{record.command}`, which is not the whole bench")
        return told
    try:
        experiment = wanted_experiment(design, run)
        wanted = command_line(experiment, run.values, run.assignments)
        knobs = wanted_knobs(design, run)
    except (UnknownMix, KnobError) as error:
        return [*told, str(error)]
    if record.manifest.command != wanted:
        return [*told, f"recorded by `{record.manifest.command}`, the run says `{wanted}`"]
    if record.manifest.plan_hash != planned(run, experiment):
        told.append(f"the mix {run.mix} now makes other requests than it was recorded with")
    for value, variant, turned in zip(run.values, record.variants, knobs, strict=False):
        # A knob that the design did not have then is passed over: its default does what the design did before.
        other = [f"{name}={there}" for name, there in variant.knobs.items() if turned.get(name) != there]
        if other:
            told.append(f"{run.knob}={value} was recorded with {', '.join(other)}, which is not what it runs with now")
    return told


_PLANNED: dict[tuple[Run, str], str] = {}


def planned(run: Run, experiment: Experiment) -> str:
    """The hash of its plans. Every section of a document asks for all of them, and to draw the plans of one run takes a moment."""
    key = run, repr(experiment.mix)
    if key not in _PLANNED:
        _PLANNED[key] = plan_hash(experiment)
    return _PLANNED[key]


def wanted_experiment(design: Design, run: Run) -> Experiment:
    """The experiment of a run, with what it leaves to the mix and to the usual. Raises `UnknownMix`."""
    mix = chosen_mix(workload_of(design), run.knob, run.mix)
    names = variant_names(run.knob, run.values, with_control=False)
    return experiment_of(
        design.name,
        run.knob,
        names,
        mix,
        run.faults,
        rate_per_s=run.rate_per_s,
        round_s=run.round_s,
        blocks=run.blocks,
        fresh=True,
    )


def wanted_knobs(design: Design, run: Run) -> list[dict[str, Any]]:
    """The knobs of each side. Raises `UnknownMix` or `KnobError`."""
    mix = chosen_mix(workload_of(design), run.knob, run.mix)
    return [variant_knobs(design, mix, run.assignments, run.knob, value).model_dump() for value in run.values]


def safety_said(record: Result) -> str:
    """What is broken or unknown, with its counts; else how much was checked."""
    findings = safety_findings(record)
    bad = [f"{each.variants}: {each.verdict}: {each.invariant} ({each.counts})" for each in findings if each.verdict != "valid"]
    return "; ".join(bad) or f"{len(findings)} invariants held on every side"
