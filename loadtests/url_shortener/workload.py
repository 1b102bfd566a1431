"""The URL shortener's load for a comparison: requests as bytes, the history of what came back, and its judgement.

Knows the service by its HTTP interface and its knobs alone. Everything follows from the seed and the serial numbers of the
plan, so two variants are asked exactly the same, except for the codes, which are each variant's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import string
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import orjson

from loadtests.result import SafetyCheck
from loadtests.url_shortener.counters import RedisCounter, queued_clicks, service_counters
from loadtests.url_shortener.history import (
    Fetched,
    History,
    StoredClicks,
    Write,
    clicks_conserved,
    links_kept,
    right_targets,
    sample_evenly,
    staleness,
    unique_codes,
)
from loadtests.url_shortener.mixes import CARD, DEFAULT_MIX, MIXES
from loadtests.workload import Exchange, Mix, SeedingFailed, Target

BULK_LINKS = 100  # the most one bulk request may hold
UNKNOWN_CODES = 200  # codes that the op `unknown` asks for again and again
CHECKED_LINKS = 2_000  # links asked for again after the load
CHECK_CLIENTS = 8
CHECK_TIMEOUT_S = 10.0
DRAIN_S = 20.0  # how long clicks may take to arrive once the load is over
DRAIN_POLL_S = 0.1
STALENESS_ALLOWANCE_S = 0.25  # the bound counts from the fetch of a link, which may take this long on a busy machine
STATS_DAYS = 30

# (User-Agent, Referer) of the visitors. A crawler is among them: bots are counted apart, and must not be lost either.
VISITORS: Sequence[tuple[str, str]] = (
    ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "https://news.example.com/today"),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/138.0 Safari/537.36", "https://mail.example.net/"),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 15_5) AppleWebKit/605.1.15 Version/18.5 Safari/605.1.15", ""),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "https://chat.example.org/"),
    ("Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/138.0 Mobile Safari/537.36", ""),
    ("ExampleBot/2.1 (+https://bot.example.com/about)", ""),
)
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class Seeded:
    """What the workload keeps of one variant. The tails are what ends each request, by replica (and visitor)."""

    mix: Mix
    seed: int
    codes: list[str]
    unknown: list[str]
    visit_tails: list[list[bytes]]
    api_tails: list[bytes]
    history: History
    redis: RedisCounter | None
    clicks_before: dict[str, int] = field(default_factory=dict)
    losses_before: Counter[str] = field(default_factory=Counter)


class UrlShortenerWorkload:
    """The load of one comparison; see `loadtests.workload.Workload` for the contract."""

    def __init__(self) -> None:
        self.mixes: Mapping[str, Mix] = MIXES
        self.default_mix: Mapping[str, str] = DEFAULT_MIX
        self._targets: dict[str, Seeded] = {}

    def card(self, knob: str, baseline: str, other: str) -> tuple[str, ...]:
        return CARD.get(knob, CARD[""])

    async def seed(self, target: Target, mix: Mix, seed: int) -> None:
        """Make `mix.keys` links by bulk requests. Raises `SeedingFailed`."""
        history, codes, known = History(), [], []
        async with _client(target) as client:
            for first in range(0, mix.keys, BULK_LINKS):
                urls = [seeded_url(seed, key) for key in range(first, min(first + BULK_LINKS, mix.keys))]
                sent_s = time.monotonic()
                answer = await client.post("/api/v1/links/bulk", json={"links": [{"url": url} for url in urls]})
                items = answer.json()["items"] if answer.status_code == 200 else []
                refused = [item for item in items if item.get("status") not in (200, 201)]
                if len(items) != len(urls) or refused:
                    raise SeedingFailed(
                        f"{target.name} was asked for {len(urls)} links and answered {answer.status_code}: "
                        f"{(orjson.dumps(refused[0]) if refused else answer.content)[:300].decode(errors='replace')}"
                    )
                for item, url in zip(items, urls, strict=True):
                    link = item["link"]
                    history.seed(Write(link["code"], url, sent_s, time.monotonic(), item["status"], link.get("version", 0)))
                    codes.append(link["code"])
                    if item["status"] == 200:
                        known.append(link["code"])
            clicks = await _clicks(client, known, target.knobs.get("clicks") != "off")
        hosts = [urlsplit(url).netloc for url in target.urls]
        self._targets[target.name] = Seeded(
            mix=mix,
            seed=seed,
            codes=codes,
            unknown=[unknown_code(f"{seed} {number}", len(codes[0])) for number in range(UNKNOWN_CODES)],
            visit_tails=[[_visit_tail(host, *visitor) for visitor in VISITORS] for host in hosts],
            api_tails=[_api_tail(host, target.api_key) for host in hosts],
            history=history,
            redis=RedisCounter(target.redis_url) if target.redis_url else None,
            clicks_before={code: count or 0 for code, count in clicks.items()},
            losses_before=_declared_losses(await _metrics(target)),
        )

    def encode(self, target: Target, op: str, key: int, serial: int) -> tuple[int, bytes]:
        """Replicas take turns, and so do visitors. ValueError for an op that is none of ours."""
        state = self._targets[target.name]
        replica = serial % len(state.api_tails)
        if op in ("redirect", "unknown", "scan"):
            code = visited_code(state, op, key, serial)
            # Serial over replicas first, else each visitor would always meet the same replica.
            visitor = serial // len(state.api_tails) % len(VISITORS)
            return replica, b"GET /%b HTTP/1.1\r\n%b" % (code.encode(), state.visit_tails[replica][visitor])
        tail = state.api_tails[replica]
        if op == "create":
            return replica, _with_body(b"POST /api/v1/links", tail, {"url": created_url(state.seed, serial)})
        code_bytes = state.codes[key].encode()
        if op == "edit":
            return replica, _with_body(b"PATCH /api/v1/links/" + code_bytes, tail, {"url": edited_url(state.seed, key, serial)})
        if op == "stats":
            return replica, b"GET /api/v1/links/%b/stats?days=%d HTTP/1.1\r\n%b\r\n" % (code_bytes, STATS_DAYS, tail)
        raise ValueError(f"there is no op {op!r}")

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        state = self._targets[target.name]
        history, wanted_status = state.history, int(target.knobs.get("redirect", 302))
        for exchange in exchanges:
            op, sent_s, end_s, status = exchange.op, exchange.sent_s, exchange.end_s, exchange.status
            if op in ("redirect", "unknown", "scan"):
                code = visited_code(state, op, exchange.key, exchange.serial)
                history.visit(code, sent_s, end_s, status, location(exchange.response), wanted_status, op == "redirect")
            elif op == "create":
                link = _body(exchange) if status in (200, 201) else {}
                url = created_url(state.seed, exchange.serial)
                history.creates.append(Write(link.get("code", ""), url, sent_s, end_s, status, link.get("version", 0)))
            elif op == "edit":
                link = _body(exchange) if status == 200 else {}
                url = edited_url(state.seed, exchange.key, exchange.serial)
                history.edit(Write(state.codes[exchange.key], url, sent_s, end_s, status, link.get("version", 0)))

    async def counters(self, target: Target) -> Mapping[str, float]:
        """See `counters.COUNTERS` for the names. Raises what the HTTP client or the socket raises when a process is gone."""
        redis = self._targets[target.name].redis
        redis_counts = await redis.read() if redis is not None else {}
        counts = service_counters(await _metrics(target))
        if redis is not None:
            await redis.disown_since(redis_counts)
        return counts | redis_counts

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        """All invariants of the mix. Asks for up to `CHECKED_LINKS` links again, by HEAD, which counts no click."""
        state = self._targets[target.name]
        history, ops = state.history, state.mix.ratios
        bound_s = float(target.knobs.get("staleness_s", 0.0))
        checks = [unique_codes(history)]
        if "redirect" in ops:
            checks.append(right_targets(history))
            counting = target.knobs.get("clicks") != "off"
            checks.append(clicks_conserved(history, await self._stored_clicks(target, state, counting), counting))
        if "edit" in ops:
            checks.append(staleness(history, bound_s, STALENESS_ALLOWANCE_S))
            await asyncio.sleep(max(0.0, _last_edit_s(history) + bound_s + STALENESS_ALLOWANCE_S - time.monotonic()))
        made = [write.code for write in history.creates if write.acknowledged]
        again = sample_evenly(made, CHECKED_LINKS // 2) + sample_evenly(state.codes, CHECKED_LINKS // 2)
        async with _client(target) as client:
            fetched = await _each(dict.fromkeys(again), lambda code: _fetch(client, target.urls, code))
        checks.append(links_kept(history, fetched, bound_s + STALENESS_ALLOWANCE_S))
        return checks

    async def _stored_clicks(self, target: Target, state: Seeded, counting: bool) -> StoredClicks:
        """What was counted, once nothing more arrives: the queue is empty and no count is short beyond the declared drops."""
        accepted = state.history.accepted_clicks() if counting else {}
        pending = dict.fromkeys([*accepted, *state.history.undecided_clicks, *state.codes])
        stored: dict[str, int] = {}
        give_up_s, read = time.monotonic() + DRAIN_S, False
        declared: Counter[str] = Counter()
        async with _client(target) as client:
            while True:
                try:
                    pages = await _metrics(target)
                    declared = _declared_losses(pages) - state.losses_before
                    idle = not queued_clicks(pages)
                except httpx2.HTTPError:
                    idle = False  # a process is gone; it may come back in time
                dropped, unsure = declared["dropped"], declared["unsure"]
                if idle:
                    for code, clicks in (await _clicks(client, pending, counting)).items():
                        if clicks is not None:
                            stored[code] = clicks - state.clicks_before.get(code, 0)
                    pending = {code: None for code in pending if stored.get(code, -1) < accepted.get(code, 0)}
                    short = sum(accepted.get(code, 0) - stored.get(code, 0) for code in pending)
                    read = all(code in stored for code in pending)
                    if read and short <= dropped + unsure:
                        return StoredClicks(stored, dropped, complete=True, unsure=unsure)
                if time.monotonic() > give_up_s:
                    return StoredClicks(stored, dropped, complete=idle and read, unsure=unsure)
                await asyncio.sleep(DRAIN_POLL_S)


def seeded_url(seed: int, key: int) -> str:
    return f"https://example.org/{seed}/{key}"


def created_url(seed: int, serial: int) -> str:
    return f"https://example.org/{seed}/new/{serial}"


def edited_url(seed: int, key: int, serial: int) -> str:
    return f"https://example.org/{seed}/{key}/edit/{serial}"


def unknown_code(name: str, length: int) -> str:
    """A code of the usual length that hardly anybody has: base62 digits of a hash."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest())
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(digits)


