"""One round of one variant: what it was asked, what came back, and what that cost.

A round: counters, connections, a pause, clocks; the plan; a pause for work that goes on after the answers (queues,
write-behind), clocks, counters. Reading them thus costs no measured time, and a worker's CPU is counted for the requests that
caused it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtests import cpu_clock
from loadtests.arrivals import Plan, make_plan
from loadtests.open_loop import LoadGenerator
from loadtests.schedule import Disturbance, Round
from loadtests.statistics import percentile
from loadtests.workload import Exchange, Mix, Target, Workload

FAILED_FROM_STATUS = 500
OVERLOADED_SHARE = 0.02
OVERLOADED_AT_LEAST = 10


@dataclass(frozen=True, slots=True)
class Experiment:
    """What was fixed before the run."""

    design: str
    knob: str
    mix: Mix
    rate_per_s: float
    round_s: float
    blocks: int
    seed: int
    margin: float
    primary: str
    command: str


WARM_UP_PLAN = -1


class RoundTaker:
    """Measures one round of one variant. Serials count up per variant, so both get the same requests from the same plans."""

    def __init__(
        self,
        targets: Sequence[Target],
        generators: Sequence[LoadGenerator],
        workload: Workload,
        experiment: Experiment,
        settle_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._targets = targets
        self._generators = generators
        self._workload = workload
        self._experiment = experiment
        self._settle_s = settle_s
        self._clock = clock
        self._sleep = sleep
        self._next_serial = [0] * len(targets)

    async def measure(self, variant: int, plan_index: int) -> Round:
        target, generator, workload = self._targets[variant], self._generators[variant], self._workload
        plan = plan_of(self._experiment, plan_index)
        counters_before = await workload.counters(target)
        await generator.open()
        await self._sleep(self._settle_s)
        before = self._read(target)
        started_s = self._clock()
        exchanges = await generator.replay(
            plan, lambda op, key, serial: workload.encode(target, op, key, serial), self._next_serial[variant]
        )
        await self._sleep(self._settle_s)
        after = self._read(target)
        elapsed_s = self._clock() - started_s
        counters_after = await workload.counters(target)
        self._next_serial[variant] += len(plan)
        workload.observe(target, exchanges)
        lag_p99_s = percentile(sorted(generator.lags_s), 0.99) or max(generator.lags_s, default=0.0)
        return fold_round(
            variant,
            started_s,
            plan,
            exchanges,
            work_per_request(counters_before, counters_after, len(plan)),
            before,
            after,
            elapsed_s,
            lag_p99_s,
            generator.cpu_ratio,
        )

    def _read(self, target: Target) -> Reading:
        own = {pid for pids in target.pids.values() for pid in pids}
        idle = {pid for other in self._targets for pids in other.pids.values() for pid in pids} - own
        return Reading(
            cpu_ns={role: cpu_clock.tree_cpu_ns(pids) for role, pids in target.pids.items()},
            idle_cpu_ns=cpu_clock.tree_cpu_ns(idle),
            run_queue_wait_ns=cpu_clock.run_queue_wait_ns(own),
            rss_bytes=cpu_clock.rss_bytes(own),
            machine=cpu_clock.machine_times(),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks of one variant at one moment; `idle_cpu_ns` is that of all processes that are not its own."""

    cpu_ns: Mapping[str, int]
    idle_cpu_ns: int
    run_queue_wait_ns: int
    rss_bytes: int
    machine: cpu_clock.MachineTimes


def plan_of(experiment: Experiment, plan_index: int) -> Plan:
    return make_plan(experiment.mix, experiment.rate_per_s, experiment.round_s, experiment.seed, round_index=plan_index)


def plan_hash(experiment: Experiment) -> str:
    """SHA-256 over the hashes of all plans of the planned blocks, in order."""
    digest = hashlib.sha256()
    for plan_index in range(2 * experiment.blocks):
        digest.update(plan_of(experiment, plan_index).hash.encode())
    return digest.hexdigest()


def work_per_request(before: Mapping[str, float], after: Mapping[str, float], requests: int) -> dict[str, float]:
    """Counted work of a round per request. A pair `x_hits`, `x_misses` also gives `x_hit_ratio`."""
    done = {name: value - before.get(name, 0.0) for name, value in after.items()}
    figures = {name: value / max(1, requests) for name, value in done.items()}
    for name, hits in done.items():
        what = name.removesuffix("_hits")
        looked_up = hits + done.get(f"{what}_misses", 0.0)
        if name.endswith("_hits") and f"{what}_misses" in done and looked_up:
            figures[f"{what}_hit_ratio"] = hits / looked_up
    return figures


def fold_round(
    variant: int,
    started_s: float,
    plan: Plan,
    exchanges: Sequence[Exchange],
    work: Mapping[str, float],
    before: Reading,
    after: Reading,
    elapsed_s: float,
    lag_p99_s: float,
    generator_cpu_ratio: float,
) -> Round:
    requests = max(1, len(exchanges))
    cpu_us = {role: (after.cpu_ns[role] - before.cpu_ns[role]) / 1e3 / requests for role in after.cpu_ns}
    failed = sum(is_failed(exchange) for exchange in exchanges)
    figures = {**work, "cpu_us_per_request": sum(cpu_us.values())}
    if len(cpu_us) > 1:
        figures |= {f"cpu_us_per_request_{role}": value for role, value in cpu_us.items()}
    figures["rss_mb"] = after.rss_bytes / 1e6
    figures["failed_per_100"] = 100 * failed / requests
    answered = [(due_s, exchange) for due_s, exchange in zip(plan.intended_s, exchanges, strict=True) if not is_failed(exchange)]
    return Round(
        variant=variant,
        started_s=started_s,
        figures=figures,
        disturbance=Disturbance(
            lag_p99_ms=lag_p99_s * 1e3,
            generator_cpu_ratio=generator_cpu_ratio,
            run_queue_wait_us=(after.run_queue_wait_ns - before.run_queue_wait_ns) / 1e3 / requests,
            steal_ratio=cpu_clock.steal_ratio(before.machine, after.machine),
            idle_cpu_ratio=(after.idle_cpu_ns - before.idle_cpu_ns) / 1e9 / max(elapsed_s, 1e-9),
        ),
        statuses=Counter(str(exchange.status) if exchange.status else "error" for exchange in exchanges),
        intended_s=array("d", (due_s for due_s, _ in answered)),
        latency_intended_s=array("d", (exchange.end_s - exchange.intended_s for _, exchange in answered)),
        latency_sent_s=array("d", (exchange.end_s - exchange.sent_s for _, exchange in answered)),
        overloaded=is_overloaded(exchanges),
    )


def is_failed(exchange: Exchange) -> bool:
    """No answer, or one that says the service failed. Their times are kept apart: fast failures would improve percentiles."""
    return exchange.status == 0 or exchange.status >= FAILED_FROM_STATUS


def is_overloaded(exchanges: Sequence[Exchange]) -> bool:
    """Whether the variant had fallen behind the plan: more than 2 % of the requests, and 10, were open when the last was due."""
    if not exchanges:
        return False
    last_due_s = exchanges[-1].intended_s
    still_open = sum(exchange.end_s > last_due_s for exchange in exchanges)
    return still_open > max(OVERLOADED_AT_LEAST, OVERLOADED_SHARE * len(exchanges))
