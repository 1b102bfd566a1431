"""Counted work of a running URL shortener: what its processes' `/metrics` and its Redis say they have done, summed.

Counts don't vary with the machine's mood, so they carry a comparison where times can't. Every number only rises while the
processes live; what this module does to read them is not in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from loadtests.metrics_page import samples_named, samples_of

# What a figure counts; the page of a report shows the same words.
COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        "store_calls": "calls of the link and click store",
        "store_reads": "of these, those that only read",
        "store_writes": "of these, those that write",
        "backend_errors": "calls of any backend that failed",
        "fsyncs": "commits that had the disk sync the log; those of checkpoints are not in it",
        "messages": "messages put into a queue: batches of clicks, and links that wait for the store",
        "cache_local_hits": "links found in a replica's own memory",
        "cache_shared_hits": "links found in Redis",
        "cache_negative_hits": "codes known to be nobody's",
        "cache_hits": "all three",
        "cache_misses": "links found in no cache",
        "cache_loads": "links read from the store to fill a cache (regenerations)",
        "requests_sent": "visits and calls that were sent; a browser that remembers where a link leads does not ask",
        "clicks_counted": "clicks a replica has handed over to be counted",
        "clicks_dropped": "clicks declared lost by a replica",
        "clicks_unsure": "clicks a replica has sent without learning whether they arrived",
        "clicks_dead_lettered": "clicks the worker has parked as undeliverable",
        "spans_sent": "spans of traces that a collector has taken",
        "spans_dropped": "spans there was no room for, and those no collector took",
        "redis_commands": "commands Redis has run, connection set-up and INFO aside",
        "redis_bytes": "bytes in and out of Redis",
    }
)

PORT_CALLS = frozenset({"store_calls", "store_reads", "store_writes", "backend_errors"})
SPAN_OUTCOMES = {"sent": "spans_sent", "dropped": "spans_dropped", "failed": "spans_dropped"}
CLICK_OUTCOMES = {"accepted": "clicks_counted", "dropped": "clicks_dropped", "unsure": "clicks_unsure"}
STORE_BACKENDS = frozenset({"sqlite", "memory", "cassandra"})
UNSYNCED_BACKENDS = frozenset({"cassandra"})  # they sync their log by themselves, and don't tell the design
STORE_READS = frozenset({"get", "page", "visits_taken", "count", "find_request", "stats", "clicks_stats"})


def service_counters(pages: Iterable[str]) -> dict[str, float]:
    """The counters of all processes of a variant, from their metrics pages. What no page mentions is 0.

    Port calls are left out when no page has them (metrics=off): nobody counted them, which is not the same as none. So are the
    syncs of a store that is a server of its own.
    """
    counted_calls, counted_syncs = False, True
    counts = dict.fromkeys((name for name in COUNTERS if not name.startswith("redis_")), 0.0)
    for page in pages:
        for name, labels, value in samples_of(page):
            if name == "sd_backend_calls_total":
                counted_calls = True
                if labels.get("outcome") == "error":
                    counts["backend_errors"] += value
                if labels.get("backend") in UNSYNCED_BACKENDS:
                    counted_syncs = False
                if labels.get("backend") in STORE_BACKENDS:
                    counts["store_calls"] += value
                    counts["store_reads" if labels.get("op") in STORE_READS else "store_writes"] += value
            elif name == "sd_cache_requests_total":
                result = labels.get("result", "")
                if result == "miss":
                    counts["cache_misses"] += value
                elif f"cache_{result}s" in counts:
                    counts[f"cache_{result}s"] += value
                    counts["cache_hits"] += value
            elif name == "sd_cache_loads_total":
                counts["cache_loads"] += value
            elif name == "sd_clicks_total" and labels.get("outcome") in CLICK_OUTCOMES:
                counts[CLICK_OUTCOMES[labels["outcome"]]] += value
            elif name == "sd_clicks_dead_lettered_total":
                counts["clicks_dead_lettered"] += value
            elif name == "sd_store_syncs_total":
                counts["fsyncs"] += value
            elif name == "sd_queue_messages_total":
                counts["messages"] += value
            elif name == "sd_spans_total" and labels.get("outcome") in SPAN_OUTCOMES:
                counts[SPAN_OUTCOMES[labels["outcome"]]] += value
    unknown = (frozenset() if counted_calls else PORT_CALLS) | (frozenset() if counted_syncs else {"fsyncs"})
    return {name: count for name, count in counts.items() if name not in unknown}


def declared_losses(pages: Iterable[str]) -> Counter[str]:
    """Clicks the processes say are lost, and those they are not sure of."""
    counts: Counter[str] = Counter(dropped=0, unsure=0)
    for line in samples_named(pages, "sd_clicks_total{", "sd_clicks_dead_lettered_total"):
        labels, _, value = line.rpartition(" ")
        if 'outcome="dropped"' in labels or labels == "sd_clicks_dead_lettered_total":
            counts["dropped"] += int(float(value))
        elif 'outcome="unsure"' in labels:
            counts["unsure"] += int(float(value))
    return counts


def cache_failures(page: str) -> int:
    """How often a process has had to do without the shared cache, for reads or for writes, as far as it has counted."""
    failed = ("sd_cache_unavailable_total", "sd_breaker_opened_total", 'sd_backend_calls_total{backend="redis",op="shared_')
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in samples_named([page], *failed)
        if not line.startswith("sd_backend") or 'outcome="error"' in line
    )


def buffered_clicks(pages: Iterable[str]) -> float:
    """Clicks that replicas have recorded and not sent yet."""
    return sum(float(line.rpartition(" ")[2]) for line in samples_named(pages, "sd_clicks_buffered"))


def queued_clicks(pages: Iterable[str]) -> float | None:
    """Batches of clicks that wait to be applied, by the gauge of the worker; None where no process has such a queue."""
    depths = [
        value
        for page in pages
        for name, labels, value in samples_of(page)
        if name == "sd_queue_depth" and labels.get("queue") == "clicks"
    ]
    return max(depths, default=None)
