"""The design's own metrics, read from the totals that its parts keep: nothing is counted twice, and the parts know no library."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from designs.building_blocks.metric_families import breakers, counter, observe

if TYPE_CHECKING:
    from designs.building_blocks.telemetry import Telemetry
    from designs.url_shortener.click_worker import ClickWorker
    from designs.url_shortener.replica import Replica


def observe_replica(replica: Replica) -> None:
    """Cache, clicks and write-behind of a replica."""

    def read() -> Iterable[Metric]:
        if replica.cache is not None:
            stats = replica.cache.stats
            yield counter(
                "sd_cache_requests",
                "Look-ups by who answered.",
                "result",
                {
                    "local_hit": stats.local_hits,
                    "shared_hit": stats.shared_hits,
                    "negative_hit": stats.negative_hits,
                    "miss": stats.misses,
                },
            )
            yield CounterMetricFamily("sd_cache_loads", "Times the store was asked to fill the cache.", stats.loads)
            yield CounterMetricFamily("sd_cache_waits", "Look-ups that waited for another one's load.", stats.waits)
            yield CounterMetricFamily("sd_cache_refused_fills", "Fills that came too late.", stats.refused_fills)
            yield CounterMetricFamily("sd_cache_evicted", "Links the process layer had no room for.", replica.cache.evicted)
            yield CounterMetricFamily("sd_cache_unavailable", "Look-ups without the shared layer.", stats.unavailable)
        yield from breakers(replica.breakers)
        if replica.knobs.clicks != "off":
            totals = replica.click_totals
            outcomes = {"accepted": totals.accepted, "unsure": totals.unsure, "dropped": sum(totals.dropped.values())}
            yield counter("sd_clicks", "Clicks by what became of them at the replica.", "outcome", outcomes)
            yield counter("sd_clicks_dropped", "Dropped clicks by reason.", "reason", totals.dropped)
            waiting = replica.recorder.waiting if replica.recorder is not None else 0
            yield GaugeMetricFamily("sd_clicks_buffered", "Clicks not sent yet.", waiting)
        if replica.knobs.cache == "write-behind":
            behind = replica.write_behind
            yield CounterMetricFamily("sd_write_behind_stored", "Links carried to the store.", behind.stored)
            yield CounterMetricFamily("sd_write_behind_conflicts", "Acknowledged links whose code was taken.", behind.conflicts)

    observe(replica.telemetry, read)


def observe_worker(telemetry: Telemetry, worker: ClickWorker) -> None:
    """What a click worker did. Depths are set by whoever asks the queue (`worker.py`)."""

    def read() -> Iterable[Metric]:
        totals = worker.totals
        yield CounterMetricFamily("sd_clicks_applied", "Clicks counted.", totals.applied_clicks)
        yield CounterMetricFamily("sd_clicks_dead_lettered", "Clicks given up.", totals.dead_lettered_clicks)
        yield CounterMetricFamily("sd_click_batches_applied", "Batches counted.", totals.applied_batches)
        yield CounterMetricFamily(
            "sd_click_batches_repeated", "Batches that came again after being counted.", totals.repeated_batches
        )
        yield CounterMetricFamily("sd_click_batches_dead_lettered", "Batches given up.", totals.dead_lettered_batches)
        yield CounterMetricFamily("sd_click_worker_failures", "Rounds that failed and were tried again.", totals.failures)

    observe(telemetry, read)


class Synced(Protocol):
    """A store that tells how often it had the disk sync."""

    @property
    def syncs(self) -> int: ...


def observe_syncs(telemetry: Telemetry, backend: str, stores: Collection[Synced]) -> None:
    """Commits of this process that synced the disk, of all its stores together."""

    def read() -> Iterable[Metric]:
        what = "Commits that had the disk sync the log; those of checkpoints are not in it."
        yield counter("sd_store_syncs", what, "backend", {backend: sum(store.syncs for store in stores)})

    observe(telemetry, read)


def observe_messages(telemetry: Telemetry, sent: Mapping[str, Callable[[], int]]) -> None:
    """Messages this process has put into each queue. A batch of clicks is one."""

    def read() -> Iterable[Metric]:
        yield counter("sd_queue_messages", "Messages put into a queue.", "queue", {queue: count() for queue, count in sent.items()})

    observe(telemetry, read)
