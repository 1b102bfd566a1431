"""Who the limiter was: what was full when a service gave the most it could. The first that holds, from the nearest suspect on.

A generator that is full says nothing of the service, so it is asked first. Then a role whose processes are each near one core (one
process serves from one thread), then all CPUs that the variant may use, then neighbours who held them, then the connections. When
none was full the service waited for something that no figure here shows: a disk, a lock, a reply of another machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadtests.capacity.result import Limiter, Usage
from loadtests.capacity.saturation import GENERATOR_CPU_RATIO
from loadtests.report.number_format import count, enumeration, percentage

NEAR_FULL = 0.85


def limiter(
    usage: Usage, *, processes: Mapping[str, int], server_cpus: int | None, in_flight_most: int, connections: int
) -> Limiter:
    """`processes` by role; `server_cpus` those that the variant may use, None where unknown; `in_flight_most` of the first open
    step that failed, against all `connections` of the generator."""
    used = sum(usage.cpu_ratio.values())
    shares = enumeration([f"{role} {percentage(ratio)}" for role, ratio in by_size(usage.cpu_ratio)])
    if usage.generator_cpu_ratio > GENERATOR_CPU_RATIO:
        return Limiter(
            what="generator",
            sentence=f"the generator used {percentage(usage.generator_cpu_ratio)} of its CPU: the service may be able to do more",
        )
    for role, ratio in by_size(usage.cpu_ratio):
        each = ratio / max(1, processes.get(role, 1))
        if each >= NEAR_FULL:
            whose = "process" if processes.get(role, 1) == 1 else f"{processes[role]} processes each"
            return Limiter(what=f"{role} CPU", sentence=f"the {role}'s {whose} used {percentage(each)} of a core")
    if server_cpus is not None and used >= NEAR_FULL * server_cpus:
        return Limiter(
            what="shared CPU",
            sentence=f"all processes used {percentage(used / server_cpus)} of the {_cpus(server_cpus)} they share: {shares}",
        )
    if server_cpus is not None and used + usage.waited_ratio >= NEAR_FULL * server_cpus:
        return Limiter(
            what="a CPU that others held",
            sentence=(
                f"the processes used {percentage(used)} of a CPU and were ready without one for {percentage(usage.waited_ratio)} "
                "of the time: neighbours on this machine, or each other"
            ),
        )
    if in_flight_most >= connections:
        return Limiter(
            what="connections",
            sentence=f"all {count(connections)} connections of the generator were taken while no CPU was full: {shares}",
        )
    return Limiter(
        what="none of these", sentence=f"no CPU was full ({shares}), nor were the connections: it waited for something else"
    )


def by_size(cpu_ratio: Mapping[str, float]) -> Sequence[tuple[str, float]]:
    return sorted(cpu_ratio.items(), key=lambda pair: -pair[1])


def _cpus(number: int) -> str:
    return "CPU" if number == 1 else f"{number} CPUs"
