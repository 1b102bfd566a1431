"""Text for a Markdown document that stays text: no name or note in it becomes markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def escaped_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(escaped(cell) for cell in cells)} |"

    return [line(header), f"|{'---|' * len(header)}", *(line(row) for row in rows)]


def escaped(text: str) -> str:
    """In one line."""
    marked = "".join(f"\\{c}" if c in "\\`*_[]|" else c for c in " ".join(text.split()))
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
