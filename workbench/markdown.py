"""Markdown as the documents use it: tables, and text that no reader of Markdown takes for something else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Cells are Markdown already; a bar inside one would end it."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return [line(header), f"|{'---|' * len(header)}", *(line(row) for row in rows)]


def prose(text: str) -> str:
    """Text in one line that no reader of Markdown takes for a tag. Code in backticks and emphasis stay what they are."""
    return re.sub("[ \t\n]+", " ", text).strip(" ").replace("&", "&amp;").replace("<", "&lt;")


def full_sentence(text: str) -> str:
    """With a full stop, unless it ends already."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
