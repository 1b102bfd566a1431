"""`designs capacity-test`: start a design, one per value of a knob if one is varied, find its knee, write the report.

What a step is and what is concluded from it is `loadtests.capacity.find`; here the design runs, the terminal is told, the files are
written.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from designs.building_blocks.knobs import Knobs, build
from loadtests.capacity.find import StepDone, find_capacity
from loadtests.capacity.fold import CapacityExperiment
from loadtests.capacity.page import write_capacity_report
from loadtests.capacity.result import CapacityResult, ClosedStep, OpenStep
from loadtests.capacity.slo import parse_slo
from loadtests.capacity.tables import STEP_COLUMNS, step_rows
from loadtests.capacity.usl import require_scipy
from loadtests.capacity.words import findings
from loadtests.generator import open_loop
from loadtests.report.number_format import count, number
from loadtests.workload import Mix
from workbench.catalogue import Design
from workbench.comparison import SAFETY_EXIT, chosen_mix, server_versions, target_of, workload_of
from workbench.given_servers import GivenServer
from workbench.launch import RunningDesign
from workbench.processes import cpu_plan
from workbench.terminal import say, say_aside, show_table

SLO = "p99<50ms"
REPEATS = 3
STEP_S = 2.0
SEED = 7


def capacity_command(
    design: Design,
    *,
    assignments: Sequence[str] = (),
    knob: str = "",
    values: Sequence[str] = (),
    slo: str | None = None,
    mix: str | None = None,
    repeats: int | None = None,
    step_s: float | None = None,
    seed: int | None = None,
    out_dir: Path | None = None,
) -> int:
    """Run the test, print what was found, write its report. 0 when every safety check held, 1 when one failed, 2 when unknown."""
    require_scipy()
    objective = parse_slo(slo or SLO)
    workload = workload_of(design)
    chosen = chosen_mix(workload, knob, mix)
    experiment = CapacityExperiment(
        design=design.name,
        knob=knob,
        mix=chosen,
        slo=objective,
        repeats=repeats or REPEATS,
        step_s=step_s or STEP_S,
        seed=SEED if seed is None else seed,
        command=" ".join(
            [
                f"designs capacity-test {design.name}",
                *assignments,
                *([f"--vary {knob}={','.join(values)}"] if knob else []),
                f"--slo '{slo or SLO}' --mix {chosen.name} --repeats {repeats or REPEATS} --step-s {step_s or STEP_S:g}",
                f"--seed {SEED if seed is None else seed}",
            ]
        ),
    )
    named = [(f"{knob}={value}", turned(design, chosen, assignments, knob, value)) for value in values]
    plan = cpu_plan()
    with contextlib.ExitStack() as running:
        targets = []
        given: dict[str, GivenServer] = {}
        for name, knobs in named or [(design.name, turned(design, chosen, assignments))]:
            say_aside(f"starting {name}")
            started = running.enter_context(RunningDesign(design, knobs, replicas=chosen.replicas, cpus=plan.servers))
            targets.append(target_of(name, started))
            given |= started.given
        with progress_shown() as told:
            result = open_loop.run(
                find_capacity(
                    experiment,
                    targets,
                    workload,
                    cpus=plan.generator,
                    server_cpus=len(plan.servers) if plan.servers else None,
                    versions=server_versions(given),
                    progress=told,
                )
            )
    started_at = datetime.datetime.fromisoformat(result.manifest.started_at)
    folder = out_dir or Path("results") / f"{design.name}-capacity-{started_at:%Y%m%d-%H%M%S}"
    show(result, write_capacity_report(result, folder))
    return SAFETY_EXIT[result.safety_verdict()]


def turned(design: Design, mix: Mix, assignments: Sequence[str], *varied: str) -> Knobs:
    """The mix's knobs, then what was asked for, then the value of the knob that is varied."""
    words = {**mix.knobs, **dict(word.split("=", 1) for word in assignments)}
    if varied:
        words[varied[0]] = varied[1]
    return build(design.processes().KNOBS, words)


def show(result: CapacityResult, page: Path) -> None:
    """A table of the steps, a few sentences, and where the report is."""
    show_table(STEP_COLUMNS, step_rows(result))
    say()
    say(result.headline)
    for variant in result.variants:
        for sentence in findings(variant, result.manifest.objective):
            say(f"{variant.name}: {sentence}" if len(result.variants) > 1 else sentence)
    for name, checks in result.safety.items():
        say(f"safety    {name}: {', '.join(f'{check.name} ({check.verdict})' for check in checks) or 'nothing was checked'}")
    say(f"report    {page}")


@contextlib.contextmanager
def progress_shown() -> Iterator[Callable[[StepDone], None]]:
    """A bar with the last step at a terminal; a line per step elsewhere."""
    if not sys.stdout.isatty():
        yield lambda done: say_aside(step_line(done))
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    # Drawn when told, never by a timer: a thread that draws would disturb the generator in this process.
    with Bar(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), auto_refresh=False) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done: bar.update(
            task, completed=done.steps_done, total=done.steps_expected, description=step_line(done), refresh=True
        )


def step_line(done: StepDone) -> str:
    """One step in one line."""
    if isinstance(done.step, ClosedStep):
        void = f"  void: {done.step.void_because}" if done.step.void_because else ""
        rate = count(round(done.step.throughput_per_s))
        return f"{done.variant}  {done.step.clients} clients  {rate}/s  {number(done.step.mean_response_ms)} ms{void}"
    if isinstance(done.step, OpenStep):
        return f"{done.variant}  {count(round(done.step.planned_per_s))}/s  {done.step.outcome}: {done.step.because}"
    return f"{done.phase} {done.variant}".strip()
