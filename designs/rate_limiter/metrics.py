"""The design's own metrics, read from the totals that its parts keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from designs.building_blocks.metric_families import breakers, counter, observe
from designs.rate_limiter.load_shedder import PRIORITIES

if TYPE_CHECKING:
    from designs.rate_limiter.replica import Replica


def observe_replica(replica: Replica) -> None:
    """Decisions, rules and stores of a replica. Labels are names of the rule file, and never what a request brought."""

    def read() -> Iterable[Metric]:
        totals = replica.limiter.totals
        yield _by_rule("sd_limiter_decisions", "What rules said.", "outcome", totals.decisions)
        yield _by_rule("sd_limiter_degraded", "What rules said without the store.", "policy", totals.degraded)
        yield CounterMetricFamily("sd_limiter_unmatched", "Requests that no rule applied to.", totals.unmatched)
        yield counter("sd_limiter_rule_reloads", "New rule files by what became of them.", "outcome", replica.rule_file.reloads)
        yield from breakers(replica.breakers)
        memories = replica.memories
        yield GaugeMetricFamily("sd_limiter_memory_keys", "Keys in this process's memory.", sum(each.keys for each in memories))
        shared = sum(each.shared for each in memories)
        yield CounterMetricFamily("sd_limiter_memory_shared", "Decisions in a bucket of several keys, for want of room.", shared)
        if replica.lease is not None:
            yield CounterMetricFamily("sd_limiter_lease_trips", "Round trips for leases.", replica.lease.trips)
            yield CounterMetricFamily("sd_limiter_leased_units", "Units leased.", replica.lease.leased)
        if replica.shedder is not None:
            shed: dict[str, int] = {priority: replica.shedder.shed[priority] for priority in PRIORITIES}
            yield counter("sd_limiter_shed", "Requests refused for want of room, by their priority.", "priority", shed)
        if replica.envoy is not None:
            yield counter("sd_limiter_envoy_calls", "Envoy's calls by their answer.", "code", replica.envoy.calls)

    observe(replica.telemetry, read)


def _by_rule(name: str, what: str, label: str, values: Mapping[tuple[str, str, str], int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, what, labels=["domain", "rule", label])
    for (domain, rule, value), count in values.items():
        family.add_metric([domain, rule, value], count)
    return family
