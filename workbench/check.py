"""`designs check`: start a design, load it while faults strike, judge what it promised, write the report.

How a check goes and what is concluded from it is `loadtests.check`; here the design runs, the terminal is told, the files are
written: `history.jsonl` (what was asked and answered), `check.json` (the record) and `index.html` (the report); where the verdict
is not valid also `logs/`, what the design's processes said.
"""

from __future__ import annotations

import datetime
import importlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from designs.building_blocks.knobs import Knobs, build
from designs.building_blocks.processes import ProcessSpec
from loadtests.check.fold import CheckPlan, check_record, headline, outcomes, worst
from loadtests.check.record import CheckRecord
from loadtests.check.run import judged, run_check
from loadtests.check.watch import Node
from loadtests.faults.describe import describe
from loadtests.faults.named import RANDOM, read_schedule
from loadtests.faults.schedule import Fault
from loadtests.generator import open_loop
from loadtests.history.operation import Struck
from loadtests.history.recorded import read_history, write_history
from loadtests.manifest import conditions
from loadtests.report.check_card import render_check_card
from loadtests.report.check_page import write_check_page
from loadtests.result import SafetyCheck
from loadtests.workload import Mix, Workload
from workbench.catalogue import Design, design_named
from workbench.comparison import SAFETY_EXIT, chosen_mix, server_versions, target_of
from workbench.fault_injection.injector import Injector, nodes_of, unbreakable
from workbench.launch import RunningDesign
from workbench.strikes import strikes_planned
from workbench.terminal import say, say_aside, show_table

SECONDS = 30.0
SEED = 7
REPLICAS = 2
HISTORY = "history.jsonl"
LOGS = "logs"
CARD_COLUMNS = 100
PLAN_SHOWN = 20


class NoHistory(ValueError):
    """There is no such file, or it can't be read."""


def check_command(
    design: Design,
    knobs: Knobs,
    *,
    names: Sequence[str] = (),
    seed: int | None = None,
    seconds: float | None = None,
    replicas: int | None = None,
    rate: float | None = None,
    mix: str | None = None,
    out_dir: Path | None = None,
) -> int:
    """Run the check, print what strikes, what happens and what follows. 0 valid, 1 invalid, 2 unknown."""
    folder = out_dir or Path("results") / f"check-{design.name}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"
    record = run_check_of(
        design,
        knobs,
        names=names,
        seed=SEED if seed is None else seed,
        seconds=seconds or SECONDS,
        replicas=replicas,
        rate=rate,
        mix=mix,
        out_dir=folder,
        tell=say_aside,
        show_plan=show_plan,
    )
    show(record)
    say(f"history   {folder / record.history} (judge it again: designs check --history {folder / record.history})")
    say(f"report    {folder / 'index.html'}")
    if record.verdict != "valid":
        say(f"logs      {folder / LOGS}")
    return SAFETY_EXIT[record.verdict]


def judge_command(file: Path) -> int:
    """Judge a history file again, which needs nothing that runs. Raises `NoHistory`, `BadHistory`, and `UnknownDesign`."""
    try:
        header, items = read_history(file)
    except OSError as error:
        raise NoHistory(f"{file} can't be read: {(error.strerror or str(error)).lower()}") from None
    design = design_named(header.design)
    checks: list[SafetyCheck] = importlib.import_module(f"loadtests.{design.name}.workload").JUDGE(header, items)
    struck = [item for item in items if isinstance(item, Struck)]
    say(f"{worst(checks).upper()}: {headline(design.name, checks, outcomes(items), struck)}")
    for check in checks:
        counts = ", ".join(f"{name} {count}" for name, count in check.counts.items())
        say(f"{check.verdict:8}  {check.name} ({counts})" + (f"; {check.detail}" if check.detail else ""))
        for line in check.witness:
            say(f"          {line}")
    return SAFETY_EXIT[worst(checks)]


