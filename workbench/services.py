"""`designs compare --url A --url B --workload FILE`: services that already run, compared as a design's variants are.

They are others' and not ours to start, restart, pin or empty: all blocks measure the same processes, and what these remember goes
on. Their CPU is counted where the process is found that listens on the port, or is named. Load goes to this machine alone, unless
the caller says that the targets' owner agreed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtests import cpu_clock
from loadtests.comparison.experiment import Experiment
from loadtests.declared.declared_workload import DeclaredWorkload
from loadtests.declared.workload_file import WorkloadFile, read_workload_file
from loadtests.result import Result
from workbench.comparison import PRIMARY, SAFETY_EXIT, experiment_of, measured_and_shown
from workbench.load import is_loopback
from workbench.service_targets import AGAIN, BadService, Service, found_service, named_pids, named_urls, refuse_unreachable

DESIGN, KNOB = "services", "url"
MAX_ROUND_BYTES = 512 << 20  # the requests of a round are made before it
LATENCY = "latency_p50_ms"
ALWAYS_MEASURED = (LATENCY, "latency_p99_ms", "response_bytes")


def services_command(urls: Sequence[str], workload_file: Path, **options: Any) -> int:
    """`compare_services` as a command: 0 when every answer was as expected, 1 when one was not, 2 when that is not known."""
    return SAFETY_EXIT[compare_services(urls, workload_file, **options).safety_verdict()]


def compare_services(
    urls: Sequence[str],
    workload_file: Path,
    *,
    pids: Sequence[str] = (),
    primary: str | None = None,
    out_dir: Path | None = None,
    allow_remote: bool = False,
    **measuring: Any,
) -> Result:
    """Measure them with live progress, write the report, print the card. The first URL is the baseline.

    `measuring`: see `experiment_of`; without `primary` it is what `chosen_primary` says.

    `BadService`, `LoadRefused`, `BadWorkloadFile` and `Unreachable` before any load; `SeedingFailed` and `cpu_clock.Unreadable`.
    """
    named = named_urls(urls, allow_remote)
    file = read_workload_file(workload_file)
    workload = DeclaredWorkload(file, os.environ, allow_remote=allow_remote)
    services = [found_service(name, url, processes) for (name, url), processes in zip(named, named_pids(pids, named), strict=True)]
    names = [service.name for service in services]
    experiment = experiment_of(DESIGN, KNOB, names, workload.mix, primary=chosen_primary(services, primary), **measuring)
    refuse_large_rounds(file, experiment)
    for service in services:
        refuse_unreachable(service)
    return measured_and_shown(
        replace(experiment, command=command_line(experiment, services, workload_file, allow_remote)),
        [service.target() for service in services],
        workload,
        allow_remote=allow_remote,
        cpus=cpus_left(services),
        versions={"workload file": f"{workload_file.name}, SHA-256 {hashlib.sha256(workload_file.read_bytes()).hexdigest()[:16]}"},
        remarks=remarks(services, experiment.primary),
        out_dir=out_dir,
    )


def chosen_primary(services: Sequence[Service], asked: str | None) -> str:
    """CPU per request where it is known of all, else the median latency, unless another figure is asked for."""
    unknown = next((service for service in services if not service.pids), None)
    roles = set.intersection(*(set(service.pids) for service in services))
    per_role = [f"{PRIMARY}_{role}" for role in sorted(roles)] if len(roles) > 1 else []
    counted = () if unknown else (PRIMARY, *per_role, "rss_mb")
    if asked is None:
        return LATENCY if unknown else PRIMARY
    if asked in (*counted, *ALWAYS_MEASURED):
        return asked
    if unknown and asked.startswith(("cpu_", "rss_")):
        raise BadService(
            f"{asked} of {unknown.name} is not known ({unknown.unknown_because}): name its process with "
            f"--pid {shlex.quote(unknown.name)}=PID, or take --primary {LATENCY}"
        )
    raise BadService(f"there is no figure {asked!r} here; there is {', '.join((*counted, *ALWAYS_MEASURED))}")


def remarks(services: Sequence[Service], primary: str) -> list[str]:
    """What the reader must know of targets that are not ours."""
    said = ["these services already ran and are not ours: they were neither restarted nor pinned"]
    for service in services:
        if not service.pids:
            because = service.unknown_because
            said.append(f"{service.name}: its CPU is not counted: {because}")
        if not is_loopback(service.url):
            said.append(f"{service.name}: the machine described here is the generator's; the network between is in every latency")
    if primary.startswith("latency_"):
        said.append(
            "the primary figure is a latency, which a small or shared machine blurs: trust an interval, never one run's median"
        )
    roles = {service.name: " and ".join(service.pids) for service in services if service.pids}
    if len(set(roles.values())) > 1:
        counted = "; ".join(f"{name}: {processes}" for name, processes in roles.items())
        said.append(f"CPU is not counted for the same parts on each side ({counted})")
    held = [{pid for pids in service.pids.values() for pid in pids} for service in services]
    if any(one & other for position, one in enumerate(held) for other in held[:position]):
        said.append("targets share a process: its CPU is counted for the one whose turn it is")
    return said


def cpus_left(services: Sequence[Service]) -> set[int] | None:
    """The CPUs that the services' owner keeps free of them (`taskset -c 0 ...`), for the generator; None where there are none."""
    taken = [pid for service in services for pids in service.pids.values() for pid in pids]
    if not taken or not hasattr(os, "sched_getaffinity"):
        return None
    held = set[int]()
    for pid in cpu_clock.tree(taken):
        with contextlib.suppress(OSError):  # it has just ended
            held |= os.sched_getaffinity(pid)
    return os.sched_getaffinity(0) - held or None


def refuse_large_rounds(file: WorkloadFile, experiment: Experiment) -> None:
    """The requests of a round wait in memory until they are due."""
    largest = max(len((each.body_text() or "").encode()) for each in file.request)
    needed = largest * experiment.rate_per_s * experiment.round_s
    if needed > MAX_ROUND_BYTES:
        raise BadService(
            f"the bodies of a round would be up to {needed / 1e6:,.0f} MB; take a lower rate, shorter rounds or smaller bodies"
        )


def command_line(experiment: Experiment, services: Sequence[Service], workload_file: Path, allow_remote: bool) -> str:
    """The command that repeats the run. Processes are left out: they have other numbers next time."""
    words = ["designs", "compare"]
    for service in services:
        words += ["--url", service.url if service.name in (service.url, service.url + AGAIN) else f"{service.name}={service.url}"]
    words += ["--workload", str(workload_file), "--rate", f"{experiment.rate_per_s:g}", "--blocks", str(experiment.blocks)]
    words += ["--round-s", f"{experiment.round_s:g}", "--seed", str(experiment.seed), "--margin", f"{experiment.margin:g}"]
    words += ["--primary", experiment.primary] + (["--allow-remote"] if allow_remote else [])
    return shlex.join(words)
