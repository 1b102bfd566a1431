"""The concurrency limit as functions: never more leases than slots, and none that outlives its time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter import concurrency
from designs.rate_limiter.limits import Slots

LEASE_US = 10_000
steps = st.lists(
    st.tuples(st.sampled_from(["acquire", "renew", "release", "die"]), st.sampled_from("abcde"), st.integers(0, LEASE_US))
)


@given(steps, st.integers(1, 4))
def test_never_more_are_under_way_than_there_are_slots_and_the_dead_give_theirs_back_within_a_lease(
    history: list[tuple[str, str, int]], limit: int
) -> None:
    """Each step is a client's verb; who dies says nothing. The model: who has a lease, and until when."""
    slots, now_us = Slots(limit, LEASE_US), 1_000_000
    held: dict[str, int] = {}
    until: dict[str, int] = {}
    for verb, token, later_us in history:
        now_us += later_us
        until = {name: at_us for name, at_us in until.items() if at_us > now_us}
        if verb == "acquire":
            after = concurrency.acquire(slots, held, now_us, token)
            assert (after is not None) == (token in until or len(until) < limit)
            if after is not None:
                held, until[token] = after, now_us + LEASE_US
        elif verb == "renew":
            after = concurrency.renew(slots, held, now_us, token)
            assert (after is not None) == (token in until)
            if after is not None:
                held, until[token] = after, now_us + LEASE_US
        elif verb == "release":
            held = {name: at_us for name, at_us in held.items() if name != token}
            until.pop(token, None)
        assert concurrency.live(held, now_us) == until
        assert len(until) <= limit


def test_a_lease_ends_at_its_time_and_the_slot_is_free_then() -> None:
    slots = Slots(1, LEASE_US)
    held = concurrency.acquire(slots, {}, 0, "a")
    assert held is not None
    assert concurrency.acquire(slots, held, LEASE_US - 1, "b") is None
    assert concurrency.acquire(slots, held, LEASE_US, "b") == {"b": 2 * LEASE_US}
    assert concurrency.renew(slots, held, LEASE_US, "a") is None


def test_a_limit_that_was_made_smaller_lets_nobody_in_until_enough_are_gone() -> None:
    held = {"a": 50, "b": 60, "c": 70}
    smaller = Slots(2, LEASE_US)
    assert concurrency.acquire(smaller, held, 0, "d") is None
    assert concurrency.acquire(smaller, held, 50, "d") is None
    assert concurrency.acquire(smaller, held, 60, "d") is not None
    assert concurrency.decide(smaller, 3, 50, 0, False).remaining == 0


def test_the_answer_says_when_the_first_lease_ends_unless_it_is_renewed() -> None:
    decision = concurrency.decide(Slots(2, LEASE_US), 2, 400, 100, False)
    assert (decision.retry_after_us, decision.remaining, decision.limit) == (300, 0, 2)
    assert concurrency.decide(Slots(2, LEASE_US), 1, 400, 100, True).reset_after_us == LEASE_US
