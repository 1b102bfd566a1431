"""Limits and traces for hypothesis, and one key under one algorithm: what a backend does with the functions, without a backend.

A trace is no list of times. It is a list of moves, and a move knows the last answer: come back when told, a microsecond sooner, at
the edge of the window, when all is forgotten. A bound that breaks, breaks there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from designs.rate_limiter.algorithms import ALGORITHMS
from designs.rate_limiter.limits import MAX_LOG, NEVER_SEEN, WITH_BURST, AlgorithmName, BadLimit, Decision, Limit, State

# A sketch decides by the functions of sliding_window; what is its own is in test_count_min_sketch.py.
PER_KEY: tuple[AlgorithmName, ...] = tuple(name for name in ALGORITHMS if name != "sketch")

# A busy machine draws slowly; that says nothing about a limiter.
THOROUGH = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

START_US = 1_700_000_000_000_000
SECOND_US, DAY_US = 1_000_000, 86_400 * 1_000_000

When: TypeAlias = Literal["at once", "later", "before retry", "at retry", "before edge", "at edge", "after reset"]


@dataclass
class Key:
    """Who is counted. Asks as every backend does: take, and the answer from the state after, or before when refused."""

    limit: Limit
    state: State = NEVER_SEEN

    def ask(self, now_us: int, cost: int = 1) -> Decision:
        algorithm = ALGORITHMS[self.limit.algorithm]
        after = algorithm.take(self.limit, self.state, now_us, cost)
        if after is not None:
            self.state = after
        return algorithm.decide(self.limit, algorithm.view(self.limit, self.state, now_us, cost), now_us, cost, after is not None)

    def read(self, now_us: int) -> Decision:
        return self.copy().ask(now_us, 0)

    def give_back(self, now_us: int, cost: int) -> None:
        self.state = ALGORITHMS[self.limit.algorithm].give_back(self.limit, self.state, now_us, cost)

    def copy(self, limit: Limit | None = None) -> Key:
        return Key(limit or self.limit, self.state)


class Move(NamedTuple):
    when: When
    later_us: int
    cost: int


class Asked(NamedTuple):
    at_us: int
    cost: int
    decision: Decision


def wait_us(limit: Limit, now_us: int, move: Move, last: Decision | None) -> int:
    """How long a client waits that plays this move after that answer."""
    retry_us = (last.retry_after_us if last else 0) or 0
    edge_us = limit.period_us - now_us % limit.period_us
    waits: dict[When, int] = {
        "at once": 0,
        "later": move.later_us,
        "before retry": max(0, retry_us - 1),
        "at retry": retry_us,
        "before edge": edge_us - 1,
        "at edge": edge_us,
        "after reset": last.reset_after_us if last else 0,
    }
    return waits[move.when]


def played(key: Key, moves: Sequence[Move], start_us: int = START_US) -> Iterator[Asked]:
    now_us, last = start_us, None
    for move in moves:
        now_us += wait_us(key.limit, now_us, move, last)
        last = key.ask(now_us, move.cost)
        yield Asked(now_us, move.cost, last)


def admitted(asked: Sequence[Asked]) -> list[tuple[int, int]]:
    """(when, cost) of what passed."""
    return [(each.at_us, each.cost) for each in asked if each.decision.allowed and each.cost]


def limit_or_none(algorithm: AlgorithmName, quota: int, period_us: int, burst: int) -> Limit | None:
    try:
        return Limit(algorithm, quota, period_us, burst if algorithm in WITH_BURST else quota)
    except BadLimit:
        return None


@st.composite
def limits(draw: st.DrawFn, algorithm: AlgorithmName, max_quota: int = 1_000_000) -> Limit:
    """Small numbers, where edges meet, and all that is allowed: from one a day to a million a second."""
    most = min(max_quota, MAX_LOG) if algorithm == "sliding_log" else max_quota
    quota = draw(st.integers(1, min(12, most)) | st.integers(1, most))
    period_us = draw(st.integers(1, 50) | st.sampled_from([1_000, SECOND_US, 60 * SECOND_US, DAY_US]) | st.integers(1, DAY_US))
    limit = limit_or_none(algorithm, quota, period_us, draw(st.integers(1, 12) | st.integers(1, 1_000)))
    if limit is None:
        limit = limit_or_none(algorithm, quota, max(quota, 1_000_000), 1)
    assert limit is not None
    return limit


WHENS: tuple[When, ...] = ("at once", "later", "before retry", "at retry", "before edge", "at edge", "after reset")


def moves(limit: Limit, min_cost: int = 0) -> st.SearchStrategy[list[Move]]:
    """One number a move, which is much faster than a strategy for each of its parts; small numbers are plain moves."""
    return st.lists(st.integers(0, 1 << 48), max_size=20).map(lambda numbers: [_move(limit, min_cost, each) for each in numbers])


def _move(limit: Limit, min_cost: int, number: int) -> Move:
    number, when = divmod(number, len(WHENS))
    number, cost = divmod(number, 5)
    number, later = divmod(number, 4)
    most = limit.burst + 1  # one that never fits
    costs = (min_cost, 1, 2, limit.burst, min_cost + number % (most - min_cost + 1))
    laters = (limit.gap_us, limit.period_us, number % (2 * limit.gap_us + 1), number % (2 * limit.period_us + 1))
    return Move(WHENS[when], laters[later], min(most, costs[cost]))


starts = st.integers(0, 3 * DAY_US).map(lambda offset_us: START_US + offset_us)
