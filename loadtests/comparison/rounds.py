"""One round of one variant: what it was asked, what came back, and what that cost.

A round: a lead-in that does not count; counters, connections, a pause, clocks; the plan; a pause for work that goes on after
the answers (queues, write-behind), clocks, counters. Reading them thus costs no measured time, and a worker's CPU is counted
for the requests that caused it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from loadtests import cpu_clock
from loadtests.analysis.statistics import percentile
from loadtests.comparison.experiment import Experiment
from loadtests.comparison.schedule import Disturbance, Round
from loadtests.generator.arrivals import Plan, make_plan
from loadtests.generator.open_loop import LoadGenerator
from loadtests.history.operation import Struck
from loadtests.workload import NO_ANSWER, NOT_SENT, Exchange, Target, Workload

FAILED_FROM_STATUS = 500
OVERLOADED_SHARE = 0.02
OVERLOADED_AT_LEAST = 10
# Roles that run beside a design for the measuring's sake: shown, but in no total. A collector of traces is shared by a whole site,
# and a fault proxy stands for a network.
BESIDE = frozenset({"collector", "proxy"})
STATUS_WORDS = {NO_ANSWER: "error", NOT_SENT: "not sent"}


WARM_UP_PLAN = -1
LEAD_IN_PLANS = -2  # the plan of the lead-in to plan n has the index LEAD_IN_PLANS - n
TOUCH_CLIENTS = 8
TOUCH_WITHIN_S = 120.0


class Strikes(Protocol):
    """Breaks a variant on purpose while it is measured."""

    def during(self, variant: int, plan_index: int, seconds: float) -> AbstractAsyncContextManager[list[Struck]]:
        """Faults from the moment it is entered, alike for every variant under the same plan. When it is left, all is healed and the
        list holds what happened."""


class RoundTaker:
    """Measures one round of one variant. Serials count up per variant, so all get the same requests from the same plans."""

    def __init__(
        self,
        targets: Sequence[Target],
        generators: Sequence[LoadGenerator],
        workload: Workload,
        experiment: Experiment,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        strikes: Strikes | None = None,
    ) -> None:
        self._strikes = strikes
        self._targets = targets
        self._generators = generators
        self._workload = workload
        self._experiment = experiment
        self._clock = clock
        self._sleep = sleep
        self._next_serial = [0] * len(targets)

    async def touch(self, variant: int) -> None:
        """Send the mix's `touch` once for every key, as fast as a few clients get their answers. Observed, not measured."""
        target, mix = self._targets[variant], self._experiment.mix
        if not mix.touch:
            return
        exchanges = [
            Exchange(mix.touch, key, serial, 0.0, 0.0, 0.0, 0.0, NO_ANSWER, b"", mix.clients)  # by none of the clients
            for serial, key in enumerate(range(mix.keys), start=self._next_serial[variant])
        ]
        encoded = [self._workload.encode(target, exchange, None) for exchange in exchanges]
        requests = [request for request in encoded if request is not None]
        if len(requests) < len(exchanges):
            raise ValueError(f"the mix {mix.name} touches its keys with {mix.touch}, which is not always sent")
        self._next_serial[variant] += len(exchanges)
        answered = await self._generators[variant].closed_loop(requests, TOUCH_CLIENTS, TOUCH_WITHIN_S, len(requests))
        for exchange, answer in zip(exchanges, answered, strict=False):
            answer.op, answer.key, answer.serial, answer.client = exchange.op, exchange.key, exchange.serial, exchange.client
        self._workload.observe(target, answered)

    async def warm_up(self, variant: int) -> Round:
        return await self._measure(variant, self._plan(WARM_UP_PLAN, self._experiment.warm_up_s))

    async def measure(self, variant: int, plan_index: int) -> Round:
        """A lead-in, then the round."""
        if self._experiment.lead_in_s:
            lead_in = self._plan(LEAD_IN_PLANS - plan_index, self._experiment.lead_in_s)
            self._workload.observe(self._targets[variant], await self._replay(variant, lead_in))
            await self._sleep(self._experiment.settle_s)  # else what the lead-in left in a queue is counted as this round's work
        if self._strikes is None:
            return await self._measure(variant, plan_of(self._experiment, plan_index))
        return await self._measure(
            variant, plan_of(self._experiment, plan_index), self._strikes.during(variant, plan_index, self._experiment.round_s)
        )

    async def _measure(self, variant: int, plan: Plan, striking: AbstractAsyncContextManager[list[Struck]] | None = None) -> Round:
        target, generator, workload = self._targets[variant], self._generators[variant], self._workload
        counters_before = await workload.counters(target)
        await generator.open()
        await self._sleep(self._experiment.settle_s)
        before = self._read(target)
        started_s = self._clock()
        async with striking or nullcontext([]) as struck:
            exchanges = await self._replay(variant, plan)
        lag_p99_s = percentile(sorted(generator.lags_s), 0.99) or max(generator.lags_s, default=0.0)
        await self._sleep(self._experiment.settle_s)
        after = self._read(target)
        elapsed_s = self._clock() - started_s
        for each in struck:
            workload.strike(target, each)
        workload.observe(target, exchanges)
        counters_after = await workload.counters(target)
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
            struck,
        )

    async def _replay(self, variant: int, plan: Plan) -> list[Exchange]:
        target, first_serial = self._targets[variant], self._next_serial[variant]
        self._next_serial[variant] += len(plan)
        return await self._generators[variant].replay(
            plan, lambda exchange, before: self._workload.encode(target, exchange, before), first_serial
        )

    def _plan(self, plan_index: int, duration_s: float) -> Plan:
        experiment = self._experiment
        return make_plan(experiment.mix, experiment.rate_per_s, duration_s, experiment.seed, round_index=plan_index)

    def _read(self, target: Target) -> Reading:
        own = {pid for pids in target.pids.values() for pid in pids}
        return Reading(
            cpu_ns={role: cpu_clock.tree_cpu_ns(pids) for role, pids in target.pids.items()},
            idle_cpu_ns=cpu_clock.tree_cpu_ns(idle_pids(target, self._targets)),
            run_queue_wait_ns=cpu_clock.run_queue_wait_ns(own),
            rss_bytes=cpu_clock.rss_bytes(pid for role, pids in target.pids.items() if role not in BESIDE for pid in pids),
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


def idle_pids(target: Target, targets: Sequence[Target]) -> set[int]:
    """Processes that have nothing to do while it is this variant's turn: those of the others alone.

    A server that variants share has housekeeping to do whoever's turn it is; that is no variant at work out of its turn.
    """
    busy = {pid for pids in target.pids.values() for pid in pids} | {pid for other in targets for pid in other.shared_pids}
    return {pid for other in targets for pids in other.pids.values() for pid in pids} - busy


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
    struck: Sequence[Struck] = (),
) -> Round:
    requests = max(1, len(exchanges))
    cpu_us = {role: (after.cpu_ns[role] - before.cpu_ns[role]) / 1e3 / requests for role in after.cpu_ns}
    failed = sum(is_failed(exchange) for exchange in exchanges)
    figures = dict(work)
    if cpu_us:  # a service whose processes are not known has neither CPU time nor memory
        figures["cpu_us_per_request"] = sum(value for role, value in cpu_us.items() if role not in BESIDE)
        if len(cpu_us) > 1:
            figures |= {f"cpu_us_per_request_{role}": value for role, value in cpu_us.items()}
        figures["rss_mb"] = after.rss_bytes / 1e6
    figures["failed_per_100"] = 100 * failed / requests
    answered = [(due_s, exchange) for due_s, exchange in zip(plan.intended_s, exchanges, strict=True) if is_answered(exchange)]
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
        statuses=Counter(STATUS_WORDS.get(exchange.status) or str(exchange.status) for exchange in exchanges),
        intended_s=array("d", (due_s for due_s, _ in answered)),
        latency_intended_s=array("d", (exchange.end_s - exchange.intended_s for _, exchange in answered)),
        latency_sent_s=array("d", (exchange.end_s - exchange.sent_s for _, exchange in answered)),
        overloaded=is_overloaded(exchanges),
        struck=struck,
    )


def is_failed(exchange: Exchange) -> bool:
    """No answer, or one that says the service failed. Their times are kept apart: fast failures would improve percentiles."""
    return exchange.status == NO_ANSWER or exchange.status >= FAILED_FROM_STATUS


def is_answered(exchange: Exchange) -> bool:
    """Sent, and neither failed nor left without an answer: only these have a latency."""
    return exchange.status > NO_ANSWER and not is_failed(exchange)


def is_overloaded(exchanges: Sequence[Exchange]) -> bool:
    """Whether the variant had fallen behind the plan: more than 2 % of the requests, and 10, were open when the last was due."""
    if not exchanges:
        return False
    last_due_s = exchanges[-1].intended_s
    still_open = sum(exchange.end_s > last_due_s for exchange in exchanges)
    return still_open > max(OVERLOADED_AT_LEAST, OVERLOADED_SHARE * len(exchanges))
