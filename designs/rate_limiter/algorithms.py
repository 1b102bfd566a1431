"""Every algorithm by its name, as functions over plain data: what a backend needs to count, and what an answer needs to say.

The modules are the algorithms. Each has these functions (`limit` first, times in integer microseconds, `state` () for a key that
was never seen), and nothing of them waits, reads a clock or keeps anything:

    take(limit, state, now_us, cost)              the state after, or None when refused; with cost 0 the state as it was
    give_back(limit, state, now_us, cost)         the state as if so much less had been taken
    view(limit, state, now_us, cost)              what of the state an answer depends on; a few integers, however long the state is
    decide(limit, view, now_us, cost, allowed)    the answer, from the view before a refusal or after an admission
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from designs.rate_limiter import (
    fixed_window,
    gcra,
    leaky_bucket,
    leaky_queue,
    sliding_log,
    sliding_window,
    token_bucket,
)
from designs.rate_limiter.limits import AlgorithmName, Decision, Limit, State
from designs.rate_limiter.ports import Demand


class Algorithm(Protocol):
    """See above; a module is one."""

    def take(self, limit: Limit, state: State, now_us: int, cost: int) -> State | None: ...
    def give_back(self, limit: Limit, state: State, now_us: int, cost: int) -> State: ...
    def view(self, limit: Limit, state: State, now_us: int, cost: int) -> State: ...
    def decide(self, limit: Limit, view: State, now_us: int, cost: int, allowed: bool) -> Decision: ...


# A sketch has no state of a key: it estimates the numbers of a sliding window, and decides by them as a window does.
ALGORITHMS: Mapping[AlgorithmName, Algorithm] = {
    "gcra": gcra,
    "token_bucket": token_bucket,
    "leaky_bucket": leaky_bucket,
    "leaky_queue": leaky_queue,
    "fixed_window": fixed_window,
    "sliding_window": sliding_window,
    "sliding_log": sliding_log,
    "sketch": sliding_window,
}


def answer(demand: Demand, view: State, now_us: int, *, passed: bool, taken: bool) -> Decision:
    """What a store says to one demand of several, from the view after it was taken, else from the one that was found.

    One that passed and was not taken, since another did not, has used nothing: the answer is where it stands.
    """
    algorithm = ALGORITHMS[demand.limit.algorithm]
    cost = demand.cost if taken or not passed else 0
    return algorithm.decide(demand.limit, view, now_us, cost, passed)
