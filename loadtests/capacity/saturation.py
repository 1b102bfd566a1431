"""Whether a service kept up with one open step: did its backlog grow, did it answer what was planned, did it meet the objective.

By Little's law the requests in flight are rate times latency: a service that keeps up has a level of them, one that does not has
more with every second. So the slope of the requests in flight finds overload before any percentile does, and is asked first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadtests.analysis.statistics import percentile, theil_sen
from loadtests.capacity.slo import PERCENTILES, Percentile, Slo
from loadtests.report.number_format import count, number, percentage
from loadtests.workload import NO_ANSWER, NOT_SENT, Exchange

SLICES = 20
BACKLOG_AT_LEAST = 10  # requests more in flight at the end of a step than at its start: below this it is chance
BACKLOG_SHARE = 0.02  # of the requests of the step
ACHIEVED_SHARE = 0.98
FAILED_SHARE = 0.001
FAILED_FROM_STATUS = 500
TOO_MANY_REQUESTS = 429
GENERATOR_CPU_RATIO = 0.8
LAG_FLOOR_MS = 2.0
LAG_SHARE = 0.2  # of the objective's limit


@dataclass(frozen=True, slots=True)
class Judged:
    """One open step, judged. `percentiles_ms` by name, None where the samples do not carry it."""

    outcome: Literal["pass", "fail", "void"]
    because: str
    requests: int
    failed: int
    achieved_per_s: float
    percentiles_ms: dict[Percentile, float | None]
    in_flight_growth_per_s: float
    in_flight_most: int


def judge(exchanges: Sequence[Exchange], duration_s: float, slo: Slo, *, generator_cpu_ratio: float, lag_p99_ms: float) -> Judged:
    """`exchanges` of one replay whose plan took `duration_s`. Latencies are those of answers; failures fail a step by their number.

    A generator that is late or busy can make a service look slower, never quicker: what arrives later leaves later. So a step that
    passed in spite of it has passed. One that failed is void, unless the backlog grew by far more than the lag can hold back.
    """
    sent = [exchange for exchange in exchanges if exchange.status != NOT_SENT]
    good = [exchange for exchange in sent if not is_failed(exchange)]
    ordered_s = sorted(exchange.end_s - exchange.intended_s for exchange in good)
    percentiles_ms = {name: _ms(percentile(ordered_s, q)) for name, q in PERCENTILES.items()}
    start_s = min((exchange.intended_s for exchange in sent), default=0.0)
    end_s = start_s + duration_s
    levels = in_flight(sent, start_s, end_s)
    growth = theil_sen(levels)[0] * SLICES  # over the whole step
    in_time = sum(exchange.end_s <= end_s + slo.limit_s for exchange in good)
    failed = len(sent) - len(good)
    objective_ms = percentiles_ms[slo.percentile]
    limit_ms = slo.limit_s * 1e3

    busy = generator_cpu_ratio > GENERATOR_CPU_RATIO
    late = lag_p99_ms > max(LAG_FLOOR_MS, LAG_SHARE * limit_ms)
    held_back = lag_p99_ms / 1e3 * len(sent) / duration_s  # Little's law: rate times lag
    outcome: Literal["pass", "fail", "void"] = "fail"
    if failed > FAILED_SHARE * len(sent):
        because, late = f"{count(failed)} of {count(len(sent))} requests failed", False
    elif growth > max(BACKLOG_AT_LEAST, BACKLOG_SHARE * len(sent)):
        because, late = f"the backlog grew by {number(growth / duration_s)} requests a second", late and growth < 2 * held_back
    elif in_time < ACHIEVED_SHARE * len(sent):
        because = f"only {percentage(in_time / len(sent))} of the plan was answered in time"
    elif objective_ms is None:
        outcome, because = "void", f"too few answers: {count(len(good))}, and {slo.percentile} needs {count(slo.samples_needed)}"
    elif objective_ms >= limit_ms:
        because = f"{slo.percentile} was {number(objective_ms)} ms"
    else:
        outcome, because = "pass", f"{slo.percentile} was {number(objective_ms)} ms"
    if outcome == "fail" and busy:
        outcome, because = "void", f"the generator was busy: {percentage(generator_cpu_ratio)} of a CPU"
    elif outcome == "fail" and late:
        outcome, because = "void", f"the generator was late: p99 {number(lag_p99_ms)} ms"
    return Judged(
        outcome,
        because,
        len(sent),
        failed,
        in_time / duration_s,
        percentiles_ms,
        growth / duration_s,
        round(max(levels, default=0.0)),
    )


def in_flight(exchanges: Sequence[Exchange], start_s: float, end_s: float, slices: int = SLICES) -> list[float]:
    """Mean number of requests in flight, from the intended start to the end of each, in equal slices of the time between."""
    slice_s = (end_s - start_s) / slices
    present_s = [0.0] * slices
    for exchange in exchanges:
        since_s, until_s = max(exchange.intended_s, start_s), min(exchange.end_s, end_s)
        place = int((since_s - start_s) / slice_s)
        while place < slices and start_s + place * slice_s < until_s:
            begins_s = start_s + place * slice_s
            present_s[place] += max(0.0, min(until_s, begins_s + slice_s) - max(since_s, begins_s))
            place += 1
    return [seconds / slice_s for seconds in present_s]


def is_failed(exchange: Exchange) -> bool:
    """No answer, one that says that the service failed, or one that turns the client away: neither is capacity."""
    return exchange.status in (NO_ANSWER, TOO_MANY_REQUESTS) or exchange.status >= FAILED_FROM_STATUS


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
