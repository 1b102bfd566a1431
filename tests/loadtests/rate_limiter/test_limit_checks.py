"""Each invariant of limits on histories that are right, wrong, and torn; and what each of them allows, and not more."""

from __future__ import annotations

import pytest

from loadtests.rate_limiter.promises import BOUND, NOTHING_USED, RETRY, ROOM, TOGETHER
from tests.loadtests.rate_limiter.histories import ONE, TWO, Story

WINDOWS = {"algorithm": "fixed_window"}  # 20 in each second; GCRA: 40 at once, 20 a second


@pytest.mark.parametrize("name", [BOUND, ROOM, NOTHING_USED, TOGETHER, RETRY])
def test_nothing_asked_is_nothing_known(name: str) -> None:
    assert Story().judged(name).verdict == "unknown"


# -- no limit admits more than it promises


def burst(story: Story, units: int, at_s: float = 1.0, *, node: str = ONE, degraded: bool = False, took_s: float = 0.01) -> Story:
    for number in range(units):
        story.check(at_s + number / 1e4, node=node, degraded=degraded, took_s=took_s)
    return story


def test_a_burst_that_is_promised_is_valid_and_one_unit_more_is_not() -> None:
    assert burst(Story(), 40).judged(BOUND).verdict == "valid"
    check = burst(Story(), 41).judged(BOUND)
    assert (check.verdict, check.counts["over_admitted"], check.counts["limits_broken"]) == ("invalid", 1, 1)
    assert check.detail == "for example per-user of u"
    assert "41 units within 14 ms, 1 too many" in check.witness[0]


def test_what_may_have_passed_later_proves_nothing() -> None:
    """The last answer took a second, in which twenty units came in."""
    story = burst(Story(), 40)
    story.check(1.004, took_s=1.0)
    assert story.judged(BOUND).verdict == "valid"


def test_an_answer_that_was_lost_counts_for_nothing_against_the_limiter() -> None:
    story = burst(Story(), 40)
    story.check(1.004, status=0)
    assert story.judged(BOUND).verdict == "valid"


def test_costs_count_as_units() -> None:
    story = Story()
    story.check(1.0, cost=39)
    story.check(1.02, cost=4)
    assert story.judged(BOUND).counts["over_admitted"] == 3


def test_what_was_given_back_may_be_taken_again_and_no_more() -> None:
    story = Story()
    story.check(1.0, cost=40)
    story.refund(1.02, cost=10)
    story.check(1.04, cost=11)
    assert story.judged(BOUND).verdict == "valid", "a unit came in meanwhile"
    story.check(1.06, cost=3)
    assert story.judged(BOUND).verdict == "invalid"


def test_a_window_lets_its_quota_through_twice_around_an_edge_and_not_more() -> None:
    story = burst(burst(Story(WINDOWS), 20, 0.9), 20, 1.06)
    assert story.judged(BOUND).verdict == "valid"
    story.check(1.07)
    assert story.judged(BOUND).verdict == "invalid", "21 in one second of the wall clock"


@pytest.mark.parametrize("at_s", [0.96, 1.02])
def test_near_the_edge_of_a_window_nobody_knows_in_which_a_request_fell(at_s: float) -> None:
    story = burst(Story(WINDOWS), 20, 0.3)
    story.check(at_s)
    assert story.judged(BOUND).verdict == "valid"


def test_a_log_lets_its_quota_through_in_any_second() -> None:
    log = {"algorithm": "sliding_log"}
    assert burst(burst(Story(log), 20, 0.9), 20, 2.0).judged(BOUND).verdict == "valid"
    assert burst(burst(Story(log), 20, 0.9), 1, 1.5).judged(BOUND).verdict == "invalid"


def test_what_leaves_a_queue_is_evenly_spaced() -> None:
    def queue(gap_us: int) -> Story:
        story = Story({"algorithm": "leaky_queue"})
        for number in range(10):
            story.check(1.0 + number / 1e4, delay_us=number * gap_us)
        return story

    assert queue(50_000).judged(BOUND).verdict == "valid"
    assert queue(20_000).judged(BOUND).verdict == "invalid"