def visited_code(state: Seeded, op: str, key: int, serial: int) -> str:
    """Which code a visit asks for."""
    if op == "redirect":
        return state.codes[key]
    if op == "unknown":
        return state.unknown[key % UNKNOWN_CODES]
    return unknown_code(f"{state.seed} scan {serial}", len(state.codes[0]))


def _last_edit_s(history: History) -> float:
    return max((edit.end_s for edits in history.edits.values() for edit in edits), default=0.0)


def location(response: bytes) -> str:
    """The Location of a raw HTTP/1.1 response, "" where there is none. Field names ignore case."""
    head, _, _ = response.partition(b"\r\n\r\n")
    at = head.lower().find(b"\r\nlocation:")
    return head[at + 11 :].partition(b"\r\n")[0].strip().decode("latin-1") if at >= 0 else ""


def _body(exchange: Exchange) -> dict[str, Any]:
    """The JSON object of a response; empty when it is none, which a check then finds wrong."""
    try:
        parsed = orjson.loads(exchange.response.partition(b"\r\n\r\n")[2])
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _visit_tail(host: str, user_agent: str, referer: str) -> bytes:
    lines = [f"Host: {host}", f"User-Agent: {user_agent}", "Accept: text/html"] + ([f"Referer: {referer}"] if referer else [])
    return "\r\n".join([*lines, "", ""]).encode()


