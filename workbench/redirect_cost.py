"""`designs bench redirect`: what one hot redirect costs, in CPU time of the service, on each way to serve it.

Five services side by side, asked in turns by the same closed loop: 16 clients over 100 links, as browsers with a Referer and a
User-Agent. A block has a round of each in random order; ratios are paired over blocks. Closed loop, because the figure is CPU per
request at full load; nothing here says anything about latency.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx2

from designs.building_blocks.knobs import parse_assignments
from designs.building_blocks.processes import ProcessSpec
from loadtests.analysis.statistics import paired_log_ratios, ratio
from loadtests.cpu_clock import tree_cpu_ns
from loadtests.generator import open_loop
from loadtests.generator.open_loop import LoadGenerator
from loadtests.generator.placement import generator_placed
from loadtests.plain_http import TRUSTS_NOBODY
from loadtests.result import Ratio
from workbench.bench import BenchFailed
from workbench.bench_verdicts import conclude, met_or_missed
from workbench.catalogue import design_named
from workbench.launch import RunningDesign
from workbench.processes import Supervisor, cpu_plan, free_port
from workbench.terminal import say

LINKS = 100
CLIENTS = 16
BLOCKS = 12
ROUND_S = 1.0
SETTLE_S = 0.2
SEED = 11

VARIANTS: Mapping[str, Sequence[str]] = {
    "fastapi": ("redirect_path=fastapi",),
    "asgi": ("redirect_path=asgi",),
    "asgi, clicks batched": ("redirect_path=asgi", "clicks=batched"),
    "asgi, clicks off": ("redirect_path=asgi", "clicks=off"),
}
BARE = "bare ASGI, a dict"


@dataclass(frozen=True, slots=True)
class Requirement:
    """`variant` against `baseline`: service CPU per request, as a ratio that has to be at most `at_most`."""

    sentence: str
    variant: str
    baseline: str
    at_most: float


REQUIREMENTS = (
    Requirement("asgi serves at least 3 times the requests per CPU-second of fastapi", "asgi", "fastapi", 1 / 3),
    Requirement("asgi serves at least 80 % of the requests per CPU-second of a bare ASGI app", "asgi", BARE, 1 / 0.8),
    Requirement("queued clicks cost at most 10 % more CPU than none", "asgi", "asgi, clicks off", 1.10),
    Requirement("batched clicks cost at most 10 % more CPU than none", "asgi, clicks batched", "asgi, clicks off", 1.10),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A requirement against what was measured: met when the estimate lies within it; the interval says how sure that is."""

    measured: Ratio
    sentence: str


def judge(requirement: Requirement, cpu_us: Mapping[str, Sequence[float]]) -> Verdict:
    """From the CPU per request of each variant by block."""
    measured = ratio(paired_log_ratios(cpu_us[requirement.baseline], cpu_us[requirement.variant]))
    span = f" [{measured.low:.2f}, {measured.high:.2f}]" if measured.low is not None and measured.high is not None else ""
    sentence = met_or_missed(
        measured.estimate <= requirement.at_most,
        f"{requirement.sentence}: {measured.estimate:.2f} times the CPU per request{span}, "
        f"asked for at most {requirement.at_most:.2f}",
    )
    return Verdict(measured, sentence)