def test_without_the_store_each_replica_may_admit_a_limit_of_its_own() -> None:
    both = burst(burst(burst(Story(), 40), 40, 1.0, node=ONE, degraded=True), 40, 1.0, node=TWO, degraded=True)
    assert both.judged(BOUND).verdict == "valid"
    assert burst(both, 1, 1.004, node=TWO, degraded=True).judged(BOUND).verdict == "invalid"


def test_where_the_store_is_each_replicas_memory_so_is_the_limit() -> None:
    memory = burst(burst(Story({"store": "memory"}), 40, node=ONE), 40, node=TWO)
    assert memory.judged(BOUND).verdict == "valid"
    assert burst(burst(Story(), 40, node=ONE), 40, node=TWO).judged(BOUND).verdict == "invalid"


def test_what_a_rule_lets_through_open_without_the_store_is_no_over_admission() -> None:
    story = Story({"on_store_down": "open"})
    story.struck("down", "redis", 0.5, 2.0)
    assert burst(story, 100, degraded=True).judged(BOUND).verdict == "valid"


def test_leases_may_exceed_the_limit_by_one_of_each_replica() -> None:
    leases = {"store": "local_lease", "lease_size": 3}
    assert burst(Story(leases), 46).judged(BOUND).verdict == "valid"
    assert burst(Story(leases), 47).judged(BOUND).verdict == "invalid"


@pytest.mark.parametrize(
    ("kind", "verdict"), [("wipe", "valid"), ("power_loss", "valid"), ("kill", "invalid"), ("pause", "invalid")]
)
def test_a_redis_that_lost_its_data_counts_anew_and_one_that_was_only_killed_does_not(kind: str, verdict: str) -> None:
    story = burst(burst(Story(), 40, 1.0), 40, 1.3)
    story.struck(kind, "redis", 1.1, 1.2)
    check = story.judged(BOUND)
    assert check.verdict == verdict
    if verdict == "valid":
        assert check.counts["beyond_by_a_loss_of_the_count"] == 34, "six units came in meanwhile"
    assert burst(story, 10, 1.31).judged(BOUND).verdict == "invalid", "one more limit, and not two"


def test_a_replicas_own_count_goes_with_its_process() -> None:
    story = burst(burst(Story({"store": "memory"}), 40, 1.0), 40, 1.3)
    assert story.judged(BOUND).verdict == "invalid"
    story.struck("kill", ONE, 1.1, 1.2)
    assert story.judged(BOUND).verdict == "valid"


@pytest.mark.parametrize(("knobs", "verdict"), [({}, "invalid"), ({"clock": "client"}, "valid")])
def test_a_clock_that_was_put_wrong_matters_only_where_it_counts(knobs: dict[str, str], verdict: str) -> None:
    story = burst(burst(Story(knobs), 40, 1.0), 40, 1.7)
    story.struck("clock_offset", ONE, 1.5, 2.1, seconds=3.0)
    assert story.judged(BOUND).verdict == verdict
    assert burst(burst(story, 40, 2.7), 10, 2.71).judged(BOUND).verdict == "invalid", "after it the bound holds again"


# -- nobody is refused while there is room


def test_a_refusal_of_who_has_used_it_up_is_right_and_of_who_has_not_is_wrong() -> None:
    full = burst(Story(), 40)
    full.check(1.02, refused_by={"per-user": 0.03}, left=0)
    assert full.judged(ROOM).verdict == "valid"
    empty = burst(Story(), 30)
    empty.check(1.02, refused_by={"per-user": 0.03}, left=0)
    check = empty.judged(ROOM)
    assert (check.verdict, check.counts["refused_wrongly"]) == ("invalid", 1)
    assert "at least" in check.witness[-2]


