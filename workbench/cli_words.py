"""What the commands share: the words they take, how these complete in a shell, and how a command starts and ends."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from designs.building_blocks.knobs import KnobRow, Knobs
    from workbench.catalogue import Design
    from workbench.launch import RunningDesign


class ExitCode(IntEnum):
    """What the command's end says to a script."""

    FINE = 0
    INVALID = 1
    USAGE = 2
    MISSING = 3
    INTERRUPTED = 130


class UsageError(ValueError):
    """A word of the command line that can't be. The message says what would be right."""


class NotInstalled(RuntimeError):
    """A part of the project is not there."""


def design_and_knobs(design: str, words: list[str] | None) -> tuple[Design, Knobs]:
    from designs.building_blocks.knobs import parse_assignments
    from workbench.catalogue import design_named

    chosen = design_named(design)
    return chosen, parse_assignments(chosen.processes().KNOBS, words or ())


def running_design(chosen: Design, turned: Knobs, **options: Any) -> RunningDesign:
    """To be entered; with the Redis that REDIS_URL names, if it does. `options` are those of `RunningDesign`."""
    from workbench.launch import RunningDesign

    return RunningDesign(chosen, turned, redis_url=os.environ.get("REDIS_URL"), **options)


def part(module: str, function: str) -> Callable[..., int]:
    """A command whose module is loaded when it is called for."""
    try:
        return cast(Callable[..., int], getattr(importlib.import_module(module), function))
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{error.name} is not installed; run make setup.") from None


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that nothing is left behind by either."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Under nohup SIGHUP is ignored, and stays so.
    heard = [each for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, interrupt) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def complete_design(incomplete: str) -> list[tuple[str, str]]:
    from workbench.catalogue import DESIGNS

    return [(design.name, design.title) for design in DESIGNS.values() if design.name.startswith(incomplete)]


def complete_assignment(ctx: typer.Context, incomplete: str) -> list[str]:
    """`sto` -> `store=`; `store=s` -> `store=sqlite`. bash splits words at `=`; then only the value is asked for."""
    rows = {row.name: row for row in _rows_for_completion(ctx)}
    before = list(ctx.params.get("words") or ())
    if before[-1:] == ["="] and len(before) > 1:
        return list(rows[before[-2]].choices) if before[-2] in rows else []
    name, equals, _ = incomplete.partition("=")
    if not equals:
        return [f"{row}=" for row in rows]
    return [f"{name}={choice}" for choice in rows[name].choices] if name in rows else []


def complete_knob(ctx: typer.Context, incomplete: str) -> list[str]:
    return [row.name for row in _rows_for_completion(ctx) if row.name.startswith(incomplete)]


def complete_value(ctx: typer.Context, incomplete: str) -> list[str]:
    """The alternatives of the knob named before."""
    knob = ctx.params.get("knob")
    return [choice for row in _rows_for_completion(ctx) if row.name == knob for choice in row.choices]


def complete_schedules(incomplete: str) -> list[str]:
    """The last of several names, `a,b,c`."""
    from loadtests.faults.named import RANDOM, schedule_names

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in [*schedule_names(), RANDOM] if name.startswith(last)]


def schedules_in(word: str) -> tuple[str, ...]:
    """`a,b` -> ("a", "b")."""
    return tuple(name for name in word.split(",") if name)


def _rows_for_completion(ctx: typer.Context) -> list[KnobRow]:
    """No rows for a design that does not exist: completion has nowhere to print a sentence."""
    from designs.building_blocks.knobs import knob_table
    from workbench.catalogue import UnknownDesign, design_named

    try:
        return knob_table(design_named(ctx.params.get("design") or "").processes().KNOBS)
    except UnknownDesign:
        return []


DesignName = Annotated[str, typer.Argument(metavar="DESIGN", help="A design of `designs list`.", autocompletion=complete_design)]
Assignments = Annotated[
    list[str] | None,
    typer.Argument(metavar="KNOB=VALUE", help="Knobs to turn.", autocompletion=complete_assignment),
]
Replicas = Annotated[int, typer.Option(min=1, max=16, help="Processes of the service.")]
