"""What an exhibit of the museum is: a design with one part exchanged for a known-bad one, and what gives it away.

The design has no switch for it. Its processes are started by `workbench.museum.serve`, which exchanges the parts and then does
what the design's own start does; the right variant beside it is started as always.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from designs.building_blocks.processes import ProcessSpec


class UnknownExhibit(ValueError):
    """There is no exhibit of that name. The message lists those there are."""


class BadSwap(RuntimeError):
    """A part that is to be exchanged is not there (any more). The message names it."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One flaw: shown by `schedules` drawn from `seed` under `rate_per_s` requests a second for `seconds`.

    `swaps`: the part of the design -> the part of the museum that stands in for it, both as "module:name" or, for a method,
    "module:Class.name". `flagged_by`: the names of the checks of which at least one must be invalid; the right variant is valid in
    all. `tempting` says why it is written like this again and again, `right_way` what the design does instead, and what that costs.
    """

    name: str
    design: str
    title: str
    wrong: str
    seen_in: str
    tempting: str
    right_way: str
    swaps: Mapping[str, str]
    flagged_by: str
    knobs: Mapping[str, str] = field(default_factory=dict)
    schedules: tuple[str, ...] = ()
    seed: int = 1
    seconds: float = 4.0
    mix: str | None = None  # None: the one that asks for everything
    rate_per_s: float | None = None  # None: that of the mix


def exhibits() -> Mapping[str, Exhibit]:
    """Every exhibit by its name, in the order in which they are shown."""
    from workbench.museum import rate_limiter, url_shortener

    return {exhibit.name: exhibit for exhibit in (*url_shortener.EXHIBITS, *rate_limiter.EXHIBITS)}


def chosen(names: Iterable[str]) -> list[Exhibit]:
    """These exhibits, or all without names; `hash-prefix` and `hash_prefix` alike. Raises `UnknownExhibit`."""
    known = exhibits()
    wanted = [name.replace("-", "_") for name in names]
    for name in wanted:
        if name not in known:
            raise UnknownExhibit(f"there is no exhibit {name!r}; the exhibits are {', '.join(known)}")
    return [known[name] for name in wanted] or list(known.values())


def exchange_parts(exhibit: Exhibit) -> None:
    """Put the bad parts into this process, for good. Raises `BadSwap` when a part is missing on either side."""
    # All are found before the first is exchanged: a bad part may stand on the right one that it replaces.
    found = [(*place(old), _part(new)) for old, new in exhibit.swaps.items()]
    for owner, attribute, part in found:
        setattr(owner, attribute, part)


def flawed_start(exhibit: Exhibit, spec: ProcessSpec) -> ProcessSpec:
    """The same process of the design, started by the museum's launcher."""
    argv = list(spec.argv)
    at = argv.index(f"designs.{exhibit.design}.serve")
    argv[at : at + 1] = ["workbench.museum.serve", exhibit.name, "--"]
    return replace(spec, argv=tuple(argv))


def _part(path: str) -> Any:
    owner, attribute = place(path)
    return getattr(owner, attribute)


def place(path: str) -> tuple[Any, str]:
    """(what holds the part, the part's name in it)."""
    module, _, dotted = path.partition(":")
    *owners, attribute = dotted.split(".")
    try:
        owner = reduce(getattr, owners, importlib.import_module(module))
        getattr(owner, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSwap(f"there is no {path} to exchange: {error}") from error
    return owner, attribute
