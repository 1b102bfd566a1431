"""The part of requirements.lock that services need, with its hashes: `locked_subset.py pyproject.toml requirements.lock EXTRA...`.

The lock says under each package who asked for it ("via"). From the packages that the project itself and the named extras ask for,
that is followed downwards; the rest, which only tests, documents and measuring want, is left out. With `--only NAME...` instead of
extras: these packages and what they need, without the project's own.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9._-]+")


def wanted_by(project: str, extras: Iterable[str]) -> set[str]:
    """Names the project asks for with these extras. `KeyError` for an extra it does not have."""
    declared = tomllib.loads(project)["project"]
    optional = declared["optional-dependencies"]
    asked = [*declared["dependencies"], *(each for extra in extras for each in optional[extra])]
    return {_name(each) for each in asked}


def entries(lock: str) -> Iterator[tuple[str, str, set[str]]]:
    """(name, its lines, who asked for it) of each package."""
    for entry in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]:
        said = re.findall(r"^ +# +(?:via +)?(\S+)", entry, flags=re.MULTILINE)
        yield _name(entry), entry, {_name(each) for each in said if each != "via"}


def subset(lock: str, wanted: set[str]) -> str:
    """The entries of `wanted` and of all that these need."""
    known = list(entries(lock))
    kept: set[str] = set()
    found = wanted & {name for name, _, _ in known}
    while found - kept:
        kept |= found
        found = {name for name, _, asked_by in known if asked_by & kept}
    return "".join(entry for name, entry, _ in known if name in kept)


def _name(text: str) -> str:
    """The normal form of the name at the start (PEP 503)."""
    found = NAME.match(text)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


if __name__ == "__main__":
    project_file, lock_file, *names = sys.argv[1:]
    roots = set(names[1:]) if names[:1] == ["--only"] else wanted_by(Path(project_file).read_text("utf-8"), names)
    sys.stdout.write(subset(Path(lock_file).read_text("utf-8"), roots))
