"""Did a limiter let in more than it promises? Judged from what was admitted and when, and never to its disadvantage.

A client knows when it asked and when it had the answer; the decision fell in between. So a stretch from the asking of one request
to the answer of another is at least as long as what the limiter saw, and what is too much in it was too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from workbench.limiter_bench.candidates import Promise

Admission: TypeAlias = tuple[int, int]  # (sent, answered) in microseconds of one clock, in the order of the requests

SLACK_US = 1_000  # some limiters count in whole milliseconds, and nobody is blamed for one


def excess(promise: Promise, admitted: Sequence[Admission], limit: int, period_us: int) -> int:
    """The most units above the promise in any stretch; 0 when it was kept. `limit` is the quota of a period and the burst."""
    worst = 0
    for first, (sent_us, _) in enumerate(admitted):
        for last in range(first + limit, len(admitted)):  # what is up to the limit is fine in no time at all
            took_us = admitted[last][1] - sent_us + SLACK_US
            if promise != "burst and rate" and took_us >= period_us:
                break
            worst = max(worst, last - first + 1 - allowed_in(promise, took_us, limit, period_us))
    return worst


def allowed_in(promise: Promise, took_us: int, limit: int, period_us: int) -> int:
    """The most that may be let in during a stretch. Windows promise nothing about one that is as long as their period."""
    if promise == "any window":
        return limit
    if promise == "window edges":
        return 2 * limit
    return limit + took_us * limit // period_us


def race_bound(promise: Promise, limit: int, period_s: int, began_s: float, ended_s: float) -> int:
    """What may be let in between two moments of the wall clock, which are far less than a period apart.

    Windows are taken to be cut at multiples of the period since 1970, or at the first request, which is no edge of a race.
    """
    if promise == "burst and rate":
        return allowed_in(promise, round((ended_s - began_s) * 1e6), limit, period_s * 1_000_000)
    edge = promise == "window edges" and began_s // period_s != ended_s // period_s
    return 2 * limit if edge else limit
