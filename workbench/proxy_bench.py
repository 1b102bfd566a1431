"""`designs bench fault-proxy`: what the fault proxy costs a round trip, since it stands in the way of every struck variant."""

from __future__ import annotations

from loadtests.faults.proxy.cost import Cost, cost
from loadtests.generator import open_loop
from workbench.bench import UnknownBench
from workbench.terminal import say, show_table

WAYS = {"no toxic": "", "a latency toxic of 0 ms": "latency"}
HEADERS = ("in the way", "direct", "through the proxy", "added", "proxy CPU")


def fault_proxy_command(*, record: bool = False, round_trips: int = 5_000) -> int:
    """Always 0: there is no limit to keep, since the proxy is in the path of every variant or of none."""
    if record:
        raise UnknownBench("no document quotes the cost of the fault proxy; leave out --record")
    measured = {name: open_loop.run(cost(round_trips, toxic=toxic)) for name, toxic in WAYS.items()}
    show_table(HEADERS, [row_of(name, each) for name, each in measured.items()])
    say(f"medians of {round_trips:,} round trips each way, by turns; CPU time from the kernel's clock of the proxy's process")
    return 0


def row_of(name: str, measured: Cost) -> tuple[str, ...]:
    figures = (measured.direct_us, measured.through_proxy_us, measured.added_us, measured.proxy_cpu_us)
    return (name, *(f"{value:.1f} us" for value in figures))
