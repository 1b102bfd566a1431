"""GCRA and the buckets: where they are the same, and what sets each apart."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.limits import Limit
from tests.rate_limiter.traces import (
    PER_KEY,
    SECOND_US,
    START_US,
    THOROUGH,
    Asked,
    Key,
    limit_or_none,
    limits,
    moves,
    played,
    starts,
)


@THOROUGH
@given(st.data())
def test_a_leaky_bucket_decides_as_a_token_bucket(data: st.DataObject) -> None:
    limit = data.draw(limits("token_bucket"))
    upside_down = Key(Limit("leaky_bucket", limit.quota, limit.period_us, limit.burst))
    for asked in played(Key(limit), data.draw(moves(limit)), data.draw(starts)):
        assert upside_down.ask(asked.at_us, asked.cost) == asked.decision


@THOROUGH
@given(st.data())
def test_gcra_decides_as_a_token_bucket_where_its_gap_needs_no_rounding(data: st.DataObject) -> None:
    gap_us, burst = data.draw(st.integers(1, 10**9)), data.draw(st.integers(1, 1_000))
    limit, bucket = limit_or_none("gcra", 1, gap_us, burst), limit_or_none("token_bucket", 1, gap_us, burst)
    assert limit is not None
    assert bucket is not None
    other = Key(bucket)
    for asked in played(Key(limit), data.draw(moves(limit)), data.draw(starts)):
        assert other.ask(asked.at_us, asked.cost) == asked.decision


@THOROUGH
@given(st.data())
def test_gcra_never_admits_what_a_token_bucket_would_refuse_had_it_admitted_the_same(data: st.DataObject) -> None:
    """The gap is rounded up, so GCRA is at most a little slower: its traces pass an exact bucket."""
    limit = data.draw(limits("gcra"))
    bucket = Key(Limit("token_bucket", limit.quota, limit.period_us, limit.burst))
    for asked in played(Key(limit), data.draw(moves(limit, min_cost=1))):
        if asked.decision.allowed:
            assert bucket.ask(asked.at_us, asked.cost).allowed


def test_a_burst_is_no_quota_120_a_minute_are_one_each_500_ms_and_ten_may_come_together() -> None:
    for algorithm in ("gcra", "token_bucket", "leaky_bucket", "leaky_queue"):
        assert algorithm in PER_KEY
        key = Key(Limit(algorithm, 120, 60 * SECOND_US, 10))
        assert [key.ask(START_US).allowed for _ in range(12)] == [True] * 10 + [False] * 2
        assert key.ask(START_US).retry_after_us == 500_000
        assert key.ask(START_US + 500_000).allowed
        assert not key.ask(START_US + 999_999).allowed


def test_a_bucket_is_exact_where_gcra_loses_a_part_of_its_rate() -> None:
    """3 in 100 us: a gap of 34 us instead of 33 1/3 loses 2 %."""
    got = {}
    for algorithm in ("gcra", "token_bucket"):
        assert algorithm in PER_KEY
        key = Key(Limit(algorithm, 3, 100, 2))
        got[algorithm] = sum(key.ask(START_US + at_us).allowed for at_us in range(100_000))
    assert got["token_bucket"] == 2 + 3_000 - 1
    assert got["gcra"] == 2 + 100_000 // 34


@THOROUGH
@given(st.data())
def test_units_leave_a_leaky_queue_evenly_spaced_and_no_more_than_the_burst_wait(data: st.DataObject) -> None:
    limit = data.draw(limits("leaky_queue"))
    left: list[Asked] = []
    for asked in played(Key(limit), data.draw(moves(limit, min_cost=1)), data.draw(starts)):
        if not asked.decision.allowed:
            assert asked.decision.delay_us == 0
            continue
        left.append(asked)
        leaves_us = asked.at_us + asked.decision.delay_us
        there = sum(each.cost for each in left if each.at_us + each.decision.delay_us >= asked.at_us)
        assert there <= limit.burst
        assert leaves_us + limit.gap_us * asked.cost <= asked.at_us + limit.gap_us * limit.burst
    for one, next_one in pairwise(left):
        gap_us = next_one.at_us + next_one.decision.delay_us - one.at_us - one.decision.delay_us
        assert gap_us >= limit.gap_us * one.cost


def test_who_comes_early_to_a_leaky_queue_waits_and_who_comes_alone_does_not() -> None:
    key = Key(Limit("leaky_queue", 10, SECOND_US, 3))
    assert [key.ask(START_US).delay_us for _ in range(3)] == [0, 100_000, 200_000]
    assert not key.ask(START_US).allowed
    assert key.ask(START_US + 1 * SECOND_US).delay_us == 0


def test_a_bucket_of_another_rate_keeps_its_whole_tokens() -> None:
    """5 a second keep a level in 1 / 200,000 of a token, 3 a second in 1 / 1,000,000: three tokens are three in both."""
    key = Key(Limit("token_bucket", 5, SECOND_US, 10))
    key.ask(START_US, 7)
    assert key.copy(Limit("token_bucket", 3, SECOND_US, 10)).read(START_US).remaining == 3
    meter = Key(Limit("leaky_bucket", 5, SECOND_US, 10))
    meter.ask(START_US, 7)
    assert meter.copy(Limit("leaky_bucket", 3, SECOND_US, 10)).read(START_US).remaining == 3


def test_a_debt_of_gcra_is_time_so_that_at_another_rate_it_is_other_units() -> None:
    """One number can't say at which rate it was made. Ten at 1 a second are ten seconds, which at 2 a second are twenty units."""
    key = Key(Limit("gcra", 1, SECOND_US, 20))
    key.ask(START_US, 10)
    assert key.copy(Limit("gcra", 2, SECOND_US, 20)).read(START_US).remaining == 0
    assert key.copy(Limit("gcra", 1, 2 * SECOND_US, 20)).read(START_US).remaining == 15
