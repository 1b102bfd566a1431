"""`designs bench growth`: what grows with the number of links: CPU time per request, bytes on disk, resident memory.

A URL shortener per size runs side by side with the others, and they are asked in turns by the same closed loop, so that ratios
are paired over blocks. First with the knobs as they are: creates, and redirects over a hot set that fits into the cache. Then
with cache=none on the same data: redirects over all links alike, each of which reads the store. CPU is the service's own.

The links are not made by requests, which would take an hour, but written into the design's file: with codes from its own lease
of numbers and its own key, in the order in which it would have made them, so that the file has the shape it would have had and
no later code collides.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr

from designs.building_blocks.knobs import parse_assignments
from designs.building_blocks.processes import secret
from designs.url_shortener.backends.sqlite import SqliteLinkStore
from designs.url_shortener.codes import code_source, next_code
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.settings import ShortenerSettings
from loadtests import cpu_clock
from loadtests.generator import open_loop
from loadtests.generator.open_loop import LoadGenerator
from loadtests.generator.placement import generator_placed
from loadtests.manifest import conditions
from workbench.bench import BenchFailed
from workbench.bench_verdicts import conclude, met_or_missed
from workbench.catalogue import design_named
from workbench.launch import RunningDesign
from workbench.processes import cpu_plan
from workbench.redirect_cost import Requirement, judge
from workbench.terminal import say

SIZES = (10_000, 100_000, 1_000_000)
HOT_LINKS = 2_000
CLIENTS = 8
BLOCKS = 10
SETTLE_S = 0.2
TURN_LIMIT_S = 60.0
SEED = 17
UNIFORM_POOL = 40_000  # drawn once and then cut into turns: enough that no turn repeats the one before
FILL_ROWS = 1_000_000  # per transaction
LEASE_SIZE = 100_000
SERVICE_MB_AT_MOST = 150.0
REDIRECT_AT_MOST = 1.10

CREATE, HOT, UNIFORM = "create", "redirect, hot links", "redirect, all links, no cache"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one size is asked in one turn: `requests` that are measured, after `warm_up` that are not.

    A turn with a warm-up begins when what the process layer held has died, and fills it again: else it would depend on how
    long ago the last turn was how many requests go on to Redis.
    """

    what: str
    requests: int
    warm_up: int = 0


@dataclass(frozen=True, slots=True)
class Phase:
    """What is asked of the services while they run with these knobs."""

    words: Sequence[str]
    turns: Sequence[Turn]


PHASES = (
    Phase((), (Turn(CREATE, 100), Turn(HOT, 4 * HOT_LINKS, warm_up=HOT_LINKS))),
    Phase(("cache=none",), (Turn(UNIFORM, 4_000),)),
)


@dataclass(slots=True)
class Growth:
    """What was measured. `cpu_us`: turn -> links -> service CPU per request, one value a block. Memory and disk by links."""

    cpu_us: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    rss_mb: dict[int, dict[str, float]] = field(default_factory=dict)  # links -> role -> the most of any phase
    disk_bytes: dict[int, tuple[int, int]] = field(default_factory=dict)  # links -> bytes, links there were by then


@dataclass(frozen=True, slots=True)
class Site:
    """One size's data folder, and the codes it is asked for."""

    links: int
    folder: Path
    hot: Sequence[str]
    uniform: Sequence[str]


def growth_command(
    *, record: bool = False, sizes: Sequence[int] = SIZES, blocks: int = BLOCKS, phases: Sequence[Phase] = PHASES
) -> int:
    """Measure, print, and answer 0 when every requirement is met, else 1."""
    around = conditions()
    with TemporaryDirectory(prefix="growth-") as folder:
        growth = grow_and_measure(Path(folder), sizes, blocks, phases)
    columns, rows = table(growth)
    options = "" if tuple(sizes) == SIZES else f"--links {','.join(map(str, sizes))}"
    return conclude("url_shortener", "growth", columns, rows, verdicts(growth), record=record, around=around, options=options)


def grow_and_measure(folder: Path, sizes: Sequence[int], blocks: int, phases: Sequence[Phase]) -> Growth:
    """Everything that takes time: fill a data folder per size under `folder`, run the phases on them, look at the files."""
    plan = cpu_plan()
    growth = Growth()
    with generator_placed(plan.generator):
        sites = list(prepared(folder, sizes))
        for phase in phases:
            knobs = parse_assignments(ShortenerKnobs, ["misses_per_minute=0", *phase.words])
            with contextlib.ExitStack() as stack:
                running: dict[int, RunningDesign] = {}
                for site in sites:
                    say(f"starting {site.links:,} links {' '.join(phase.words)}".rstrip())
                    design = RunningDesign(design_named("url_shortener"), knobs, data_dir=site.folder, cpus=plan.servers)
                    running[site.links] = stack.enter_context(design)
                growth.cpu_us |= open_loop.run(measure(sites, running, phase, blocks))
                for links, each in running.items():
                    seen = growth.rss_mb.setdefault(links, {})
                    for role, pids in each.pids_by_role().items():
                        seen[role] = max(seen.get(role, 0.0), cpu_clock.rss_bytes(pids) / 1e6)
        growth.disk_bytes = {site.links: disk(site.folder / "links.db") for site in sites}
    return growth


