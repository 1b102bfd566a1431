"""The capacity test: how much a running design can serve, at which rate it stops to meet its objective, and what was full then.

Closed steps first, so many clients at a time in shuffled order, repeated: they give throughput against concurrency, which the
Universal Scalability Law is fitted to, and the CPU time of a request, which predicts where one core is full. From there open
steps search the knee, each search repeated; and a few more below it give latency against rate. The two are never mixed: a closed
loop asks a slow service less often, and so says nothing of latency (Schroeder, Wierman, Harchol-Balter, NSDI 2006).

Variants stay up side by side and take turns, so that a drift of the machine favours none.
"""

from __future__ import annotations

import asyncio
import datetime
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtests.capacity.fold import CapacityExperiment, Measured, fold_variant, manifest_of
from loadtests.capacity.knee import MAX_VOID_IN_A_ROW, Search, spread, start_again
from loadtests.capacity.result import CapacityResult, ClosedStep, OpenStep
from loadtests.capacity.steps import MOST_PLANNED_PER_S, StepTaker
from loadtests.capacity.words import headline
from loadtests.generator.open_loop import LoadGenerator
from loadtests.generator.placement import current_cpus, generator_placed
from loadtests.manifest import conditions, pinning
from loadtests.result import SafetyCheck
from loadtests.workload import Target, Workload

CURVE_SHARES = (0.3, 0.5, 0.7, 0.85)  # of the knee: latency against rate
USUAL_SEARCH_STEPS = 6  # for the progress bar alone

Phase = Literal["seed", "clients", "knee", "curve", "check"]


@dataclass(frozen=True, slots=True)
class StepDone:
    """Told after each step; `steps_expected` is a guess that is corrected on the way."""

    phase: Phase
    variant: str
    step: ClosedStep | OpenStep | None
    steps_done: int
    steps_expected: int


async def find_capacity(
    experiment: CapacityExperiment,
    targets: Sequence[Target],
    workload: Workload,
    *,
    cpus: Collection[int] | None = None,
    server_cpus: int | None = None,
    versions: Mapping[str, str] | None = None,
    load: Callable[[Target], LoadGenerator] | None = None,
    progress: Callable[[StepDone], None] = lambda done: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> CapacityResult:
    """Measure the running `targets`. Best run on uvloop (`open_loop.run`).

    `cpus` are the generator's, `server_cpus` how many the variants may use (None: not known). `load` makes the generator of a
    target, with a connection for each of the most clients at least. `SeedingFailed` when a variant can't be prepared,
    `cpu_clock.Unreadable` when a process of one has ended.
    """
    around = conditions()
    around.versions.update(versions or {})
    started_at, started_s = now(), time.monotonic()
    measured = {target.name: Measured(target) for target in targets}
    if len(measured) < len(targets) or not targets:
        raise ValueError("a capacity test needs one variant or more, with different names")
    done = 0

    def tell(phase: Phase, variant: str, step: ClosedStep | OpenStep | None) -> None:
        nonlocal done
        done += step is not None
        expected = len(targets) * (experiment.repeats * (len(experiment.clients) + USUAL_SEARCH_STEPS) + len(CURVE_SHARES))
        progress(StepDone(phase, variant, step, done, max(done, expected)))

    connections = max(experiment.clients)
    takers: dict[str, StepTaker] = {}
    load = load or (lambda target: LoadGenerator(target.urls, connections_per_url=connections))
    generators = [load(target) for target in targets]
    with generator_placed(cpus) as first:
        try:
            for target, generator in zip(targets, generators, strict=True):
                tell("seed", target.name, None)
                mix, slo, step_s, seed = experiment.mix, experiment.slo, experiment.step_s, experiment.seed
                takers[target.name] = StepTaker(target, generator, workload, mix, slo, step_s=step_s, seed=seed, sleep=sleep)
                await takers[target.name].begin()
            for repetition in range(experiment.repeats):
                await _closed_steps(experiment, repetition, takers, measured, tell)
            for repetition in range(experiment.repeats):
                for name, taker in takers.items():
                    await _search(repetition, taker, measured[name], tell)
            for share in CURVE_SHARES:
                for name, taker in takers.items():
                    knee_per_s = spread(measured[name].searches).estimate_per_s
                    if knee_per_s is not None and share * knee_per_s >= taker.floor_per_s:
                        await _curve_point(share * knee_per_s, taker, measured[name], tell)
        finally:
            for generator in generators:
                await generator.close()
        safety: dict[str, list[SafetyCheck]] = {}
        for target in targets:
            tell("check", target.name, None)
            safety[target.name] = list(await workload.check(target))
        pinned = pinning(current_cpus(), (pid for target in targets for pids in target.pids.values() for pid in pids), first)
    variants = [fold_variant(each, experiment, server_cpus, connections) for each in measured.values()]
    manifest = manifest_of(
        experiment, variants, safety, around, pinned, connections, started_at.isoformat(), time.monotonic() - started_s
    )
    return CapacityResult(
        headline=headline(variants, safety, str(experiment.slo)), variants=variants, safety=safety, manifest=manifest
    )


async def _closed_steps(
    experiment: CapacityExperiment,
    repetition: int,
    takers: Mapping[str, StepTaker],
    measured: Mapping[str, Measured],
    tell: Callable[[Literal["clients"], str, ClosedStep], None],
) -> None:
    """All numbers of clients on all variants once, shuffled, so that a slow minute does not always meet the same number."""
    order = [(name, clients) for name in takers for clients in experiment.clients]
    random.Random(f"{experiment.seed} order of repetition {repetition}").shuffle(order)
    for name, clients in order:
        for _ in range(MAX_VOID_IN_A_ROW):
            step = await takers[name].closed(clients, repetition)
            measured[name].closed.append(step)
            tell("clients", name, step)
            if not step.void_because:
                break


async def _search(
    repetition: int, taker: StepTaker, measured: Measured, tell: Callable[[Literal["knee"], str, OpenStep], None]
) -> None:
    """One search for the knee; the first starts where one core would be full."""
    first = Search(measured.one_core_per_s, floor_per_s=taker.floor_per_s, ceiling_per_s=MOST_PLANNED_PER_S)
    search = start_again(measured.searches) if measured.searches else first
    while (rate_per_s := search.next_rate) is not None:
        step = await taker.open(rate_per_s, "knee", repetition)
        measured.open.append(step)
        tell("knee", taker.target.name, step)
        search = search.after(step.outcome)
    measured.searches.append(search)


async def _curve_point(
    rate_per_s: float, taker: StepTaker, measured: Measured, tell: Callable[[Literal["curve"], str, OpenStep], None]
) -> None:
    for _ in range(MAX_VOID_IN_A_ROW):
        step = await taker.open(rate_per_s, "curve", 0)
        measured.open.append(step)
        tell("curve", taker.target.name, step)
        if step.outcome != "void":
            break
