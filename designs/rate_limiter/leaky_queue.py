"""Leaky bucket as a queue: the admitted wait for their turn, so that what comes out is evenly spaced (a traffic shaper).

    state   (free_at_us,)   when the next unit may leave

Who is admitted is what `gcra` admits; the difference is the answer: the unit that comes early is let in with the time it has to
wait. Promise: the units that leave in [s, t] are at most 1 + (t - s) / T, and at most `burst` wait or leave at once. A cost of n
leaves as one, and the next one n x T later. The wait is the caller's, so a slow client holds a connection instead of a slot here.
"""

from __future__ import annotations

from dataclasses import replace

from designs.rate_limiter import gcra
from designs.rate_limiter.limits import Decision, Limit, State

take = gcra.take
give_back = gcra.give_back
view = gcra.view


def decide(limit: Limit, view: State, now_us: int, cost: int, allowed: bool) -> Decision:
    decision = gcra.decide(limit, view, now_us, cost, allowed)
    if not allowed or not cost:
        return decision
    return replace(decision, delay_us=max(0, decision.reset_after_us - limit.gap_us * cost))
