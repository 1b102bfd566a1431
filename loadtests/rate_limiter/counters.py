"""Counted work of a running rate limiter: what clients were told, what its `/metrics` say, what its Redis has done, summed.

Counts don't vary with the machine's mood, so they carry a comparison where times can't. What this module does to read
them is not in them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from loadtests.history.operation import Observation
from loadtests.metrics_page import samples_named, samples_of
from loadtests.rate_limiter.history import Ask
from loadtests.rate_limiter.promises import Met
from loadtests.redis_counter import redis_counters

# What a figure counts; the page of a report shows the same words.
COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        "allowed": "checks that were admitted, and slots that were given",
        "refused": "those that were refused",
        "over_quota": "units admitted although the quota of a rule had been used up within its period: a burst, an edge, a flaw",
        "degraded": "answers that did without the store",
        "turned_away": "questions without a verdict, because the service had too many",
        "answer_bytes": "bytes of answers, head and body",
        "decisions": "decisions of single rules, as the service counts them",
        "lease_trips": "round trips for leases",
        "leased_units": "units leased",
        "shared_buckets": "decisions in a bucket of several keys, for want of room in a replica's memory",
        "spans_sent": "spans of traces that a collector has taken",
        "spans_dropped": "spans there was no room for, and those no collector took",
        "redis_scripts": "scripts Redis was asked to run: a round trip each",
        "redis_script_us": "us of CPU in these scripts, as Redis counts them",
        "redis_commands": "commands Redis has run, those inside scripts too, connection set-up and INFO aside",
        "redis_bytes": "bytes in and out of Redis",
        "stored_bytes": "bytes Redis holds more, clients and its log aside: where each request leaves a key, those of the key",
    }
)

OF_METRICS = {
    "sd_limiter_decisions_total": "decisions",
    "sd_limiter_lease_trips_total": "lease_trips",
    "sd_limiter_leased_units_total": "leased_units",
    "sd_limiter_memory_shared_total": "shared_buckets",
}
SPAN_OUTCOMES = {"sent": "spans_sent", "dropped": "spans_dropped", "failed": "spans_dropped"}
SCRIPT_COMMANDS = frozenset({"evalsha", "eval", "fcall", "evalsha_ro", "eval_ro", "fcall_ro"})
BESIDE_THE_DATA = ("mem_clients_normal", "mem_aof_buffer", "used_memory_scripts")


@dataclass(slots=True)
class ToldClients:
    """What clients were told so far. Answers of one limit have to come in the order in which they ended, but for milliseconds."""

    counts: Counter[str] = field(default_factory=Counter)
    recent: dict[tuple[str, str], deque[tuple[float, int]]] = field(default_factory=dict)

    def take(self, ask: Ask, met: Iterable[Met], answer_bytes: int) -> None:
        self.counts["answer_bytes"] += answer_bytes
        if ask.f not in ("check", "acquire"):
            return
        if ask.said or ask.status == 200:
            self.counts["allowed" if ask.allowed else "refused"] += 1
            self.counts["degraded"] += ask.degraded
        elif ask.status == 503:
            self.counts["turned_away"] += 1
        if ask.f == "check" and ask.allowed:
            for limit in met:
                self.counts["over_quota"] += self._over(limit, ask.end_s, ask.cost)

    def _over(self, limit: Met, at_s: float, cost: int) -> int:
        """Units of this cost beyond the quota of the period that ends now."""
        recent = self.recent.setdefault(limit.key, deque())
        while recent and recent[0][0] <= at_s - limit.period_s:
            recent.popleft()
        recent.append((at_s, cost))
        return min(cost, max(0, sum(units for _, units in recent) - limit.quota))


def service_counters(pages: Iterable[str]) -> dict[str, float]:
    """The counters of all replicas, from their metrics pages. What no page mentions is 0, but for `decisions` with metrics off."""
    counts = dict.fromkeys((*OF_METRICS.values(), *SPAN_OUTCOMES.values()), 0.0)
    counted = False
    for page in pages:
        for name, labels, value in samples_of(page):
            if name in OF_METRICS:
                counts[OF_METRICS[name]] += value
                counted |= name == "sd_limiter_decisions_total"
            elif name == "sd_spans_total" and labels.get("outcome") in SPAN_OUTCOMES:
                counts[SPAN_OUTCOMES[labels["outcome"]]] += value
    return counts if counted else {name: count for name, count in counts.items() if name != "decisions"}


def limiter_redis_counters(info: str) -> dict[str, int]:
    """Of the text of `INFO all`, what only rises: commands, bytes, and what scripts cost."""
    counts = {**redis_counters(info), "redis_scripts": 0, "redis_script_us": 0}
    for line in info.splitlines():
        name, _, value = line.partition(":")
        if name.startswith("cmdstat_") and name.removeprefix("cmdstat_") in SCRIPT_COMMANDS:
            counts["redis_scripts"] += int(value.partition("calls=")[2].partition(",")[0])
            counts["redis_script_us"] += int(value.partition("usec=")[2].partition(",")[0])
    return counts


def stored_bytes(info: str) -> float:
    """What Redis holds, without the buffers of its clients and its log."""
    sizes = {name: value for name, _, value in (line.partition(":") for line in info.splitlines())}
    return float(int(sizes.get("used_memory", 0)) - sum(int(sizes.get(name, 0)) for name in BESIDE_THE_DATA))


def observations(node: str, at_s: float, metrics_text: str) -> list[Observation]:
    """What a metrics page says that promises depend on: how often the breaker opened, and whether keys had to share buckets."""
    return [
        Observation("breaker", node, at_s, {"opened": _sum(metrics_text, "sd_breaker_opened_total")}),
        Observation("memory", node, at_s, {"shared": _sum(metrics_text, "sd_limiter_memory_shared_total")}),
    ]


def _sum(page: str, name: str) -> int:
    return sum(int(float(line.rpartition(" ")[2])) for line in samples_named([page], name))
