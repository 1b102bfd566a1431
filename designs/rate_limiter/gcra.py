"""GCRA: one number per key, the theoretical arrival time (TAT) of the next unit if everybody came evenly.

    a unit is due each T = period / quota, and burst units may come early:

        ----|-------------|-----------------|--------> time
           now           TAT           now + T x burst
            <-- taken --> <---- still to have ---->

The Generic Cell Rate Algorithm of ATM (ITU-T I.371, 1993; ATM Forum UNI 3.1). Promise: the cost admitted in [s, t] is at most
burst + (t - s) / T. T is rounded up to a microsecond, so up to 1 / T of the rate is lost: 1 % at 10,000 a second, where
token_bucket is exact. What a key owes is time: when its rule changes, ten units at 1 a second are five at 1 in two seconds.
"""

from __future__ import annotations

from designs.rate_limiter.limits import Decision, Limit, State


def take(limit: Limit, state: State, now_us: int, cost: int) -> State | None:
    tat_us = _tat_us(limit, state, now_us) + limit.gap_us * cost
    if tat_us - now_us > limit.gap_us * limit.burst:
        return None if cost else state
    return (tat_us,) if cost else state


def give_back(limit: Limit, state: State, now_us: int, cost: int) -> State:
    tat_us = _tat_us(limit, state, now_us)
    return (max(now_us, tat_us - limit.gap_us * cost),) if tat_us > now_us else state


def view(limit: Limit, state: State, now_us: int, cost: int) -> State:
    return state


def decide(limit: Limit, view: State, now_us: int, cost: int, allowed: bool) -> Decision:
    ahead_us = max(0, view[0] - now_us) if view else 0  # all of it: how long the rest of a larger burst still keeps others out
    room_us = limit.gap_us * limit.burst
    wait_us = None if cost > limit.burst else max(0, ahead_us + limit.gap_us * cost - room_us)
    return Decision(
        allowed=allowed,
        limit=limit.burst,
        remaining=max(0, room_us - ahead_us) // limit.gap_us,
        retry_after_us=0 if allowed else wait_us,
        reset_after_us=ahead_us,
    )


def _tat_us(limit: Limit, state: State, now_us: int) -> int:
    """The stored TAT as far as it can be meant: after a step back of clock or burst all is taken, and not more than all."""
    if not state:
        return now_us
    return min(max(state[0], now_us), now_us + limit.gap_us * limit.burst)
