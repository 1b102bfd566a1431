"""Each invariant of links passes a right history, flags the one that breaks it, and says unknown where nothing can be said."""

from __future__ import annotations

import pytest

from loadtests.url_shortener.promises import ALIASES, FOUND_AT_ONCE, KEPT, REPEATS, UNIQUE
from tests.loadtests.url_shortener.histories import ALLOWANCE_S, ONE, TWO, S, Story

# --- codes


def test_links_with_codes_of_their_own_are_valid() -> None:
    story = Story().seeded("a", "b")
    story.create("c")
    story.create("d")
    check = story.judged(UNIQUE)
    assert (check.verdict, check.counts["links_made"], check.counts["duplicate_codes"]) == ("valid", 2, 0)


def test_a_code_handed_out_twice_under_load_is_flagged_and_both_creates_are_the_witness() -> None:
    story = Story().seeded("a")
    story.create("c", 1.0)
    story.create("d", 1.5)
    story.create("c", 2.0, url="https://new/other", node=TWO)
    check = story.judged(UNIQUE)
    assert (check.verdict, check.counts["duplicate_codes"]) == ("invalid", 1)
    assert "c" in check.detail
    assert [line.split("s  ")[1] for line in check.witness] == [
        "replica-1: create https://new/c -> ok 201 c",
        "replica-2: create https://new/other -> ok 201 c",
    ]


def test_a_new_link_with_the_code_of_an_old_one_or_of_a_deleted_one_is_flagged() -> None:
    story = Story().seeded("a", "b")
    story.delete("a", 1.0)
    story.create("a", 2.0)
    assert story.judged(UNIQUE).verdict == "invalid"


def test_two_seeded_links_with_one_code_are_flagged() -> None:
    assert Story().seeded("a", "a").judged(UNIQUE).verdict == "invalid"


def test_a_create_that_timed_out_duplicates_nothing() -> None:
    story = Story().seeded("a")
    story.create("", status=0)
    story.create("", status=503)
    check = story.judged(UNIQUE)
    assert (check.verdict, check.counts["creates_undecided"]) == ("valid", 2)


def test_who_is_handed_a_link_that_was_there_already_must_be_handed_one_to_the_same_place() -> None:
    story = Story().seeded("a")
    story.create("a", 1.0, url="https://old/a", status=200)
    assert story.judged(UNIQUE).verdict == "valid"
    story.add("create", "", 2.0, "ok", {"status": 200, "code": "a", "url": "https://old/a"}, {"url": "https://new/other"})
    check = story.judged(UNIQUE)
    assert (check.verdict, check.counts["handed_out_leading_elsewhere"]) == ("invalid", 1)


def test_without_links_nothing_is_known_of_codes() -> None:
    assert Story().judged(UNIQUE).verdict == "unknown"


@pytest.mark.parametrize(("cache", "verdict"), [("write-behind", "valid"), ("write-through", "invalid")])
def test_a_link_that_a_power_loss_may_take_gives_its_code_back(cache: str, verdict: str) -> None:
    story = Story({"cache": cache}).seeded("a")
    story.create("c", 4.5)
    story.struck("power_loss", "redis", 5.0, 5.5)
    story.create("c", 6.0, url="https://new/other")
    assert story.judged(UNIQUE).verdict == verdict


def test_a_link_that_outlived_the_power_loss_does_not() -> None:
    story = Story({"cache": "write-behind"}).seeded("a")
    story.create("c", 4.5)
    story.struck("power_loss", "redis", 5.0, 5.5)
    story.create("c", 6.0, url="https://new/other")
    story.look("c", "https://new/c")
    assert story.judged(UNIQUE).verdict == "invalid"


# --- aliases


