"""Slots on histories that are right, wrong and torn: three of a user, each for a second unless it is renewed."""

from __future__ import annotations

import pytest

from loadtests.rate_limiter.promises import SLOTS
from tests.loadtests.rate_limiter.histories import ONE, TWO, Story


def three(story: Story | None = None, at_s: float = 1.0, **asked: object) -> Story:
    story = story or Story()
    for number in range(3):
        story.slot("acquire", f"t{number}-{at_s}", at_s + number / 100, **asked)  # type: ignore[arg-type]
    return story


def test_nothing_asked_is_nothing_known() -> None:
    assert Story().judged(SLOTS).verdict == "unknown"


def test_as_many_as_there_are_may_be_held_and_no_more() -> None:
    assert three().judged(SLOTS).verdict == "valid"
    story = three()
    story.slot("acquire", "one-more", 1.5)
    check = story.judged(SLOTS)
    assert (check.verdict, check.counts["beyond_the_slots"]) == ("invalid", 1)
    assert check.witness[-1].endswith("4 slots held, and there are 3")


def test_a_slot_that_was_given_back_is_anybodys() -> None:
    story = three()
    story.slot("release", "t0-1.0", 1.3, held=True)
    story.slot("acquire", "next", 1.32)
    assert story.judged(SLOTS).verdict == "valid"
    story.slot("acquire", "too-many", 1.34)
    assert story.judged(SLOTS).verdict == "invalid"


def test_a_slot_may_be_somebody_elses_before_the_answer_that_it_was_given_back() -> None:
    story = three()
    story.slot("release", "t0-1.0", 1.3, held=True, took_s=0.2)
    story.slot("acquire", "next", 1.31)
    assert story.judged(SLOTS).verdict == "valid"


def test_the_dead_give_theirs_back_when_the_lease_ends_and_are_not_waited_for_any_longer() -> None:
    story = three()
    story.slot("acquire", "early", 1.5, refused_s=0.5)
    assert story.judged(SLOTS).verdict == "valid"
    story.slot("acquire", "late", 2.2, refused_s=0.5)
    check = story.judged(SLOTS)
    assert (check.verdict, check.counts["refused_while_free"]) == ("invalid", 1)


def test_a_renewal_holds_the_slot_for_longer() -> None:
    story = three()
    for number in range(3):
        story.slot("renew", f"t{number}-1.0", 1.7 + number / 100, held=True)
    story.slot("acquire", "refused", 2.3, refused_s=0.4)
    assert story.judged(SLOTS).verdict == "valid"
    story.slot("acquire", "given", 2.35)
    assert story.judged(SLOTS).verdict == "invalid"


def test_a_lease_that_has_not_ended_is_not_lost() -> None:
    story = Story()
    story.slot("acquire", "t", 1.0)
    story.slot("renew", "t", 1.5, held=False, status=409)
    assert story.judged(SLOTS).counts["lost_before_the_lease_ended"] == 1
    late = Story()
    late.slot("acquire", "t", 1.0)
    late.slot("renew", "t", 2.1, held=False, status=409)
    assert late.judged(SLOTS).verdict == "valid"


def test_an_acquire_that_nobody_answered_may_hold_one_until_its_lease_ends() -> None:
    story = three(Story(), 1.0)
    story.slot("release", "t0-1.0", 1.2, held=True)
    story.slot("acquire", "torn", 1.3, status=0)
    story.slot("acquire", "next", 1.5, refused_s=0.5)
    assert story.judged(SLOTS).verdict == "valid"


def test_a_release_that_nobody_answered_may_have_given_it_back_and_may_not() -> None:
    story = three()
    story.slot("release", "t0-1.0", 1.2, status=0)
    story.slot("acquire", "given", 1.4)
    assert story.judged(SLOTS).verdict == "valid"
    story = three()
    story.slot("release", "t0-1.0", 1.2, status=0)
    story.slot("acquire", "refused", 1.4, refused_s=0.5)
    assert story.judged(SLOTS).verdict == "valid"


def test_without_the_store_each_replica_has_slots_of_its_own() -> None:
    story = three(three(Story(), 1.0, degraded=True, node=ONE), 1.05, degraded=True, node=TWO)
    assert story.judged(SLOTS).verdict == "valid"
    story.slot("acquire", "more", 1.4, degraded=True, node=TWO)
    assert story.judged(SLOTS).verdict == "invalid"


def test_what_a_replica_gave_by_itself_no_other_one_can_take_back() -> None:
    story = Story()
    story.slot("acquire", "t", 1.0, degraded=True, node=ONE)
    story.slot("release", "t", 1.3, held=False, node=TWO)
    assert story.judged(SLOTS).verdict == "valid"
    story = Story()
    story.slot("acquire", "t", 1.0, degraded=True, node=ONE)
    story.slot("release", "t", 1.3, held=False, node=ONE)
    assert story.judged(SLOTS).verdict == "invalid"


def test_what_a_replica_gave_by_itself_it_may_renew_by_itself() -> None:
    story = Story()
    story.slot("acquire", "t", 1.0, degraded=True, node=ONE)
    story.slot("renew", "t", 1.6, held=True, node=ONE)
    story.slot("release", "t", 2.2, held=False, node=TWO)
    assert story.judged(SLOTS).verdict == "valid"


@pytest.mark.parametrize(("kind", "verdict"), [("wipe", "valid"), ("kill", "invalid")])
def test_a_redis_that_lost_its_data_has_forgotten_who_holds_what(kind: str, verdict: str) -> None:
    story = three(three(Story(), 1.0), 1.4)
    story.struck(kind, "redis", 1.2, 1.3)
    assert story.judged(SLOTS).verdict == verdict
