"""Where the generator runs: on CPUs of its own and first in line there, so that it neither takes nor loses the time it measures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator

from loadtests.generator.real_time import real_time


@contextlib.contextmanager
def generator_placed(cpus: Collection[int] | None) -> Iterator[bool]:
    """Keep this process on these CPUs, which no server may share, and first in line; yields whether the system granted the latter.

    With None nothing changes: a generator that shares its CPUs must not come first.
    """
    with held_to(cpus), real_time(bool(cpus) and current_cpus() == set(cpus or ())) as first:
        yield first


@contextlib.contextmanager
def held_to(cpus: Collection[int] | None) -> Iterator[None]:
    """Keep this process on these CPUs for a while, where the system can; elsewhere, or with None, nothing changes."""
    before = current_cpus()
    if cpus and before:
        with contextlib.suppress(OSError):  # CPUs that do not exist; a manifest then says "unpinned"
            os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)


def current_cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
