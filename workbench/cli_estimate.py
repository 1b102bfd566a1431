"""The command that estimates on the back of an envelope: capacity."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from workbench.cli_words import DesignName, UsageError
from workbench.terminal import show_table

app = typer.Typer()


@app.command()
def capacity(
    design: DesignName,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Assumptions to change, e.g. reads_per_day=1e9.")
    ] = None,
) -> None:
    """The back-of-envelope estimate, with the assumptions it rests on."""
    from workbench.catalogue import design_named

    estimate = design_named(design).estimate()
    changed = _assumptions(estimate, words or [])
    try:
        follows = estimate(**changed).rows()
    except ValueError as error:
        raise UsageError(str(error)) from None
    usual = {name: each.default for name, each in inspect.signature(estimate).parameters.items()}
    assumed = [
        (name, value if isinstance(value, str) else f"{value:,.10g}", "changed" if name in changed else "assumed")
        for name, value in {**usual, **changed}.items()
    ]
    show_table(("figure", "value", "how"), assumed + [(row.figure, row.value, row.how) for row in follows])


def _assumptions(estimate: Callable[..., Any], words: list[str]) -> dict[str, int | float | str]:
    """Numbers, and words where the usual value is one."""
    known = inspect.signature(estimate).parameters
    assumptions: dict[str, int | float | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in known:
            raise UsageError(f"{word!r} is no assumption: write name=value, where name is one of {', '.join(known)}")
        assumptions[name] = value if isinstance(known[name].default, str) else _number(name, value)
    return assumptions


def _number(name: str, value: str) -> int | float:
    """`100_000_000`, `1e9` (a whole number, so an int) or `0.2`."""
    try:
        number = float(value)
        return int(number) if number.is_integer() else number
    except (ValueError, OverflowError):
        raise UsageError(f"{name}={value}: {value!r} is not a number") from None
