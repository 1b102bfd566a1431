"""`designs compare`: start one running design per value of a knob, measure them in turns, write the report.

All variants stay up side by side on the servers' CPU, each with its own Redis, data folder and ports; the load generator has the
other CPU. What is measured, and how it is judged, is `loadtests`.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from designs.building_blocks.knobs import Knobs, build
from loadtests import open_loop
from loadtests.compare import Progress, compare
from loadtests.report import write_report
from loadtests.report_card import render_card, rich_card
from loadtests.result import Result
from loadtests.workload import Mix, Target, Workload
from workbench.catalogue import Design
from workbench.embedded_redis import find_server
from workbench.launch import RunningDesign
from workbench.measurements import record_comparison
from workbench.processes import cpu_plan
from workbench.terminal import say

BLOCKS = 10
ROUND_S = 1.5
SEED = 7
SAFETY_EXIT = {"valid": 0, "invalid": 1, "unknown": 2}


class UnknownMix(ValueError):
    """The design's load has no mix of that name. The message says which it has."""


def compare_command(
    design: Design,
    knob: str,
    values: Sequence[str],
    *,
    assignments: Sequence[str] = (),
    mix: str | None = None,
    rate_per_s: float | None = None,
    blocks: int | None = None,
    round_s: float | None = None,
    seed: int | None = None,
    out_dir: Path | None = None,
    record: bool = False,
) -> int:
    """Run the comparison, print its card, write its report; with `record` keep its figures for the documents.

    0 when every safety check held, 1 when one failed, 2 when unknown.
    """
    workload = workload_of(design)
    chosen = chosen_mix(workload, knob, mix)
    result = run_comparison(
        design,
        knob,
        values,
        workload=workload,
        mix=chosen,
        assignments=assignments,
        rate_per_s=rate_per_s or chosen.rate_per_s,
        blocks=blocks or BLOCKS,
        round_s=round_s or ROUND_S,
        seed=SEED if seed is None else seed,
    )
    started = datetime.datetime.fromisoformat(result.manifest.started_at)
    folder = out_dir or Path("results") / f"{design.name}-{knob}-{started:%Y%m%d-%H%M%S}"
    show(result, write_report(result, folder))
    if record:
        say(f"recorded  {record_comparison(result)}")
    return SAFETY_EXIT[result.safety_verdict()]


def run_comparison(
    design: Design,
    knob: str,
    values: Sequence[str],
    *,
    workload: Workload,
    mix: Mix,
    assignments: Sequence[str],
    rate_per_s: float,
    blocks: int,
    round_s: float,
    seed: int,
) -> Result:
    """Start the variants, measure them, stop them."""
    plan = cpu_plan()
    variants = [variant_knobs(design, mix, assignments, knob, value) for value in values]
    options = f"--mix {mix.name} --rate {rate_per_s:g} --blocks {blocks} --round-s {round_s:g} --seed {seed}"
    command = " ".join(["designs compare", design.name, knob, *values, options, *(f"--set {word}" for word in assignments)])
    with contextlib.ExitStack() as running:
        targets = []
        for value, knobs in zip(values, variants, strict=True):
            say(f"starting {knob}={value}")
            started = running.enter_context(RunningDesign(design, knobs, cpus=plan.servers if plan else None))
            targets.append(target_of(f"{knob}={value}", started))
        with progress_shown(blocks) as told:
            return open_loop.run(
                compare(
                    targets,
                    workload,
                    mix,
                    design=design.name,
                    knob=knob,
                    rate_per_s=rate_per_s,
                    blocks=blocks,
                    round_s=round_s,
                    seed=seed,
                    command=command,
                    cpus=plan.generator if plan else None,
                    versions=server_versions(),
                    progress=told,
                )
            )


def server_versions() -> dict[str, str]:
    """The servers that this machine starts for a design."""
    redis = find_server()
    return {"redis-server": f"{redis.version} ({redis.origin})"} if redis is not None else {}


def workload_of(design: Design) -> Workload:
    """The load that belongs to a design: `WORKLOAD` of its package under `loadtests`."""
    workload: Workload = importlib.import_module(f"loadtests.{design.name}.workload").WORKLOAD()
    return workload


def chosen_mix(workload: Workload, knob: str, name: str | None) -> Mix:
    """The mix of that name, else the one that shows this knob."""
    wanted = name or workload.default_mix.get(knob, workload.default_mix[""])
    if wanted not in workload.mixes:
        raise UnknownMix(f"there is no mix {wanted!r}; the mixes are {', '.join(workload.mixes)}")
    return workload.mixes[wanted]


def variant_knobs(design: Design, mix: Mix, assignments: Sequence[str], knob: str, value: str) -> Knobs:
    """The knobs of one side: the mix's, then what was asked for on both sides, then the value that is compared."""
    words: Mapping[str, Any] = {
        **mix.knobs,
        **dict(word.split("=", 1) for word in assignments),
        knob: value,
    }
    return build(design.processes().KNOBS, words)


def target_of(name: str, running: RunningDesign) -> Target:
    """A running design as the measuring sees it."""
    return Target(
        name=name,
        knobs=running.knobs.model_dump(),
        urls=running.urls,
        api_key=running.api_key,
        metrics_urls=running.metrics_urls,
        pids=running.pids_by_role(),
        redis_url=running.redis.url if running.redis else running.redis_url,
        data_dir=str(running.data_dir),
    )


def show(result: Result, page: Path) -> None:
    """The card and where the report is."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(rich_card(result))
    else:
        say(render_card(result, int(os.environ.get("COLUMNS", "100"))))
    say(f"report    {page}")


@contextlib.contextmanager
def progress_shown(blocks: int) -> Iterator[Any]:
    """A bar with the estimate so far at a terminal; a line per block elsewhere."""
    if not sys.stdout.isatty():
        seen = ""

        def tell(progress: Progress) -> None:
            nonlocal seen
            line = _line(progress)
            if line != seen:
                seen = line
                say(f"{progress.elapsed_s:6.1f} s  {line}")

        yield tell
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    # Drawn when told, never by a timer: a thread that draws would disturb the generator in this process.
    with Bar(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), auto_refresh=False) as bar:
        task = bar.add_task("starting", total=blocks)
        yield lambda progress: bar.update(task, completed=progress.blocks_accepted, description=_line(progress), refresh=True)


def _line(progress: Progress) -> str:
    if progress.phase != "block":
        return f"{progress.phase} {progress.variant}".strip()
    line = f"block {progress.blocks_accepted} of {progress.blocks_planned}"
    if progress.blocks_void:
        line += (
            f" ({progress.blocks_void} void, last: {progress.void_because})"
            if progress.void_because
            else f" ({progress.blocks_void} void)"
        )
    if progress.ratio is not None:
        line += f"  CPU per request x {progress.ratio.estimate:.2f}"
    return line
