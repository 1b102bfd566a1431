"""The conditions of a run: what was measured, on which machine, beside which other load.

A number without its conditions is worse than none. What can't be found out is "unknown", never left out.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "system-designs",
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "pydantic",
    "orjson",
    "redis",
    "prometheus-client",
)
REPOSITORY = Path(__file__).resolve().parent.parent
UNKNOWN = "unknown"
RECORDS_ASIDE = ":(exclude,glob)designs/*/measurements/*.json"
GIT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Conditions:
    commit: str
    dirty: bool
    versions: dict[str, str]
    machine: dict[str, str]


def conditions(repository: Path = REPOSITORY) -> Conditions:
    """Asked once, before the load: the load average and the pressure are then the neighbours', not ours."""
    commit, dirty = revision(repository)
    return Conditions(commit, dirty, versions(), machine())


def revision(repository: Path) -> tuple[str, bool]:
    """Commit and whether files differ from it, records aside; ("unknown", False) outside a checkout of this very folder.

    Records are what runs leave behind, not what they run: the second of two would else find the tree changed by the first.
    """
    if _git(repository, "rev-parse", "--show-toplevel") != str(repository):
        return UNKNOWN, False
    changed = _git(repository, "status", "--porcelain", "--", ".", RECORDS_ASIDE)
    return _git(repository, "rev-parse", "--verify", "HEAD") or UNKNOWN, bool(changed)


def versions() -> dict[str, str]:
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    load = " ".join(f"{average:.2f}" for average in os.getloadavg()) if hasattr(os, "getloadavg") else UNKNOWN
    return {
        "cpu": _line_value("/proc/cpuinfo", "model name") or platform.processor() or UNKNOWN,
        "cpus": str(os.cpu_count() or UNKNOWN),
        "memory": _line_value("/proc/meminfo", "MemTotal") or UNKNOWN,
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average_before": load,
        "cpu_pressure_before": (_read("/proc/pressure/cpu").splitlines() or [UNKNOWN])[0],
    }


def pinning(generator_cpus: Iterable[int], server_pids: Iterable[int], real_time: bool = False) -> str:
    """Where everybody runs, as the kernel says it: "servers on CPU 0, generator on CPU 1"; "unpinned" where nothing is held.

    `real_time`: the generator comes first on its CPU.
    """
    if not hasattr(os, "sched_getaffinity"):
        return "unpinned: this system has no CPU affinity"
    here = set(generator_cpus)
    servers: set[int] = set()
    for pid in server_pids:
        try:
            servers |= os.sched_getaffinity(pid)
        except OSError:
            continue
    if not servers:
        return "unpinned: where the services run is not known"
    if here & servers:
        return "unpinned: servers and generator share CPUs"
    placed = f"servers on CPU {_listed(servers)}, generator on CPU {_listed(here)}"
    return f"{placed}, with real-time priority there" if real_time else placed


def _listed(cpus: set[int]) -> str:
    return ", ".join(str(cpu) for cpu in sorted(cpus))


def _git(repository: Path, *arguments: str) -> str:
    """What git prints, "" when there is no git, no repository or no answer."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        answer = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, "--no-optional-locks", "-C", str(repository), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _line_value(path: str, name: str) -> str:
    """The value of the first `name: value` line of a file, "" where there is none."""
    for line in _read(path).splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
