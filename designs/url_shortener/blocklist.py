"""The hook for blocked hosts: a file of one host a line, read again when it changes. Subdomains of a listed host are blocked too.

Creates and edits are refused at once; redirects of links that exist answer 451 from the next reading on, without a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

CHECK_EVERY_S = 1.0


class Blocklist:
    """Call it for the hosts that are blocked now. A file that can't be read leaves the last list in force."""

    def __init__(self, path: Path, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock_s = clock_s
        self._hosts: frozenset[str] = frozenset()
        self._seen: tuple[int, int] | None = None
        self._next_check_s = float("-inf")

    def __call__(self) -> frozenset[str]:
        if (now_s := self._clock_s()) >= self._next_check_s:
            self._next_check_s = now_s + CHECK_EVERY_S
            self._read(self._path)
        return self._hosts

    def _read(self, path: Path) -> None:
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_size) != self._seen:
                self._hosts = parse_hosts(path.read_text("utf-8"))
                self._seen = (stat.st_mtime_ns, stat.st_size)
        except (OSError, ValueError):
            return


def parse_hosts(text: str) -> frozenset[str]:
    """Hosts of a list: one a line, lower case, punycode; `#` starts a comment."""
    lines = (line.partition("#")[0].strip().strip(".").lower() for line in text.splitlines())
    return frozenset(line.encode("idna").decode() for line in lines if line)