def test_who_was_on_the_way_may_have_come_before() -> None:
    story = burst(Story(), 30)
    for number in range(10):
        story.check(1.015 + number / 1e4, took_s=0.5)
    story.check(1.02, refused_by={"per-user": 0.03}, took_s=0.02, left=0)
    assert story.judged(ROOM).verdict == "valid"


def test_a_request_that_nobody_answered_may_have_been_counted() -> None:
    story = burst(Story(), 39)
    story.check(1.01, status=0)
    story.check(1.02, refused_by={"per-user": 0.03}, left=0)
    assert story.judged(ROOM).verdict == "valid"


def test_what_was_decided_without_the_store_may_have_been_counted_in_it() -> None:
    story = burst(Story(), 30)
    burst(story, 10, 1.005, degraded=True)
    story.check(1.02, refused_by={"per-user": 0.03}, left=0)
    assert story.judged(ROOM).verdict == "valid"


def test_a_cost_beyond_the_capacity_is_refused_for_good_and_another_one_is_not() -> None:
    story = Story()
    story.check(1.0, cost=41, refused_by={"per-user": None})
    assert story.judged(ROOM).verdict == "valid"
    story.check(2.0, "v", cost=40, refused_by={"per-user": None})
    assert story.judged(ROOM).verdict == "invalid"


@pytest.mark.parametrize(("algorithm", "after_s", "verdict"), [
    ("fixed_window", 0.9, "valid"),
    ("fixed_window", 1.1, "invalid"),
    ("sliding_log", 0.9, "valid"),
    ("sliding_log", 1.1, "invalid"),
    ("sliding_window", 0.9, "valid"),
    ("sliding_window", 1.05, "valid"),
    ("sliding_window", 2.1, "invalid"),
    ("sketch", 2.1, "valid"),
])  # fmt: skip
def test_a_window_may_refuse_for_as_long_as_it_remembers(algorithm: str, after_s: float, verdict: str) -> None:
    story = burst(Story({"algorithm": algorithm}), 20)
    story.check(1.0 + after_s, refused_by={"per-user": 0.1}, cost=2, left=0)
    assert story.judged(ROOM).verdict == verdict


def test_units_that_another_replica_has_leased_may_be_missing() -> None:
    leases = {"store": "local_lease", "lease_size": 4, "lease_ms": 1_000}
    story = Story(leases)
    story.check(1.0, cost=20)
    story.check(1.02, refused_by={"per-user": 0.1}, left=0)
    assert story.judged(ROOM).verdict == "valid"
    alone = Story(leases)
    alone.check(1.02, refused_by={"per-user": 0.1}, left=0)
    assert alone.judged(ROOM).verdict == "invalid"


def test_a_replica_whose_memory_is_full_may_refuse_for_others_use() -> None:
    story = Story({"store": "memory"})
    story.check(1.02, refused_by={"per-user": 0.1}, left=0)
    assert story.judged(ROOM).verdict == "invalid"
    story.observed("memory", 1.0, shared=3)
    assert story.judged(ROOM).verdict == "valid"
    assert story.judged(ROOM).counts["refusals_not_judged"] == 1


def test_a_clock_that_went_ahead_may_lock_out_for_as_long_where_it_counts() -> None:
    for knobs, verdict in (({}, "invalid"), ({"clock": "client"}, "valid")):
        story = Story(knobs)
        story.struck("clock_offset", ONE, 1.0, 2.0, seconds=3.0)
        story.check(4.0, refused_by={"per-user": 0.1}, left=0)
        assert story.judged(ROOM).verdict == verdict
        story.check(9.0, "late", refused_by={"per-user": 0.1}, left=0)
        assert story.judged(ROOM).verdict == "invalid"


# -- a refusal uses nothing up, and several limits go together


