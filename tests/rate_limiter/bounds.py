"""The bound of each algorithm, as its docstring states it, checked on what was admitted. Independent of the code that decides.

A bound is two questions: how much in any span of time, and how much in each aligned window (windows only). Times may be true ones
where the clock that decided was wrong: the spans are what a protected server feels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from designs.rate_limiter.limits import Limit

Admitted: TypeAlias = Sequence[tuple[int, int]]  # (when in microseconds, cost), in order


def over_bound(limit: Limit, admitted: Admitted) -> str | None:
    """What is wrong, or None."""
    return over_in_a_window(limit, admitted) or over_in_a_span(limit, admitted)


def over_in_a_window(limit: Limit, admitted: Admitted) -> str | None:
    """More than the quota in a window that begins at a multiple of the period."""
    if limit.algorithm not in ("fixed_window", "sliding_window", "sketch"):
        return None
    windows: Counter[int] = Counter()
    for at_us, cost in admitted:
        windows[at_us // limit.period_us] += cost
    return next((f"{units} of {limit.quota} in window {window}" for window, units in windows.items() if units > limit.quota), None)


def over_in_a_span(limit: Limit, admitted: Admitted) -> str | None:
    """More in some span than the algorithm promises for a span of that length."""
    if limit.algorithm in ("gcra", "leaky_queue"):
        return _over_rate(admitted, limit.burst, 1, limit.gap_us)
    if limit.algorithm in ("token_bucket", "leaky_bucket"):
        return _over_rate(admitted, limit.burst, limit.quota, limit.period_us)
    most = limit.quota if limit.algorithm == "sliding_log" else 2 * limit.quota
    units = most_in_a_period(limit, admitted)
    return f"{units} in a span of a period, where {most} is the bound" if units > most else None


def most_in_a_period(limit: Limit, admitted: Admitted) -> int:
    """The most units in any (t - period, t]."""
    most = within = 0
    oldest = 0
    for at_us, cost in admitted:
        within += cost
        while admitted[oldest][0] <= at_us - limit.period_us:
            within -= admitted[oldest][1]
            oldest += 1
        most = max(most, within)
    return most


def _over_rate(admitted: Admitted, burst: int, units: int, each_us: int) -> str | None:
    """The cost in [s, t] is at most burst + (t - s) x units / each_us, for all s and t at which something passed.

    In one pass: what is owed to the span that is worst so far. All in integers, with no allowance.
    """
    owed = 0  # in 1 / each_us of a unit, above what came in since
    last_us = admitted[0][0] if admitted else 0
    for at_us, cost in admitted:
        owed = max(0, owed - (at_us - last_us) * units) + cost * each_us
        last_us = at_us
        if owed > burst * each_us:
            return f"{owed / each_us:g} units beyond the rate at {at_us}, where {burst} is the bound"
    return None
