"""Fixed window, sliding window and log: what each lets through at the edge of a window, which is where they differ."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.limits import AlgorithmName, Limit
from tests.rate_limiter.bounds import most_in_a_period, over_bound
from tests.rate_limiter.traces import SECOND_US, THOROUGH, Key, admitted, limits, moves, played

MINUTE_US = 60 * SECOND_US
EDGE_US = 1_700_000_040_000_000  # a window of a minute begins here
assert EDGE_US % MINUTE_US == 0


def across_an_edge(algorithm: AlgorithmName, quota: int) -> list[tuple[int, int]]:
    """Who knows the windows: all late in one, then all that can be had in a little less than a period."""
    key = Key(Limit(algorithm, quota, MINUTE_US, quota))
    got = [(EDGE_US - 1, 1) for _ in range(2 * quota) if key.ask(EDGE_US - 1).allowed]
    for at_us in range(EDGE_US, EDGE_US + MINUTE_US - 1, MINUTE_US // (4 * quota)):
        while key.ask(at_us).allowed:
            got.append((at_us, 1))
    return got


def test_a_fixed_window_lets_twice_its_quota_through_at_an_edge() -> None:
    got = across_an_edge("fixed_window", 100)
    assert got[:200] == [(EDGE_US - 1, 1)] * 100 + [(EDGE_US, 1)] * 100
    limit = Limit("fixed_window", 100, MINUTE_US, 100)
    assert most_in_a_period(limit, got) == 200
    assert over_bound(limit, got) is None


def test_a_sliding_window_lets_more_than_its_quota_through_in_some_period_and_never_twice_as_much() -> None:
    """The quoted few per mille are an average of ordinary traffic: this is 99 % over, and within the bound."""
    limit, got = Limit("sliding_window", 100, MINUTE_US, 100), across_an_edge("sliding_window", 100)
    assert 190 <= most_in_a_period(limit, got) <= 200
    assert over_bound(limit, got) is None


def test_a_log_lets_its_quota_through_and_no_more_at_an_edge() -> None:
    limit, got = Limit("sliding_log", 100, MINUTE_US, 100), across_an_edge("sliding_log", 100)
    assert most_in_a_period(limit, got) == 100
    assert len(got) == 100


@pytest.mark.parametrize("quota", [1, 2, 7])
def test_the_adversary_of_a_sliding_window_gets_more_than_the_quota_whatever_the_quota(quota: int) -> None:
    limit = Limit("sliding_window", quota, MINUTE_US, quota)
    most = most_in_a_period(limit, across_an_edge("sliding_window", quota))
    assert quota - (quota == 1) < most + (quota == 1) <= 2 * quota


def test_a_sliding_window_weighs_the_window_before_by_what_of_it_lies_within_a_period() -> None:
    key = Key(Limit("sliding_window", 10, MINUTE_US, 10))
    assert key.ask(EDGE_US - 1, 8).allowed
    assert key.read(EDGE_US).remaining == 2
    assert key.read(EDGE_US + MINUTE_US // 4).remaining == 4  # 8 x 3/4 = 6
    assert key.read(EDGE_US + MINUTE_US // 2).remaining == 6
    assert key.read(EDGE_US + MINUTE_US).remaining == 10


@pytest.mark.parametrize("algorithm", ["fixed_window", "sliding_window", "sliding_log"])
def test_what_was_used_in_a_later_window_stays_used_when_the_clock_goes_back(algorithm: AlgorithmName) -> None:
    key = Key(Limit(algorithm, 5, MINUTE_US, 5))
    assert key.ask(EDGE_US, 5).allowed
    refused = key.ask(EDGE_US - 1)
    assert not refused.allowed
    assert refused.retry_after_us is not None
    assert MINUTE_US < refused.retry_after_us <= MINUTE_US * 6 // 5 + 1


def test_a_fixed_window_says_when_the_next_one_begins() -> None:
    key = Key(Limit("fixed_window", 2, MINUTE_US, 2))
    assert key.ask(EDGE_US + 20 * SECOND_US, 2).reset_after_us == 40 * SECOND_US
    assert key.ask(EDGE_US + 30 * SECOND_US).retry_after_us == 30 * SECOND_US


@THOROUGH
@given(st.data())
def test_a_log_is_in_order_and_never_longer_than_its_quota(data: st.DataObject) -> None:
    limit = data.draw(limits("sliding_log", max_quota=50))
    key = Key(limit)
    for _ in played(key, data.draw(moves(limit))):
        assert len(key.state) <= limit.quota
        assert all(one <= other for one, other in pairwise(key.state))


@THOROUGH
@given(st.data())
def test_a_log_admits_whatever_keeps_its_bound(data: st.DataObject) -> None:
    """Refused is only what would have been too much: the log is exact to both sides."""
    limit = data.draw(limits("sliding_log", max_quota=50))
    got: list[tuple[int, int]] = []
    for asked in played(Key(limit), data.draw(moves(limit, min_cost=1))):
        fits = over_bound(limit, [*got, (asked.at_us, asked.cost)]) is None
        assert asked.decision.allowed == fits
        got += admitted([asked])
