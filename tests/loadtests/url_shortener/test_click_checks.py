"""Clicks: counted once, declared lost, or gone with a process that was ended; and what a fault excuses, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from loadtests.history.operation import Observation
from loadtests.result import SafetyCheck
from loadtests.url_shortener.excuses import declared_losses
from loadtests.url_shortener.promises import CLICKS, NO_CLICKS
from tests.loadtests.url_shortener.histories import ONE, TWO, Story


def clicked(**knobs: Any) -> Story:
    """Ten visits of a at 0 to 9 s, one of b at 1 s, all answered by the first replica."""
    story = Story(knobs).seeded("a", "b")
    story.losses(-1.0)
    for n in range(10):
        story.visit("a", "https://old/a", float(n))
    story.visit("b", "https://old/b", 1.0)
    return story


def counted(story: Story, a: int = 0, b: int = 0, complete: bool = True, dropped: int = 0, unsure: int = 0) -> SafetyCheck:
    """What a variant that counts rightly would have stored, then changed."""
    story.tally("a", 10 + a)
    story.tally("b", 1 + b)
    story.losses(99.0, dropped=dropped, unsure=unsure)
    story.drained(complete)
    return story.judged(CLICKS)


def test_clicks_counted_once_each_are_valid() -> None:
    check = counted(clicked())
    assert (check.verdict, check.counts["clicks_accepted"], check.counts["clicks_stored"]) == ("valid", 11, 11)


def test_what_was_counted_before_the_load_is_not_of_it() -> None:
    story = clicked()
    story.add("tally", "a", -1.0, "ok", {"clicks": 5}, {"before": True})
    assert counted(story, a=5).verdict == "valid"


def test_a_click_counted_twice_is_flagged_even_before_the_queue_is_empty() -> None:
    for complete in (True, False):
        check = counted(clicked(), a=1, complete=complete)
        assert (check.verdict, check.counts["counted_twice"]) == ("invalid", 1)
        assert "redirected 10 times (6 of them not shown), and has 11 clicks" in check.witness[-1]


def test_a_link_that_may_never_have_been_made_need_not_have_a_count_and_one_that_was_opened_must() -> None:
    story = clicked()
    story.create("", 3.0, status=0, alias="mine")  # no answer
    story.visit("mine", "", 3.5, status=503)
    story.tally("mine", None)
    assert counted(story).verdict == "valid"
    story.visit("mine", "https://new/", 4.0)
    assert counted(story).verdict == "unknown"


def test_a_click_counted_twice_is_not_hidden_by_one_that_is_lost_elsewhere() -> None:
    check = counted(clicked(), a=1, b=-1)
    assert (check.counts["counted_twice"], check.counts["lost_undeclared"]) == (1, 1)


def test_the_last_count_that_was_read_is_the_one_that_counts() -> None:
    story = clicked()
    story.tally("a", 12, at_s=101.0)
    assert counted(story).verdict == "invalid"
    story = clicked()
    story.tally("a", 3, at_s=99.0)
    assert counted(story).verdict == "valid"


def test_a_click_lost_in_silence_is_flagged_and_a_declared_one_is_not() -> None:
    assert counted(clicked(), a=-1).verdict == "invalid"
    assert counted(clicked(), a=-1, dropped=1).verdict == "valid"


def test_clicks_declared_unsure_may_be_stored_or_not() -> None:
    for lost in (0, -1, -2):
        assert counted(clicked(), a=lost, unsure=2).verdict == "valid"
    assert counted(clicked(), a=-3, unsure=2).verdict == "invalid"


def test_a_declared_loss_that_is_none_is_flagged() -> None:
    check = counted(clicked(), a=-1, dropped=2)
    assert (check.verdict, check.counts["declared_but_not_missing"]) == ("invalid", 1)


def test_a_visit_that_timed_out_may_be_counted_or_not_or_dropped() -> None:
    changes: list[Mapping[str, int]] = [{}, {"a": 1}, {"dropped": 1}]
    for change in changes:
        story = clicked()
        story.visit("a", "", 20.0, status=0)
        assert counted(story, **change).verdict == "valid"
    story = clicked()
    story.visit("a", "", 20.0, status=0)
    check = counted(story, a=2)
    assert (check.verdict, check.counts["counted_twice"]) == ("invalid", 1)


def test_a_visit_of_one_link_that_timed_out_excuses_no_click_of_another() -> None:
    story = clicked()
    story.visit("a", "", 20.0, status=0)
    assert counted(story, b=1).verdict == "invalid"


def test_a_queue_that_is_not_empty_leaves_lost_clicks_unknown() -> None:
    check = counted(clicked(), a=-5, complete=False)
    assert check.verdict == "unknown"
    assert "queue" in check.detail


def test_a_deleted_link_has_no_count_and_says_nothing() -> None:
    story = clicked()
    story.delete("b", 20.0)
    story.tally("a", 10)
    story.tally("b", None)
    story.drained()
    check = story.judged(CLICKS)
    assert (check.verdict, check.counts["clicks_of_deleted_links"]) == ("valid", 1)
    story.tally("a", None, at_s=101.0)
    assert story.judged(CLICKS).verdict == "unknown", "that one should have a count"


def test_a_link_that_went_with_redis_has_no_count_either() -> None:
    for cache, verdict in (("write-behind", "valid"), ("write-through", "unknown")):
        story = clicked(cache=cache)
        story.struck("wipe", "redis", 0.5, 1.0)
        story.visit("undecided", "https://new/1", 0.4)
        story.create("", 0.0, url="https://new/1", status=0)
        story.tally("undecided", None)
        assert counted(story).verdict == verdict


def test_with_clicks_off_none_is_counted() -> None:
    for clicks, verdict in ((0, "valid"), (1, "invalid")):
        story = clicked(clicks="off")
        story.tally("a", clicks)
        story.drained()
        assert story.judged(NO_CLICKS).verdict == verdict


def test_without_visits_nothing_is_known_of_clicks() -> None:
    story = Story().seeded("a")
    story.tally("a", 0)
    story.drained()
    assert story.judged(CLICKS).verdict == "unknown"


# --- declared losses


def test_what_a_process_declares_counts_from_where_it_was_first_heard() -> None:
    said = [Observation("losses", ONE, at_s, {"dropped": dropped}) for at_s, dropped in ((0.0, 7), (1.0, 9), (2.0, 9))]
    assert declared_losses(reversed(said)) == {"dropped": 2, "unsure": 0}


def test_a_count_that_began_anew_with_its_process_is_all_new() -> None:
    said = [Observation("losses", ONE, float(n), {"unsure": unsure}) for n, unsure in enumerate((5, 8, 2, 3))]
    assert declared_losses([*said, Observation("losses", TWO, 9.0, {"unsure": 4})])["unsure"] == 3 + 2 + 1


# --- what an ended process takes with it


@pytest.mark.parametrize(
    ("lost_at", "node", "clicks", "verdict"),
    [
        (5, ONE, "redis_streams", "valid"),  # visited at 5.0, killed at 5.05
        (5, TWO, "redis_streams", "invalid"),  # another replica was killed
        (3, ONE, "redis_streams", "invalid"),  # sent on long before
        (5, ONE, "batched", "valid"),
    ],
)
def test_a_killed_replica_takes_what_it_had_not_sent_yet(lost_at: int, node: str, clicks: str, verdict: str) -> None:
    story = clicked(clicks=clicks)
    for n in range(10):
        story.losses(n + 0.02)
        story.losses(n + 0.02, node=TWO)
    # One link a visit, so that it is known which click is missing.
    story.visit("b", "https://old/b", float(lost_at))
    story.struck("kill", node, 5.05, 6.0)
    check = counted(story)
    assert (check.verdict, check.counts["lost_with_a_killed_replica"]) == (verdict, verdict == "valid")


def test_the_longer_clicks_gather_the_more_goes_with_it() -> None:
    for flush_ms, verdict in ((100, "invalid"), (2_000, "valid")):
        story = clicked(click_flush_ms=flush_ms)
        for n in range(10):
            story.losses(n + 0.02)
        story.struck("kill", ONE, 5.05, 6.0)
        story.visit("b", "https://old/b", 3.2)
        assert counted(story).verdict == verdict


def test_it_also_takes_what_it_could_not_send_while_redis_was_away() -> None:
    for struck, verdict in (("redis", "valid"), ("redis@replica-2", "invalid")):
        story = clicked()
        for n in range(10):
            story.losses(n + 0.02)
        story.struck("timeout", struck, 2.9, 4.5)
        story.struck("kill", ONE, 5.05, 6.0)
        story.visit("b", "https://old/b", 3.0)
        assert counted(story).verdict == verdict


@pytest.mark.parametrize(
    ("clicks", "store", "server", "verdict"),
    [
        ("kafka", "sqlite", "kafka", "valid"),
        ("kafka", "sqlite", "kafka@replica-1", "valid"),
        ("kafka", "sqlite", "kafka@replica-2", "invalid"),
        ("kafka", "sqlite", "redis", "invalid"),  # no click goes there
        ("kafka", "cassandra", "cassandra", "invalid"),  # the worker waits for it, a replica does not
        ("redis_streams", "sqlite", "kafka", "invalid"),
        ("batched", "cassandra", "cassandra", "valid"),
        ("batched", "sqlite", "cassandra", "invalid"),
    ],
)
def test_what_it_could_not_send_is_what_the_server_of_its_clicks_did_not_take(
    clicks: str, store: str, server: str, verdict: str
) -> None:
    story = clicked(clicks=clicks, store=store)
    for n in range(10):
        story.losses(n + 0.02)
    story.struck("timeout", server, 2.9, 4.5)
    story.struck("kill", ONE, 5.05, 6.0)
    story.visit("b", "https://old/b", 3.0)
    assert counted(story).verdict == verdict


def test_a_killed_kafka_is_back_before_it_serves_and_a_replica_holds_its_clicks_till_then() -> None:
    for server, verdict in (("kafka", "valid"), ("cassandra", "invalid")):
        story = clicked(clicks="kafka")
        for n in range(40):
            story.losses(n + 0.02)
        story.struck("kill", server, 2.9, 8.0)
        story.struck("kill", ONE, 30.0, 31.0)
        story.visit("b", "https://old/b", 9.0)
        assert counted(story).verdict == verdict


def test_what_kafka_and_cassandra_acknowledged_is_never_excused() -> None:
    for server in ("kafka", "cassandra"):
        for kind in ("kill", "pause"):
            story = clicked(clicks="kafka", store="cassandra")
            story.struck(kind, server, 1.05, 2.0)
            check = counted(story, b=-1)
            assert (check.verdict, check.counts["lost_undeclared"]) == ("invalid", 1)


def test_a_redis_that_keeps_no_clicks_takes_none_with_it() -> None:
    for clicks, verdict in (("redis_streams", "valid"), ("kafka", "invalid"), ("batched", "invalid")):
        story = clicked(clicks=clicks)
        story.losses(0.0)
        story.losses(8.9)
        story.struck("wipe", "redis", 3.0, 3.2)
        assert counted(story, b=-1).verdict == verdict


def test_and_what_it_had_dropped_since_it_last_told() -> None:
    for told_s, verdict in ((2.9, "valid"), (3.6, "invalid")):
        story = clicked()
        story.losses(told_s)
        story.struck("kill", ONE, 5.05, 6.0)
        story.visit("b", "https://old/b", 3.0)
        assert counted(story).verdict == verdict


def test_a_killed_worker_takes_nothing() -> None:
    story = clicked()
    story.struck("kill", "click-worker", 1.05, 2.0)
    check = counted(story, b=-1)
    assert (check.verdict, len(check.witness)) == ("invalid", 3)
    assert "struck: kill" in "".join(check.witness)


def test_a_click_counted_twice_is_wrong_whatever_struck() -> None:
    story = clicked()
    story.struck("kill", ONE, 1.05, 2.0)
    story.struck("wipe", "redis", 1.05, 2.0)
    assert counted(story, a=1).verdict == "invalid"


@pytest.mark.parametrize(
    ("kind", "target", "at_s", "verdict"),
    [
        ("wipe", "redis", 3.0, "valid"),
        ("power_loss", "redis", 3.0, "valid"),
        ("kill", "redis", 3.0, "valid"),
        ("power_loss", "host", 3.0, "valid"),
        ("power_loss", "redis", 9.0, "invalid"),  # synced long before
        ("wipe", "redis", 9.0, "invalid"),  # counted long before
        ("wipe", "redis", 0.5, "invalid"),  # not visited yet
        ("pause", "redis", 3.0, "invalid"),
        ("timeout", "redis", 3.0, "invalid"),
    ],
)
def test_an_ended_redis_takes_what_it_had_not_kept(kind: str, target: str, at_s: float, verdict: str) -> None:
    story = clicked()
    story.losses(0.0)
    story.losses(8.9)
    story.struck(kind, target, at_s, at_s + 0.2)
    check = counted(story, b=-1)  # visited at 1.0
    assert check.verdict == verdict
    assert check.counts["lost_with_redis"] + check.counts["lost_with_a_killed_replica"] == (verdict == "valid")


def test_a_store_in_memory_promises_nothing_over_the_end_of_its_process() -> None:
    story = clicked(store="memory")
    story.struck("kill", ONE, 1.05, 2.0)
    counted(story, a=-9)
    assert {check.verdict for check in story.checks().values()} == {"unknown"}
    story = clicked(store="memory")
    story.struck("kill", "redis", 1.05, 2.0)
    assert counted(story).verdict == "valid"
