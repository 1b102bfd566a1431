"""The commands that break a design on purpose, and say whether it held: check, faults, soak, museum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli_words import (
    Assignments,
    DesignName,
    UsageError,
    complete_design,
    complete_schedules,
    design_and_knobs,
    ended_by_signals,
    part,
    schedules_in,
)
from workbench.terminal import show_table

app = typer.Typer()


@app.command()
def check(
    design: Annotated[
        str | None, typer.Argument(metavar="DESIGN", help="A design of `designs list`.", autocompletion=complete_design)
    ] = None,
    words: Assignments = None,
    faults: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME...",
            help="What strikes meanwhile: schedules of `designs faults`, files of your own, random. Without: nothing.",
            autocompletion=complete_schedules,
        ),
    ] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="Replays the same requests and the same faults.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, max=30, help="How long the load lasts (else 0.5).")] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, max=16, help="Processes of the service (else 2; 1 where the store is inside one).")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=1, max=5000, help="Requests per second (else the mix's own).")] = None,
    mix: Annotated[str | None, typer.Option(help="Who does what (else the mix that asks for everything).")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where history, record and report go.")] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Judge this history again; nothing is started or sent.")
    ] = None,
) -> None:
    """Load a design while faults strike, and judge from the history whether it held what it promises.

    Kafka and Cassandra are killed and held still where they are containers of `make up`, or by the command that SERVERS_CONTROL
    names: it understands kill, up, stop and cont NAME.

    Exit code 0: valid. 1: invalid, with the smallest piece of history that shows it. 2: unknown, with the reason.
    """
    if history is not None:
        if design is not None:
            raise UsageError("a history names its design itself; leave out DESIGN or --history")
        raise typer.Exit(part("workbench.check", "judge_command")(history))
    if design is None:
        raise UsageError("name a design, or a history to judge again: designs check --history FILE")
    chosen, turned = design_and_knobs(design, words)
    command = part("workbench.check", "check_command")
    with ended_by_signals():
        code = command(
            chosen,
            turned,
            names=schedules_in(faults),
            seed=seed,
            seconds=None if minutes is None else round(60 * minutes, 3),
            replicas=replicas,
            rate=rate,
            mix=mix,
            out_dir=out,
        )
    raise typer.Exit(code)


@app.command("faults")
def list_faults() -> None:
    """The schedules of faults that have a name, and what each does."""
    from loadtests.faults.named import RANDOM, read_schedule, schedule_names

    rows = [(name, read_schedule(name).what) for name in schedule_names()]
    show_table(("schedule", "what it does"), [*rows, (RANDOM, "Drawn from the seed, of all that makes sense for the design.")])


@app.command()
def soak(
    design: DesignName,
    schedules: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many checks, each with knobs and faults of its own.")
    ] = 200,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="How long the load of each lasts.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="The first of them; each next one has the next number.")] = 1,
    parallel: Annotated[int, typer.Option(min=1, max=16, help="How many at a time.")] = 2,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the histories go of those that are not valid.")] = None,
) -> None:
    """Check a design with random knobs under random faults, again and again, and keep what was not valid.

    Exit code 0: all valid. 1: one was invalid, hung or did not run. 2: a verdict stayed unknown.
    """
    chosen, _ = design_and_knobs(design, None)
    command = part("workbench.soak", "soak_command")
    with ended_by_signals():
        code = command(chosen, schedules=schedules, seconds=seconds, seed=seed, parallel=parallel, out_dir=out)
    raise typer.Exit(code)


@app.command()
def museum(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Exhibits (else all).")] = None,
    run: Annotated[bool, typer.Option("--run", help="Run each beside the right variant, and see it caught.")] = False,
) -> None:
    """Known-bad variants: what is wrong, who has it, and whether the checker catches it while the right variant passes."""
    with ended_by_signals():
        code = part("workbench.museum.run", "museum_command")(run, names or ())
    raise typer.Exit(code)
