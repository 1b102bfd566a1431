"""Exact log: the time of each unit of the last period. Nothing is estimated, and each unit costs memory.

    state   (stamp, stamp, ...)      microseconds, oldest first; a cost of n is n stamps
    view    (used, frees_at, last)   units in the window; the stamp whose end makes room for the cost, 0 for none; the newest stamp

Promise: at most `quota` in any (t - period, t]. The only one of the windows that keeps to it at every moment.
"""

from __future__ import annotations

from bisect import bisect_right

from designs.rate_limiter.limits import Decision, Limit, State


def take(limit: Limit, state: State, now_us: int, cost: int) -> State | None:
    if cost == 0:
        return state
    kept = _within(limit, state, now_us)
    if len(kept) + cost > limit.quota:
        return None
    # Never before the last one, so that the log stays in order when the clock goes back.
    return kept + (max(now_us, kept[-1]) if kept else now_us,) * cost


def give_back(limit: Limit, state: State, now_us: int, cost: int) -> State:
    kept = _within(limit, state, now_us)
    return kept[: max(0, len(kept) - cost)]


def view(limit: Limit, state: State, now_us: int, cost: int) -> State:
    kept = _within(limit, state, now_us)
    rank = len(kept) + cost - limit.quota - 1
    return (len(kept), kept[rank] if 0 <= rank < len(kept) else 0, kept[-1] if kept else 0)


def decide(limit: Limit, view: State, now_us: int, cost: int, allowed: bool) -> Decision:
    used, frees_at_us, last_us = view
    wait_us = None if cost > limit.quota else max(0, frees_at_us + limit.period_us - now_us) if frees_at_us else 0
    return Decision(
        allowed=allowed,
        limit=limit.quota,
        remaining=max(0, limit.quota - used),
        retry_after_us=0 if allowed else wait_us,
        reset_after_us=max(0, last_us + limit.period_us - now_us) if used else 0,
    )


def _within(limit: Limit, state: State, now_us: int) -> State:
    return state[bisect_right(state, now_us - limit.period_us) :]