def _api_tail(host: str, api_key: str) -> bytes:
    """Header lines of an API request, each ended; the blank line is still to come."""
    return f"Host: {host}\r\nAuthorization: Bearer {api_key}\r\nAccept: application/json\r\n".encode()


def _with_body(method_and_path: bytes, tail: bytes, document: Mapping[str, str]) -> bytes:
    body = orjson.dumps(document)
    length = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return method_and_path + b" HTTP/1.1\r\n" + tail + length + body


@asynccontextmanager
async def _client(target: Target) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {target.api_key}"}
    limits = httpx2.Limits(max_connections=2 * CHECK_CLIENTS)
    async with httpx2.AsyncClient(
        base_url=target.urls[0], headers=headers, timeout=CHECK_TIMEOUT_S, limits=limits, trust_env=False
    ) as client:
        yield client


async def _each(items: Iterable[T], ask: Callable[[T], Awaitable[R]]) -> dict[T, R]:
    """Ask for all of them, `CHECK_CLIENTS` at a time."""
    waiting, answers = iter(items), {}

    async def client() -> None:
        for item in waiting:
            answers[item] = await ask(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(CHECK_CLIENTS):
            group.create_task(client())
    return answers


async def _fetch(client: httpx2.AsyncClient, urls: Sequence[str], code: str) -> Fetched:
    """Where the link leads now, from a replica that its code picks: with several, each is asked for its share."""
    url = urls[sum(code.encode()) % len(urls)]
    sent_s = time.monotonic()
    try:
        answer = await client.head(f"{url}/{code}", headers={"user-agent": VISITORS[0][0]})
    except httpx2.HTTPError:
        return Fetched(sent_s, 0, "")
    return Fetched(sent_s, answer.status_code, answer.headers.get("location", ""))


async def _clicks(client: httpx2.AsyncClient, codes: Iterable[str], counting: bool) -> dict[str, int | None]:
    """Clicks and bots of each code; None where they can't be read. Without `counting`, having no counts is having counted 0."""

    async def ask(code: str) -> int | None:
        try:
            answer = await client.get(f"/api/v1/links/{code}/stats", params={"days": STATS_DAYS})
        except httpx2.HTTPError:
            return None
        if answer.status_code == 404 and not counting:
            return 0
        if answer.status_code != 200:
            return None
        stats = answer.json()
        return int(stats["clicks"]) + int(stats["bots"])

    return await _each(codes, ask)


async def _metrics(target: Target) -> list[str]:
    async with httpx2.AsyncClient(timeout=CHECK_TIMEOUT_S, trust_env=False) as client:
        answers = [await client.get(url) for url in target.metrics_urls]
    return [answer.raise_for_status().text for answer in answers]


def _declared_losses(pages: Iterable[str]) -> Counter[str]:
    """Clicks the processes say are lost, and those they are not sure of."""
    counts = service_counters(pages)
    dropped = counts["clicks_dropped"] + counts["clicks_dead_lettered"]
    return Counter(dropped=int(dropped), unsure=int(counts["clicks_unsure"]))


WORKLOAD = UrlShortenerWorkload
