"""The rate limiter's load: which request a planned step is, the history of what came back, its judgement.

Knows the service by its HTTP interface and its knobs alone. Everything follows from the seed and the serial numbers of the plan, so
two variants are asked exactly the same, except for what is timed by the edges of a second, and for what a client need not give
back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2

from loadtests import asking
from loadtests.generator.replay import is_sent
from loadtests.history.operation import HistoryItem, Observation, Operation, Struck
from loadtests.history.recorded import Header
from loadtests.rate_limiter import requests
from loadtests.rate_limiter.counters import (
    ToldClients,
    limiter_redis_counters,
    observations,
    service_counters,
    stored_bytes,
)
from loadtests.rate_limiter.final_questions import ask_for_slots
from loadtests.rate_limiter.history import History, ask_of
from loadtests.rate_limiter.judge import judge, verdicts
from loadtests.rate_limiter.mixes import CARD, CHECK_MIX, DEFAULT_MIX, MIXES, SLOT_OPS
from loadtests.rate_limiter.operations import operations
from loadtests.rate_limiter.promises import REDIS_STORES, Met, Promises, promises
from loadtests.rate_limiter.steps import PATHS, Steps
from loadtests.recording import Recording, begun
from loadtests.redis_counter import RedisCounter
from loadtests.result import SafetyCheck
from loadtests.workload import Exchange, Mix, SeedingFailed, Target

DESIGN = "rate_limiter"
CHECKED_USERS = 40  # whose slots are taken once more after the load
SLOT_SLACK_S = 0.2
# Of every limit that the load meets one, so that a service with other rules is found out before it is judged by these.
ASKED_FIRST: Sequence[Mapping[str, str]] = (
    {"user": "?", "route": "/checkout", "tenant": "?"},
    {"user": "?", "route": "/search"},
    {"ip": "?", "route": "/login"},
)


@dataclass(slots=True)
class Seeded:
    """What the workload keeps of one variant from one seeding to the next. The tails end each request, by replica."""

    mix: Mix
    recording: Recording[History]
    promises: Promises
    name: str
    steps: Steps
    tails: list[bytes]
    redis: RedisCounter | None
    told: ToldClients = field(default_factory=ToldClients)
    met: dict[str, list[Met]] = field(default_factory=dict)


class RateLimiterWorkload:
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
        """There is nothing to make: whoever asks is new. Raises `SeedingFailed` for a service with other rules than the load's."""
        recording = begun(DESIGN, target, mix, seed, History(), keep=self._keep)
        clock_s, hosts = recording.header.clock, [urlsplit(url).netloc for url in target.urls]
        promised = promises(target.knobs, len(hosts), clock_s)
        await _compare_rules(target, promised)
        name = f"{round(clock_s * 1e3):011x}"
        self._targets[target.name] = Seeded(
            mix=mix,
            recording=recording,
            promises=promised,
            name=name,
            steps=Steps(name, promised.per_user),
            tails=[requests.api_tail(host, target.api_key) for host in hosts],
            redis=RedisCounter(target.redis_url, counted=limiter_redis_counters) if target.redis_url else None,
        )

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes] | None:
        """Replicas take turns. ValueError for an op that is none of ours."""
        state = self._targets[target.name]
        questions = state.steps.questions(exchange, before)
        if not questions:
            return None
        replica = exchange.serial % len(state.tails)
        if questions[0].batched:
            document = requests.batch([question.document() for question in questions])
            return replica, requests.post("/v1/check/batch", document, state.tails[replica])
        return replica, requests.post(PATHS[questions[0].f], questions[0].document(), state.tails[replica])

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        state = self._targets[target.name]
        for exchange in sorted(exchanges, key=lambda each: each.end_s):
            questions = state.steps.asked(exchange) if is_sent(exchange) else ()
            if not questions:
                continue
            replica = exchange.serial % len(state.tails)
            size = len(exchange.response)
            for item in operations(questions, exchange, f"replica-{replica + 1}", state.recording.clock):
                state.recording.take(item)
                state.told.take(ask_of(item), self._met(state, item), size)
                size = 0
        state.steps.all_answered()

    def _met(self, state: Seeded, item: Operation) -> list[Met]:
        found = state.met.get(item.key)
        if found is None:
            ask = ask_of(item)
            found = state.met[item.key] = state.promises.met(ask.descriptor, ask.tier)
        return found

    def strike(self, target: Target, struck: Struck) -> None:
        self._targets[target.name].recording.strike(struck)

    def note(self, target: Target, observation: Observation) -> None:
        """Reads `breaker` (opened) and `memory` (shared)."""
        self._targets[target.name].recording.note(observation)

    def read_page(self, target: Target, node: str, at_s: float, metrics_text: str) -> None:
        for observation in observations(node, at_s, metrics_text):
            self.note(target, observation)

    async def counters(self, target: Target) -> Mapping[str, float]:
        """See `counters.COUNTERS` for the names. Raises what the HTTP client or the socket raises when a process is gone."""
        state = self._targets[target.name]
        redis = state.redis
        redis_counts = await redis.read() if redis is not None else {}
        stored = {"stored_bytes": stored_bytes(redis.info)} if redis is not None else {}
        pages = await asking.metrics(target)
        for number, page in enumerate(pages, start=1):
            self.read_page(target, f"replica-{number}", time.monotonic(), page)
        if redis is not None:
            await redis.disown_since(redis_counts)
        told = {
            name: float(state.told.counts[name])
            for name in ("allowed", "refused", "over_quota", "degraded", "turned_away", "answer_bytes")
        }
        return told | service_counters(pages) | redis_counts | stored

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        """All invariants of the mix. Where there were slots, all are taken once more when every lease must have run out."""
        state = self._targets[target.name]
        recording = state.recording
        if SLOT_OPS & set(recording.header.ops):
            [limit] = state.promises.slots({"user": "", "job": "preview"})
            held = [ask for ask in recording.history.asks if ask.f in ("acquire", "renew") and ask.token]
            users = list(dict.fromkeys(ask.descriptor["user"] for ask in held))[:CHECKED_USERS]
            last_s = max((ask.end_s for ask in held), default=0.0)
            after_s = recording.began_s + last_s + limit.lease_s + SLOT_SLACK_S - time.monotonic()
            await ask_for_slots(target, users, limit.quota, after_s, state.name, recording.take, recording.clock)
        return verdicts(recording.header, recording.history)

    def recorded(self, target: Target) -> tuple[Header, list[HistoryItem]]:
        """Times count from the beginning of the seeding."""
        return self._targets[target.name].recording.recorded()

    def deadline_s(self, target: Target) -> float | None:
        return promises(target.knobs).deadline_s if target.knobs.get("store", "redis") in REDIS_STORES else None


async def _compare_rules(target: Target, promised: Promises) -> None:
    """Ask what is left of every limit, which takes nothing. Raises `SeedingFailed` where a rule or its size is not as declared."""
    async with asking.client_of(target) as client:
        for descriptor in ASKED_FIRST:
            expected = {limit.rule: limit.capacity for limit in promised.met(descriptor)}
            try:
                answer = await client.post("/v1/peek", json=requests.document(descriptor, cost=1))
                body = answer.json() if answer.status_code == 200 else {}
                told = {each["rule"]: each["limit"] for each in body.get("limits", ()) if not each["shadow"]}
            except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise SeedingFailed(f"{target.name} can't say what its limits are: {error}") from None
            if told != expected:
                raise SeedingFailed(
                    f"{target.name} answers {answer.status_code} with the limits {told} where the load expects {expected}: it is "
                    "made for the rules of designs/rate_limiter/rules.example.yaml"
                )


WORKLOAD = RateLimiterWorkload
JUDGE = judge
