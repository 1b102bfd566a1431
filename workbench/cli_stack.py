"""The commands for the full stack in Docker: up, smoke, down."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli_words import ended_by_signals, part

app = typer.Typer()


@app.command()
def up(
    observe: Annotated[bool, typer.Option("--observe", help="Prometheus, Grafana and Jaeger too, and traces.")] = False,
    load: Annotated[bool, typer.Option("--load", help="Locust too: a master with its page, and workers.")] = False,
) -> None:
    """Start Redis, Kafka and Cassandra in Docker with the designs on them, wait until all is ready, and say where everything is."""
    with ended_by_signals():
        code = part("workbench.compose", "up_command")(observe=observe, load=load)
    raise typer.Exit(code)


@app.command()
def smoke() -> None:
    """Try the stack that `designs up` started, through its published ports. One line a check.

    Exit code 0: all is well. 1: something is not.
    """
    with ended_by_signals():
        code = part("workbench.smoke", "smoke_command")()
    raise typer.Exit(code)


@app.command()
def down(
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep the volumes and the secrets that go with them.")] = False,
) -> None:
    """Take the stack away: containers, networks, volumes and secrets. The built image stays."""
    with ended_by_signals():
        code = part("workbench.compose", "down_command")(keep_data=keep_data)
    raise typer.Exit(code)
