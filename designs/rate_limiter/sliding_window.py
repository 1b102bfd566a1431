"""Sliding window counter: the count of this window, and of the one before as much as still lies within a period from now.

    state   (start_us, used, before)

    |---- before ----|---- used --|  now
              |<------ period ----->|       estimate = before x (period - elapsed) / period + used

The estimate takes it that the window before was used evenly. Promise: at most `quota` in each aligned window, and so at most twice
that in any span of a period. It is not `quota` in any period: who comes late in one window and early in the next gets more, and the
few per mille that are quoted for it are an average of ordinary traffic. Nor is it quite `quota` for a client that is always there:
the estimate keeps a unit of each window back, and of a quota of 1 it admits one in two windows.
"""

from __future__ import annotations

from designs.rate_limiter.fixed_window import end_of_window, start_of_window
from designs.rate_limiter.limits import Decision, Limit, State


def take(limit: Limit, state: State, now_us: int, cost: int) -> State | None:
    if cost == 0:
        return state
    length, now = _ticks(limit, now_us)
    start, used, before = _window(limit, state, now)
    weighed = before * (length - max(0, now - start)) + (used + cost) * length
    return (start * limit.tick_us, used + cost, before) if weighed <= limit.quota * length else None


def give_back(limit: Limit, state: State, now_us: int, cost: int) -> State:
    """What was taken in the window before goes back there: nothing is given back twice."""
    start, used, before = _window(limit, state, _ticks(limit, now_us)[1])
    here = min(used, cost)
    return (start * limit.tick_us, used - here, max(0, before - (cost - here)))


def view(limit: Limit, state: State, now_us: int, cost: int) -> State:
    return state


def decide(limit: Limit, view: State, now_us: int, cost: int, allowed: bool) -> Decision:
    length, now = _ticks(limit, now_us)
    start, used, before = _window(limit, view, now)
    end = end_of_window(max(now, start), length)
    weighed = before * (length - max(0, now - start))
    busy_until = end + length if used else end if before else now
    return Decision(
        allowed=allowed,
        limit=limit.quota,
        remaining=max(0, limit.quota - used - -(-weighed // length)),
        retry_after_us=0 if allowed else _wait_us(limit, (start, used, before), end, now_us, cost),
        reset_after_us=max(0, busy_until * limit.tick_us - now_us),
    )


def state_at(limit: Limit, state: State, now_us: int) -> State:
    """The state as of now: what a window before the last one held is gone."""
    start, used, before = _window(limit, state, _ticks(limit, now_us)[1])
    return (start * limit.tick_us, used, before)


def _ticks(limit: Limit, now_us: int) -> tuple[int, int]:
    """(length of a window, now), in ticks."""
    return limit.period_us // limit.tick_us, now_us // limit.tick_us


def _window(limit: Limit, state: State, now: int) -> tuple[int, int, int]:
    """(start, used, before) as of now, in ticks; see `fixed_window` for a state from later."""
    length = limit.period_us // limit.tick_us
    start = start_of_window(now, length)
    if not state:
        return start, 0, 0
    was, used, before = state[0] // limit.tick_us, state[1], state[2]
    if was >= start:
        return was, used, before
    return start, 0, used if was >= start - length else 0


def _wait_us(limit: Limit, window: tuple[int, int, int], end: int, now_us: int, cost: int) -> int | None:
    """Until the estimate leaves room for `cost`: in this window by the fading of the one before, or in the next one."""
    if cost > limit.quota:
        return None
    length, now = _ticks(limit, now_us)
    start, used, before = window
    if used + cost <= limit.quota:
        if before * (length - max(0, now - start)) + (used + cost) * length <= limit.quota * length:
            return 0
        at = start + length - (limit.quota - used - cost) * length // before
        if at < end:
            return at * limit.tick_us - now_us
    fades = max(0, length - (limit.quota - cost) * length // used) if used else 0
    return (end + fades) * limit.tick_us - now_us
