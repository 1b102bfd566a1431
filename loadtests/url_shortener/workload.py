"""The URL shortener's load: which request a planned step is, the history of what came back, its judgement.

Knows the service by its HTTP interface and its knobs alone. Everything follows from the seed and the serial numbers of the
plan, so two variants are asked exactly the same, except for the codes, which are each variant's own, for when a link expires, and
for what a browser need not ask again because of how this variant answered.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
import orjson

from loadtests import asking
from loadtests.completion import NO_PROCESS
from loadtests.generator.browser_cache import BrowserCache
from loadtests.generator.replay import is_sent
from loadtests.history.operation import HistoryItem, Json, Observation, Operation, Outcome, Struck
from loadtests.history.recorded import Header
from loadtests.recording import Recording, begun
from loadtests.redis_counter import RedisCounter
from loadtests.result import SafetyCheck
from loadtests.url_shortener import final_questions, inquiries, promises, requests
from loadtests.url_shortener.counters import service_counters
from loadtests.url_shortener.evidence import Evidence
from loadtests.url_shortener.history import REDIRECT_STATUSES, History
from loadtests.url_shortener.judge import VISITS, judge, verdicts
from loadtests.url_shortener.mixes import CARD, CHECK_MIX, DEFAULT_MIX, MIXES
from loadtests.url_shortener.operations import link_told, operation
from loadtests.url_shortener.requests import VISITORS
from loadtests.url_shortener.steps import Question, Steps
from loadtests.workload import Exchange, Mix, SeedingFailed, Target

DESIGN = "url_shortener"
BULK_LINKS = 100  # the most one bulk request may hold
CHECKED_LINKS = 2_000  # links asked for again after the load
# A store that has only just started may not have answered in time; each such create stays in the history as one that may be there.
SEEDING_TRIES = 5
UNAVAILABLE = 503
DRAIN_S = 20.0  # how long clicks may take to arrive once the load is over
STALENESS_ALLOWANCE_S = promises.STALENESS_ALLOWANCE_S


@dataclass(slots=True)
class Seeded:
    """What the workload keeps of one variant from one seeding to the next. The tails end each request, by replica (and visitor)."""

    mix: Mix
    recording: Recording[History]
    codes: list[str]
    steps: Steps
    visit_tails: list[list[bytes]]
    api_tails: list[bytes]
    redis: RedisCounter | None
    browsers: BrowserCache = field(default_factory=BrowserCache)
    requests_sent: int = 0

    def evidence(self) -> Evidence:
        return Evidence(self.recording.history, promises.promises_of(self.recording.header))

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
    """See `loadtests.workload.Workload` for the contract. With `keep`, the whole history is kept, to be written to a file."""

    def __init__(self, *, keep: bool = False) -> None:
        self.mixes: Mapping[str, Mix] = MIXES
        self.default_mix: Mapping[str, str] = DEFAULT_MIX
        self.check_mix = CHECK_MIX
        self._keep = keep
        self._targets: dict[str, Seeded] = {}

    def card(self, knob: str, baseline: str, other: str) -> tuple[str, ...]:
        return CARD.get(knob, CARD[""])

    async def seed(self, target: Target, mix: Mix, seed: int) -> None:
        """Make `mix.keys` links by bulk requests. Raises `SeedingFailed`."""
        bounds = promises.bounds_of(target.knobs, STALENESS_ALLOWANCE_S)
        recording = begun(DESIGN, target, mix, seed, History(), keep=self._keep, bounds=bounds)
        made: list[Operation] = []
        async with asking.client_of(target) as client:
            for first in range(0, mix.keys, BULK_LINKS):
                urls = [requests.seeded_url(seed, key) for key in range(first, min(first + BULK_LINKS, mix.keys))]
                made += await seeded_links(client, target.name, urls, recording.began_s)
        made_by_url = {str(each.value["url"]): str(each.result["code"]) for each in made if each.outcome == "ok"}
        codes = [made_by_url[requests.seeded_url(seed, key)] for key in range(mix.keys)]
        hosts = [urlsplit(url).netloc for url in target.urls]
        self._targets[target.name] = Seeded(
            mix=mix,
            recording=recording,
            codes=codes,
            steps=Steps(seed, codes),
            visit_tails=[[requests.visit_tail(host, *visitor) for visitor in VISITORS] for host in hosts],
            api_tails=[requests.api_tail(host, target.api_key) for host in hosts],
            redis=RedisCounter(target.redis_url) if target.redis_url else None,
        )
        for each in made:
            recording.take(each)
        known = [str(each.result["code"]) for each in made if each.result["status"] == 200]
        for code, exchange in zip(known, await inquiries.tallies(target, known), strict=True):
            recording.take(operation(Question("tally", code, {"before": True}), exchange, "replica-1", recording.clock))
        self._read_pages(recording, target, await asking.metrics(target))

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes] | None:
        """Replicas take turns, and so do visitors. ValueError for an op that is none of ours."""
        state = self._targets[target.name]
        question = state.steps.question(exchange, before)
        if question is None or (exchange.op == "redirect" and state.is_remembered(exchange, before)):
            return None
        replica = exchange.serial % len(state.api_tails)
        if question.f in ("visit", "guess"):
            # Serial over replicas first, else each visitor would always meet the same replica.
            visitor = exchange.client if state.mix.clients else exchange.serial // len(state.api_tails)
            return replica, requests.visit(question.key, state.visit_tails[replica][visitor % len(VISITORS)])
        tail, url = state.api_tails[replica], str(question.value.get("url", ""))
        if question.f == "create":
            return replica, requests.create(url, tail, question.value)
        if question.f == "edit":
            return replica, requests.edit(question.key, url, tail)
        ask = requests.delete if question.f == "delete" else requests.stats
        return replica, ask(question.key, tail)

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        state = self._targets[target.name]
        for exchange in exchanges:
            question = state.steps.asked(exchange) if is_sent(exchange) else None
            if question is None:  # neither a request nor a click
                continue
            state.requests_sent += 1
            replica = exchange.serial % len(state.api_tails)
            state.recording.take(operation(question, exchange, f"replica-{replica + 1}", state.recording.clock))
            if exchange.op == "redirect":
                state.remember(exchange)
        state.steps.all_answered()

    def strike(self, target: Target, struck: Struck) -> None:
        self._targets[target.name].recording.strike(struck)

    def note(self, target: Target, observation: Observation) -> None:
        """Reads `losses` (dropped, unsure), `cache` (errors) and `drained` (complete)."""
        self._targets[target.name].recording.note(observation)

    def read_page(self, target: Target, node: str, at_s: float, metrics_text: str) -> None:
        for observation in inquiries.observations(node, at_s, metrics_text):
            self.note(target, observation)

    async def counters(self, target: Target) -> Mapping[str, float]:
        """See `counters.COUNTERS` for the names. Raises what the HTTP client or the socket raises when a process is gone."""
        state = self._targets[target.name]
        redis = state.redis
        redis_counts = await redis.read() if redis is not None else {}
        pages = await asking.metrics(target)
        self._read_pages(state.recording, target, pages)
        counts = service_counters(pages)
        if redis is not None:
            await redis.disown_since(redis_counts)
        return counts | redis_counts | {"requests_sent": float(state.requests_sent)}

    def _read_pages(self, recording: Recording[History], target: Target, pages: Sequence[str]) -> None:
        for node, page in zip(inquiries.node_names(target), pages, strict=True):
            for observation in inquiries.observations(node, recording.clock(time.monotonic()), page):
                recording.take(observation)

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        """All invariants of the mix. Asks each replica for up to `CHECKED_LINKS` links again, by HEAD, which counts no click."""
        state = self._targets[target.name]
        recording, evidence, give_up_s = state.recording, state.evidence(), time.monotonic() + DRAIN_S
        if VISITS & set(recording.header.ops):
            codes = dict.fromkeys([*(evidence.history.answers if evidence.promises.counting else ()), *evidence.history.undecided])
            await final_questions.ask_for_clicks(
                target, [*(codes | dict.fromkeys(state.codes))], state.evidence, recording.take, recording.clock, give_up_s
            )
        changes = [write for writes in evidence.history.changes.values() for write in writes]
        settled_s = max((write.end_s for write in changes), default=0.0) + evidence.promises.bound_s
        again = final_questions.links_to_look_at(evidence, CHECKED_LINKS)
        until_s = max(give_up_s, recording.began_s + settled_s)
        await final_questions.ask_for_links(target, again, state.evidence, recording.take, recording.clock, until_s)
        return verdicts(recording.header, evidence.history)

    def recorded(self, target: Target) -> tuple[Header, list[HistoryItem]]:
        """Times count from the beginning of the seeding."""
        return self._targets[target.name].recording.recorded()

    def deadline_s(self, target: Target) -> float | None:
        knobs = target.knobs
        shared = knobs.get("cache") != "none" and knobs.get("cache_layers") != "process"
        return float(knobs["cache_deadline_ms"]) / 1_000 if shared and "cache_deadline_ms" in knobs else None


async def seeded_links(client: httpx2.AsyncClient, name: str, urls: Sequence[str], began_s: float) -> list[Operation]:
    """The creates of one bulk request, asked again for what the service could not do yet. Raises `SeedingFailed`."""
    asked_for: list[Operation] = []
    for tries_left in reversed(range(SEEDING_TRIES)):
        sent_s = time.monotonic() - began_s
        answer = await client.post("/api/v1/links/bulk", json={"links": [{"url": url} for url in urls]})
        ended_s = time.monotonic() - began_s
        items = answer.json()["items"] if answer.status_code == 200 else []
        refused = [item for item in items if "link" not in item]
        hopeless = tries_left == 0 or any(item.get("status") != UNAVAILABLE for item in refused)
        if len(items) != len(urls) or (refused and hopeless):
            raise SeedingFailed(
                f"{name} was asked for {len(urls)} links and answered {answer.status_code}: "
                f"{(orjson.dumps(refused[0]) if refused else answer.content)[:300].decode(errors='replace')}"
            )
        for item, url in zip(items, urls, strict=True):
            asked: dict[str, Json] = {"url": url, "seeded": True}
            told = {"status": item["status"], **(link_told(item["link"], "code", "url") if "link" in item else {})}
            outcome: Outcome = "ok" if "link" in item else "info"
            asked_for.append(Operation(NO_PROCESS, "create", "", asked, "replica-1", sent_s, ended_s, outcome, told))
        urls = [url for url, item in zip(urls, items, strict=True) if "link" not in item]
        if not urls:
            break
    return asked_for


WORKLOAD = UrlShortenerWorkload
JUDGE = judge