def test_what_is_left_after_a_refusal_is_what_was_left_before_it() -> None:
    story = burst(Story(), 30)
    story.check(1.02, cost=15, refused_by={"per-user": 0.2}, left=10)
    story.peek(1.04, left=10)
    assert story.judged(NOTHING_USED).verdict == "valid"
    story.peek(1.05, left=2)
    check = story.judged(NOTHING_USED)
    assert (check.verdict, check.counts["less_left_than_can_be"]) == ("invalid", 1)


def test_a_look_takes_nothing() -> None:
    story = Story()
    for number in range(10):
        story.peek(1.0 + number / 10, left=40 - number)
    assert story.judged(NOTHING_USED).verdict == "invalid"


def order(story: Story, at_s: float, left: int, refused: bool = True) -> None:
    remaining = {"per-user": left, "per-route": 10_000, "checkout": 0}
    story.check(at_s, refused_by={"checkout": 6.0} if refused else {}, left=remaining, route="/checkout")


def test_a_limit_that_another_one_refused_for_is_left_as_it_was() -> None:
    story = Story()
    for number in range(10):
        order(story, 1.0 + number / 1e3, 39 - number, refused=False)
    order(story, 1.05, 30)
    story.peek(1.1, left=30)
    assert story.judged(TOGETHER).verdict == "valid"
    for number in range(5):
        order(story, 1.2 + number / 1e3, 30 - number)
    story.peek(1.21, left=24)
    assert story.judged(TOGETHER).verdict == "invalid"


def test_requests_that_all_limits_admit_are_enough_to_say_that_they_go_together() -> None:
    story = Story()
    order(story, 1.0, 39, refused=False)
    assert story.judged(TOGETHER).verdict == "valid"


# -- who waits as long as he is told gets in


def drained(knobs: dict[str, str] | None = None) -> Story:
    story = Story(dict(knobs or {}))
    story.check(1.0, cost=40)
    story.check(1.02, cost=2, refused_by={"per-user": 0.07}, left=0)
    return story


def test_who_comes_back_in_time_gets_in() -> None:
    story = drained()
    story.check(1.2, cost=2, left=2)
    check = story.judged(RETRY)
    assert (check.verdict, check.counts["came_back_and_got_in"]) == ("valid", 1)


def test_who_is_refused_again_was_told_too_little() -> None:
    story = drained()
    story.check(1.2, cost=2, refused_by={"per-user": 0.01}, left=0)
    check = story.judged(RETRY)
    assert (check.verdict, check.counts["refused_again"]) == ("invalid", 1)
    assert len(check.witness) == 2


def test_who_comes_back_too_early_or_after_others_proves_nothing() -> None:
    early = drained()
    early.check(1.08, cost=2, refused_by={"per-user": 0.01}, left=0)
    assert early.judged(RETRY).verdict == "valid"
    raced = drained()
    raced.check(1.16, cost=3, left=0)
    raced.check(1.2, cost=2, refused_by={"per-user": 0.05}, left=0)
    assert raced.judged(RETRY).counts["others_came_first"] == 1
    assert raced.judged(RETRY).verdict == "valid"


def test_a_wait_that_is_longer_than_it_must_be_is_wrong() -> None:
    story = Story()
    story.check(1.0, cost=40)
    story.check(1.02, cost=2, refused_by={"per-user": 0.3}, left=0)
    assert story.judged(RETRY).counts["told_to_wait_too_long"] == 1
    window = Story(WINDOWS)
    window.check(1.0, cost=20)
    window.check(1.02, cost=2, refused_by={"per-user": 0.95}, left=0)
    assert window.judged(RETRY).verdict == "valid"
    window.check(1.03, cost=2, refused_by={"per-user": 1.1}, left=0)
    assert window.judged(RETRY).verdict == "invalid"


def test_an_answer_without_the_store_promises_no_wait() -> None:
    story = drained()
    story.check(1.2, cost=2, refused_by={"per-user": 0.01}, degraded=True, left=0)
    assert story.judged(RETRY).verdict == "valid"
