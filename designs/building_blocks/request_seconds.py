"""`http_request_duration_seconds`: the same exposition as the client library's histogram, at a fraction of its cost.

That is worth 60 lines because it is paid on the hottest path of every design. For one event loop: nothing is locked.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})
_BOUNDS = (*map(floatToGoString, BUCKETS_S), "+Inf")


class RequestSeconds:
    """The histogram of one process, by method, route template and status."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], _Series] = {}

    def observe(self, method: str, route: str, status: int, seconds: float, traceparent: str = "") -> None:
        """Count one request. Methods that callers make up share one series. `traceparent` is that of a sampled request."""
        series = self._series.get((method, route, status))
        if series is None:
            key = (method if method in METHODS else "other", route, status)
            series = self._series.setdefault(key, _Series())
        bucket = bisect_left(BUCKETS_S, seconds)
        series.counts[bucket] += 1
        series.sum_s += seconds
        if traceparent:
            series.exemplars[bucket] = Exemplar({"trace_id": traceparent[3:35]}, seconds, time.time())

    def collect(self) -> Iterator[Metric]:
        """The family, once there was a request. A bucket's exemplar is its last sampled one; only OpenMetrics shows it."""
        if not self._series:
            return
        family = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Time from the request's head to the end of its answer, by route template.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), series in self._series.items():
            running, exemplars = accumulate(series.counts), series.exemplars
            buckets = [
                (bound, count, exemplars[bucket]) if bucket in exemplars else (bound, count)
                for bucket, (bound, count) in enumerate(zip(_BOUNDS, running, strict=True))
            ]
            family.add_metric([method, route, str(status)], buckets, series.sum_s)
        yield family


class _Series:
    """Counts per bucket (not cumulative), their sum, and an exemplar of each bucket that has one: one combination of labels."""

    __slots__ = ("counts", "exemplars", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0
        self.exemplars: dict[int, Exemplar] = {}
