"""What a page needs that opens without a network: its parts as text, and a policy that lets nothing else run or style it.

Everything is inlined, so a page is one file. The Content-Security-Policy names the hashes of the inlined styles and scripts: text
from a record (a name, a note, a command) is shown and can neither run nor style anything, whatever it contains.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATE_DIR = Path(__file__).parent / "template"


def asset(name: str) -> str:
    """A file of the template folder."""
    return (TEMPLATE_DIR / name).read_text(encoding="utf-8")


def templates() -> Environment:
    """Everything that is put in is escaped, and a name that nobody gave is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATE_DIR), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def policy(styles: str, scripts: Sequence[str]) -> str:
    """The Content-Security-Policy of a page with one style element and these scripts."""
    allowed = " ".join(_source(script) for script in scripts)
    return f"default-src 'none'; img-src data:; style-src {_source(styles)}; script-src {allowed}"


def inlined_json(document: str) -> str:
    """JSON for a script element: no text in it can close the element."""
    return document.replace("<", "\\u003c")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