def test_of_several_who_want_an_alias_one_gets_it() -> None:
    story = Story()
    story.create("x", 1.0, alias="x", url="https://new/1")
    story.create("", 1.0, alias="x", url="https://new/2", status=409, node=TWO)
    check = story.judged(ALIASES)
    assert (check.verdict, check.counts["wanted_by_several"]) == ("valid", 1)
    story.create("x", 1.005, alias="x", url="https://new/3", node=TWO)
    check = story.judged(ALIASES)
    assert (check.verdict, check.counts["given_twice"]) == ("invalid", 1)
    assert len(check.witness) == 2
    assert story.judged(UNIQUE).verdict == "valid", "it is one mistake, not two"


def test_an_alias_that_all_were_refused_must_be_somebodys() -> None:
    story = Story()
    story.create("", 1.0, alias="x", status=409)
    story.create("", 1.0, alias="x", status=409, node=TWO)
    assert story.judged(ALIASES).verdict == "unknown"
    story.look("x", "")
    check = story.judged(ALIASES)
    assert (check.verdict, check.counts["refused_to_all"]) == ("invalid", 1)


def test_an_alias_whose_create_got_no_answer_may_be_refused_to_all_others() -> None:
    story = Story()
    story.create("", 1.0, alias="x", status=0)
    story.create("", 1.0, alias="x", status=409, node=TWO)
    story.look("x", "")
    assert story.judged(ALIASES).verdict == "unknown"


# --- Idempotency-Keys


def test_a_repeat_with_the_same_key_gets_the_same_link_wherever_it_is_asked() -> None:
    story = Story()
    for at_s, node in ((1.0, ONE), (1.1, TWO)):
        story.create("c", at_s, url="https://new/1", idempotency_key="k", node=node)
    assert story.judged(REPEATS).verdict == "valid"
    assert story.judged(UNIQUE).verdict == "valid"
    story.create("d", 1.2, url="https://new/1", idempotency_key="k")
    check = story.judged(REPEATS)
    assert (check.verdict, check.counts["another_link"], len(check.witness)) == ("invalid", 1, 3)


def test_a_repeat_must_not_be_refused_and_one_without_an_answer_says_nothing() -> None:
    story = Story()
    story.create("c", 1.0, idempotency_key="k")
    story.create("", 1.1, idempotency_key="k", status=503)
    assert story.judged(REPEATS).verdict == "unknown"
    story.create("", 1.2, idempotency_key="k", status=409)
    assert story.judged(REPEATS).verdict == "invalid"


# --- found at once


def test_a_link_made_under_load_is_found_at_once() -> None:
    story = Story()
    story.visit("x", "", 0.5)
    story.create("x", 1.0, alias="x")
    story.visit("x", "https://new/x", 1.1, node=TWO)
    check = story.judged(FOUND_AT_ONCE)
    assert (check.verdict, check.counts["missed_first"]) == ("valid", 1)


def test_a_link_that_is_missed_after_its_201_is_flagged_with_the_miss_before_it() -> None:
    story = Story()
    story.visit("x", "", 0.5)
    story.create("x", 1.0, alias="x")
    story.visit("x", "", 1.5)
    check = story.judged(FOUND_AT_ONCE)
    assert (check.verdict, check.counts["not_found"]) == ("invalid", 1)
    assert [line.split(": ")[1].split(" ")[0] for line in check.witness] == ["visit", "create", "visit"]
    assert story.judged(KEPT).verdict == "invalid"


def test_a_miss_while_the_create_is_on_its_way_is_none() -> None:
    story = Story()
    story.create("x", 1.0, alias="x", took_s=0.5)
    story.visit("x", "", 1.49, took_s=0.2)
    story.visit("x", "https://new/x", 1.8)
    assert story.judged(FOUND_AT_ONCE).verdict == "valid"


