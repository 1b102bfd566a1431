"""`designs bench black-hole`: how long a decision takes while Redis takes every question and answers none.

Two replicas, asked by an open loop 60 times a second: a third of the requests meets a rule that is local without the store, a
third one that is closed, a third one that is open. First with Redis well, then through a proxy that lets its connections live and
swallows all that goes over them. The breaker is off where it says so: then every decision waits for its deadline, which is the
worst there is.

What is timed is a whole request, from the actual send to the last byte of the answer, so that the limit judged is kept by more
than the decision itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from designs.building_blocks.knobs import parse_assignments
from loadtests.analysis.statistics import percentile
from loadtests.completion import json_body
from loadtests.faults.links import LinkFaults
from loadtests.faults.schedule import Fault
from loadtests.generator import open_loop
from loadtests.generator.arrivals import make_plan
from loadtests.generator.open_loop import LoadGenerator
from loadtests.generator.placement import generator_placed
from loadtests.manifest import conditions
from loadtests.rate_limiter import requests
from loadtests.workload import Exchange, Mix
from workbench.bench import BenchFailed
from workbench.bench_verdicts import conclude, met_or_missed
from workbench.catalogue import design_named
from workbench.launch import RunningDesign
from workbench.processes import cpu_plan
from workbench.terminal import say

REPLICAS = 2
RATE_PER_S, SECONDS = 60.0, 20.0  # 1,200 decisions, of which twelve are slower than the p99
SEED = 5
BEYOND_MS = 10.0  # what a request may take beside the deadline of its decision
AT_MOST_BEFORE = 0.05  # of the decisions may miss their deadline while Redis is well
SILENT = Fault("timeout", "redis", at_s=0.0, for_s=SECONDS, attributes={"timeout": 0}, stream="both")
OPS = {"local": 1.0, "closed": 1.0, "open": 1.0}
MIX = Mix("outage", "users of three routes", OPS, keys=300, zipf_s=0.0, rate_per_s=RATE_PER_S)
ROUTES = {"local": "/items/{id}", "closed": "/checkout", "open": "/search"}  # by what the rules of the example say of them
STATUSES = {"local": {200, 429}, "closed": {503}, "open": {200, 429}}  # a user has a limit of his own, and that one is local
COLUMNS = (
    "deadline",
    "breaker",
    "decisions",
    "without the store",
    "p50, Redis well",
    "p99, Redis well",
    "p50",
    "p99",
    "longest",
)


@dataclass(frozen=True, slots=True)
class Variant:
    deadline_ms: int
    breaker: str


VARIANTS = (Variant(10, "off"), Variant(30, "off"), Variant(100, "off"), Variant(30, "on"))


@dataclass(frozen=True, slots=True)
class Found:
    """Milliseconds of each request, while Redis was well and while it was silent; how many of the latter were degraded."""

    variant: Variant
    well_ms: Sequence[float]
    silent_ms: Sequence[float]
    degraded: int


def black_hole_command(*, record: bool = False, variants: Sequence[Variant] = VARIANTS, seconds: float = SECONDS) -> int:
    """Measure, print, and answer 0 when every requirement is met, else 1."""
    around = conditions()
    found = []
    for variant in variants:
        say(f"starting deadline_ms={variant.deadline_ms} breaker={variant.breaker}")
        found.append(measured(variant, seconds))
    table, sentences = [row(each) for each in found], [verdict(each) for each in found]
    return conclude("rate_limiter", "black-hole", COLUMNS, table, sentences, record=record, around=around)


def measured(variant: Variant, seconds: float = SECONDS) -> Found:
    """Raises `BenchFailed` where an answer is none that its rule may give."""
    plan = cpu_plan()
    design = design_named("rate_limiter")
    words = [f"deadline_ms={variant.deadline_ms}", f"breaker={variant.breaker}"]
    knobs = parse_assignments(design.processes().KNOBS, words)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(RunningDesign(design, knobs, replicas=REPLICAS, cpus=plan.servers, faults=True))
        assert running.proxy is not None  # it was asked for
        links = LinkFaults(running.proxy)
        stack.enter_context(generator_placed(plan.generator))
        well = open_loop.run(load(running, seconds))
        links.begin(SILENT)
        silent = open_loop.run(load(running, seconds))
        links.end(SILENT)
    before = sum(degraded(exchange) for exchange in well)
    if before > AT_MOST_BEFORE * len(well):
        raise BenchFailed(f"{before} of {len(well)} went without a Redis that was well: the machine has no room for this load")
    return Found(variant, milliseconds(well), milliseconds(silent), sum(degraded(exchange) for exchange in silent))


async def load(running: RunningDesign, seconds: float) -> Sequence[Exchange]:
    plan = make_plan(MIX, RATE_PER_S, seconds, SEED)
    tails = [requests.api_tail(url.removeprefix("http://"), running.api_key) for url in running.urls]

    def question(exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
        replica = exchange.serial % len(tails)
        descriptor = {"user": f"u{exchange.key}", "route": ROUTES[exchange.op]}
        return replica, requests.post("/v1/check", {"domain": "demo", "descriptor": descriptor}, tails[replica])

    generator = LoadGenerator(running.urls)
    try:
        return await generator.replay(plan, question)
    finally:
        await generator.close()


def degraded(exchange: Exchange) -> bool:
    """Whether it was decided without the store. Raises `BenchFailed` for what the rule that it met may not say then."""
    body = json_body(exchange)
    without = bool(body.get("degraded"))
    if exchange.status not in (STATUSES[exchange.op] if without else {200, 429}):
        raise BenchFailed(f"a rule that is {exchange.op} without the store was answered {exchange.status}: {body}")
    return without


def milliseconds(exchanges: Sequence[Exchange]) -> list[float]:
    """From the actual send to the end, the shortest first."""
    return sorted((exchange.end_s - exchange.sent_s) * 1e3 for exchange in exchanges)


def at(ordered_ms: Sequence[float], q: float) -> float:
    """Raises `BenchFailed` where the run was too short for that percentile."""
    found = percentile(ordered_ms, q)
    if found is None:
        raise BenchFailed(f"{len(ordered_ms)} decisions are too few for a p{q * 100:g}")
    return found


def row(found: Found) -> list[str]:
    return [
        f"{found.variant.deadline_ms} ms",
        found.variant.breaker,
        f"{len(found.silent_ms):,}",
        f"{found.degraded:,}",
        f"{at(found.well_ms, 0.5):.1f} ms",
        f"{at(found.well_ms, 0.99):.1f} ms",
        f"{at(found.silent_ms, 0.5):.1f} ms",
        f"{at(found.silent_ms, 0.99):.1f} ms",
        f"{found.silent_ms[-1]:.1f} ms",
    ]


def verdict(found: Found) -> str:
    """A sentence: met or MISSED."""
    most_ms = found.variant.deadline_ms + BEYOND_MS
    p99_ms = at(found.silent_ms, 0.99)
    all_degraded = found.degraded == len(found.silent_ms)
    met = p99_ms <= most_ms and all_degraded
    variant = f"with a deadline of {found.variant.deadline_ms} ms and the breaker {found.variant.breaker}"
    return met_or_missed(
        met,
        f"{variant}, 99 of 100 requests are decided within {most_ms:g} ms while Redis is silent: "
        f"{p99_ms:.1f} ms, {found.degraded:,} of {len(found.silent_ms):,} without the store",
    )
