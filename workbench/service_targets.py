"""The targets of a comparison of running services: their names, addresses and processes, from the words of the command line.

Without consent only this machine is loaded. A URL holds no secret: one with a password or a query is refused, and not repeated.
"""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from loadtests import cpu_clock
from loadtests.generator.target_address import any_address
from loadtests.workload import Target
from workbench.load import is_loopback, refuse_remote
from workbench.port_owner import owner_of_port

MAX_SERVICES = 8
REACHED_WITHIN_S = 3.0
AGAIN = " (again)"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~%:+-]*")


class BadService(ValueError):
    """A target, process or figure that can't be. The message says what would be right."""


class Unreachable(RuntimeError):
    """Nobody accepts connections at a target."""


@dataclass(frozen=True, slots=True)
class Service:
    """One side. `pids` by role, "service" among them, or empty where its CPU is not known; then `unknown_because` says why."""

    name: str
    url: str
    pids: Mapping[str, Sequence[int]] = field(default_factory=dict)
    unknown_because: str = ""

    def target(self) -> Target:
        return Target(self.name, {"url": self.url}, [self.url], api_key="", metrics_urls=[], pids=self.pids)


def named_urls(words: Sequence[str], allow_remote: bool = False) -> list[tuple[str, str]]:
    """Name and address of each `URL` or `name=URL`, the baseline first. One URL twice is a comparison with itself."""
    if not 2 <= len(words) <= MAX_SERVICES:
        raise BadService(f"a comparison needs 2 to {MAX_SERVICES} times --url, the baseline first, not {len(words)}")
    named: dict[str, str] = {}
    for word in words:
        before, equals, after = word.partition("=")
        name, url = (before.strip(), after) if equals and "://" not in before else ("", word)
        url = checked_url(url, allow_remote)
        name = name or (url if url not in named else url + AGAIN)
        if name in named:
            raise BadService(f"two targets are called {name!r}; name them apart: --url old={url}")
        named[name] = url
    return list(named.items())


def checked_url(url: str, allow_remote: bool = False) -> str:
    """The URL without a slash at its end."""
    if "@" in url:
        raise BadService(f"a target has no password in its URL (…@{url.rpartition('@')[2]}): give it to a header of the workload")
    parts = urlsplit(url)
    try:
        any_address(url)
    except ValueError:
        raise BadService(f"{url} is no target: write http://127.0.0.1:8000 or name=http://127.0.0.1:8000") from None
    if not _PLAIN_PATH.fullmatch(parts.path) or "?" in url or "#" in url:
        raise BadService(f"{url}: a target's URL ends with a plain path; queries and blanks belong to the workload's paths")
    if parts.hostname == "localhost":
        raise BadService(f"{url}: localhost has two addresses, and one may be somebody else's; write 127.0.0.1 or [::1]")
    if not allow_remote:
        refuse_remote(url)
        if parts.scheme == "https":
            raise BadService(f"{url}: https is spoken only with --allow-remote")
    return url.rstrip("/")


def named_pids(words: Sequence[str], named: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
    """For each target the processes of `NAME=PID` (its service) or `NAME:ROLE=PID`, by role."""
    names = [name for name, _ in named]
    found: list[dict[str, list[int]]] = [{} for _ in names]
    for word in words:
        owner, _, number = word.rpartition("=")
        name, role = (owner, "service") if owner in names else owner.rpartition(":")[::2]
        if name not in names or not role.isidentifier() or not number.isdecimal():
            raise BadService(f"--pid {word}: write NAME=PID or NAME:store=PID, where NAME is one of {', '.join(names)}")
        found[names.index(name)].setdefault(role, []).append(int(number))
    return found


def found_service(name: str, url: str, named: Mapping[str, Sequence[int]]) -> Service:
    """With the processes that were named, else the one that listens. `cpu_clock.Unreadable` for a named one that does not run."""
    for pids in named.values():
        cpu_clock.tree_cpu_ns(pids)
    if "service" in named:
        return Service(name, url, named)
    if not is_loopback(url):
        because = "it is not on this machine"
    else:
        host, port, _ = any_address(url)
        owner = owner_of_port(host, port)
        if owner.pids:
            return Service(name, url, {"service": owner.pids, **named})
        because = owner.unknown_because
    if named:
        raise BadService(f"{name}: the service's own process is not known ({because}); name it too: --pid {shlex.quote(name)}=PID")
    return Service(name, url, {}, because)


def refuse_unreachable(service: Service) -> None:
    """Before a run of minutes ends with nothing but failures."""
    host, port, _ = any_address(service.url)
    try:
        socket.create_connection((host, port), timeout=REACHED_WITHIN_S).close()
    except OSError as error:
        raise Unreachable(f"{service.url} does not accept connections ({error.strerror or error}); start it first") from None