@pytest.mark.parametrize(
    ("knobs", "node", "at_s", "excused"),
    [
        ({"cache_layers": "process"}, TWO, 1.9, True),  # it may remember its own miss
        ({"cache_layers": "process"}, TWO, 1.01 + S + ALLOWANCE_S + 0.1, False),
        ({"cache_layers": "process", "negative_ttl_s": 0.2}, TWO, 1.9, False),
        ({"cache_layers": "process"}, ONE, 1.9, False),  # that made the link
        ({"cache_layers": "both"}, TWO, 1.9, False),  # they share their misses, and the create replaced it
        ({"cache": "none"}, TWO, 1.9, False),
    ],
)
def test_only_a_replica_that_shares_no_cache_may_remember_a_miss(
    knobs: dict[str, str], node: str, at_s: float, excused: bool
) -> None:
    story = Story(knobs)
    story.visit("x", "", 0.5, node=node)
    story.create("x", 1.0, alias="x", node=ONE)
    story.visit("x", "", at_s, node=node)
    story.visit("x", "https://new/x", 90.0)
    check = story.judged(FOUND_AT_ONCE)
    assert (check.verdict == "valid") is excused
    assert check.counts["not_found_without_redis"] == excused


def test_a_replica_that_nobody_has_asked_before_has_nothing_to_remember() -> None:
    story = Story({"cache_layers": "process"})
    story.create("x", 1.0, alias="x", node=ONE)
    story.visit("x", "", 1.5, node=TWO)
    assert story.judged(FOUND_AT_ONCE).verdict == "invalid"


def test_who_waits_for_a_read_that_began_before_the_create_may_be_told_of_a_miss() -> None:
    story = Story()
    story.visit("x", "", 0.9, node=TWO, took_s=0.5)
    story.create("x", 1.0, alias="x", node=ONE)
    story.visit("x", "", 1.2, node=TWO, took_s=0.2)
    story.visit("x", "https://new/x", 1.5)
    assert story.judged(FOUND_AT_ONCE).verdict == "valid"


@pytest.mark.parametrize(("at_s", "excused"), [(3.0, True), (1.02 + 5 + ALLOWANCE_S + 0.1, False)])
@pytest.mark.parametrize("target", ["redis", "redis@replica-1", "host", "errors"])
def test_a_redis_that_could_not_be_told_of_the_create_may_remember_the_miss_for_its_life(
    target: str, at_s: float, excused: bool
) -> None:
    story = Story({"negative_ttl_s": 5})
    story.visit("x", "", 0.5)
    if target == "errors":
        story.cache_errors(0.9, 3)
        story.cache_errors(1.1, 4)
    else:
        story.struck("timeout", target, 0.9, 2.0)
    story.create("x", 1.0, alias="x")
    story.visit("x", "", at_s)
    story.visit("x", "https://new/x", 90.0)
    assert (story.judged(FOUND_AT_ONCE).verdict == "valid") is excused


def test_trouble_of_another_replica_excuses_nothing() -> None:
    story = Story()
    story.visit("x", "", 0.5)
    story.struck("timeout", "redis@replica-2", 0.9, 2.0)
    story.create("x", 1.0, alias="x", node=ONE)
    story.visit("x", "", 3.0, node=ONE)
    assert story.judged(FOUND_AT_ONCE).verdict == "invalid"


# --- kept links


def test_links_that_all_lead_where_they_were_sent_are_valid() -> None:
    story = Story().seeded("a")
    story.create("c")
    story.look("a", "https://old/a")
    story.look("c", "https://new/c")
    check = story.judged(KEPT)
    assert (check.verdict, check.counts["links_asked_for_again"]) == ("valid", 2)


@pytest.mark.parametrize("status", [404, 410])
def test_an_acknowledged_link_that_is_gone_from_one_replica_is_flagged(status: int) -> None:
    story = Story()
    story.create("c")
    story.look("c", "https://new/c", nodes=[ONE])
    story.look("c", "", status=status, nodes=[TWO])
    check = story.judged(KEPT)
    assert (check.verdict, check.counts["lost"]) == ("invalid", 1)
    assert len(check.witness) == 2


def test_an_acknowledged_link_that_leads_elsewhere_is_flagged() -> None:
    story = Story().seeded("a")
    story.look("a", "https://old/b")
    check = story.judged(KEPT)
    assert (check.verdict, check.counts["wrong_target"]) == ("invalid", 1)


