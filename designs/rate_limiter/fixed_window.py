"""Fixed window: a counter for each aligned window of the period, forgotten when the next one begins.

    state   (start_us, used)

Promise: at most `quota` in each window, and so at most twice that in a span of the window's length that lies across an edge.
"""

from __future__ import annotations

from designs.rate_limiter.limits import Decision, Limit, State


def take(limit: Limit, state: State, now_us: int, cost: int) -> State | None:
    if cost == 0:
        return state
    start_us, used = _window(limit, state, now_us)
    return (start_us, used + cost) if used + cost <= limit.quota else None


def give_back(limit: Limit, state: State, now_us: int, cost: int) -> State:
    start_us, used = _window(limit, state, now_us)
    return (start_us, max(0, used - cost))


def view(limit: Limit, state: State, now_us: int, cost: int) -> State:
    return state


def decide(limit: Limit, view: State, now_us: int, cost: int, allowed: bool) -> Decision:
    start_us, used = _window(limit, view, now_us)
    left_us = end_of_window(max(now_us, start_us), limit.period_us) - now_us
    wait_us = None if cost > limit.quota else left_us if used + cost > limit.quota else 0
    return Decision(
        allowed=allowed,
        limit=limit.quota,
        remaining=max(0, limit.quota - used),
        retry_after_us=0 if allowed else wait_us,
        reset_after_us=left_us if used else 0,
    )


def start_of_window(at: int, length: int) -> int:
    return at - at % length


def end_of_window(at: int, length: int) -> int:
    return start_of_window(at, length) + length


def _window(limit: Limit, state: State, now_us: int) -> tuple[int, int]:
    """(start, used) of the window that now lies in.

    A state from later than that start is of the same window: the clock went back, or the rule has a longer period now. Either way
    what was used stays used.
    """
    start_us = start_of_window(now_us, limit.period_us)
    return (state[0], state[1]) if state and state[0] >= start_us else (start_us, 0)
