"""`designs bench selftest`: does the measuring itself keep its promises? Three parts, each line says what was asked and what came.

First the scheduler and the statistics on a simulated machine, where the truth is known, so that their errors can be counted: how
often the 95 % interval holds the truth, how often a difference of 20 % is found, how often one is claimed where there is none, and
that the protocols we warn of do claim one. The seeds are fixed, so the counts are the same on every machine. Then what the load
generator can do on this one, and that it shows a stall that others hide.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from loadtests.analysis.simulated_noise import (
    SHAPES,
    Noise,
    Protocol,
    Rates,
    in_turns,
    one_after_the_other,
    same_processes,
    simulate,
)
from workbench.bench import BenchFailed
from workbench.bench_verdicts import MISSED, conclude, met_or_missed
from workbench.terminal import say

BLOCKS = 10
NOMINAL = 0.05
STANDARD_ERRORS = 3.1
CHUNK = 125  # comparisons that one process simulates at a stretch
COVERAGE_RUNS = 2_000
ALIKE_RUNS = 1_000
ALIKE = (1.0, 1.0)
FOUR_ALIKE = (1.0, 1.0, 1.0, 1.0)
A_FIFTH_MORE = (1.0, 1.2)
BUSY = replace(SHAPES["bursts"], burst_ratio=0.5, burst_shows=1.0)


@dataclass(frozen=True, slots=True)
class Asked:
    """A share of comparisons that must come between two bounds."""

    what: str
    least: float
    most: float
    share: Callable[[Rates], float]


@dataclass(frozen=True, slots=True)
class Check:
    """So many comparisons of variants with these true costs, on a machine with this noise, and what is asked of them."""

    noise_name: str
    noise: Noise
    effects: Sequence[float]
    asked: Sequence[Asked]
    runs: int = ALIKE_RUNS
    protocol: Protocol = in_turns


def around(rate: float, runs: int) -> tuple[float, float]:
    """Bounds that a count over so many runs leaves in one of 500 cases when this is the true rate: 3.1 standard errors."""
    slack = STANDARD_ERRORS * math.sqrt(rate * (1 - rate) / runs)
    return max(0.0, rate - slack), rate + slack


def held(rates: Rates) -> float:
    return rates.share(rates.held)


def claimed(rates: Rates) -> float:
    return rates.share(rates.claimed)


def checks(coverage_runs: int = COVERAGE_RUNS, alike_runs: int = ALIKE_RUNS) -> list[Check]:
    """All that is asked of the simulated comparisons."""
    least, most = around(NOMINAL, alike_runs)
    honest = Asked("the 95 % interval holds the truth", 0.93, 0.97, held)
    found = Asked("20 % more CPU is found", 0.95, 1.0, lambda rates: rates.share(rates.more))
    false = Asked("the same twice is said to differ", least, most, claimed)
    beyond = Asked(
        "the same twice is said to differ by more than the margin", 0.0, 0.01, lambda rates: rates.share(rates.beyond_margin)
    )
    each = [
        check
        for name, noise in SHAPES.items()
        for check in (
            Check(name, noise, A_FIFTH_MORE, (honest, found), coverage_runs),
            Check(name, noise, ALIKE, (false, beyond), alike_runs),
        )
    ]
    several = (
        Asked("one of three copies is said to differ", 0.0, most, claimed),
        Asked("known bad: the same, each judged as if alone", 0.08, 1.0, lambda rates: rates.share(rates.claimed_alone)),
    )
    order = Asked("known bad: all of one, then all of the other", 0.25, 1.0, claimed)
    luck = Asked("known bad: every block on the same processes", 0.25, 1.0, claimed)
    noisy = Asked("too noisy a machine gets no verdict", 1.0, 1.0, lambda rates: rates.too_noisy / rates.runs)
    return [
        *each,
        Check("drift", SHAPES["drift"], FOUR_ALIKE, several, alike_runs),
        Check("drift", SHAPES["drift"], ALIKE, (order,), alike_runs, one_after_the_other),
        Check("trend", SHAPES["trend"], ALIKE, (order,), alike_runs, one_after_the_other),
        Check("starts", SHAPES["starts"], ALIKE, (luck,), alike_runs, same_processes),
        Check("always neighbours", BUSY, ALIKE, (noisy,), alike_runs),
    ]


def simulated(all_checks: Sequence[Check]) -> list[Rates]:
    """What came, check by check. Seeds are dealt out in fixed chunks, so the number of CPUs changes nothing but the time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_cpus(), context, initializer=_leave_ctrl_c_to_the_parent) as pool:
        parts = [
            [
                pool.submit(
                    simulate, range(first, min(first + CHUNK, check.runs)), check.effects, check.noise, BLOCKS, check.protocol
                )
                for first in range(0, check.runs, CHUNK)
            ]
            for check in all_checks
        ]
        try:
            return [sum((part.result() for part in chunks), Rates()) for chunks in parts]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lines(all_checks: Sequence[Check], came: Sequence[Rates]) -> list[tuple[str, str, str, str, str, bool]]:
    """(what, noise, comparisons, asked, came, whether that is as asked)."""
    found = []
    for check, rates in zip(all_checks, came, strict=True):
        for asked in check.asked:
            share = asked.share(rates)
            met = asked.least <= share <= asked.most
            limits = bounds(asked.least, asked.most)
            found.append((asked.what, check.noise_name, f"{rates.runs:,}", limits, f"{100 * share:.1f} %", met))
    return found


def bounds(least: float, most: float) -> str:
    """Two shares in words: "93 to 97 %", "at most 7.1 %"."""
    lowest, highest = f"{round(100 * least, 1):g}", f"{round(100 * most, 1):g}"
    if least == most:
        return f"{lowest} %"
    if least == 0:
        return f"at most {highest} %"
    return f"at least {lowest} %" if most == 1 else f"{lowest} to {highest} %"


def selftest_command(*, record: bool = False) -> int:
    """Print everything; 0 when all came as asked, else 1. `record` keeps the tables for the documents."""
    met = statistics_part(record=record)
    from workbench.coordinated_omission import coordinated_omission_command
    from workbench.generator_bench import generator_command

    say("\nThe load generator on this machine")
    try:
        met = generator_command(record) == 0 and met
    except BenchFailed as error:  # a machine too busy for its ceiling can still show the stall
        say(f"{MISSED}: {error}")
        met = False
    say("\nA stall, from the intended start and from the actual send")
    met = coordinated_omission_command() == 0 and met
    return 0 if met else 1


def statistics_part(*, record: bool = False) -> bool:
    """The simulated comparisons; whether all came as asked."""
    say(f"The schedule and the statistics on a simulated machine, {BLOCKS} blocks a comparison")
    all_checks = checks()
    found = lines(all_checks, simulated(all_checks))
    columns = ("of simulated comparisons", "noise", "comparisons", "asked", "came", "verdict")
    rows = [(*line[:-1], "ok" if line[-1] else "FAILED") for line in found]
    failed = sum(not line[-1] for line in found)
    said = met_or_missed(not failed, f"{len(found) - failed} of {len(found)} checks came as asked")
    return conclude("url_shortener", "selftest", columns, rows, [said], record=record) == 0
