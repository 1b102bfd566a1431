"""What every algorithm promises, attacked: traces that come back at the worst moment, limits from 1 a day to a million a second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.algorithms import ALGORITHMS
from designs.rate_limiter.limits import EXACT, MAX_LOG, NEVER_SEEN, WITH_BURST, AlgorithmName, Limit
from tests.rate_limiter.bounds import over_bound, over_in_a_span
from tests.rate_limiter.traces import (
    DAY_US,
    PER_KEY,
    SECOND_US,
    START_US,
    THOROUGH,
    Asked,
    Key,
    Move,
    admitted,
    limit_or_none,
    limits,
    moves,
    played,
    starts,
)

every_algorithm = pytest.mark.parametrize("algorithm", PER_KEY)


@every_algorithm
@THOROUGH
@given(st.data())
def test_what_is_admitted_keeps_to_the_bound_however_it_is_timed(algorithm: AlgorithmName, data: st.DataObject) -> None:
    limit = data.draw(limits(algorithm))
    asked = list(played(Key(limit), data.draw(moves(limit)), data.draw(starts)))
    assert over_bound(limit, admitted(asked)) is None


@every_algorithm
@THOROUGH
@given(st.data())
def test_a_client_that_always_wants_more_gets_its_rate(algorithm: AlgorithmName, data: st.DataObject) -> None:
    """Comes back when told, and gets at least rate x time - 1.

    GCRA rounds the gap between two up to a microsecond, and so does a bucket that holds one unit: what comes in before the clock
    shows it overflows. The estimate of a sliding window keeps one unit of each window back from a client that is always there (more
    when more come in a tick than one), and of a quota of one it admits one in two windows.
    """
    limit = data.draw(limits(algorithm, max_quota=40))
    start_us, periods = data.draw(starts), data.draw(st.integers(1, 4))
    end_us, key, got, now_us = start_us + periods * limit.period_us, Key(limit), 0, start_us
    while now_us < end_us:
        decision = key.ask(now_us)
        got += decision.allowed
        assert decision.allowed or decision.retry_after_us
        now_us += decision.retry_after_us or 0
    due = periods * limit.quota
    if algorithm in ("gcra", "leaky_queue") or (algorithm in WITH_BURST and limit.burst == 1):
        due = periods * limit.period_us // limit.gap_us
    if algorithm == "sliding_window":
        kept_back = -(-limit.quota * limit.tick_us // limit.period_us)
        due = max(periods * (limit.quota - kept_back), periods // 2 * limit.quota)
    assert got >= due - 1


@every_algorithm
@THOROUGH
@given(st.data())
def test_a_refusal_and_a_look_change_nothing(algorithm: AlgorithmName, data: st.DataObject) -> None:
    """Two clients with the same admissions: one asks in between for more than there is, and reads. Both hear the same."""
    limit = data.draw(limits(algorithm))
    quiet, loud = Key(limit), Key(limit)
    for asked in played(quiet, data.draw(moves(limit)), data.draw(starts)):
        before = loud.copy()
        too_much = loud.read(asked.at_us).remaining + 1
        assert not loud.ask(asked.at_us, too_much).allowed
        assert loud.ask(asked.at_us, 0).allowed
        assert loud == before
        assert loud.ask(asked.at_us, asked.cost) == asked.decision


@every_algorithm
@THOROUGH
@given(st.data())
def test_a_cost_of_n_is_n_times_a_cost_of_one(algorithm: AlgorithmName, data: st.DataObject) -> None:
    limit = data.draw(limits(algorithm))
    key = Key(limit)
    asked = list(played(key, data.draw(moves(limit))))
    now_us = asked[-1].at_us if asked else START_US
    cost = data.draw(st.integers(1, min(limit.burst, 50)))
    at_once, one_by_one = key.copy(), key.copy()
    whole = at_once.ask(now_us, cost).allowed
    singly = [one_by_one.ask(now_us).allowed for _ in range(cost)]
    assert whole == all(singly)
    if whole:
        assert at_once == one_by_one


@every_algorithm
@THOROUGH
@given(st.data())
def test_what_remains_can_be_had_and_no_more(algorithm: AlgorithmName, data: st.DataObject) -> None:
    limit = data.draw(limits(algorithm))
    key = Key(limit)
    asked = list(played(key, data.draw(moves(limit))))
    now_us = asked[-1].at_us if asked else START_US
    remaining = key.read(now_us).remaining
    assert 0 <= remaining <= limit.burst
    assert not key.copy().ask(now_us, remaining + 1).allowed
    taken = key.copy().ask(now_us, remaining)
    assert taken.allowed
    assert taken.remaining == 0 or remaining == 0


@every_algorithm
@THOROUGH
@given(st.data())
def test_the_wait_is_tight_refused_one_microsecond_sooner_and_admitted_then(algorithm: AlgorithmName, data: st.DataObject) -> None:
    limit = data.draw(limits(algorithm))
    key = Key(limit)
    for asked in played(key, data.draw(moves(limit)), data.draw(starts)):
        _assert_tight(key, asked)


def _assert_tight(key: Key, asked: Asked) -> None:
    """`key` is as the answer left it."""
    decision = asked.decision
    if decision.allowed:
        assert decision.retry_after_us == 0
    elif decision.retry_after_us is None:
        assert asked.cost > key.limit.burst
    else:
        assert asked.cost <= key.limit.burst
        then_us = asked.at_us + decision.retry_after_us
        assert decision.retry_after_us > 0
        assert not key.copy().ask(then_us - 1, asked.cost).allowed
        assert key.copy().ask(then_us, asked.cost).allowed


@every_algorithm
@THOROUGH
@given(st.data())
def test_forgetting_a_key_when_it_says_it_is_as_new_changes_no_answer(algorithm: AlgorithmName, data: st.DataObject) -> None:
    """So a store may expire it then, and not earlier: see the bound. Only a refusal leaves what was set before."""
    limit = data.draw(limits(algorithm))
    keeping, expiring, fresh_at_us = Key(limit), Key(limit), 0
    for asked in played(keeping, data.draw(moves(limit)), data.draw(starts)):
        if asked.at_us >= fresh_at_us:
            expiring.state = NEVER_SEEN
        assert expiring.ask(asked.at_us, asked.cost) == asked.decision
        if asked.decision.allowed and asked.cost:
            fresh_at_us = asked.at_us + asked.decision.reset_after_us


@every_algorithm
@THOROUGH
@given(st.data())
def test_a_clock_that_goes_back_breaks_no_bound_and_locks_nobody_out_for_longer_than_it_went(
    algorithm: AlgorithmName, data: st.DataObject
) -> None:
    """True time goes on; the clock that decides is behind it by `step_us` from then on."""
    limit = data.draw(limits(algorithm))
    key, step_us = Key(limit), data.draw(st.integers(1, 2 * limit.period_us) | st.just(3_600 * SECOND_US))
    before = list(played(key, data.draw(moves(limit)), data.draw(starts)))
    stepped_at_us = before[-1].at_us if before else START_US
    unstepped = key.copy()
    after: list[Asked] = []
    for asked in played(key, data.draw(moves(limit)), stepped_at_us - step_us):
        assert 0 <= asked.decision.remaining <= limit.burst
        _assert_tight(key, asked)
        after.append(Asked(asked.at_us + step_us, asked.cost, asked.decision))
    assert over_in_a_span(limit, admitted([*before, *after])) is None
    if after and not after[0].decision.allowed and after[0].decision.retry_after_us is not None:
        wait_us = unstepped.ask(stepped_at_us, after[0].cost).retry_after_us
        assert wait_us is not None
        first_at_us = after[0].at_us - stepped_at_us
        assert first_at_us + after[0].decision.retry_after_us <= max(wait_us, first_at_us) + step_us


@every_algorithm
@THOROUGH
@given(st.data())
def test_a_rule_that_changes_leaves_nothing_negative_and_gives_nobody_what_they_have_used(
    algorithm: AlgorithmName, data: st.DataObject
) -> None:
    """Of another quota or burst and the same period: what was used stays used, as far as the new limit has room for it."""
    old = data.draw(limits(algorithm, max_quota=1_000))
    quota, burst = data.draw(st.integers(1, 2_000)), data.draw(st.integers(1, 1_000))
    new = limit_or_none(algorithm, quota if algorithm not in WITH_BURST else old.quota, old.period_us, burst)
    if new is None:
        return
    key = Key(old)
    asked = list(played(key, data.draw(moves(old)), data.draw(starts)))
    now_us = asked[-1].at_us if asked else START_US
    had = key.read(now_us).remaining
    changed = key.copy(new)
    has = changed.read(now_us).remaining
    assert 0 <= has <= max(0, new.burst - (old.burst - had)) or has <= had
    for later in played(changed, data.draw(moves(new)), now_us):
        assert 0 <= later.decision.remaining <= new.burst
        _assert_tight(changed, later)


@pytest.mark.parametrize("algorithm", sorted(WITH_BURST))
@THOROUGH
@given(st.data())
def test_a_rule_that_changes_its_rate_has_never_more_than_a_new_key(algorithm: AlgorithmName, data: st.DataObject) -> None:
    old, new = data.draw(limits(algorithm)), data.draw(limits(algorithm))
    key = Key(old)
    asked = list(played(key, data.draw(moves(old))))
    now_us = asked[-1].at_us if asked else START_US
    after = list(played(key.copy(new), data.draw(moves(new)), now_us))
    assert all(0 <= each.decision.remaining <= new.burst for each in after)
    assert over_bound(new, admitted(after)) is None


@every_algorithm
@THOROUGH
@given(st.data())
def test_giving_back_what_was_just_taken_is_as_if_it_had_not_been_taken(algorithm: AlgorithmName, data: st.DataObject) -> None:
    limit = data.draw(limits(algorithm))
    key = Key(limit)
    asked = list(played(key, data.draw(moves(limit))))
    now_us = asked[-1].at_us if asked else START_US
    cost = data.draw(st.integers(1, limit.burst))
    undone = key.copy()
    if undone.ask(now_us, cost).allowed:
        undone.give_back(now_us, cost)
    later = [Asked(now_us, 0, key.read(now_us)), *played(key, data.draw(moves(limit)), now_us)]
    assert [undone.ask(each.at_us, each.cost) for each in later] == [each.decision for each in later]


@every_algorithm
@THOROUGH
@given(st.data())
def test_giving_back_never_gives_more_than_was_taken(algorithm: AlgorithmName, data: st.DataObject) -> None:
    """However often, and however late. What is given back in a span may be taken again in it, and not a unit more."""
    limit = data.draw(limits(algorithm))
    key, net = Key(limit), list[tuple[int, int]]()
    for asked in played(key, data.draw(moves(limit)), data.draw(starts)):
        if asked.decision.allowed and asked.cost:
            net.append((asked.at_us, asked.cost))
        given = data.draw(st.integers(0, limit.burst + 1))
        had = key.read(asked.at_us).remaining
        if given:
            key.give_back(asked.at_us, given)
            net.append((asked.at_us, -given))
        assert had <= key.read(asked.at_us).remaining <= min(limit.burst, had + given)
    fresh = Key(limit)
    fresh.give_back(START_US, limit.burst)
    assert fresh.read(START_US).remaining == limit.burst
    assert over_bound(limit, net) is None


EXTREMES = [(1, DAY_US), (1, 366 * DAY_US), (1_000_000, SECOND_US), (1_000, 1_000), (7, 11), (1, 1), (MAX_LOG, DAY_US)]


@every_algorithm
@pytest.mark.parametrize(("quota", "period_us"), EXTREMES)
def test_from_one_a_day_to_a_million_a_second_every_number_is_exact_in_a_double(
    algorithm: AlgorithmName, quota: int, period_us: int
) -> None:
    limit = limit_or_none(algorithm, quota, period_us, 1 if period_us > DAY_US else 1_000)
    if limit is None:
        assert algorithm == "sliding_log", "a log alone has to refuse such a rule"
        return
    key, now_us = Key(limit), START_US
    for move in [Move("at once", 0, limit.burst), Move("at once", 0, 1), Move("later", limit.gap_us, 1)] * 3:
        now_us += move.later_us
        decision = key.ask(now_us, move.cost)
        numbers = [*key.state, decision.remaining, decision.retry_after_us or 0, decision.reset_after_us, decision.delay_us]
        assert all(0 <= number < EXACT and isinstance(number, int) for number in numbers)
    start = Key(limit).ask(START_US, limit.burst)
    assert start.allowed
    assert (start.limit, start.remaining) == (limit.burst, 0)


def test_every_name_has_an_algorithm() -> None:
    assert set(ALGORITHMS) == {*PER_KEY, "sketch"}
    assert Limit("sketch", 1, 1, 1).burst == 1
