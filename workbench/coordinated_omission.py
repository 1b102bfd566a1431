"""`designs demo coordinated-omission`: one stall of a server, measured from when requests were due and from when they were sent.

A plan of Poisson arrivals goes to a server that does nothing, over a few connections. Once, the server's process is stopped for
half a second (SIGSTOP) and goes on. Whoever came meanwhile waited; but only as many requests as there are connections were *sent*
into the stall, so a generator that starts its watch at the send sees next to nothing of it. By hand: of 3,000 requests 1 % are 30,
those of the stall's first 50 ms, so 1 % waited 450 ms or longer, and that is the p99 (Gil Tene, "How NOT to Measure Latency").
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.analysis.statistics import percentile
from loadtests.generator import open_loop
from loadtests.generator.arrivals import Plan, make_plan
from loadtests.generator.open_loop import LoadGenerator
from loadtests.generator.placement import generator_placed
from loadtests.workload import Exchange, Mix
from workbench.bench import BenchFailed
from workbench.null_server import REQUEST, null_server
from workbench.processes import cpu_plan
from workbench.terminal import say, show_table

RATE_PER_S = 600.0
DURATION_S = 5.0
STALL_AT_S = 2.0
STALL_S = 0.5
CONNECTIONS = 8
SEED = 3
EXPECTED_P99_MS = 1e3 * (STALL_S - 0.01 * DURATION_S)  # 1 % of all requests are those of 1 % of the time
WITHIN = 0.15
HIDDEN_BELOW = 0.2  # of the expectation
TRIES = 5
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
MIX = Mix("null", "nobody", {"get": 1.0}, keys=1, zipf_s=0.0, rate_per_s=RATE_PER_S)


@dataclass(frozen=True, slots=True)
class Seen:
    """One run by two watches; milliseconds by name of the quantile, and how many requests met the stall."""

    requests: int
    from_intended_ms: dict[str, float]
    from_sent_ms: dict[str, float]
    intended_into_stall: int
    sent_into_stall: int

    @property
    def shown(self) -> bool:
        return abs(self.from_intended_ms["p99"] - EXPECTED_P99_MS) <= WITHIN * EXPECTED_P99_MS

    @property
    def hidden(self) -> bool:
        return self.from_sent_ms["p99"] < HIDDEN_BELOW * EXPECTED_P99_MS


def seen(exchanges: Sequence[Exchange], stalled_s: tuple[float, float]) -> Seen:
    """BenchFailed when a request was not answered. `stalled_s`: from, to, on the clock of the exchanges."""
    wrong = sum(exchange.status != 200 for exchange in exchanges)
    if wrong or not exchanges:
        raise BenchFailed(f"{wrong} of {len(exchanges)} requests were not answered")
    from_s, to_s = stalled_s
    return Seen(
        requests=len(exchanges),
        from_intended_ms=_quantiles_ms([exchange.end_s - exchange.intended_s for exchange in exchanges]),
        from_sent_ms=_quantiles_ms([exchange.end_s - exchange.sent_s for exchange in exchanges]),
        intended_into_stall=sum(from_s <= exchange.intended_s < to_s for exchange in exchanges),
        # Some were sent just before, and caught: what counts is that they were open while the server stood still.
        sent_into_stall=sum(exchange.sent_s < to_s and exchange.end_s > to_s for exchange in exchanges),
    )


def _quantiles_ms(latencies_s: list[float]) -> dict[str, float]:
    ordered = sorted(1e3 * latency_s for latency_s in latencies_s)
    return {name: percentile(ordered, q) or ordered[-1] for name, q in QUANTILES} | {"max": ordered[-1]}


def verdict(run: Seen) -> str:
    intended_ms, sent_ms = run.from_intended_ms["p99"], run.from_sent_ms["p99"]
    if run.shown and run.hidden:
        return (
            f"met: from the intended start the p99 is {intended_ms:.0f} ms and shows the stall; from the actual send it is "
            f"{sent_ms:.1f} ms and hides it: only {run.sent_into_stall} of {run.intended_into_stall} requests that came during "
            "the stall were sent into it"
        )
    return (
        f"MISSED: from the intended start the p99 is {intended_ms:.0f} ms (expected {EXPECTED_P99_MS:.0f}, give or take "
        f"{100 * WITHIN:.0f} %), from the actual send {sent_ms:.1f} ms (expected below {HIDDEN_BELOW * EXPECTED_P99_MS:.0f})"
    )


def coordinated_omission_command() -> int:
    """Run, print both watches side by side, and answer 0 when one shows the stall and the other hides it, else 1."""
    say(
        f"{RATE_PER_S:.0f} requests/s for {DURATION_S:g} s, Poisson arrivals, {CONNECTIONS} connections; the server is stopped "
        f"once for {1e3 * STALL_S:.0f} ms"
    )
    cpus = cpu_plan()
    plan = make_plan(MIX, RATE_PER_S, DURATION_S, SEED)
    with (
        null_server(cpus.servers) as (url, pid),
        generator_placed(cpus.generator),
    ):
        for tries in range(1, TRIES + 1):
            run = open_loop.run(stall_once(url, pid, plan))
            if run.shown and run.hidden:
                break
            if tries < TRIES:
                say(f"try {tries} of {TRIES} was disturbed: {verdict(run)}")
    rows = [(name, f"{run.from_intended_ms[name]:.2f}", f"{run.from_sent_ms[name]:.2f}") for name in (*dict(QUANTILES), "max")]
    show_table(("of the latencies", "from the intended start, ms", "from the actual send, ms"), rows)
    first_ms = 1e3 * 0.01 * DURATION_S
    say(
        f"by hand   1 % of {run.requests:,} requests came in the stall's first {first_ms:.0f} ms and waited for the rest of it, "
        f"so the p99 is about {1e3 * STALL_S:.0f} - {first_ms:.0f} = {EXPECTED_P99_MS:.0f} ms"
    )
    say(verdict(run))
    return 0 if run.shown and run.hidden else 1


async def stall_once(url: str, pid: int, plan: Plan, stall_at_s: float = STALL_AT_S, stall_s: float = STALL_S) -> Seen:
    """Replay the plan and stop the process `pid` on the way. It goes on in any case."""
    generator = LoadGenerator([url], connections_per_url=CONNECTIONS)
    loop = asyncio.get_running_loop()
    stalled: list[float] = []

    def stop() -> None:
        stalled.append(time.monotonic())
        os.kill(pid, signal.SIGSTOP)
        loop.call_later(stall_s, go_on)

    def go_on() -> None:
        stalled.append(time.monotonic())
        os.kill(pid, signal.SIGCONT)

    try:
        await generator.open()
        timer = loop.call_later(stall_at_s, stop)
        exchanges = await generator.replay(plan, lambda exchange, before: (0, REQUEST))
        timer.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        await generator.close()
    return seen(exchanges, (stalled[0], stalled[-1]))
