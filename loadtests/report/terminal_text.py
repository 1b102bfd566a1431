"""Plain lines for a terminal: wrapped to its width, and without anything that could steer it."""

from __future__ import annotations

import textwrap

NARROWEST = 20


def printable(text: str) -> str:
    """Without control characters: a name in a record must not be able to steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Lines of at most `width` columns, 20 at least; `first` stands before the first of them and `rest` before the others."""
    return textwrap.wrap(printable(text), max(NARROWEST, width), initial_indent=first, subsequent_indent=rest)
