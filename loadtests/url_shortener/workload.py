"""The URL shortener's load for a comparison: which request a planned step is, the history of what came back, its judgement.

Knows the service by its HTTP interface and its knobs alone. Everything follows from the seed and the serial numbers of the
plan, so two variants are asked exactly the same, except for the codes, which are each variant's own, and for what a browser need
not ask again because of how this variant answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
import orjson

from loadtests.generator.browser_cache import BrowserCache
from loadtests.generator.replay import is_sent
from loadtests.result import SafetyCheck
from loadtests.url_shortener import inquiries, requests
from loadtests.url_shortener.counters import RedisCounter, queued_clicks, service_counters
from loadtests.url_shortener.history import (
    REDIRECT_STATUSES,
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
from loadtests.url_shortener.requests import VISITORS, unknown_code
from loadtests.workload import Exchange, Mix, SeedingFailed, Target

BULK_LINKS = 100  # the most one bulk request may hold
UNKNOWN_CODES = 200  # codes that the op `unknown` asks for again and again
CHECKED_LINKS = 2_000  # links asked for again after the load
DRAIN_S = 20.0  # how long clicks may take to arrive once the load is over
DRAIN_POLL_S = 0.1
STALENESS_ALLOWANCE_S = 0.25  # the bound counts from the fetch of a link, which may take this long on a busy machine
VISITS = frozenset({"redirect", "unknown", "scan", "open_new"})
CREATED = (200, 201)


@dataclass(slots=True)
class Seeded:
    """What the workload keeps of one variant from one seeding to the next. The tails end each request, by replica (and visitor)."""

    mix: Mix
    seed: int
    codes: list[str]
    unknown: list[str]
    visit_tails: list[list[bytes]]
    api_tails: list[bytes]
    history: History
    redis: RedisCounter | None
    browsers: BrowserCache = field(default_factory=BrowserCache)
    opened: dict[int, str] = field(default_factory=dict)  # serial of an `open_new` on its way -> the code it opens
    requests_sent: int = 0
    clicks_before: dict[str, int] = field(default_factory=dict)
    losses_before: Counter[str] = field(default_factory=Counter)

    def visited_code(self, exchange: Exchange, before: Exchange | None) -> str:
        """Which code a visit asks for. With `before`, an `open_new` reads it there: "" when no link was made."""
        if exchange.op == "redirect":
            return self.codes[exchange.key]
        if exchange.op == "unknown":
            return self.unknown[exchange.key % UNKNOWN_CODES]
        if exchange.op == "scan":
            return unknown_code(f"{self.seed} scan {exchange.serial}", len(self.codes[0]))
        if before is not None and before.status in CREATED:
            self.opened[exchange.serial] = requests.json_body(before).get("code", "")
        return self.opened.get(exchange.serial, "")

    def remember(self, exchange: Exchange) -> None:
        """A browser keeps a redirect as long as its answer allows."""
        if self.mix.clients and exchange.status in REDIRECT_STATUSES:
            self.browsers.keep(exchange.client, exchange.key, exchange.response, exchange.end_s)

    def is_remembered(self, exchange: Exchange, before: Exchange | None) -> bool:
        if not self.mix.clients:
            return False
        if before is not None:
            self.remember(before)
            return self.browsers.knows(exchange.client, exchange.key, time.monotonic())
        # A first step is encoded ahead of its round, when its time still counts from there.
        return self.browsers.knows(exchange.client, exchange.key, time.monotonic() + exchange.intended_s)


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
        async with inquiries.asking(target) as client:
            for first in range(0, mix.keys, BULK_LINKS):
                urls = [requests.seeded_url(seed, key) for key in range(first, min(first + BULK_LINKS, mix.keys))]
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
        clicks = await inquiries.clicks(target, known, target.knobs.get("clicks") != "off")
        hosts = [urlsplit(url).netloc for url in target.urls]
        self._targets[target.name] = Seeded(
            mix=mix,
            seed=seed,
            codes=codes,
            unknown=[unknown_code(f"{seed} {number}", len(codes[0])) for number in range(UNKNOWN_CODES)],
            visit_tails=[[requests.visit_tail(host, *visitor) for visitor in VISITORS] for host in hosts],
            api_tails=[requests.api_tail(host, target.api_key) for host in hosts],
            history=history,
            redis=RedisCounter(target.redis_url) if target.redis_url else None,
            clicks_before={code: count or 0 for code, count in clicks.items()},
            losses_before=inquiries.declared_losses(await inquiries.metrics(target)),
        )

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes] | None:
        """Replicas take turns, and so do visitors. ValueError for an op that is none of ours."""
        state = self._targets[target.name]
        op, key, serial = exchange.op, exchange.key, exchange.serial
        replica = serial % len(state.api_tails)
        tail = state.api_tails[replica]
        if op in VISITS:
            code = state.visited_code(exchange, before)
            if not code or (op == "redirect" and state.is_remembered(exchange, before)):
                return None
            # Serial over replicas first, else each visitor would always meet the same replica.
            visitor = exchange.client if state.mix.clients else serial // len(state.api_tails)
            return replica, requests.visit(code, state.visit_tails[replica][visitor % len(VISITORS)])
        if op == "create":
            return replica, requests.create(requests.created_url(state.seed, serial), tail)
        if op == "edit":
            return replica, requests.edit(state.codes[key], requests.edited_url(state.seed, key, serial), tail)
        if op == "stats":
            return replica, requests.stats(state.codes[key], tail)
        if op == "stats_new":
            code = state.opened.get(before.serial, "") if before else ""
            return (replica, requests.stats(code, tail)) if code else None
        raise ValueError(f"there is no op {op!r}")

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        state = self._targets[target.name]
        history, wanted_status = state.history, int(target.knobs.get("redirect", 302))
        for exchange in exchanges:
            if not is_sent(exchange):  # neither a request nor a click
                continue
            state.requests_sent += 1
            op, sent_s, end_s, status = exchange.op, exchange.sent_s, exchange.end_s, exchange.status
            if op in VISITS:
                code = state.visited_code(exchange, None)
                to = requests.location(exchange.response)
                history.visit(code, sent_s, end_s, status, to, wanted_status, real=op in ("redirect", "open_new"))
                if op == "redirect":
                    state.remember(exchange)
            elif op == "create":
                link = requests.json_body(exchange) if status in CREATED else {}
                url = requests.created_url(state.seed, exchange.serial)
                history.creates.append(Write(link.get("code", ""), url, sent_s, end_s, status, link.get("version", 0)))
            elif op == "edit":
                link = requests.json_body(exchange) if status == 200 else {}
                url = requests.edited_url(state.seed, exchange.key, exchange.serial)
                history.edit(Write(state.codes[exchange.key], url, sent_s, end_s, status, link.get("version", 0)))
        state.opened.clear()

    async def counters(self, target: Target) -> Mapping[str, float]:
        """See `counters.COUNTERS` for the names. Raises what the HTTP client or the socket raises when a process is gone."""
        state = self._targets[target.name]
        redis = state.redis
        redis_counts = await redis.read() if redis is not None else {}
        counts = service_counters(await inquiries.metrics(target))
        if redis is not None:
            await redis.disown_since(redis_counts)
        return counts | redis_counts | {"requests_sent": float(state.requests_sent)}

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        """All invariants of the mix. Asks for up to `CHECKED_LINKS` links again, by HEAD, which counts no click."""
        state = self._targets[target.name]
        history, ops = state.history, {*state.mix.ratios, *(op for op, _ in state.mix.then.values())}
        bound_s = float(target.knobs.get("staleness_s", 0.0))
        checks = [unique_codes(history)]
        if ops & {"redirect", "open_new"}:
            checks.append(right_targets(history))
            counting = target.knobs.get("clicks") != "off"
            checks.append(clicks_conserved(history, await self._stored_clicks(target, state, counting), counting))
        if "edit" in ops:
            checks.append(staleness(history, bound_s, STALENESS_ALLOWANCE_S))
            await asyncio.sleep(max(0.0, _last_edit_s(history) + bound_s + STALENESS_ALLOWANCE_S - time.monotonic()))
        made = [write.code for write in history.creates if write.acknowledged]
        again = sample_evenly(made, CHECKED_LINKS // 2) + sample_evenly(state.codes, CHECKED_LINKS // 2)
        fetched = await inquiries.fetched(target, list(dict.fromkeys(again)))
        checks.append(links_kept(history, fetched, bound_s + STALENESS_ALLOWANCE_S))
        return checks

    async def _stored_clicks(self, target: Target, state: Seeded, counting: bool) -> StoredClicks:
        """What was counted, once nothing more arrives: the queue is empty and no count is short beyond the declared drops."""
        accepted = state.history.accepted_clicks() if counting else {}
        pending = dict.fromkeys([*accepted, *state.history.undecided_clicks, *state.codes])
        stored: dict[str, int] = {}
        give_up_s, read = time.monotonic() + DRAIN_S, False
        declared: Counter[str] = Counter()
        while True:
            try:
                pages = await inquiries.metrics(target)
                declared = inquiries.declared_losses(pages) - state.losses_before
                idle = not queued_clicks(pages)
            except httpx2.HTTPError:
                idle = False  # a process is gone; it may come back in time
            dropped, unsure = declared["dropped"], declared["unsure"]
            if idle:
                for code, clicks in (await inquiries.clicks(target, list(pending), counting)).items():
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


def _last_edit_s(history: History) -> float:
    return max((edit.end_s for edits in history.edits.values() for edit in edits), default=0.0)


WORKLOAD = UrlShortenerWorkload
