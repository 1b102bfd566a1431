"""From the steps of a capacity test to its record: pure, but for the draws of the fit, which have a seed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.capacity.knee import RESOLUTION, Search, spread
from loadtests.capacity.limiter import limiter
from loadtests.capacity.result import (
    Bracket,
    CapacityManifest,
    CapacityVariant,
    ClosedStep,
    Knee,
    OpenStep,
    ScalabilityFit,
)
from loadtests.capacity.slo import Slo
from loadtests.capacity.usl import RESAMPLES, FitImpossible, fit
from loadtests.capacity.words import notes
from loadtests.manifest import Conditions
from loadtests.result import SafetyCheck
from loadtests.workload import Mix, Target

CLIENTS = (1, 2, 3, 4, 8, 16, 24, 32, 64)


@dataclass(frozen=True, slots=True)
class CapacityExperiment:
    """What is fixed before the run. `knob` differs between the variants; "" for one variant."""

    design: str
    knob: str
    mix: Mix
    slo: Slo
    clients: Sequence[int] = CLIENTS
    repeats: int = 3
    step_s: float = 2.0
    seed: int = 7
    resamples: int = RESAMPLES
    command: str = ""


class Measured:
    """The steps of one variant so far."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.closed: list[ClosedStep] = []
        self.open: list[OpenStep] = []
        self.searches: list[Search] = []

    @property
    def most(self) -> tuple[int, float]:
        """The number of clients with the highest median throughput, and that throughput."""
        by_clients: dict[int, list[float]] = {}
        for step in self.closed:
            by_clients.setdefault(step.clients, []).append(step.throughput_per_s)
        per_s, clients = max((statistics.median(found), clients) for clients, found in by_clients.items())
        return clients, per_s

    @property
    def at_most(self) -> list[ClosedStep]:
        """The steps with so many clients, the one with the median CPU time per request in the middle."""
        clients, _ = self.most
        return sorted((step for step in self.closed if step.clients == clients), key=cpu_us)

    @property
    def one_core_per_s(self) -> float:
        return 1e6 / max(statistics.median(map(cpu_us, self.at_most)), 1e-3)


def fold_variant(measured: Measured, experiment: CapacityExperiment, server_cpus: int | None, connections: int) -> CapacityVariant:
    """Conclusions from the steps of one variant."""
    most_at_clients, most_per_s = measured.most
    at_most = measured.at_most
    found: ScalabilityFit | None = None
    no_fit_because = ""
    try:
        points = [(float(step.clients), step.throughput_per_s) for step in measured.closed if not step.void_because]
        found = fit(points, seed=experiment.seed, resamples=experiment.resamples)
    except FitImpossible as error:
        no_fit_because = str(error)
    failed = [step for step in measured.open if step.outcome == "fail"]
    first_failed = min(failed, key=lambda step: step.planned_per_s, default=None)
    over = spread(measured.searches)
    return CapacityVariant(
        name=measured.target.name,
        knobs=dict(measured.target.knobs),
        closed=measured.closed,
        open=measured.open,
        fit=found,
        no_fit_because=no_fit_because,
        most_per_s=most_per_s,
        most_at_clients=most_at_clients,
        one_core_per_s=measured.one_core_per_s,
        knee=Knee(
            low_per_s=over.low_per_s,
            estimate_per_s=over.estimate_per_s,
            high_per_s=over.high_per_s,
            brackets=[bracket(search, repetition, measured.open) for repetition, search in enumerate(measured.searches)],
        ),
        limiter=limiter(
            at_most[len(at_most) // 2].usage,
            processes={role: len(pids) for role, pids in measured.target.pids.items()},
            server_cpus=server_cpus,
            in_flight_most=first_failed.in_flight_most if first_failed else 0,
            connections=connections * len(measured.target.urls),
        ),
    )


def bracket(search: Search, repetition: int, steps: Sequence[OpenStep]) -> Bracket:
    """One search as it is recorded, with the reason of its first failure."""
    own = [step for step in steps if step.purpose == "knee" and step.repetition == repetition]
    outcomes = Counter(step.outcome for step in own)
    failures = {step.planned_per_s: step.because for step in own if step.outcome == "fail"}
    ended = search.ended
    assert ended, "a search is recorded at its end"
    return Bracket(
        last_pass_per_s=search.last_pass_per_s,
        first_fail_per_s=search.first_fail_per_s,
        first_fail_because=failures.get(search.first_fail_per_s or 0.0, ""),
        ended=ended,
        steps=len(own),
        void_steps=outcomes["void"],
    )


def manifest_of(
    experiment: CapacityExperiment,
    variants: Sequence[CapacityVariant],
    safety: Mapping[str, Sequence[SafetyCheck]],
    around: Conditions,
    pinned: str,
    connections: int,
    started_at: str,
    duration_s: float,
) -> CapacityManifest:
    return CapacityManifest(
        design=experiment.design,
        knob=experiment.knob,
        mix=experiment.mix.name,
        mix_description=experiment.mix.who,
        objective=str(experiment.slo),
        objective_percentile=experiment.slo.percentile,
        objective_limit_ms=experiment.slo.limit_s * 1e3,
        clients=list(experiment.clients),
        repeats=experiment.repeats,
        step_s=experiment.step_s,
        resolution=RESOLUTION,
        connections_per_url=connections,
        seed=experiment.seed,
        started_at=started_at,
        duration_s=duration_s,
        command=experiment.command,
        commit=around.commit,
        dirty=around.dirty,
        versions=around.versions,
        machine=around.machine,
        pinning=pinned,
        notes=notes(variants, safety, experiment.mix),
    )


def cpu_us(step: ClosedStep) -> float:
    """CPU-us of one request, all roles together."""
    return sum(step.usage.cpu_us_per_request.values())
