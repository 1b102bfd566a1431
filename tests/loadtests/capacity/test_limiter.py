"""Who the limiter was: the nearest suspect that was full."""

from __future__ import annotations

import pytest

from loadtests.capacity.limiter import limiter
from loadtests.capacity.result import Usage


def usage(service: float, store: float = 0.0, *, waited: float = 0.0, generator: float = 0.4) -> Usage:
    return Usage(
        cpu_us_per_request={},
        cpu_ratio={"service": service, "store": store},
        waited_ratio=waited,
        generator_cpu_ratio=generator,
        steal_ratio=0.0,
    )


@pytest.mark.parametrize(
    ("seen", "cpus", "in_flight", "what", "told"),
    [
        (usage(0.97, generator=0.9), 1, 200, "generator", "the service may be able to do more"),
        (usage(0.93, 0.05), 1, 200, "service CPU", "the service's process used 93"),
        (usage(0.3, 0.95), 4, 10, "store CPU", "the store's process used 95"),
        (usage(0.55, 0.4), 1, 200, "shared CPU", "95\N{NO-BREAK SPACE}% of the CPU they share: service 55"),
        (usage(0.5, 0.1, waited=0.35), 1, 200, "a CPU that others held", "ready without one for 35"),
        (usage(0.3, 0.1), 1, 64, "connections", "all 64 connections"),
        (usage(0.3, 0.1), 1, 20, "none of these", "it waited for something else"),
        (usage(0.3, 0.1, waited=0.9), None, 20, "none of these", "service 30"),
    ],
)
def test_the_first_suspect_that_is_full_is_named(seen: Usage, cpus: int | None, in_flight: int, what: str, told: str) -> None:
    found = limiter(seen, processes={"service": 1, "store": 1}, server_cpus=cpus, in_flight_most=in_flight, connections=64)
    assert found.what == what
    assert told in found.sentence


def test_four_processes_of_a_role_are_full_when_each_is() -> None:
    def four(service: float) -> str:
        return limiter(usage(service), processes={"service": 4, "store": 1}, server_cpus=8, in_flight_most=0, connections=64).what

    assert four(3.6) == "service CPU"
    assert four(1.0) == "none of these"
