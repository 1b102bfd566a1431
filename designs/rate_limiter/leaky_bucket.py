"""Leaky bucket as a meter: each unit pours in, the bucket leaks evenly, and what would overflow is refused.

    state   (level, at_us, unit)   level in 1 / unit of a unit, as of at_us

Turner, "New Directions in Communications", 1986. It is the token bucket upside down (level here = burst - level there), and a test
says that the two decide alike. As a queue, which lets the admitted wait for their turn, it is `leaky_queue`.
"""

from __future__ import annotations

from designs.rate_limiter.limits import Decision, Limit, State
from designs.rate_limiter.token_bucket import rate


def take(limit: Limit, state: State, now_us: int, cost: int) -> State | None:
    if cost == 0:
        return state
    _, unit = rate(limit)
    level, _ = _level(limit, state, now_us)
    return (level + cost * unit, now_us, unit) if level + cost * unit <= limit.burst * unit else None


def give_back(limit: Limit, state: State, now_us: int, cost: int) -> State:
    _, unit = rate(limit)
    level, _ = _level(limit, state, now_us)
    return (max(0, level - cost * unit), now_us, unit)


def view(limit: Limit, state: State, now_us: int, cost: int) -> State:
    return state


def decide(limit: Limit, view: State, now_us: int, cost: int, allowed: bool) -> Decision:
    n, unit = rate(limit)
    level, behind_us = _level(limit, view, now_us)
    over = max(0, level + (cost - limit.burst) * unit)
    wait_us = None if cost > limit.burst else -(-over // n) + behind_us
    return Decision(
        allowed=allowed,
        limit=limit.burst,
        remaining=max(0, limit.burst * unit - level) // unit,
        retry_after_us=0 if allowed else wait_us,
        reset_after_us=-(-level // n) + behind_us,
    )


def _level(limit: Limit, state: State, now_us: int) -> tuple[int, int]:
    """(level now, how far the clock lies behind the state), as in `token_bucket`; of another unit, what was begun counts whole.

    What a larger bucket held has to leak from a smaller one as well: the level may lie above the brim, and nothing passes then.
    """
    n, unit = rate(limit)
    if not state:
        return 0, 0
    level, at_us, was = state
    if was != unit:
        level = -(-level // was) * unit
    level = max(0, level - max(0, now_us - at_us) * n)
    return level, max(0, at_us - now_us) if level > 0 else 0