def run_check_of(
    design: Design,
    knobs: Knobs,
    *,
    out_dir: Path,
    names: Sequence[str] = (),
    seed: int = SEED,
    seconds: float = SECONDS,
    replicas: int | None = None,
    rate: float | None = None,
    mix: str | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
    show_plan: Callable[[Sequence[Fault]], None] = lambda faults: None,
    respecify: Callable[[ProcessSpec], ProcessSpec] = lambda spec: spec,
) -> CheckRecord:
    """Check a design once and write its files into `out_dir`. Several may run at the same time, each in a thread of its own.

    The mix's knobs stand where `knobs` does not say otherwise. `names` are schedules of faults; with none the design runs without
    a proxy. `respecify` is that of `RunningDesign`. Raises `UnknownMix`, `BadSchedule`, `SeedingFailed` and what a start raises.
    """
    refuse_unknown_schedules(names)
    started_at, started_s = datetime.datetime.now(datetime.UTC), time.monotonic()
    around = conditions()
    workload = checked_workload(design)
    chosen = chosen_mix(workload, "", mix or workload.check_mix)
    knobs = with_mix(design, chosen, knobs)
    count = replicas or max(chosen.replicas, replicas_for(knobs))
    rate_per_s = rate or chosen.rate_per_s
    tell(f"starting {design.name}, {count} replica{'s' * (count > 1)}")
    with RunningDesign(design, knobs, replicas=count, faults=bool(names), fault_seed=seed, respecify=respecify) as running:
        around.versions.update(server_versions(running.given))
        faults = strikes_planned(design.name, nodes_of(running), names, seed, seconds, unbreakable(running))
        if faults:
            show_plan(faults)
        target = target_of(design.name, running)
        injector = Injector(running, faults, tell=lambda struck: tell(struck_line(struck)))
        load = open_loop.run(
            run_check(
                target,
                workload,
                chosen,
                seed=seed,
                seconds=seconds,
                rate_per_s=rate_per_s,
                nodes=[Node(spec.name, spec.ready_url or "", spec.metrics_url or "") for spec in running.specs],
                injector=injector if faults else None,
                tell=tell,
            )
        )
        header, items = workload.recorded(target)
        out_dir.mkdir(parents=True, exist_ok=True)
        if worst(judged(load)) != "valid":
            shutil.copytree(running.data_dir / "logs", out_dir / LOGS, dirs_exist_ok=True)
    write_history(out_dir / HISTORY, header, items)
    planned = CheckPlan(
        design=design.name,
        mix=chosen,
        rate_per_s=rate_per_s,
        seconds=seconds,
        replicas=count,
        seed=seed,
        schedules=names,
        command=command_line(design, chosen, knobs, names=names, seed=seed, seconds=seconds, replicas=count, rate_per_s=rate_per_s),
    )
    record = check_record(
        planned,
        target,
        load,
        items,
        around,
        history=HISTORY,
        started_at=started_at.isoformat(timespec="seconds"),
        duration_s=time.monotonic() - started_s,
        in_words=lambda struck: struck.detail or struck.kind,
    )
    write_check_page(record, out_dir, type(knobs)().model_dump())
    return record


def checked_workload(design: Design) -> Workload:
    """The design's load, told to keep its history."""
    workload: Workload = importlib.import_module(f"loadtests.{design.name}.workload").WORKLOAD(keep=True)
    return workload


def refuse_unknown_schedules(names: Sequence[str]) -> None:
    """Before anything starts: `BadSchedule` for a name there isn't, or a file that can't be read."""
    for name in names:
        if name != RANDOM:
            read_schedule(name)


def with_mix(design: Design, mix: Mix, knobs: Knobs) -> Knobs:
    """The mix's knobs, and over them what was turned on purpose."""
    turned = {name: getattr(knobs, name) for name in knobs.model_fields_set}
    return build(design.processes().KNOBS, {**mix.knobs, **turned})


def replicas_for(knobs: Knobs) -> int:
    """Two, so that "on any node" means something; one where the store lives inside a process."""
    return 1 if getattr(knobs, "store", "") == "memory" else REPLICAS


def command_line(
    design: Design,
    mix: Mix,
    knobs: Knobs,
    *,
    names: Sequence[str],
    seed: int,
    seconds: float,
    replicas: int,
    rate_per_s: float,
) -> str:
    """The command that repeats the run with the same plan and the same schedule."""
    usual = with_mix(design, mix, type(knobs)()).model_dump()
    words = [f"{name}={_plain(value)}" for name, value in knobs.model_dump().items() if value != usual[name]]
    faults = [f"--faults {','.join(names)}"] if names else []
    options = [f"--seed {seed} --minutes {seconds / 60:.6g} --replicas {replicas} --rate {rate_per_s:g} --mix {mix.name}"]
    return " ".join(["designs check", design.name, *words, *faults, *options])


def show_plan(faults: Sequence[Fault]) -> None:
    """What strikes when, before it does."""
    rows = [(f"{fault.at_s:.1f} s", f"{fault.for_s:.1f} s", describe(fault), fault.schedule) for fault in faults[:PLAN_SHOWN]]
    if len(faults) > PLAN_SHOWN:
        rows.append(("...", "", f"and {len(faults) - PLAN_SHOWN} more", ""))
    show_table(("at", "for", "what", "schedule"), rows)


def struck_line(struck: Struck) -> str:
    """One fault that is over, while the run goes on."""
    return f"over after {struck.ended_s - struck.began_s:.1f} s: {struck.detail}"


def show(record: CheckRecord) -> None:
    """The verdict, the checks, the policy, and what struck."""
    width = shutil.get_terminal_size((CARD_COLUMNS, 24)).columns if sys.stdout.isatty() else CARD_COLUMNS
    say(render_check_card(record, int(os.environ.get("COLUMNS", width))).rstrip("\n"))


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
