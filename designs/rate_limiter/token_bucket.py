"""Token bucket: `burst` tokens at most, `quota` of them come in each period, whoever finds enough takes them.

    state   (level, at_us, unit)   level in 1 / unit of a token, as of at_us

Turner, "New Directions in Communications", 1986, as a bucket that fills. To be exact at any rate, quota and period are divided by
their greatest common divisor: `n` comes in each microsecond where a token is `unit`. Promise: the cost admitted in [s, t] is at
most burst + rate x (t - s).
"""

from __future__ import annotations

from math import gcd

from designs.rate_limiter.limits import Decision, Limit, State


def rate(limit: Limit) -> tuple[int, int]:
    """(what comes in a microsecond, what a token is): 5 a second are (1, 200,000)."""
    divisor = gcd(limit.quota, limit.period_us)
    return limit.quota // divisor, limit.period_us // divisor


def take(limit: Limit, state: State, now_us: int, cost: int) -> State | None:
    if cost == 0:
        return state
    _, unit = rate(limit)
    level, _ = _level(limit, state, now_us)
    return (level - cost * unit, now_us, unit) if cost * unit <= level else None


def give_back(limit: Limit, state: State, now_us: int, cost: int) -> State:
    _, unit = rate(limit)
    level, _ = _level(limit, state, now_us)
    return (min(limit.burst * unit, level + cost * unit), now_us, unit)


def view(limit: Limit, state: State, now_us: int, cost: int) -> State:
    return state


def decide(limit: Limit, view: State, now_us: int, cost: int, allowed: bool) -> Decision:
    n, unit = rate(limit)
    level, behind_us = _level(limit, view, now_us)
    missing = max(0, cost * unit - level)
    wait_us = None if cost > limit.burst else -(-missing // n) + behind_us
    return Decision(
        allowed=allowed,
        limit=limit.burst,
        remaining=level // unit,
        retry_after_us=0 if allowed else wait_us,
        reset_after_us=-(-(limit.burst * unit - level) // n) + behind_us,
    )


def _level(limit: Limit, state: State, now_us: int) -> tuple[int, int]:
    """(level now, how far the clock lies behind the state). A clock that went back fills nothing until it has caught up.

    A rule that changed its rate has changed the unit: whole tokens are carried over, the rest of one is lost.
    """
    n, unit = rate(limit)
    full = limit.burst * unit
    if not state:
        return full, 0
    level, at_us, was = state
    if was != unit:
        level = level // was * unit
    level = min(full, level + max(0, now_us - at_us) * n)
    return level, max(0, at_us - now_us) if level < full else 0
