"""Each invariant of visits passes a right history, flags the one that breaks it, and says unknown where nothing can be said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.result import SafetyCheck
from loadtests.url_shortener.evidence import superseded_s
from loadtests.url_shortener.history import Write
from loadtests.url_shortener.promises import CAPS, EXPIRIES, STALENESS, TARGETS
from tests.loadtests.url_shortener.histories import ALLOWANCE_S, TWO, WALL_S, S, Story

# --- targets


def test_redirects_to_what_the_link_was_and_became_are_valid() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.0, version=2)
    story.visit("a", "https://old/a", 0.5)
    story.visit("a", "https://e/1", 1.05)
    assert story.judged(TARGETS).verdict == "valid"


def test_a_redirect_to_where_the_link_never_led_is_flagged_with_the_link_that_does() -> None:
    story = Story().seeded("a", "b")
    story.visit("a", "https://old/b", 0.5)
    check = story.judged(TARGETS)
    assert (check.verdict, check.counts["wrong_target"]) == ("invalid", 1)
    assert [line.split(": ")[1] for line in check.witness] == [
        "create https://old/a -> ok 201 a",
        "create https://old/b -> ok 201 b",
        "visit a -> 302 https://old/b",
    ]


def test_a_redirect_without_a_target_is_flagged() -> None:
    story = Story().seeded("a")
    story.add("visit", "a", 0.5, "ok", {"status": 302, "url": ""})
    assert story.judged(TARGETS).verdict == "invalid"


def test_an_answer_from_before_its_edit_was_sent_is_flagged() -> None:
    story = Story().seeded("a")
    for at_s in (1.2, 0.5, 1.4):  # rounds come in one after the other, not by the time of the answer
        story.visit("a", "https://e/1", at_s)
    story.edit("a", "https://e/1", 1.0, version=2)
    check = story.judged(TARGETS)
    assert (check.verdict, check.counts["before_it_was_asked_for"]) == ("invalid", 1)


def test_an_edit_that_was_refused_must_not_be_seen() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.0, status=422)
    story.visit("a", "https://e/1", 2.0)
    assert story.judged(TARGETS).verdict == "invalid"


def test_a_redirect_with_another_status_than_the_knob_asks_for_is_flagged() -> None:
    story = Story().seeded("a")
    story.visit("a", "https://old/a", 0.5, status=301)
    check = story.judged(TARGETS)
    assert (check.verdict, check.counts["wrong_status"]) == ("invalid", 1)
    story.knobs["redirect"] = 301
    assert story.judged(TARGETS).verdict == "valid"


def test_a_code_nobody_has_must_not_redirect() -> None:
    story = Story().seeded("a")
    story.visit("zzz", "https://old/a", 0.0, f="guess")
    assert story.judged(TARGETS).verdict == "invalid"


def test_a_create_that_timed_out_may_be_found_under_any_code() -> None:
    story = Story().seeded("a")
    story.create("", 0.0, url="https://new/1", status=0)
    story.visit("zzz", "https://new/1", 6.0)
    assert story.judged(TARGETS).verdict == "valid"


def test_without_redirects_nothing_is_known_of_targets() -> None:
    assert Story().seeded("a").judged(TARGETS).verdict == "unknown"


# --- staleness


def stale(story: Story) -> SafetyCheck:
    return story.judged(STALENESS)


def test_an_old_answer_within_the_bound_is_counted_but_allowed() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.0, version=2)  # acknowledged at 1.1
    story.visit("a", "https://old/a", 2.1)
    story.visit("a", "https://e/1", 2.2)
    check = stale(story)
    assert check.verdict == "valid"
    assert (check.counts["stale_answers"], check.counts["worst_stale_ms"]) == (1, 1_000)
    story.visit("a", "https://old/a", 1.1 + S + ALLOWANCE_S / 2)
    assert stale(story).verdict == "valid", "a fetch may take a moment"


def test_an_old_answer_beyond_the_bound_is_flagged_with_the_edit_that_it_missed() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.0, version=2)
    story.visit("a", "https://old/a", 1.1 + S + ALLOWANCE_S + 0.01)
    check = stale(story)
    assert (check.verdict, check.counts["beyond_bound"]) == ("invalid", 1)
    assert check.counts["worst_stale_ms"] == 2_260
    assert [line.split(": ")[1] for line in check.witness] == [
        "create https://old/a -> ok 201 a",
        "edit a to https://e/1 -> ok 200",
        "visit a -> 302 https://old/a",
    ]


def test_a_deleted_link_that_is_still_followed_after_the_bound_is_flagged() -> None:
    for after_s, verdict in ((S, "valid"), (S + ALLOWANCE_S + 0.1, "invalid")):
        story = Story().seeded("a")
        story.delete("a", 1.0)
        story.visit("a", "https://old/a", 1.01 + after_s, node=TWO)
        check = stale(story)
        assert (check.verdict, check.counts["beyond_bound_of_deleted"]) == (verdict, verdict == "invalid")


def test_a_deletion_that_timed_out_makes_nothing_stale() -> None:
    story = Story().seeded("a")
    story.delete("a", 1.0, status=0)
    story.edit("a", "https://e/1", 1.5, version=3)
    story.visit("a", "https://e/1", 50.0)
    assert stale(story).verdict == "valid"


def test_a_redirect_asked_for_before_the_acknowledgement_is_not_stale() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.0, version=2)
    story.visit("a", "https://old/a", 1.05, took_s=8.0)  # the answer was long on its way
    assert stale(story).counts["stale_answers"] == 0


def test_an_edit_that_timed_out_makes_nothing_stale() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.0, status=0)
    story.edit("a", "https://e/2", 50.0, version=3)
    story.visit("a", "https://old/a", 49.0)
    story.visit("a", "https://e/1", 90.0)
    assert stale(story).verdict == "valid"


def test_of_two_edits_at_once_the_version_says_which_one_is_old() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.00, version=3)
    story.edit("a", "https://e/2", 1.05, version=2)
    story.visit("a", "https://e/1", 9.0)
    assert stale(story).verdict == "valid"
    story.visit("a", "https://e/2", 9.0)
    assert stale(story).verdict == "invalid"


def test_without_versions_two_edits_at_once_may_have_come_in_either_order() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.00)
    story.edit("a", "https://e/2", 1.05)
    story.visit("a", "https://e/1", 9.0)
    story.visit("a", "https://e/2", 9.0)
    assert stale(story).verdict == "valid"


def test_a_link_sent_back_to_where_it_led_before_is_not_stale_there() -> None:
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.0, version=2)
    story.edit("a", "https://old/a", 2.0, version=3)
    story.visit("a", "https://old/a", 50.0)
    assert stale(story).verdict == "valid"


def test_of_a_url_given_twice_the_last_time_counts() -> None:
    story = Story().seeded("a")
    for number, url in enumerate(("https://e/1", "https://old/a", "https://e/2")):
        story.edit("a", url, 10.0 * (number + 1), version=number + 2)
    story.visit("a", "https://old/a", 29.0)
    assert stale(story).verdict == "valid"
    story.visit("a", "https://old/a", 39.0)
    assert stale(story).verdict == "invalid"


def test_a_repeat_of_the_create_after_an_edit_makes_the_edit_no_older() -> None:
    story = Story()
    story.create("c", 1.0, url="https://new/1", idempotency_key="k")
    story.edit("c", "https://e/1", 2.0)
    story.create("c", 3.0, url="https://new/1", idempotency_key="k")
    story.visit("c", "https://e/1", 50.0)
    assert stale(story).verdict == "valid"


def test_edits_without_redirects_and_redirects_without_edits_say_nothing_of_staleness() -> None:
    story = Story().seeded("a")
    story.visit("a", "https://old/a", 0.5)
    assert stale(story).verdict == "unknown"
    story = Story().seeded("a")
    story.edit("a", "https://e/1", 1.0, version=2)
    assert stale(story).verdict == "unknown"


@given(
    edit_times_s=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    reads_s=st.lists(st.floats(0, 120), min_size=1, max_size=20),
    lag_s=st.floats(0, 4),
)
def test_a_cache_that_lags_less_than_the_bound_passes_and_what_is_flagged_lagged_more(
    edit_times_s: list[float], reads_s: list[float], lag_s: float
) -> None:
    """The model: an edit takes effect in the middle of its request; readers see the state of `lag_s` ago."""
    story = Story().seeded("a")
    times = sorted(edit_times_s)
    for number, at_s in enumerate(times):
        story.edit("a", f"https://e/{number}", at_s, version=number + 2)
    for read_s in reads_s:
        applied = [number for number, at_s in enumerate(times) if at_s + 0.05 <= read_s - lag_s]
        story.visit("a", f"https://e/{applied[-1]}" if applied else "https://old/a", read_s)
    check = stale(story)
    if lag_s <= S:
        assert check.verdict == "valid"
    if check.verdict == "invalid":
        assert lag_s > S
    assert check.counts["worst_stale_ms"] <= lag_s * 1_000 + 1
    assert story.judged(TARGETS).verdict == "valid"


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 5), st.integers(0, 5)), max_size=6))
def test_the_last_acknowledged_version_is_never_superseded(writes: list[tuple[float, float, int]]) -> None:
    values = [
        Write("edit", "a", f"https://e/{n}", at_s, at_s + took_s, "ok", version=version)
        for n, (at_s, took_s, version) in enumerate(writes)
    ]
    for value in values:
        if value.version == max((write.version for write in values), default=0) and all(write.version for write in values):
            assert superseded_s(value, values) is None


# --- caps


def capped(visits: int, undecided: int = 0, refused: int = 0) -> SafetyCheck:
    story = Story()
    story.create("x", 1.0, alias="x", max_visits=3)
    for number in range(visits):
        story.visit("x", "https://new/x", 2.0 + number / 10)
    for number in range(undecided):
        story.visit("x", "", 2.05 + number / 10, status=0)
    for number in range(refused):
        story.visit("x", "", 3.0 + number / 10, status=410)
    return story.judged(CAPS)


def test_a_link_may_be_opened_as_often_as_its_cap_says_and_then_no_more() -> None:
    assert (capped(3, refused=4).verdict, capped(3).counts["caps_reached"]) == ("valid", 1)
    check = capped(4)
    assert (check.verdict, check.counts["over_the_cap"], len(check.witness)) == ("invalid", 1, 5)


def test_a_visit_without_an_answer_is_never_one_too_many() -> None:
    assert capped(3, undecided=2).verdict == "valid"
    assert capped(2, undecided=1, refused=3).counts["refused_below_the_cap"] == 0
    assert capped(2, refused=3).counts["refused_below_the_cap"] == 1


def test_without_visits_nothing_is_known_of_a_cap() -> None:
    assert capped(0).verdict == "unknown"


# --- expiries


def expiring(*visits: tuple[float, int], offset_s: float = 0.0) -> SafetyCheck:
    """A link that ends at second 10; visits (sent at, status)."""
    story = Story()
    story.create("x", 1.0, expires_at=WALL_S + 10.0)
    for at_s, status in visits:
        story.visit("x", "https://new/x" if status == 302 else "", at_s, status=status)
    if offset_s:
        story.struck("clock_offset", "replica-2", 0.0, 5.0, seconds=offset_s)
    return story.judged(EXPIRIES)


def test_a_link_is_opened_until_its_end_and_refused_from_then_on() -> None:
    assert expiring((9.9, 302), (9.995, 302), (10.0, 410), (12.0, 410)).verdict == "valid"


@pytest.mark.parametrize(("visit", "count"), [((10.2, 302), "opened_too_late"), ((9.8, 410), "refused_too_early")])
def test_an_end_that_comes_late_or_early_is_flagged_unless_a_clock_was_put_so_wrong(visit: tuple[float, int], count: str) -> None:
    check = expiring(visit)
    assert (check.verdict, check.counts[count], len(check.witness)) == ("invalid", 1, 3)
    assert expiring(visit, offset_s=-0.3).verdict == "valid"
    assert expiring(visit, offset_s=0.1).verdict == "invalid"


def test_an_answer_that_was_long_on_its_way_is_neither_late_nor_early() -> None:
    story = Story()
    story.create("x", 1.0, expires_at=WALL_S + 10.0)
    story.visit("x", "https://new/x", 9.9, took_s=3.0)
    story.visit("x", "", 9.0, status=410, took_s=2.0)
    assert story.judged(EXPIRIES).verdict == "valid"


def test_an_expired_link_is_not_lost() -> None:
    story = Story()
    story.create("x", 1.0, expires_at=WALL_S + 10.0)
    story.visit("x", "", 11.0, status=410)
    assert {check.verdict for check in story.checks().values()} <= {"valid", "unknown"}