def redirect_command(*, record: bool = False, blocks: int = BLOCKS, round_s: float = ROUND_S) -> int:
    """Measure, print, and answer 0 when every requirement is met, else 1."""
    plan = cpu_plan()
    design = design_named("url_shortener")
    with contextlib.ExitStack() as stack:
        urls: dict[str, str] = {}
        pids: dict[str, list[int]] = {}
        for name, words in VARIANTS.items():
            say(f"starting {name}")
            knobs = parse_assignments(design.processes().KNOBS, ["misses_per_minute=0", *words])
            running = stack.enter_context(RunningDesign(design, knobs, cpus=plan.servers))
            urls[name], pids[name] = running.urls[0], running.pids_by_role()["service"]
            make_links(running)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bare-redirect-")))
        bare = stack.enter_context(Supervisor(folder, cpus=plan.servers))
        urls[BARE] = start_bare(bare)
        pids[BARE] = bare.pids_by_role()["service"]
        with generator_placed(plan.generator):
            cpu_us = open_loop.run(measure(urls, pids, blocks, round_s))
    sentences = [judge(requirement, cpu_us).sentence for requirement in REQUIREMENTS]
    columns = ("redirect", "CPU us/request", "requests per CPU-second", "spread over blocks, us")
    rows = [
        (name, f"{median(us):.1f}", f"{1e6 / median(us):,.0f}", f"{min(us):.1f} to {max(us):.1f}") for name, us in cpu_us.items()
    ]
    return conclude("url_shortener", "redirect", columns, rows, sentences, record=record)


async def measure(
    urls: Mapping[str, str], pids: Mapping[str, Sequence[int]], blocks: int, round_s: float
) -> dict[str, list[float]]:
    """Variant -> service CPU per request in us, one value per block. A first round of each is thrown away."""
    order = list(urls)
    shuffled = random.Random(SEED)
    cpu_us: dict[str, list[float]] = {name: [] for name in urls}
    generators = {name: LoadGenerator([url], connections_per_url=CLIENTS) for name, url in urls.items()}
    try:
        for block in range(-1, blocks):
            shuffled.shuffle(order)
            for name in order:
                requests = [(0, visit(urls[name], number)) for number in range(LINKS)]
                before_ns = tree_cpu_ns(pids[name])
                exchanges = await generators[name].closed_loop(requests, CLIENTS, round_s)
                await asyncio.sleep(SETTLE_S)  # the last batch of clicks belongs to this round
                spent_us = (tree_cpu_ns(pids[name]) - before_ns) / 1000
                wrong = sum(exchange.status != 302 for exchange in exchanges)
                if wrong:
                    raise BenchFailed(f"{name}: {wrong} of {len(exchanges)} answers were no redirects")
                if block >= 0:
                    cpu_us[name].append(spent_us / len(exchanges))
            if block >= 0:
                say(f"block {block + 1} of {blocks}  " + "  ".join(f"{name} {us[-1]:.1f}" for name, us in cpu_us.items()))
    finally:
        for generator in generators.values():
            await generator.close()
    return cpu_us


def visit(url: str, number: int) -> bytes:
    """A browser that follows link `number`, as it goes over the wire."""
    host = url.removeprefix("http://")
    browser = ("Firefox/140.0", "Chrome/140.0", "Safari/18.4")[number % 3]
    lines = (
        f"GET /k{number:03d} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: Mozilla/5.0 (X11; Linux x86_64) {browser}",
        "Accept: text/html",
        "Referer: https://news.example/today",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def make_links(running: RunningDesign) -> None:
    links = [{"url": f"https://example.org/{number}", "alias": f"k{number:03d}"} for number in range(LINKS)]
    headers = {"authorization": f"Bearer {running.api_key}"}
    answer = httpx2.post(
        f"{running.urls[0]}/api/v1/links/bulk", json={"links": links}, headers=headers, timeout=10.0, verify=TRUSTS_NOBODY
    )
    answer.raise_for_status()


def start_bare(supervisor: Supervisor) -> str:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = (sys.executable, "-m", "workbench.bare_redirect", "--port", str(port))
    # It has no readiness route: any answer at all will do.
    supervisor.start_all([ProcessSpec("bare", "service", argv, url=url)])
    for _ in range(200):
        with contextlib.suppress(httpx2.TransportError):
            httpx2.get(f"{url}/", timeout=1.0, verify=TRUSTS_NOBODY)
            return url
        asyncio.run(asyncio.sleep(0.05))
    raise BenchFailed("the bare ASGI app does not answer")
