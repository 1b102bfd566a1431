"""What every limit store promises, as checks: `for check in LIMIT_STORE_CONTRACT.values(): await check(store, clock)`, on an empty
store that was given the clock.

A store's time may stand still when the clock goes back (sqlite), so the promises move it forward only; the histories that go back
as well are `EITHER_WAY`, the others `FORWARD`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pytest
from hypothesis import strategies as st

from designs.rate_limiter.limits import ALGORITHM_NAMES, WITH_BURST, AlgorithmName, Decision, Limit, Slots
from designs.rate_limiter.ports import Demand, LimitStore, NotKept, SlotDemand, Taken
from designs.rate_limiter.rules import bucket_of
from tests.rate_limiter.traces import PER_KEY, SECOND_US, START_US


@dataclass
class StoreClock:
    """The time a store is given."""

    us: int = START_US

    def __call__(self) -> int:
        return self.us


Check: TypeAlias = Callable[[LimitStore, StoreClock], Coroutine[Any, Any, None]]

MINUTE_US = 60 * SECOND_US
LEASE_US = 10 * SECOND_US


def limit(algorithm: AlgorithmName = "gcra", quota: int = 5, period_us: int = MINUTE_US, burst: int | None = None) -> Limit:
    return Limit(algorithm, quota, period_us, burst if burst is not None and algorithm in WITH_BURST else quota)


def demand(algorithm: AlgorithmName = "gcra", item: str = "u1", cost: int = 1, shadow: bool = False, **more: Any) -> Demand:
    return Demand(bucket_of("api", algorithm, f"per-{algorithm}"), item, limit(algorithm, **more), cost, shadow)


def slot(item: str = "t1", limit: int = 2, rule: str = "exports", shadow: bool = False) -> SlotDemand:
    return SlotDemand(bucket_of("api", "concurrency", rule), item, Slots(limit, LEASE_US), shadow)


def one_of_each(**more: Any) -> list[Demand]:
    return [demand(algorithm, **more) for algorithm in ALGORITHM_NAMES]


async def remaining(store: LimitStore, demands: Sequence[Demand]) -> list[int]:
    """Without a demand that could fail."""
    looked = await store.peek([replace(each, cost=0) for each in demands])
    assert looked.allowed
    return [decision.remaining for decision in looked.decisions]


# -- one limit -----------------------------------------------------------------------------------------------------------------


async def every_algorithm_admits_its_burst_at_once_and_not_a_unit_more(store: LimitStore, clock: StoreClock) -> None:
    for each in one_of_each():
        answers = [(await store.take([each])).decisions[0] for _ in range(7)]
        assert [answer.allowed for answer in answers] == [True] * 5 + [False] * 2
        assert [answer.remaining for answer in answers] == [4, 3, 2, 1, 0, 0, 0]
        assert {answer.limit for answer in answers} == {5}
        assert all(answer.retry_after_us == 0 for answer in answers[:5])


async def who_is_told_to_wait_passes_then_and_not_a_microsecond_before(store: LimitStore, clock: StoreClock) -> None:
    for each in one_of_each():
        await store.take([replace(each, cost=5)])
        refused = (await store.take([each])).decisions[0]
        assert refused.retry_after_us
        clock.us += refused.retry_after_us - 1
        assert not (await store.take([each])).allowed
        clock.us += 1
        assert (await store.take([each])).allowed


async def what_never_fits_is_told_never_and_takes_nothing(store: LimitStore, clock: StoreClock) -> None:
    for each in one_of_each():
        refused = (await store.take([replace(each, cost=6)])).decisions[0]
        assert (refused.allowed, refused.retry_after_us, refused.remaining) == (False, None, 5)


async def a_refusal_changes_nothing_however_often(store: LimitStore, clock: StoreClock) -> None:
    """The refused polls all the time, the quiet comes once: both pass at the same moment."""
    polled, quiet = one_of_each(item="polls"), one_of_each(item="quiet")
    sketches = [ALGORITHM_NAMES.index("sketch")]
    for number, (loud, silent) in enumerate(zip(polled, quiet, strict=True)):
        assert (await store.take([replace(loud, cost=5)])).decisions == (await store.take([replace(silent, cost=5)])).decisions
        waits = (await store.take([silent])).decisions[0].retry_after_us
        assert waits
        for _ in range(9):
            clock.us += waits // 10
            assert not (await store.take([loud])).allowed
        clock.us += waits - waits // 10 * 9
        assert number in sketches or (await store.take([loud])).decisions == (await store.take([silent])).decisions


async def a_look_says_what_a_take_would_say_and_takes_nothing(store: LimitStore, clock: StoreClock) -> None:
    for each in one_of_each():
        for cost in (3, 3, 1, 9):
            wanted = replace(each, cost=cost)
            looked = await store.peek([wanted])
            assert looked == await store.peek([wanted])
            taken = await store.take([wanted])
            assert looked.allowed == taken.allowed
            assert looked.decisions[0].retry_after_us == taken.decisions[0].retry_after_us


async def a_cost_of_nothing_reads_and_passes_where_nothing_is_left(store: LimitStore, clock: StoreClock) -> None:
    for each in one_of_each():
        nothing = replace(each, cost=0)
        assert (await store.take([nothing])).decisions[0].remaining == 5
        await store.take([replace(each, cost=5)])
        read = await store.take([nothing])
        assert read.allowed
        assert read.decisions[0].remaining == 0
        assert read == await store.peek([nothing])


async def a_key_that_said_how_long_it_counts_is_as_new_after_that(store: LimitStore, clock: StoreClock) -> None:
    for each in one_of_each():
        taken = (await store.take([replace(each, cost=4)])).decisions[0]
        clock.us += taken.reset_after_us - 1
        assert await remaining(store, [each]) != [5] or each.limit.algorithm in ("sliding_window", "sketch")
        clock.us += 1
        assert (await store.peek([replace(each, cost=0)])).decisions[0] == Decision(True, 5, 5, 0, 0)


async def keys_are_counted_apart(store: LimitStore, clock: StoreClock) -> None:
    for each in one_of_each():
        await store.take([replace(each, cost=5)])
        assert await remaining(store, [replace(each, item="u2"), replace(each, bucket=each.bucket + "-b")]) == [5, 5]


async def of_many_at_once_exactly_the_limit_passes(store: LimitStore, clock: StoreClock) -> None:
    for each in one_of_each():
        taken = await asyncio.gather(*(store.take([each]) for _ in range(30)))
        assert sum(one.allowed for one in taken) == 5
        assert sorted(one.decisions[0].remaining for one in taken if one.allowed) == [0, 1, 2, 3, 4]


async def a_limit_of_one_a_day_and_one_of_a_million_a_second_are_exact(store: LimitStore, clock: StoreClock) -> None:
    slow, fast = limit("gcra", 1, 86_400 * SECOND_US), limit("token_bucket", 1_000_000, SECOND_US, 3)
    daily, fastest = [Demand(bucket_of("api", each.algorithm, "rule"), "u1", each) for each in (slow, fast)]
    assert (await store.take([daily])).allowed
    assert (await store.take([daily])).decisions[0].retry_after_us == 86_400 * SECOND_US
    assert (await store.take([replace(fastest, cost=3)])).allowed
    assert (await store.take([fastest])).decisions[0].retry_after_us == 1
    clock.us += 1
    assert (await store.take([fastest])).allowed


async def a_limit_that_was_changed_leaves_nothing_negative(store: LimitStore, clock: StoreClock) -> None:
    """And what was used stays used: a larger quota adds the difference at most."""
    for each in one_of_each(quota=9):
        await store.take([replace(each, cost=8)])
        smaller, larger = (replace(each, limit=limit(each.limit.algorithm, 9, burst=n)) for n in (3, 12))
        if each.limit.algorithm not in WITH_BURST:
            smaller, larger = (replace(each, limit=limit(each.limit.algorithm, n)) for n in (3, 12))
        assert await remaining(store, [smaller]) == [0 if each.limit.algorithm != "token_bucket" else 1]
        assert (await remaining(store, [larger]))[0] <= 4
        assert (await store.take([replace(smaller, cost=2)])).allowed is False


async def a_bucket_of_another_rate_keeps_whole_units_and_gives_no_part_of_one(store: LimitStore, clock: StoreClock) -> None:
    buckets: Sequence[AlgorithmName] = ("token_bucket", "leaky_bucket")
    for algorithm in buckets:
        one = demand(algorithm)
        await store.take([replace(one, cost=5)])
        clock.us += 18 * SECOND_US  # one and a half come back
        await store.take([one])
        assert await remaining(store, [replace(one, limit=Limit(algorithm, 7, MINUTE_US, 5))]) == [0]


# -- several limits ------------------------------------------------------------------------------------------------------------


async def several_limits_are_taken_together_and_each_answers(store: LimitStore, clock: StoreClock) -> None:
    each = one_of_each()
    taken = await store.take(each)
    assert taken.allowed
    assert [decision.remaining for decision in taken.decisions] == [4] * len(each)
    assert await remaining(store, each) == [4] * len(each)


async def when_one_refuses_none_is_taken_whichever_it_is(store: LimitStore, clock: StoreClock) -> None:
    for empty in range(len(ALGORITHM_NAMES)):
        each = one_of_each(item=f"u{empty}")
        await store.take([replace(each[empty], cost=5)])
        before = await store.peek([replace(one, cost=0) for one in each])
        for _ in range(3):
            refused = await store.take(each)
            assert not refused.allowed
            assert [decision.allowed for decision in refused.decisions] == [number != empty for number in range(len(each))]
            assert [decision.remaining for decision in refused.decisions] == [0 if n == empty else 5 for n in range(len(each))]
        assert await store.peek([replace(one, cost=0) for one in each]) == before


async def the_order_of_the_limits_does_not_matter(store: LimitStore, clock: StoreClock) -> None:
    there = one_of_each(item="there")
    back = [replace(one, item="back") for one in reversed(there)]
    for cost in (2, 2, 2):
        forth = await store.take([replace(one, cost=cost) for one in there])
        again = await store.take([replace(one, cost=cost) for one in back])
        assert again == Taken(forth.allowed, tuple(reversed(forth.decisions)))


async def costs_of_one_call_may_differ(store: LimitStore, clock: StoreClock) -> None:
    pair = [demand("gcra", cost=4), demand("sliding_log", cost=1), demand("fixed_window", cost=0)]
    assert (await store.take(pair)).allowed
    assert await remaining(store, pair) == [1, 4, 5]
    assert not (await store.take(pair)).allowed
    assert await remaining(store, pair) == [1, 4, 5]


async def of_many_pairs_at_once_the_scarcer_limit_decides_and_both_are_equally_used(store: LimitStore, clock: StoreClock) -> None:
    scarce, plenty = demand("token_bucket", quota=5), demand("sliding_window", item="all", quota=50)
    taken = await asyncio.gather(*(store.take([scarce, plenty][:: 1 if n % 2 else -1]) for n in range(30)))
    assert sum(one.allowed for one in taken) == 5
    assert await remaining(store, [scarce, plenty]) == [0, 45]


# -- shadows -------------------------------------------------------------------------------------------------------------------


async def a_shadow_is_counted_and_refuses_nobody(store: LimitStore, clock: StoreClock) -> None:
    for algorithm in ALGORITHM_NAMES:
        real, shadow = demand("gcra", item=f"for-{algorithm}", quota=50), demand(algorithm, item="shadow", shadow=True)
        taken = [await store.take([shadow, real]) for _ in range(7)]
        assert all(one.allowed for one in taken)
        assert [one.decisions[0].allowed for one in taken] == [True] * 5 + [False] * 2
        assert await remaining(store, [real, shadow]) == [43, 0]


async def a_shadow_counts_nothing_when_a_real_limit_refuses(store: LimitStore, clock: StoreClock) -> None:
    real, shadow = demand("gcra"), demand("fixed_window", shadow=True)
    await store.take([replace(real, cost=5)])
    assert not (await store.take([real, shadow])).allowed
    assert await remaining(store, [shadow]) == [5]


async def shadows_alone_pass_whatever_they_say(store: LimitStore, clock: StoreClock) -> None:
    shadow = demand("sliding_log", shadow=True)
    assert [(await store.take([shadow])).allowed for _ in range(7)] == [True] * 7
    assert (await store.peek([replace(shadow, cost=9)])).allowed


# -- giving back and forgetting ------------------------------------------------------------------------------------------------


async def what_is_given_back_can_be_taken_again_and_no_more_than_was_taken(store: LimitStore, clock: StoreClock) -> None:
    each = [demand(algorithm) for algorithm in PER_KEY]
    await store.take([replace(one, cost=3) for one in each])
    await store.give_back([replace(one, cost=2) for one in each])
    assert await remaining(store, each) == [4] * len(each)
    await store.give_back([replace(one, cost=5) for one in each])
    assert await remaining(store, each) == [5] * len(each)
    await store.give_back([replace(one, cost=0) for one in each])
    await store.give_back([replace(one, item="never") for one in each])
    assert await remaining(store, [replace(one, item="never") for one in each]) == [5] * len(each)


async def a_reset_forgets_these_keys_and_no_others(store: LimitStore, clock: StoreClock) -> None:
    each, others = [demand(algorithm) for algorithm in PER_KEY], [demand(algorithm, item="u2") for algorithm in PER_KEY]
    for one in (each, others):
        await store.take([replace(all_of_it, cost=5) for all_of_it in one])
    await store.reset(each)
    assert await remaining(store, each) == [5] * len(each)
    assert await remaining(store, others) == [0] * len(each)
    await store.reset([demand(item="never")])


async def a_sketch_keeps_no_key_and_so_neither_gives_back_nor_forgets(store: LimitStore, clock: StoreClock) -> None:
    sketch, key = demand("sketch"), demand("gcra")
    await store.take([sketch, key])
    for verb in (store.give_back, store.reset):
        with pytest.raises(NotKept):
            await verb([key, sketch])
    assert await remaining(store, [sketch, key]) == [4, 4], "and the others of the call are left alone"


async def what_keys_of_one_sketch_take_together_counts_for_each_of_them(store: LimitStore, clock: StoreClock) -> None:
    some = [demand("sketch", item=f"u{number}", shadow=number % 3 == 2) for number in range(6)]
    for _ in range(2):  # in the first window, and in one that begins with this call
        for left in (4, 3):
            taken = await store.take(some)
            assert (taken.allowed, [decision.remaining for decision in taken.decisions]) == (True, [left] * 6)
            assert await remaining(store, some) == [left] * 6
        clock.us += 2 * MINUTE_US - clock.us % MINUTE_US


async def a_sketch_never_admits_more_to_a_key_than_its_limit_whoever_else_comes(store: LimitStore, clock: StoreClock) -> None:
    crowd = [demand("sketch", item=f"somebody-{number}") for number in range(60)]
    for one in crowd:
        await store.take([replace(one, cost=2)])
    for one in crowd[:10]:
        passed = sum([(await store.take([one])).allowed for _ in range(5)])
        assert passed <= 3


# -- slots ---------------------------------------------------------------------------------------------------------------------


async def so_many_are_under_way_as_there_are_slots_and_one_more_when_one_is_given_back(
    store: LimitStore, clock: StoreClock
) -> None:
    taken = [await store.acquire([slot()], token) for token in "abc"]
    assert [one.allowed for one in taken] == [True, True, False]
    assert [one.decisions[0].remaining for one in taken] == [1, 0, 0]
    assert taken[0].decisions[0].reset_after_us == LEASE_US
    assert taken[2].decisions[0].retry_after_us == LEASE_US
    assert await store.release([slot()], "a")
    assert not await store.release([slot()], "a")
    assert (await store.acquire([slot()], "c")).allowed
    assert (await store.acquire([slot("t2")], "c")).allowed


async def a_token_that_has_a_slot_gets_a_new_lease_and_no_second_slot(store: LimitStore, clock: StoreClock) -> None:
    await store.acquire([slot()], "a")
    clock.us += LEASE_US - 1
    again = await store.acquire([slot()], "a")
    assert (again.allowed, again.decisions[0].remaining) == (True, 1)
    clock.us += LEASE_US - 1
    assert await store.renew([slot()], "a")
    clock.us += LEASE_US - 1
    assert await store.release([slot()], "a")


async def a_lease_that_is_not_renewed_ends_at_its_time(store: LimitStore, clock: StoreClock) -> None:
    await store.acquire([slot(limit=1)], "dead")
    clock.us += LEASE_US - 1
    refused = await store.acquire([slot(limit=1)], "next")
    assert (refused.allowed, refused.decisions[0].retry_after_us) == (False, 1)
    clock.us += 1
    assert not await store.renew([slot(limit=1)], "dead")
    assert not await store.release([slot(limit=1)], "dead")
    assert (await store.acquire([slot(limit=1)], "next")).allowed


async def slots_of_several_limits_are_had_all_or_none(store: LimitStore, clock: StoreClock) -> None:
    narrow, wide = slot("t1", 1, "narrow"), slot("t1", 2, "wide")
    assert (await store.acquire([narrow, wide], "a")).allowed
    refused = await store.acquire([wide, narrow], "b")
    assert (refused.allowed, [one.allowed for one in refused.decisions]) == (False, [True, False])
    assert [one.allowed for one in [await store.acquire([wide], "b"), await store.acquire([wide], "c")]] == [True, False]
    assert await store.release([narrow, wide], "a")
    assert (await store.acquire([narrow, wide], "c")).allowed


async def a_renewal_of_several_that_fails_leaves_the_rest_the_lease_they_had(store: LimitStore, clock: StoreClock) -> None:
    first, second = slot("t1", 1, "first"), slot("t1", 1, "second")
    await store.acquire([first], "a")
    clock.us += 1_000
    assert not await store.renew([first, second], "a")
    clock.us += LEASE_US - 1_000
    assert (await store.acquire([first], "b")).allowed, "the lease ended when the first one did"


async def a_shadow_slot_refuses_nobody(store: LimitStore, clock: StoreClock) -> None:
    shadow, real = slot("t1", 1, "shadow", shadow=True), slot("t1", 3, "real")
    taken = [await store.acquire([shadow, real], token) for token in "abcd"]
    assert [one.allowed for one in taken] == [True, True, True, False]
    assert [one.decisions[0].allowed for one in taken] == [True, False, False, False]


async def of_many_that_want_a_slot_at_once_exactly_so_many_get_one(store: LimitStore, clock: StoreClock) -> None:
    taken = await asyncio.gather(*(store.acquire([slot(limit=7)], f"token-{number}") for number in range(40)))
    assert sum(one.allowed for one in taken) == 7


async def it_answers_a_ping(store: LimitStore, clock: StoreClock) -> None:
    await store.ping()


LIMIT_STORE_CONTRACT: dict[str, Check] = {
    check.__name__: check
    for check in (
        every_algorithm_admits_its_burst_at_once_and_not_a_unit_more,
        who_is_told_to_wait_passes_then_and_not_a_microsecond_before,
        what_never_fits_is_told_never_and_takes_nothing,
        a_refusal_changes_nothing_however_often,
        a_look_says_what_a_take_would_say_and_takes_nothing,
        a_cost_of_nothing_reads_and_passes_where_nothing_is_left,
        a_key_that_said_how_long_it_counts_is_as_new_after_that,
        keys_are_counted_apart,
        of_many_at_once_exactly_the_limit_passes,
        a_limit_of_one_a_day_and_one_of_a_million_a_second_are_exact,
        a_limit_that_was_changed_leaves_nothing_negative,
        a_bucket_of_another_rate_keeps_whole_units_and_gives_no_part_of_one,
        several_limits_are_taken_together_and_each_answers,
        when_one_refuses_none_is_taken_whichever_it_is,
        the_order_of_the_limits_does_not_matter,
        costs_of_one_call_may_differ,
        of_many_pairs_at_once_the_scarcer_limit_decides_and_both_are_equally_used,
        a_shadow_is_counted_and_refuses_nobody,
        a_shadow_counts_nothing_when_a_real_limit_refuses,
        shadows_alone_pass_whatever_they_say,
        what_is_given_back_can_be_taken_again_and_no_more_than_was_taken,
        a_reset_forgets_these_keys_and_no_others,
        a_sketch_keeps_no_key_and_so_neither_gives_back_nor_forgets,
        what_keys_of_one_sketch_take_together_counts_for_each_of_them,
        a_sketch_never_admits_more_to_a_key_than_its_limit_whoever_else_comes,
        so_many_are_under_way_as_there_are_slots_and_one_more_when_one_is_given_back,
        a_token_that_has_a_slot_gets_a_new_lease_and_no_second_slot,
        a_lease_that_is_not_renewed_ends_at_its_time,
        slots_of_several_limits_are_had_all_or_none,
        a_renewal_of_several_that_fails_leaves_the_rest_the_lease_they_had,
        a_shadow_slot_refuses_nobody,
        of_many_that_want_a_slot_at_once_exactly_so_many_get_one,
        it_answers_a_ping,
    )
}

# -- histories: (how long after the last, verb, arguments), over so few keys and such small limits that they meet ----------------

Step: TypeAlias = tuple[int, str, tuple[Any, ...]]

PERIOD_US = 12_000
# Two limits a rule: the second is what the rule becomes when somebody edits it while its keys are in use.
_LIMITS: dict[AlgorithmName, tuple[Limit, Limit]] = {
    name: (
        limit(name, 4, PERIOD_US, 4),
        limit(name, 7 if name in WITH_BURST else 2, PERIOD_US, 2),
    )
    for name in ALGORITHM_NAMES
}
_forward = st.sampled_from([0, 0, 0, 1, 999, 1_714, 1_715, 2_999, 3_000, 3_001, 11_999, PERIOD_US, 30_000]) | st.integers(0, 30_000)
_either_way = _forward | st.sampled_from([-1, -3_000, -PERIOD_US, -3_600 * SECOND_US])


def _demands(names: list[AlgorithmName]) -> st.SearchStrategy[list[Demand]]:
    one = st.builds(
        lambda name, item, changed, cost, shadow: Demand(bucket_of("api", name, name), item, _LIMITS[name][changed], cost, shadow),
        st.sampled_from(names),
        st.sampled_from(["a", "a", "b"]),
        st.sampled_from([0, 0, 1]),
        st.sampled_from([0, 1, 1, 1, 2, 3, 4, 5]),
        st.sampled_from([False, False, False, True]),
    )
    return st.lists(one, min_size=1, max_size=4, unique_by=lambda each: each.key)


_slots = st.lists(
    st.builds(
        lambda item, most, shadow: SlotDemand(bucket_of("api", "concurrency", "rule"), item, Slots(most, 5_000), shadow),
        st.sampled_from(["a", "b"]),
        st.sampled_from([1, 2, 2]),
        st.sampled_from([False, False, True]),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda each: each.key,
)
_tokens = st.sampled_from(["t1", "t2", "t3"])


_of_slots = st.tuples(st.sampled_from(["acquire", "acquire", "renew", "release"]), st.tuples(_slots, _tokens))


def _steps(waits: st.SearchStrategy[int], *others: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Step]]:
    """Of a few algorithms each, so that their keys are met often; and of all of them in many."""

    def of(names: list[AlgorithmName]) -> st.SearchStrategy[list[Step]]:
        verbs = st.sampled_from(["take", "take", "take", "take", "take", "peek", "give_back", "give_back", "reset"])
        rates = st.tuples(verbs, st.tuples(_demands(names)))
        return st.lists(st.builds(lambda wait_us, step: (wait_us, *step), waits, st.one_of(rates, rates, *others)), max_size=40)

    return st.lists(st.sampled_from(ALGORITHM_NAMES), min_size=1, max_size=3, unique=True).flatmap(of)


# Whether a lease that had ended is there again when the clock goes back is left to the store; a limit of a rate has to be exact.
EITHER_WAY, FORWARD = _steps(_either_way), _steps(_forward, _of_slots)


async def replayed(store: LimitStore, clock: StoreClock, history: Sequence[Step]) -> list[Any]:
    """What the store answers to each step, "not kept" included."""
    answers: list[Any] = []
    for wait_us, verb, arguments in history:
        clock.us += wait_us
        ask: Callable[..., Awaitable[Any]] = getattr(store, verb)
        try:
            answers.append((verb, await ask(*arguments)))
        except NotKept:
            answers.append((verb, "not kept"))
    return answers
