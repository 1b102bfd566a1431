"""Concurrency limit: at most so many under way at once, each by a lease that ends unless it is renewed.

    held   token -> when its lease ends, in microseconds

Without leases a client that dies keeps its slot for ever. With them it is back after `lease_us`, and a client that stalls for
longer goes on working without one: the limit holds for leases, so a lease has to be longer than the work or be renewed
(Gray and Cheriton, "Leases", 1989).
"""

from __future__ import annotations

from collections.abc import Mapping

from designs.rate_limiter.limits import Decision, Slots


def live(held: Mapping[str, int], now_us: int) -> dict[str, int]:
    """Those whose lease has not ended. It ends at its time, not after it."""
    return {token: until_us for token, until_us in held.items() if until_us > now_us}


def acquire(slots: Slots, held: Mapping[str, int], now_us: int, token: str) -> dict[str, int] | None:
    """The leases after; None when there is no slot. A token that has one keeps it, for a new lease."""
    now_held = live(held, now_us)
    if token not in now_held and len(now_held) >= slots.limit:
        return None
    return now_held | {token: now_us + slots.lease_us}


def renew(slots: Slots, held: Mapping[str, int], now_us: int, token: str) -> dict[str, int] | None:
    """None when the lease had run out: the slot may be somebody else's by now."""
    now_held = live(held, now_us)
    return now_held | {token: now_us + slots.lease_us} if token in now_held else None


def decide(slots: Slots, used: int, frees_at_us: int, now_us: int, allowed: bool) -> Decision:
    """`used` slots; `frees_at_us` is when the first of them ends unless it is renewed, so the wait is at least a guess.

    Unlike other limits, nobody can say when somebody else will be done. A limit that was made smaller may hold more than it has.
    """
    return Decision(
        allowed=allowed,
        limit=slots.limit,
        remaining=max(0, slots.limit - used),
        retry_after_us=0 if allowed else max(0, frees_at_us - now_us),
        reset_after_us=slots.lease_us if allowed else max(0, frees_at_us - now_us),
    )