# -- the data ---------------------------------------------------------------------------------------------------------------


def prepared(folder: Path, sizes: Sequence[int]) -> Iterator[Site]:
    """A data folder per size, each the one before grown further, and the codes to ask for."""
    rng = Random(SEED)
    grown: Path | None = None
    for links in sorted(sizes):
        own = folder / str(links)
        if grown is not None:
            shutil.copytree(grown, own)
        started_s = time.monotonic()
        asyncio.run(fill(own, links))
        took_s = time.monotonic() - started_s
        say(f"wrote {links:,} links straight into the file in {took_s:.1f} s, with codes from the service's lease")
        hot = min(HOT_LINKS, links)
        positions = [number * links // hot for number in range(hot)] + rng.choices(range(links), k=UNIFORM_POOL)
        codes = codes_at(own / "links.db", positions)
        rng.shuffle(spread := codes[:hot])
        yield Site(links, own, spread, codes[hot:])
        grown = own


async def fill(folder: Path, links: int) -> None:
    """Bring `links.db` of this data folder to so many links, as the service itself would have, but without a sync each."""
    path = folder / "links.db"
    store = SqliteLinkStore(path)
    try:
        there = await store.count()
        key = ShortenerSettings(code_key=SecretStr(secret(folder, "code_key")), data_dir=folder).derived_key("codes")
        source = code_source(ShortenerKnobs(lease_size=LEASE_SIZE), store.lease_range, None, key)
        first_us = time.time_ns() // 1000
        while there < links:
            numbers = range(there, min(links, there + FILL_ROWS))
            # The codes first, and then the transaction: a lease writes to the same file.
            codes = [await next_code(source, "", 0) for _ in numbers]
            _insert(path, ((code, long_url(number), first_us + number) for code, number in zip(codes, numbers, strict=True)))
            there = numbers.stop
    finally:
        await store.close()


def _insert(path: Path, links: Iterator[tuple[str, str, int]]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")  # a file that a power loss spoils is made again
        db.execute("PRAGMA cache_size = -1000000")  # 1 GB at most: codes fall anywhere in the tree, so all of it is written at once
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO links (code, url, owner, created_at_us, version, enabled, blocked, deleted, request_id) "
            "VALUES (?, ?, 'demo', ?, ?, 1, 0, 0, '')",
            ((code, url, made_at_us, made_at_us) for code, url, made_at_us in links),
        )
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def long_url(number: int) -> str:
    """Some 80 characters, as long URLs that people shorten have."""
    return f"https://shop.example.com/catalogue/{number:08d}/a-page-with-a-telling-name?utm_source=mail"


def codes_at(path: Path, positions: Sequence[int]) -> list[str]:
    """The codes at these positions, counted in the order of the primary key, which is where on the disk they are."""
    wanted = set(positions)
    with contextlib.closing(sqlite3.connect(path)) as db:
        codes = db.execute("SELECT code FROM links ORDER BY code")
        found = {position: code for position, (code,) in enumerate(codes) if position in wanted}
    return [found[position] for position in positions]


def disk(path: Path) -> tuple[int, int]:
    """(bytes of the file and its write-ahead log after a checkpoint, links in it)."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        links = int(db.execute("SELECT count(*) FROM links").fetchone()[0])
        return sum(each.stat().st_size for each in (path, path.with_name(f"{path.name}-wal")) if each.exists()), links


# -- the measuring ----------------------------------------------------------------------------------------------------------


async def measure(
    sites: Sequence[Site], running: Mapping[int, RunningDesign], phase: Phase, blocks: int
) -> dict[str, dict[int, list[float]]]:
    """Turn -> links -> service CPU per request in us, one value a block, the mean of two turns. A first block does not count."""
    cpu_us: dict[str, dict[int, list[float]]] = {turn.what: {site.links: [] for site in sites} for turn in phase.turns}
    supplies = {site.links: {turn.what: requests_of(turn, site, running[site.links]) for turn in phase.turns} for site in sites}
    generators = {links: LoadGenerator(each.urls, connections_per_url=CLIENTS) for links, each in running.items()}
    quiet_since_s = {links: time.monotonic() for links in running}
    staleness_s = parse_assignments(ShortenerKnobs, phase.words).staleness_s
    try:
        for block in range(-1, blocks):
            for turn in phase.turns:
                seen: dict[int, list[float]] = {site.links: [] for site in sites}
                for site in turns_of(sites, block):
                    links = site.links
                    if turn.warm_up:
                        await asyncio.sleep(max(0.0, quiet_since_s[links] + staleness_s - time.monotonic()))
                    pids = running[links].pids_by_role()["service"]
                    supply = supplies[links][turn.what]
                    seen[links].append(await one_turn(turn, generators[links], pids, supply))
                    quiet_since_s[links] = time.monotonic()
                if block >= 0:
                    for links, values in seen.items():
                        cpu_us[turn.what][links].append(sum(values) / len(values))
            if block >= 0:
                figures = (f"{what}: {' '.join(f'{us[-1]:.0f}' for us in by_size.values())} us" for what, by_size in cpu_us.items())
                say(f"block {block + 1} of {blocks}  {'; '.join(figures)}")
    finally:
        for generator in generators.values():
            await generator.close()
    return cpu_us


def turns_of(sites: Sequence[Site], block: int) -> list[Site]:
    """Each twice, in their order, and in the next block the other way round: no drift of the machine favours a size."""
    return list(sites if block % 2 == 0 else sites[::-1]) * 2


async def one_turn(turn: Turn, generator: LoadGenerator, pids: Sequence[int], supply: Iterator[bytes]) -> float:
    """Service CPU per request in us. Raises `BenchFailed` for an answer that is none."""
    if turn.warm_up:
        before = [(0, request) for request in islice(supply, turn.warm_up)]
        await generator.closed_loop(before, CLIENTS, TURN_LIMIT_S, count=len(before))
    requests = [(0, request) for request in islice(supply, turn.requests)]
    before_ns = cpu_clock.tree_cpu_ns(pids)
    exchanges = await generator.closed_loop(requests, CLIENTS, TURN_LIMIT_S, count=len(requests))
    await asyncio.sleep(SETTLE_S)  # the last batch of clicks belongs to this turn
    spent_us = (cpu_clock.tree_cpu_ns(pids) - before_ns) / 1e3
    right = 201 if turn.what == CREATE else 302
    wrong = [exchange.status for exchange in exchanges if exchange.status != right]
    if wrong or len(exchanges) < len(requests):
        raise BenchFailed(f"{turn.what}: {len(wrong)} of {len(exchanges)} answers were not {right} but, for example, {wrong[:3]}")
    return spent_us / len(exchanges)


def requests_of(turn: Turn, site: Site, running: RunningDesign) -> Iterator[bytes]:
    """The requests of this kind, without end: new links, or visits to the codes in a cycle."""
    host = urlsplit(running.urls[0]).netloc
    number = 0
    while True:
        if turn.what == CREATE:
            body = orjson.dumps({"url": f"{long_url(number)}&new"})
            yield (
                f"POST /api/v1/links HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {running.api_key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode() + body
        else:
            codes = site.hot if turn.what == HOT else site.uniform
            yield (
                f"GET /{codes[number % len(codes)]} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n"
                "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0\r\nReferer: https://news.example.com/today\r\n\r\n"
            ).encode()
        number += 1


# -- what it says -----------------------------------------------------------------------------------------------------------


def table(growth: Growth) -> tuple[list[str], list[list[str]]]:
    """A row per size: CPU by kind of request, disk, and the memory of each process."""
    roles = list(next(iter(growth.rss_mb.values())))
    columns = ["links", *(f"{what}, CPU us" for what in growth.cpu_us), "disk, MB", "disk per link, B"]
    rows = []
    for links, (used, there) in growth.disk_bytes.items():
        costs = [f"{median(by_size[links]):,.1f}" for by_size in growth.cpu_us.values()]
        memory = [f"{growth.rss_mb[links][role]:.0f}" for role in roles]
        rows.append([f"{links:,}", *costs, f"{used / 1e6:,.1f}", f"{used / there:.0f}", *memory])
    return columns + [f"{role} memory, MB" for role in roles], rows


def verdicts(growth: Growth) -> list[str]:
    """A sentence per requirement. What a create costs is said, and nothing is asked of it."""
    small, large = min(growth.disk_bytes), max(growth.disk_bytes)
    sentences = []
    for what, by_size in growth.cpu_us.items():
        named = {f"{links:,} links": values for links, values in by_size.items()}
        asked = f"a {what} at {large:,} links costs at most 10 % more than at {small:,}"
        judged = judge(Requirement(asked, f"{large:,} links", f"{small:,} links", REDIRECT_AT_MOST), named)
        if what == CREATE:
            sentences.append(f"a create at {large:,} links costs {judged.measured.estimate:.2f} times the CPU of one at {small:,}")
        else:
            sentences.append(judged.sentence)
    most_mb = max(memory["service"] for memory in growth.rss_mb.values())
    slim = f"a service process stays under {SERVICE_MB_AT_MOST:.0f} MB: {most_mb:.0f} MB at the most"
    return [*sentences, met_or_missed(most_mb < SERVICE_MB_AT_MOST, slim)]
