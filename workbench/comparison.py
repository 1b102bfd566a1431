"""`designs compare`: start one running design per value of a knob, measure them in turns, write the report.

All variants stay up side by side on the servers' CPU, each with its own Redis, data folder and ports; the load generator has the
other CPU. Each block starts them anew. What is measured, and how it is judged, is `loadtests`.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from designs.building_blocks.knobs import Knobs, build
from loadtests.analysis.figures import figure
from loadtests.comparison.compare import Progress, compare
from loadtests.comparison.experiment import Experiment
from loadtests.comparison.noise_floor import SECOND_COPY
from loadtests.comparison.samples import write_samples
from loadtests.comparison.schedule import MeasuredBlock
from loadtests.generator import open_loop
from loadtests.report.card import render_card, rich_card
from loadtests.report.page import write_report
from loadtests.result import Result
from loadtests.workload import Mix, Target, Workload
from workbench.catalogue import Design
from workbench.embedded_redis import find_server
from workbench.fault_injection.injector import nodes_of, unbreakable
from workbench.given_servers import GivenServer
from workbench.launch import RunningDesign, bytecode_kept_in
from workbench.measurements import record_comparison
from workbench.processes import cpu_plan
from workbench.servers import process_of
from workbench.strikes import RoundStrikes, drawn_for_round, refuse_ended_processes
from workbench.terminal import say

BLOCKS = 10
ROUND_S = 1.5
ROUND_UNDER_FAULTS_S = 4.0  # time to break and to recover
SEED = 7
MARGIN = 0.05
PRIMARY = "cpu_us_per_request"
SAFETY_EXIT = {"valid": 0, "invalid": 1, "unknown": 2}


class UnknownMix(ValueError):
    """The design's load has no mix of that name. The message says which it has."""


def compare_command(design: Design, knob: str, values: Sequence[str], *, record: bool = False, **options: Any) -> int:
    """`run_comparison` as a command; with `record` its figures are kept for the documents.

    0 when every safety check held, 1 when one failed, 2 when unknown.
    """
    result = run_comparison(design, knob, values, **options)
    if record:
        say(f"recorded  {record_comparison(result)}")
    return SAFETY_EXIT[result.safety_verdict()]


def run_comparison(
    design: Design,
    knob: str,
    values: Sequence[str],
    *,
    assignments: Sequence[str] = (),
    mix: str | None = None,
    control: bool = False,
    restart: bool = True,
    faults: Sequence[str] = (),
    out_dir: Path | None = None,
    **measuring: Any,
) -> Result:
    """Start the variants, measure them, stop them, print the card and write the report. `measuring`: see `experiment_of`.

    `control` adds a second copy of the baseline, started on its own; without `restart` all blocks measure the same processes.
    With `faults`, names of schedules, every variant runs behind a fault proxy and is struck in each of its rounds; raises
    `BadSchedule` or `EndsProcesses` for one that can't be.
    """
    workload = workload_of(design)
    chosen = chosen_mix(workload, knob, mix)
    names = variant_names(knob, values, control)
    experiment = experiment_of(design.name, knob, names, chosen, faults, fresh=restart, control=control, **measuring)
    experiment = replace(experiment, command=command_line(experiment, values, assignments))
    knobs = [variant_knobs(design, chosen, assignments, knob, value) for value in [*values, *values[: int(control)]]]
    plan = cpu_plan()
    with Variants(design, experiment.variants, knobs, plan.servers, struck=bool(faults), replicas=chosen.replicas) as variants:
        targets = variants.start()
        return measured_and_shown(
            experiment,
            targets,
            workload,
            renew=variants.start if restart else None,
            strikes=variants.strikes(experiment) if faults else None,
            cpus=plan.generator,
            versions=server_versions(variants.given()),
            remarks=shared_servers(variants.given()),
            out_dir=out_dir,
        )


def experiment_of(
    design: str,
    knob: str,
    variants: Sequence[str],
    mix: Mix,
    faults: Sequence[str] = (),
    *,
    rate_per_s: float | None = None,
    blocks: int | None = None,
    round_s: float | None = None,
    seed: int | None = None,
    margin: float | None = None,
    primary: str | None = None,
    fresh: bool = False,
    control: bool = False,
) -> Experiment:
    """What is None is as usual, so that a claim, and whoever types no option, ask for the same experiment."""
    return Experiment(
        design=design,
        knob=knob,
        variants=variants,
        mix=mix,
        rate_per_s=rate_per_s or mix.rate_per_s,
        round_s=round_s or (ROUND_UNDER_FAULTS_S if faults else ROUND_S),
        blocks=blocks or BLOCKS,
        seed=SEED if seed is None else seed,
        margin=MARGIN if margin is None else margin,
        primary=primary or PRIMARY,
        fresh=fresh,
        control=control,
        faults=tuple(faults),
    )


def measured_and_shown(
    experiment: Experiment, targets: Sequence[Target], workload: Workload, *, out_dir: Path | None = None, **options: Any
) -> Result:
    """Measure running targets with live progress, write the report, print the card. `options` are those of `compare`."""
    started = datetime.datetime.now(datetime.UTC)
    folder = out_dir or Path("results") / f"{experiment.design}-{experiment.knob}-{started:%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.json").write_text(experiment.document(), encoding="utf-8")
    kept: list[MeasuredBlock] = []
    with progress_shown(experiment.blocks, figure(experiment.primary).noun) as told:
        result = open_loop.run(compare(experiment, targets, workload, progress=told, keep=kept.extend, **options))
    page = write_report(result, folder)
    names = [variant.name for variant in result.variants]
    with contextlib.suppress(ImportError):  # raw samples are an extra, as numpy is
        write_samples(folder / "samples.npz", names, kept)
    show(result, page)
    return result


