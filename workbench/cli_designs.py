"""The commands to read a design and to run it: list, answer, knobs, run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli_words import (
    Assignments,
    DesignName,
    ExitCode,
    NotInstalled,
    Replicas,
    design_and_knobs,
    ended_by_signals,
    running_design,
)
from workbench.terminal import say, say_aside, show_markdown, show_table

if TYPE_CHECKING:
    from workbench.launch import RunningDesign

WATCH_S = 0.3

app = typer.Typer()


@app.command("list")
def list_designs() -> None:
    """The designs there are, and the question each answers."""
    from workbench.catalogue import DESIGNS

    show_table(("design", "question"), [(design.name, design.question) for design in DESIGNS.values()])


@app.command()
def answer(design: DesignName) -> None:
    """Read a design's chapter."""
    from workbench.catalogue import design_named

    chapter = design_named(design).chapter()
    if not chapter.exists():
        raise NotInstalled(f"The chapter of {design} is not installed.")
    show_markdown(chapter.read_text(encoding="utf-8"))


@app.command()
def knobs(design: DesignName) -> None:
    """What of a design can be turned, and what each turn trades."""
    from designs.building_blocks.knobs import knob_table
    from workbench.catalogue import design_named

    rows = [
        (row.name, row.default, (" | " if row.closed else ", ").join(row.choices), row.description)
        for row in knob_table(design_named(design).processes().KNOBS)
    ]
    show_table(("knob", "default", "choices", "what it trades"), rows)


@app.command()
def run(
    design: DesignName,
    words: Assignments = None,
    replicas: Replicas = 1,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the data here (else in a temporary folder, removed at the end)."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the first replica (else any free one).")] = None,
) -> None:
    """Run a design until Ctrl-C. REDIS_URL names a Redis that already runs; without it one is started where needed.

    Kafka and Cassandra, where the knobs need them, are those that KAFKA_BOOTSTRAP and CASSANDRA_HOSTS name.
    """
    chosen, turned = design_and_knobs(design, words)
    with ended_by_signals(), running_design(chosen, turned, replicas=replicas, data_dir=data, first_port=port) as running:
        _introduce(running)
        while True:
            for sentence in running.supervisor.newly_ended():
                say_aside(f"designs: {sentence}")
            if not any(spec.role == "service" for spec in running.supervisor.running()):
                say_aside("designs: no replica is left.")
                raise typer.Exit(ExitCode.INVALID)
            time.sleep(WATCH_S)


def _introduce(running: RunningDesign) -> None:
    for spec in running.specs:
        for url in (*([spec.url] if spec.role == "service" and spec.url else []), *spec.other_urls):
            say(f"service   {url}")
    if running.api_key:
        say(f"api key   {running.api_key}")
    say(f"data      {running.data_dir}")
    key = f" -H 'Authorization: Bearer {running.api_key}'" if running.api_key else ""
    say(f"try       curl -s{key} {running.urls[0]}/knobs")
    say("Ctrl-C ends it.")
