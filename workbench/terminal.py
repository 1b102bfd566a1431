"""What the commands print: tables and Markdown for a person at a terminal, plain lines for a pipe.

A plain table is one line a row, fields separated by tabs, without a heading: made for grep, cut and awk.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

PROSE_CHARACTERS = 100


def say(text: str = "") -> None:
    """A line on stdout, out at once: whoever reads a pipe learns of a URL before the run ends."""
    print(text, flush=True)


def say_aside(text: str) -> None:
    """A line on stderr: progress, and what went wrong."""
    print(text, file=sys.stderr, flush=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not sys.stdout.isatty():
        for row in rows:
            say("\t".join(" ".join(field.split()) for field in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Rows of several lines need air between them.
    gap = 1 if any(len(field) > PROSE_CHARACTERS for row in rows for field in row) else 0
    table = Table(box=None, header_style="bold", padding=(0, 2, gap, 0), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(field) for field in row))
    Console().print(table)


def show_markdown(text: str) -> None:
    """Markdown as it is read: without the comments that mark its generated parts."""
    text = re.sub(r"^<!--.*?-->\n", "", text, flags=re.MULTILINE)
    if not sys.stdout.isatty():
        say(text.rstrip("\n"))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(text), width=min(console.width, 100))
