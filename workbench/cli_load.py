"""The command that loads a design with Locust: load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.cli_words import (
    Assignments,
    DesignName,
    ExitCode,
    Replicas,
    UsageError,
    design_and_knobs,
    ended_by_signals,
    running_design,
)
from workbench.terminal import say, say_aside

app = typer.Typer()


@app.command()
def load(
    design: DesignName,
    words: Assignments = None,
    mix: Annotated[str, typer.Option(help="Who does what, in which ratios (else the design's usual mix).")] = "",
    users: Annotated[int, typer.Option(min=1, max=10_000, help="Users at the peak.")] = 20,
    spawn_rate: Annotated[float | None, typer.Option(min=0.1, help="Users started per second (else 10).")] = None,
    shape: Annotated[
        Literal["steps", "spike", "ramp", "soak"] | None, typer.Option(help="How the number of users changes over the run time.")
    ] = None,
    open_loop: Annotated[
        bool, typer.Option("--open-loop", help="Send by a plan, however slow the answers are; latency from the intended start.")
    ] = False,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Requests per second of the open loop (else the mix's own).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replays the same plan of the open loop.")] = None,
    run_time: Annotated[
        str | None, typer.Option(help="How long, e.g. 30s or 5m (headless: 30s; with the page: until stopped).")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless/--page", help="Run at once and print a summary, or open Locust's page.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where Locust's report (HTML) and tables (CSV) go.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes, for machines with CPUs to spare.")] = 1,
    master: Annotated[bool, typer.Option("--master", help="Count what workers elsewhere send; prints how to start one.")] = False,
    expect_workers: Annotated[int, typer.Option(min=1, max=1000, help="Headless master: begin when so many are there.")] = 1,
    master_bind: Annotated[str, typer.Option(metavar="IP", help="Where the master listens to its workers.")] = "127.0.0.1",
    worker: Annotated[bool, typer.Option("--worker", help="Send what a master says (the key in DESIGNS_API_KEY).")] = False,
    master_host: Annotated[str, typer.Option(metavar="HOST", help="The worker's master.")] = "127.0.0.1",
    master_port: Annotated[int | None, typer.Option(min=1, max=65535, help="The master's port (else Locust's usual one).")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="URL", help="A service that already runs (its key in DESIGNS_API_KEY).")
    ] = None,
    allow_remote: Annotated[bool, typer.Option(help="The host's owner agreed to be loaded.")] = False,
    replicas: Replicas = 1,
) -> None:
    """Load a design with Locust. Starts the design itself unless --host says where one runs."""
    from workbench import load as locust

    chosen, turned = design_and_knobs(design, words)
    if host and not allow_remote:
        locust.refuse_remote(host)
    if (host or worker) and words:
        raise UsageError("the knobs of a service that already runs can't be turned from here; leave out KNOB=VALUE or --host")
    known_key = os.environ.get("DESIGNS_API_KEY", "")
    if worker and not known_key:
        raise UsageError("a worker needs the key of the service in DESIGNS_API_KEY; its master prints the whole command")
    options = locust.LoadOptions(
        users=users,
        spawn_rate=spawn_rate,
        run_time=run_time,
        page_port=None if headless or open_loop or worker else locust.page_port(),
        shape=shape or "",
        open_loop=open_loop,
        plan_rate=rate,
        plan_seed=seed,
        processes=processes,
        master=master,
        expect_workers=expect_workers,
        master_bind=master_bind,
        worker=worker,
        master_host=master_host,
        master_port=master_port or (locust.MASTER_PORT if worker else locust.free_master_port()),
        out=out,
    )
    file = locust.locust_file(chosen)
    plan = locust.load_cpus(processes)
    if crowded := locust.crowding(processes, os.cpu_count() or 1):
        say_aside(f"designs: {crowded}")

    def loaded(urls: tuple[str, ...], api_key: str) -> int:
        if options.page_port is not None:
            say(f"page      http://127.0.0.1:{options.page_port} (Ctrl-C ends it)")
        if master:
            say(f"worker    {locust.worker_command(chosen, options, '$DESIGNS_API_KEY' if host else api_key)}")
        env = locust.locust_environment(urls, api_key, mix, allow_remote)
        return locust.run_locust(locust.locust_argv(file, urls, options), env, plan.generator)

    with ended_by_signals():
        if host or worker:
            failed = loaded((host.rstrip("/"),) if host else (), known_key)
        else:
            with running_design(chosen, turned, replicas=replicas, cpus=plan.servers) as running:
                failed = loaded(running.urls, running.api_key)
    if failed:
        raise typer.Exit(ExitCode.INVALID)
