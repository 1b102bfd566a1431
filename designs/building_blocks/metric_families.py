"""A design's own metrics, read from the totals that its parts keep: nothing is counted twice, and the parts know no library.

observe(telemetry, read)   `read()` yields families whenever somebody scrapes
counter(...)               one family with one label
breakers(...)              the state of circuit breakers, for a `read`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.telemetry import Telemetry

if TYPE_CHECKING:
    from designs.building_blocks.tracing import SpanTotals

BREAKER = {"closed": 0, "half-open": 1, "open": 2}


class _Reader:
    """A collector that asks when it is scraped."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        yield from self._read()


def observe(telemetry: Telemetry, read: Callable[[], Iterable[Metric]]) -> None:
    telemetry.registry.register(_Reader(read))


def counter(name: str, what: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    """A counter by the values of one label."""
    family = CounterMetricFamily(name, what, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def breakers(named: Mapping[str, CircuitBreaker]) -> Iterator[Metric]:
    """Nothing where there are none."""
    if not named:
        return
    state = GaugeMetricFamily("sd_breaker_state", "0 closed, 1 half-open, 2 open.", labels=["breaker"])
    for name, breaker in named.items():
        state.add_metric([name], BREAKER[breaker.state])
    yield state
    yield counter(
        "sd_breaker_opened", "Times it opened.", "breaker", {name: breaker.opened_total for name, breaker in named.items()}
    )


def observe_refused(telemetry: Telemetry, refused: Callable[[], int]) -> None:
    """Requests that were refused because too many were under way."""

    def read() -> Iterable[Metric]:
        yield CounterMetricFamily("sd_overload_refused", "Requests refused because too many were under way.", refused())

    observe(telemetry, read)


def observe_spans(telemetry: Telemetry, totals: SpanTotals) -> None:
    """What became of the spans of this process."""

    def read() -> Iterable[Metric]:
        outcomes = {"sent": totals.sent, "failed": totals.failed, "dropped": totals.dropped}
        yield counter("sd_spans", "Spans by what became of them.", "outcome", outcomes)

    observe(telemetry, read)
