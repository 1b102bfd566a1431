"""The two kinds of step of a capacity test, taken on one running variant: so many clients, or so many requests a second.

Both: requests are drawn and encoded first, then a pause, clocks, the step, a pause for work that goes on after the answers
(queues, write-behind), clocks. What was sent is told to the workload, so that safety is judged on the very load that found the
capacity. Each step has arrivals and serial numbers of its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from loadtests import cpu_clock
from loadtests.analysis.statistics import percentile
from loadtests.capacity.result import ClosedStep, OpenStep, Usage
from loadtests.capacity.saturation import GENERATOR_CPU_RATIO, is_failed, judge
from loadtests.capacity.slo import Slo
from loadtests.generator.arrivals import make_plan
from loadtests.generator.open_loop import LoadGenerator
from loadtests.report.number_format import percentage
from loadtests.workload import NO_ANSWER, Exchange, Mix, Target, Workload

SETTLE_S = 0.15
WARM_UP_S = 1.0
WARM_UP_CLIENTS = 8
WARM_UP_MOST_PER_S = 20_000.0
TOUCH_CLIENTS = 8
TOUCH_WITHIN_S = 120.0
ROOM = 1.5  # a closed step is given so many times the requests that the quickest one before it used
OPEN_STEP_FACTOR = 1.5  # an open step against a closed one
MOST_OPEN_STEP_S = 20.0
SAMPLES_MARGIN = 1.15  # Poisson arrivals: a step must hold the samples it needs even when fewer came than expected
MOST_PLANNED_PER_S = 50_000.0


class StepTaker:
    """Measures one variant. Nothing else may load the machine meanwhile."""

    def __init__(
        self,
        target: Target,
        generator: LoadGenerator,
        workload: Workload,
        mix: Mix,
        slo: Slo,
        *,
        step_s: float,
        seed: int,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.target = target
        self.slo = slo
        self._generator = generator
        self._workload = workload
        self._mix = mix
        self._step_s = step_s
        self._seed = seed
        self._sleep = sleep
        self._next_serial = 0
        self._next_plan = 0
        self._most_per_s = WARM_UP_MOST_PER_S / ROOM
        self._samples_margin = SAMPLES_MARGIN

    @property
    def floor_per_s(self) -> float:
        """Below this rate the longest step carries too few samples for the objective's percentile."""
        return SAMPLES_MARGIN * self.slo.samples_needed / MOST_OPEN_STEP_S

    async def begin(self) -> None:
        """Seed the variant, touch every key where the mix says so, and load it for a second that does not count."""
        await self._workload.seed(self.target, self._mix, self._seed)
        if self._mix.touch:
            await self._closed_loop([(self._mix.touch, key) for key in range(self._mix.keys)], TOUCH_CLIENTS, TOUCH_WITHIN_S)
        warm = await self._closed_loop(self._drawn(WARM_UP_S), WARM_UP_CLIENTS, WARM_UP_S)
        self._most_per_s = len(warm) / elapsed_s(warm)

    async def closed(self, clients: int, repetition: int) -> ClosedStep:
        before = await self._read()
        exchanges = await self._closed_loop(self._drawn(self._step_s), clients, self._step_s)
        usage = await self._usage(before, exchanges)
        good = sum(not is_failed(exchange) for exchange in exchanges)
        took_s, per_s = elapsed_s(exchanges), len(exchanges) / elapsed_s(exchanges)
        mean_s = statistics.fmean(exchange.end_s - exchange.intended_s for exchange in exchanges)
        self._most_per_s = max(self._most_per_s, per_s)
        busy = usage.generator_cpu_ratio > GENERATOR_CPU_RATIO
        return ClosedStep(
            clients=clients,
            repetition=repetition,
            requests=len(exchanges),
            failed=len(exchanges) - good,
            throughput_per_s=good / took_s,
            mean_response_ms=mean_s * 1e3,
            littles_law_clients=per_s * mean_s,
            usage=usage,
            void_because=f"the generator was busy: {percentage(usage.generator_cpu_ratio)} of a CPU" if busy else "",
        )

    async def open(self, rate_per_s: float, purpose: Literal["knee", "curve"], repetition: int) -> OpenStep:
        """The step is as long as its percentile needs, up to `MOST_OPEN_STEP_S`; what it then does not carry is not judged."""
        needed_s = self._samples_margin * self.slo.samples_needed / rate_per_s
        duration_s = min(max(OPEN_STEP_FACTOR * self._step_s, needed_s), max(MOST_OPEN_STEP_S, self._step_s))
        plan = make_plan(self._mix, rate_per_s, duration_s, self._seed, self._take_plan())
        before = await self._read()
        exchanges = await self._generator.replay(
            plan, lambda exchange, earlier: self._workload.encode(self.target, exchange, earlier), self._take_serials(len(plan))
        )
        lags_s = sorted(self._generator.lags_s)
        lag_p99_ms = 1e3 * (percentile(lags_s, 0.99) or max(lags_s, default=0.0))
        usage = await self._usage(before, exchanges)
        self._workload.observe(self.target, exchanges)
        judged = judge(exchanges, duration_s, self.slo, generator_cpu_ratio=usage.generator_cpu_ratio, lag_p99_ms=lag_p99_ms)
        if 0 < judged.requests < SAMPLES_MARGIN * self.slo.samples_needed:  # some were not sent: plan for that from now on
            self._samples_margin *= SAMPLES_MARGIN * self.slo.samples_needed / judged.requests
        return OpenStep(
            purpose=purpose,
            repetition=repetition,
            planned_per_s=rate_per_s,
            achieved_per_s=judged.achieved_per_s,
            duration_s=duration_s,
            requests=judged.requests,
            failed=judged.failed,
            p50_ms=judged.percentiles_ms["p50"],
            p90_ms=judged.percentiles_ms["p90"],
            p99_ms=judged.percentiles_ms["p99"],
            p999_ms=judged.percentiles_ms["p99.9"],
            objective_ms=judged.percentiles_ms[self.slo.percentile],
            in_flight_growth_per_s=judged.in_flight_growth_per_s,
            in_flight_most=judged.in_flight_most,
            lag_p99_ms=lag_p99_ms,
            usage=usage,
            outcome=judged.outcome,
            because=judged.because,
        )

    def _drawn(self, duration_s: float) -> list[tuple[str, int]]:
        """Operations and keys for a closed step, more than it can use. Steps that follow others are left out."""
        alone = replace(self._mix, then={}, clients=0)
        plan = make_plan(alone, max(ROOM * self._most_per_s, 100.0), duration_s, self._seed, self._take_plan())
        return [(plan.ops[op], key) for op, key in zip(plan.op_indexes, plan.keys, strict=True)]

    async def _closed_loop(self, asked: Sequence[tuple[str, int]], clients: int, duration_s: float) -> list[Exchange]:
        """Ends after `duration_s`, or when all has been asked once: no serial number is used twice."""
        first_serial = self._take_serials(len(asked))
        drawn = [
            Exchange(op, key, serial, 0.0, 0.0, 0.0, 0.0, NO_ANSWER, b"")
            for serial, (op, key) in enumerate(asked, start=first_serial)
        ]
        encoded = [(exchange, self._workload.encode(self.target, exchange, None)) for exchange in drawn]
        sendable = [(exchange, request) for exchange, request in encoded if request is not None]
        exchanges = await self._generator.closed_loop([request for _, request in sendable], clients, duration_s, len(sendable))
        for exchange, (meant, _) in zip(exchanges, sendable, strict=False):
            exchange.op, exchange.key, exchange.serial = meant.op, meant.key, meant.serial
        self._workload.observe(self.target, exchanges)
        return exchanges

    async def _read(self) -> Reading:
        await self._generator.open()
        await self._sleep(SETTLE_S)
        return self._clocks()

    async def _usage(self, before: Reading, exchanges: Sequence[Exchange]) -> Usage:
        await self._sleep(SETTLE_S)
        after = self._clocks()
        requests, took_s = max(1, len(exchanges)), elapsed_s(exchanges)
        used_s = {role: (after.cpu_ns[role] - before.cpu_ns[role]) / 1e9 for role in after.cpu_ns}
        return Usage(
            cpu_us_per_request={role: seconds * 1e6 / requests for role, seconds in used_s.items()},
            cpu_ratio={role: seconds / took_s for role, seconds in used_s.items()},
            waited_ratio=max(0.0, (after.waited_ns - before.waited_ns) / 1e9 / took_s),
            generator_cpu_ratio=self._generator.cpu_ratio,
            steal_ratio=cpu_clock.steal_ratio(before.machine, after.machine),
        )

    def _clocks(self) -> Reading:
        pids = [pid for of_role in self.target.pids.values() for pid in of_role]
        return Reading(
            cpu_ns={role: cpu_clock.tree_cpu_ns(of_role) for role, of_role in self.target.pids.items()},
            waited_ns=cpu_clock.run_queue_wait_ns(pids),
            machine=cpu_clock.machine_times(),
        )

    def _take_plan(self) -> int:
        self._next_plan += 1
        return self._next_plan - 1

    def _take_serials(self, number: int) -> int:
        self._next_serial += number
        return self._next_serial - number


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks of a variant at one moment."""

    cpu_ns: dict[str, int]
    waited_ns: int
    machine: cpu_clock.MachineTimes


def elapsed_s(exchanges: Sequence[Exchange]) -> float:
    """From the first intended start to the last end."""
    if not exchanges:
        return 1e-9
    return max(1e-9, max(exchange.end_s for exchange in exchanges) - min(exchange.intended_s for exchange in exchanges))
