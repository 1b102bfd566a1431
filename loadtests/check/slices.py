"""The course of a load over time: requests cut into slices by when they were due."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from loadtests.check.record import Slice
from loadtests.comparison.rounds import is_answered, is_failed
from loadtests.generator.replay import is_sent
from loadtests.workload import Exchange

SHORTEST_S = 0.1
SLICES_SHOWN = 240


def slices(exchanges: Sequence[Exchange], began_s: float, seconds: float) -> list[Slice]:
    """Slices of equal width from `began_s` on, empty ones too, until `seconds` later or the last request that was due.

    A tenth of a second wide, or as much wider as keeps them below 240. What a client decided not to send is in none.
    """
    sent = [exchange for exchange in exchanges if is_sent(exchange)]
    length_s = max([seconds, *(exchange.intended_s - began_s for exchange in sent)])
    width_s = SHORTEST_S * math.ceil(length_s / SLICES_SHOWN / SHORTEST_S)
    cut: list[list[Exchange]] = [[] for _ in range(max(1, math.ceil(length_s / width_s - 1e-9)))]
    for exchange in sent:
        place = math.floor((exchange.intended_s - began_s) / width_s)
        cut[min(max(place, 0), len(cut) - 1)].append(exchange)
    return [_slice(round(place * width_s, 6), due) for place, due in enumerate(cut)]


def _slice(at_s: float, due: Sequence[Exchange]) -> Slice:
    waits_ms = [1e3 * (exchange.end_s - exchange.intended_s) for exchange in due if is_answered(exchange)]
    return Slice(
        at_s=at_s,
        requests=len(due),
        failed=sum(is_failed(exchange) for exchange in due),
        p50_ms=statistics.median_low(waits_ms) if waits_ms else None,
        max_ms=max(waits_ms, default=None),
    )
