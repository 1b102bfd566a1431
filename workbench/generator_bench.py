"""`designs bench generator`: how many requests a second the load generator can plan on one CPU, before it is late itself.

A server that does nothing answers plans of rising rate. What is late or busy then is the generator, and the highest rate at
which it is neither is its ceiling: a comparison beyond it would measure the generator. A busy neighbour makes any generator late,
so a step that misses is tried again, and how often is printed; the closed loop at the end says what one CPU could send at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from loadtests.analysis.statistics import percentile
from loadtests.generator import open_loop
from loadtests.generator.arrivals import make_plan
from loadtests.generator.open_loop import LoadGenerator
from loadtests.generator.placement import generator_placed
from loadtests.workload import Exchange, Mix
from workbench.bench import BenchFailed
from workbench.bench_verdicts import conclude, met_or_missed
from workbench.null_server import REQUEST, null_server
from workbench.processes import UNPINNED, cpu_plan

RATES_PER_S = (1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000)
REQUIRED_PER_S = 15_000
STEP_S = 2.0
TRIES = 5
PAUSE_S = 0.5  # a neighbour's burst may be over by then
SEED = 11
CLOSED_CLIENTS = 16
LAG_P99_MS = 2.0
CPU_RATIO = 0.8
KEPT_UP = 0.98  # of what was planned
MIX = Mix("null", "nobody", {"get": 1.0}, keys=1, zipf_s=0.0, rate_per_s=1_000)


@dataclass(frozen=True, slots=True)
class Step:
    """One planned rate and what the generator made of it. `planned_per_s` is what the plan drew for `rate_per_s`."""

    rate_per_s: float
    planned_per_s: float
    achieved_per_s: float
    lag_p50_ms: float
    lag_p99_ms: float
    cpu_us: float
    cpu_ratio: float
    tries: int = 1

    @property
    def met(self) -> bool:
        """On time by the lag, by the end, and with CPU to spare."""
        kept_up = self.achieved_per_s >= KEPT_UP * self.planned_per_s
        return kept_up and self.lag_p99_ms < LAG_P99_MS and self.cpu_ratio < CPU_RATIO


def step_of(
    rate_per_s: float, step_s: float, exchanges: Sequence[Exchange], lags_s: Sequence[float], cpu_s: float, cpu_ratio: float
) -> Step:
    """BenchFailed when the null server did not answer every request."""
    wrong = sum(exchange.status != 200 for exchange in exchanges)
    if wrong or not exchanges:
        raise BenchFailed(f"at {rate_per_s:,.0f}/s {wrong} of {len(exchanges)} requests were not answered")
    lags_ms = [1e3 * lag_s for lag_s in sorted(lags_s)]
    took_s = max(exchange.end_s for exchange in exchanges) - exchanges[0].intended_s
    return Step(
        rate_per_s=rate_per_s,
        planned_per_s=len(exchanges) / step_s,
        achieved_per_s=len(exchanges) / max(took_s, step_s),
        lag_p50_ms=percentile(lags_ms, 0.5) or lags_ms[-1],
        lag_p99_ms=percentile(lags_ms, 0.99) or lags_ms[-1],
        cpu_us=1e6 * cpu_s / len(exchanges),
        cpu_ratio=cpu_ratio,
    )


def ceiling(steps: Sequence[Step]) -> Step | None:
    """The highest rate that was met; None when none was."""
    return max((step for step in steps if step.met), key=lambda step: step.rate_per_s, default=None)


def verdict(steps: Sequence[Step]) -> str:
    top = ceiling(steps)
    met = top is not None and top.rate_per_s >= REQUIRED_PER_S
    found = "no rate" if top is None else f"{top.rate_per_s:,.0f} requests/s, on try {top.tries} of at most {TRIES}"
    return met_or_missed(
        met,
        f"planned with a p99 lag below {LAG_P99_MS:g} ms on less than {100 * CPU_RATIO:.0f} % "
        f"of one CPU: {found}; asked for at least {REQUIRED_PER_S:,}",
    )


def generator_command(record: bool = False) -> int:
    """Measure, print, and answer 0 when the required rate is met, else 1."""
    plan = cpu_plan()
    with (
        null_server(plan.servers) as (url, _),
        generator_placed(plan.generator) as first,
    ):
        steps, closed = open_loop.run(measure(url))
    columns = ("planned/s", "achieved/s", "lag p50, ms", "lag p99, ms", "CPU us/request", "share of one CPU", "tries", "verdict")
    rows = [
        (
            f"{step.rate_per_s:,.0f}",
            f"{step.achieved_per_s:,.0f}",
            f"{step.lag_p50_ms:.3f}",
            f"{step.lag_p99_ms:.2f}",
            f"{step.cpu_us:.1f}",
            f"{100 * step.cpu_ratio:.0f} %",
            str(step.tries),
            "ok" if step.met else "missed",
        )
        for step in steps
    ]
    sentences = [
        verdict(steps),
        f"closed loop, {CLOSED_CLIENTS} clients: {closed.achieved_per_s:,.0f} requests/s at {closed.cpu_us:.1f} us of CPU each",
    ]
    if plan == UNPINNED:
        sentences.append("unpinned: server and generator shared all CPUs")
    elif not first:
        sentences.append("the generator was an ordinary process: the system grants no real-time priority")
    return conclude("url_shortener", "generator", columns, rows, sentences, record=record)


async def measure(url: str, rates_per_s: Sequence[int] = RATES_PER_S, step_s: float = STEP_S) -> tuple[list[Step], Step]:
    """Rising steps, up to the first one beyond the requirement that is missed, then a closed loop."""
    generator = LoadGenerator([url])
    steps: list[Step] = []
    try:
        await open_step(generator, rates_per_s[0], step_s)  # warms both sides up
        for rate_per_s in rates_per_s:
            step = await open_step(generator, rate_per_s, step_s)
            for tries in range(2, TRIES + 1):
                if step.met:
                    break
                await asyncio.sleep(PAUSE_S)
                step = replace(await open_step(generator, rate_per_s, step_s), tries=tries)
            steps.append(step)
            if not step.met and rate_per_s > REQUIRED_PER_S:
                break
        exchanges = await generator.closed_loop([(0, REQUEST)], CLOSED_CLIENTS, step_s)
        closed = step_of(len(exchanges) / step_s, step_s, exchanges, [0.0], generator.cpu_s, generator.cpu_ratio)
    finally:
        await generator.close()
    return steps, closed


async def open_step(generator: LoadGenerator, rate_per_s: float, step_s: float) -> Step:
    plan = make_plan(MIX, rate_per_s, step_s, SEED)
    exchanges = await generator.replay(plan, lambda exchange, before: (0, REQUEST))
    return step_of(rate_per_s, step_s, exchanges, generator.lags_s, generator.cpu_s, generator.cpu_ratio)