class Variants:
    """The running variants of one comparison, all of which can be started anew."""

    def __init__(
        self,
        design: Design,
        names: Sequence[str],
        knobs: Sequence[Knobs],
        cpus: frozenset[int] | None,
        *,
        struck: bool = False,
        replicas: int = 1,
    ) -> None:
        """`struck`: each behind a fault proxy. `replicas`: of each."""
        self._design = design
        self._replicas = replicas
        self._struck = struck
        self._designs: list[RunningDesign] = []
        self._named = list(zip(names, knobs, strict=True))
        self._cpus = cpus
        self._compiled = tempfile.TemporaryDirectory(prefix="compiled-modules-")
        self._running = contextlib.ExitStack()

    def start(self) -> list[Target]:
        """End those that run, then start each in the same order with a data folder of its own."""
        self._running.close()
        env = bytecode_kept_in(Path(self._compiled.name))
        self._designs = [
            self._running.enter_context(
                RunningDesign(self._design, knobs, replicas=self._replicas, cpus=self._cpus, env=env, faults=self._struck)
            )
            for _, knobs in self._named
        ]
        return [target_of(name, running) for (name, _), running in zip(self._named, self._designs, strict=True)]

    def given(self) -> dict[str, GivenServer]:
        """Servers that were given to any of them, and are shared."""
        return {name: server for running in self._designs for name, server in running.given.items()}

    def strikes(self, experiment: Experiment) -> RoundStrikes:
        """What strikes in each round. Raises `BadSchedule` or `EndsProcesses`."""
        # Alike for all variants, so only processes that all of them have can be struck.
        nodes = [name for name in nodes_of(self._designs[0]) if all(name in nodes_of(each) for each in self._designs)]
        fixed = {name: why for each in self._designs for name, why in unbreakable(each).items()}
        drawn = partial(drawn_for_round, experiment, nodes, unbreakable=fixed)
        refuse_ended_processes(drawn(0, experiment.round_s))
        return RoundStrikes(lambda variant: self._designs[variant], drawn)

    def __enter__(self) -> Variants:
        if bytecode_kept_in(Path(self._compiled.name)):
            # The first start compiles, and a process that compiled is larger: it must not be among the measured ones.
            try:
                self.start()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self._compiled.cleanup()


def variant_names(knob: str, values: Sequence[str], with_control: bool) -> list[str]:
    names = [f"{knob}={value}" for value in values]
    return [*names, names[0] + SECOND_COPY] if with_control else names


def command_line(experiment: Experiment, values: Sequence[str], assignments: Sequence[str]) -> str:
    """The command that repeats the run with the same plans."""
    words = ["designs compare", experiment.design, experiment.knob, *values, "--mix", experiment.mix.name]
    words += [
        f"--rate {experiment.rate_per_s:g} --blocks {experiment.blocks} --round-s {experiment.round_s:g} --seed {experiment.seed}"
    ]
    words += [f"--margin {experiment.margin:g}"] if experiment.margin != MARGIN else []
    words += [f"--primary {experiment.primary}"] if experiment.primary != PRIMARY else []
    words += [f"--faults {','.join(experiment.faults)}"] if experiment.faults else []
    words += ["--control"] if experiment.control else []
    words += [] if experiment.fresh else ["--no-restart"]
    return " ".join([*words, *(f"--set {word}" for word in assignments)])


def server_versions(given: Mapping[str, GivenServer] = MappingProxyType({})) -> dict[str, str]:
    """The servers that this machine starts for a design, and those that were given, as far as these tell."""
    redis = find_server()
    versions = {"redis-server": f"{redis.version} ({redis.origin})"} if redis is not None else {}
    return versions | {name: said for name, server in given.items() if (said := server.version())}


def shared_servers(given: Mapping[str, GivenServer]) -> list[str]:
    """What a reader of the figures must know of servers that were given: who pays for their CPU, and what they keep."""
    remarks = []
    for server in given.values():
        owner, title = process_of(server), server.kind.title
        if owner.pids:
            whose = (
                f"in their turns its CPU is theirs, as role {server.kind.role}, its own housekeeping and what earlier rounds left "
                "it to do included; in other turns it is nobody's, and voids no block; it is tied to no CPU"
            )
        else:
            whose = f"its CPU is in no figure ({owner.unknown_because})"
        remarks.append(f"{title} is one server for all variants that use it, each with data of its own: {whose}")
    return remarks


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
        shared_pids=frozenset(pid for server in running.given.values() for pid in process_of(server).pids),
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
def progress_shown(blocks: int, noun: str) -> Iterator[Any]:
    """A bar with the estimate so far at a terminal; elsewhere a line per block, and what comes before the first."""
    if not sys.stdout.isatty():
        seen = ""

        def tell(progress: Progress) -> None:
            nonlocal seen
            line = _line(progress, noun)
            begun = progress.blocks_accepted + progress.blocks_void > 0
            if line != seen and (progress.phase == "block" or not begun):
                seen = line
                say(f"{progress.elapsed_s:6.1f} s  {line}")

        yield tell
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    # Drawn when told, never by a timer: a thread that draws would disturb the generator in this process.
    with Bar(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), auto_refresh=False) as bar:
        task = bar.add_task("starting", total=blocks)
        yield lambda progress: bar.update(task, completed=progress.blocks_accepted, description=_line(progress, noun), refresh=True)


def _line(progress: Progress, noun: str) -> str:
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
        line += f"  {noun} x {progress.ratio.estimate:.2f}"
    return line
