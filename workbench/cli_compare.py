"""The commands that measure what a choice buys and costs: compare, diff, capacity-test, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workbench.cli_words import (
    Assignments,
    DesignName,
    UsageError,
    complete_design,
    complete_knob,
    complete_schedules,
    complete_value,
    design_and_knobs,
    ended_by_signals,
    part,
    schedules_in,
)

if TYPE_CHECKING:
    from workbench.catalogue import Design

app = typer.Typer()


@app.command()
def compare(
    design: Annotated[
        str | None, typer.Argument(metavar="DESIGN", help="A design of `designs list`.", autocompletion=complete_design)
    ] = None,
    knob: Annotated[str | None, typer.Argument(help="The knob whose values are compared.", autocompletion=complete_knob)] = None,
    values: Annotated[
        list[str] | None,
        typer.Argument(help="Its values, the baseline first (else all its choices).", autocompletion=complete_value),
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Requests per second, open loop.")] = None,
    blocks: Annotated[int | None, typer.Option(min=1, max=1000, help="Interleaved blocks per variant.")] = None,
    round_s: Annotated[float | None, typer.Option(min=0.1, max=600, help="Seconds of a variant's turn.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replays the same plan of requests.")] = None,
    margin: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="Differences below it are called none (0.05: 5 %, the usual one).")
    ] = None,
    primary: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="What the verdict is about (else CPU per request, where it is known).")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the result and its report go.")] = None,
    mix: Annotated[str | None, typer.Option(help="Designs: who does what, in which ratios (else the knob's own mix).")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Designs: a knob both sides share; repeatable.")
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Designs: run a second copy of the baseline too, to see the noise between copies.")
    ] = False,
    no_restart: Annotated[
        bool, typer.Option("--no-restart", help="Designs: all blocks measure the same processes, whose state goes on.")
    ] = False,
    faults: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME...",
            help="Designs: schedules of `designs faults` that strike each side alike, in every round.",
            autocompletion=complete_schedules,
        ),
    ] = "",
    record: Annotated[bool, typer.Option("--record", help="Designs: keep the figures for the documents.")] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]URL", help="Services: one that already runs; repeatable, the baseline first."),
    ] = None,
    workload: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Services: who asks them what, in TOML (see loadtests/examples).")
    ] = None,
    pid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:ROLE]=PID", help="Services: a process whose CPU counts, where its port does not tell."),
    ] = None,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Services: their owner agreed to be loaded.")] = False,
) -> None:
    """Compare the values of one knob under the same load, or services that already run.

    They run side by side and take turns: what does each buy, what does it cost?

    A design: designs compare DESIGN KNOB [VALUE...]. Your own: designs compare --url A --url B --workload FILE.
    """
    of_designs = {"DESIGN": design, "--mix": mix, "--set": assignments, "--control": control, "--no-restart": no_restart}
    of_designs |= {"--faults": faults, "--record": record}
    of_services = {"--url": url, "--workload": workload, "--pid": pid, "--allow-remote": allow_remote}
    shared: dict[str, Any] = {
        "rate_per_s": rate,
        "blocks": blocks,
        "round_s": round_s,
        "seed": seed,
        "margin": margin,
        "primary": primary,
        "out_dir": out,
    }
    if any(of_services.values()):
        misplaced = [word for word, given in of_designs.items() if given]
        if misplaced:
            raise UsageError(
                f"{misplaced[0]} belongs to a design, and {_given(of_services)} to services that already run; take one"
            )
        if not url or workload is None:
            raise UsageError("services are compared by --url A --url B --workload FILE, the baseline first")
        command = part("workbench.services", "services_command")
        with ended_by_signals():
            code = command(url, workload, pids=pid or (), allow_remote=allow_remote, **shared)
        raise typer.Exit(code)
    if design is None or knob is None:
        raise UsageError("name a design and one of its knobs, or two services: --url A --url B --workload FILE")
    chosen, name, alternatives = _alternatives(design, knob, values, assignments)
    command = part("workbench.comparison", "compare_command")
    with ended_by_signals():
        code = command(
            chosen,
            name,
            alternatives,
            assignments=tuple(assignments or ()),
            mix=mix,
            control=control,
            restart=not no_restart,
            faults=schedules_in(faults),
            record=record,
            **shared,
        )
    raise typer.Exit(code)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The run before: its folder, or a result.json.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="The run after.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines: also says why runs can't be compared.")] = False,
) -> None:
    """Compare two recorded runs of the same experiment, before and after a change.

    Exit code 0 whatever the difference; 2 when the runs are not comparable, with every reason.
    """
    code = part("workbench.diff", "diff_command")(first, second, as_json=as_json)
    raise typer.Exit(code)


@app.command("capacity-test")
def capacity_test(
    design: DesignName,
    words: Assignments = None,
    vary: Annotated[
        str, typer.Option(metavar="KNOB=V1,V2", help="A knob whose values are tested side by side, taking turns.")
    ] = "",
    slo: Annotated[
        str | None, typer.Option(metavar="pNN<LIMIT", help="The objective: p50, p90, p99 or p99.9 below a limit in ms or s.")
    ] = None,
    mix: Annotated[str | None, typer.Option(help="Who does what, in which ratios (else the design's usual mix).")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, max=50, help="How often each number of clients and each search.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replays the same plans of requests.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the result and its report go.")] = None,
    step_s: Annotated[float | None, typer.Option(min=0.2, max=60, help="Seconds of a step with a number of clients.")] = None,
) -> None:
    """Find how much a design serves within an objective, and what was full then.

    A number of clients at a time, then rates until the objective is missed; about two minutes for each variant.
    """
    chosen, _ = design_and_knobs(design, words)
    knob, _, listed = vary.partition("=")
    knob = knob.replace("-", "_")
    values = tuple(dict.fromkeys(value for value in listed.split(",") if value))
    if vary and not values:
        raise UsageError(f"--vary {vary}: write a knob and its values, for example cache=none,aside")
    for value in values:
        design_and_knobs(design, [*(words or ()), f"{knob}={value}"])
    command = part("workbench.capacity_test", "capacity_command")
    with ended_by_signals():
        code = command(
            chosen,
            assignments=tuple(words or ()),
            knob=knob,
            values=values,
            slo=slo,
            mix=mix,
            repeats=repeats,
            step_s=step_s,
            seed=seed,
            out_dir=out,
        )
    raise typer.Exit(code)


@app.command()
def demo(
    name: Annotated[
        Literal["clicks", "coordinated-omission"],
        typer.Argument(help="A trade-off, or a stall that only one of two watches sees."),
    ] = "clicks",
) -> None:
    """Run a design and one of its trade-offs, end to end, or show what load tests get wrong."""
    with ended_by_signals():
        code = part("workbench.demo", "demo_command")(name)
    raise typer.Exit(code)


def _alternatives(
    design: str, knob: str, values: list[str] | None, assignments: list[str] | None
) -> tuple[Design, str, tuple[str, ...]]:
    """The design, its knob and the values to compare, each of which it can take."""
    from designs.building_blocks.knobs import knob_table

    chosen, _ = design_and_knobs(design, assignments)
    rows = {row.name: row for row in knob_table(chosen.processes().KNOBS)}
    name = knob.replace("-", "_")
    if name not in rows:
        raise UsageError(f"there is no knob {knob!r}; the knobs are {', '.join(rows)}")
    alternatives = tuple(dict.fromkeys(values or rows[name].choices))
    if len(alternatives) < 2:
        raise UsageError(f"a comparison needs two values of {name} or more; name them, the baseline first")
    for value in alternatives:
        design_and_knobs(design, [*(assignments or ()), f"{name}={value}"])
    return chosen, name, alternatives


def _given(options: dict[str, Any]) -> str:
    return next(option for option, value in options.items() if value)
