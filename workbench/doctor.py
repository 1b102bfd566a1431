"""What this machine has, what it lacks, and how to get it.

A check that is `needed` and not `ok` keeps the demo or the tests from running; any other costs a feature, and says which.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.embedded_redis import HOW_TO_GET_IT, Server, find_server
from workbench.processes import UNPINNED, cpu_plan

OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 35)  # RETURNING
PROJECT = Path(__file__).parent.parent
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `advice` says what to do when it is not ok, or what its lack costs."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    needed: bool = False


def examine() -> list[Check]:
    installed = installed_packages()
    lock = PROJECT / "requirements.lock"
    return [
        check_python(sys.version_info[:3]),
        check_redis(find_server()),
        *(check_lock(lock.read_text(), installed) if lock.exists() else ()),
        check_sqlite(sqlite3.sqlite_version),
        check_cpus(),
        check_package("uvloop", installed, "optional; the event loop is slower without it"),
        check_package("locust", installed, "for `designs load`; run make setup"),
        check_docker(shutil.which("docker")),
    ]


def can_run(checks: list[Check]) -> bool:
    """Will the demo and the tests run?"""
    return all(check.ok for check in checks if check.needed)


def check_python(version: tuple[int, ...]) -> Check:
    found = ".".join(map(str, version))
    return Check("python", version[:2] >= OLDEST_PYTHON, found, "install Python 3.11 or newer, remove .venv", needed=True)


def check_redis(server: Server | None) -> Check:
    found = f"{server.version} from {server.origin} ({server.path})" if server else "none"
    return Check("redis server", server is not None, found, HOW_TO_GET_IT, needed=True)


def check_sqlite(version: str) -> Check:
    new_enough = tuple(map(int, version.split(".")[:2])) >= OLDEST_SQLITE
    return Check("sqlite", new_enough, version, "a newer Python brings a newer SQLite", needed=True)


def check_cpus() -> Check:
    plan, count = cpu_plan(), os.cpu_count() or 1
    found = str(count)
    if plan.servers and plan.generator:
        found += f"; servers on {_numbers(plan.servers)}, load on {_numbers(plan.generator)}"
    return Check("cpus", plan != UNPINNED, found, "load and servers share them, so comparisons are noisier")


def check_docker(docker: str | None) -> Check:
    return Check("docker", docker is not None, docker or "none", "optional; nothing here needs it")


def check_package(name: str, installed: Mapping[str, str], advice: str) -> Check:
    return Check(name, name in installed, installed.get(name, "none"), advice)


def check_lock(lock: str, installed: Mapping[str, str]) -> list[Check]:
    """Are the packages there, and in the versions of the lock? What the lock asks for under a condition may be absent."""
    pinned = locked_packages(lock)
    missing = [name for name, (_, conditional) in pinned.items() if not conditional and name not in installed]
    other = [
        f"{name} {installed[name]} instead of {version}"
        for name, (version, _) in pinned.items()
        if installed.get(name, version) != version
    ]
    present = len(pinned) - len(missing)
    return [
        Check("packages", not missing, _some(missing, "missing") or f"{present} of the lock", "run make setup", needed=True),
        Check("lock", not other, _some(other, "off the lock") or "in date", "run make setup to have the tested versions"),
    ]


def locked_packages(lock: str) -> dict[str, tuple[str, bool]]:
    """Package -> (version, is it asked for under a condition only), from the lines `name==version [; marker]`."""
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)\s*(;)?", lock, re.MULTILINE)
    return {normal_name(name): (version, bool(condition)) for name, version, condition in found}


def installed_packages() -> dict[str, str]:
    """Package -> version, of this interpreter."""
    return {normal_name(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}


def normal_name(name: str) -> str:
    """`Typing_Extensions` -> `typing-extensions` (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _some(things: list[str], what: str) -> str:
    if not things:
        return ""
    more = f" and {len(things) - SHOWN} more" if len(things) > SHOWN else ""
    return f"{what}: {', '.join(things[:SHOWN])}{more}"


def _numbers(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers)))
