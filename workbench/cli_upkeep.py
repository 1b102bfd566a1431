"""The commands that keep the book true: doctor, bench, claims, docs."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli_words import DesignName, ExitCode, ended_by_signals, part
from workbench.terminal import show_table

app = typer.Typer()


@app.command()
def doctor() -> None:
    """What this machine has, what it lacks, and how to get it. Exit code 3 when the demo or the tests can't run."""
    from workbench.doctor import can_run, examine

    checks = examine()
    verdicts = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "note"}
    rows = [(check.name, verdicts[check.ok, check.needed], check.found, "" if check.ok else check.advice) for check in checks]
    show_table(("what", "verdict", "found", "advice"), rows)
    if not can_run(checks):
        raise typer.Exit(ExitCode.MISSING)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="redirect, growth, limiter, leases, black-hole, generator, fault-proxy or selftest.")],
    record: Annotated[bool, typer.Option("--record", help="Keep the figures for the documents.")] = False,
    links: Annotated[
        str, typer.Option(metavar="N,N...", help="growth: the numbers of links to compare (else 10000,100000,1000000).")
    ] = "",
    peers: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="limiter: those to measure beside ours, or none (else all that there are)."),
    ] = None,
    remove_peers: Annotated[
        bool, typer.Option("--remove-peers", help="limiter: measure nothing; remove what was installed for the others.")
    ] = False,
) -> None:
    """Run one of the book's measurements again."""
    with ended_by_signals():
        code = part("workbench.bench", "bench_command")(name, record=record, links=links, peers=peers, remove_peers=remove_peers)
    raise typer.Exit(code)


@app.command()
def claims(
    design: DesignName,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs by their record (cache.mixed), or all of a knob (cache); else every run."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Measure nothing; judge what is recorded.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Print the claims and the commands behind them.")] = False,
) -> None:
    """Measure a design's claims again, record the runs, and say which claims hold.

    0: no claim is contradicted, though the runs may leave some unsettled; they are named. 1: a claim is contradicted, a run is
    missing, failed or was made under other conditions, or a safety check is not valid.
    """
    from workbench.catalogue import design_named

    command = part("workbench.remeasure", "claims_command")
    with ended_by_signals():
        code = command(design_named(design), runs or (), check=check, listing=listing)
    raise typer.Exit(code)


@app.command()
def docs(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail when a document is out of date.")] = False,
) -> None:
    """Regenerate the tables and figures in the documents."""
    code = part("workbench.docs", "docs_command")(check=check)
    raise typer.Exit(code)