def test_a_link_refused_under_load_is_flagged_even_if_it_is_back_later() -> None:
    story = Story().seeded("a")
    story.visit("a", "", 1.0)
    story.look("a", "https://old/a")
    check = story.judged(KEPT)
    assert (check.verdict, check.counts["refused_under_load"]) == ("invalid", 1)


def test_an_acknowledged_edit_that_is_gone_after_the_bound_is_flagged() -> None:
    for url, at_s, verdict in (
        ("https://old/a", 100.0, "invalid"),
        ("https://old/a", 2.0, "valid"),
        ("https://e/1", 100.0, "valid"),
    ):
        story = Story().seeded("a")
        story.edit("a", "https://e/1", 1.0, version=2)
        story.look("a", url, at_s)
        assert story.judged(KEPT).verdict == verdict


def test_an_edit_that_timed_out_may_or_may_not_hold_and_one_that_was_refused_must_not() -> None:
    for url, status, verdict in (
        ("https://old/a", 0, "valid"),
        ("https://e/1", 0, "valid"),
        ("https://old/a", 422, "valid"),
        ("https://e/1", 422, "invalid"),
    ):
        story = Story().seeded("a")
        story.edit("a", "https://e/1", 1.0, status=status)
        story.look("a", url)
        assert story.judged(KEPT).verdict == verdict


@pytest.mark.parametrize(
    ("status", "url", "verdict"),
    [(204, "", "valid"), (204, "https://old/a", "invalid"), (0, "", "valid"), (0, "https://old/a", "valid"), (404, "", "invalid")],
)
def test_a_deleted_link_stays_deleted_and_one_whose_deletion_timed_out_may(status: int, url: str, verdict: str) -> None:
    story = Story().seeded("a")
    story.delete("a", 1.0, status=status)
    story.look("a", url)
    check = story.judged(KEPT)
    assert (check.verdict, check.counts["deleted_and_back"]) == (verdict, int(bool(url) and status == 204))


def test_an_edit_without_an_answer_brings_no_deleted_link_back() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 0.5, status=0)
    story.delete("a", 1.0)
    story.look("a", "https://e/1")
    assert story.judged(KEPT).verdict == "invalid"


def test_links_that_cannot_be_asked_for_are_unknown_and_none_asked_for_too() -> None:
    story = Story().seeded("a", "b")
    story.look("a", "https://old/a")
    assert story.judged(KEPT).verdict == "valid"
    story.look("b", "", status=0)
    assert story.judged(KEPT).verdict == "unknown"
    story.look("b", "https://old/b", at_s=101.0)
    assert story.judged(KEPT).verdict == "valid", "it was asked for once more"
    assert Story().seeded("a").judged(KEPT).verdict == "unknown"


@pytest.mark.parametrize(
    ("kind", "made_s", "gone"), [("power_loss", 4.5, True), ("kill", 4.5, True), ("power_loss", 1.0, False), ("wipe", 1.0, True)]
)
def test_write_behind_may_lose_with_redis_what_the_store_had_not_got(kind: str, made_s: float, gone: bool) -> None:
    for cache, allowed in (("write-behind", gone), ("write-through", False)):
        story = Story({"cache": cache})
        story.create("c", made_s)
        story.struck(kind, "redis", 5.0, 5.5)
        story.look("c", "")
        check = story.judged(KEPT)
        assert (check.verdict == "valid") is allowed
        assert check.counts["gone_with_redis"] == allowed


def test_a_link_that_was_repeated_to_its_maker_after_the_power_loss_must_not_be_gone() -> None:
    story = Story({"cache": "write-behind"})
    story.create("c", 4.5, idempotency_key="k")
    story.struck("power_loss", "redis", 5.0, 5.5)
    story.create("c", 6.0, idempotency_key="k")
    story.look("c", "")
    assert story.judged(KEPT).verdict == "invalid"
