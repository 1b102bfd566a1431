"""Each invariant passes a right history and flags the history that breaks it, and says unknown where nothing can be said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.result import SafetyCheck
from loadtests.url_shortener.history import (
    Fetched,
    History,
    StoredClicks,
    Write,
    clicks_conserved,
    links_kept,
    right_targets,
    sample_evenly,
    staleness,
    superseded_s,
    unique_codes,
)

S = 2.0
ALLOWANCE_S = 0.25


def history_of(*codes: str) -> History:
    """Links made before time 0, each with the URL https://old/<code>."""
    history = History()
    for code in codes:
        history.seed(Write(code, f"https://old/{code}", -2.0, -1.0, 201, version=1))
    return history


def visited(history: History, code: str, url: str, at_s: float, status: int = 302) -> None:
    history.visit(code, at_s, at_s + 0.01, status, url, 302, real=True)


def edit(code: str, url: str, at_s: float, status: int = 200, version: int = 0) -> Write:
    return Write(code, url, at_s, at_s + 0.1, status, version)


def created(code: str, at_s: float = 0.0, status: int = 201) -> Write:
    return Write(code, f"https://new/{code}", at_s, at_s + 0.1, status, version=1)


def stored(history: History, dropped: int = 0, complete: bool = True, **changes: int) -> StoredClicks:
    """What a variant that counts rightly would have stored, then changed."""
    clicks = dict.fromkeys(history.seeded, 0) | history.accepted_clicks()
    return StoredClicks({code: count + changes.get(code, 0) for code, count in clicks.items()}, dropped, complete)


# --- codes


def test_links_with_codes_of_their_own_are_valid() -> None:
    history = history_of("a", "b")
    history.creates += [created("c"), created("d")]
    check = unique_codes(history)
    assert (check.verdict, check.counts["links_made"], check.counts["duplicate_codes"]) == ("valid", 2, 0)


def test_a_code_handed_out_twice_under_load_is_flagged() -> None:
    history = history_of("a")
    history.creates += [created("c"), created("d"), replace(created("c"), url="https://new/other")]
    check = unique_codes(history)
    assert (check.verdict, check.counts["duplicate_codes"]) == ("invalid", 1)
    assert "c" in check.detail


def test_a_new_link_with_the_code_of_an_old_one_is_flagged() -> None:
    history = history_of("a")
    history.creates.append(created("a"))
    assert unique_codes(history).verdict == "invalid"


def test_two_seeded_links_with_one_code_are_flagged() -> None:
    history = history_of("a", "a")
    assert unique_codes(history).verdict == "invalid"


def test_a_create_that_timed_out_duplicates_nothing() -> None:
    history = history_of("a")
    history.creates += [replace(created(""), status=0), replace(created(""), status=0)]
    check = unique_codes(history)
    assert (check.verdict, check.counts["creates_undecided"]) == ("valid", 2)


def test_without_links_nothing_is_known_of_codes() -> None:
    assert unique_codes(History()).verdict == "unknown"


# --- kept links


def fetched(history: History, at_s: float = 100.0) -> dict[str, Fetched]:
    return {code: Fetched(at_s, 302, write.url) for code, write in history.acknowledged().items()}


def test_links_that_all_lead_where_they_were_sent_are_valid() -> None:
    history = history_of("a")
    history.creates.append(created("c"))
    check = links_kept(history, fetched(history), S)
    assert (check.verdict, check.counts["links_asked_for_again"]) == ("valid", 2)


@pytest.mark.parametrize("status", [404, 410])
def test_an_acknowledged_link_that_is_gone_is_flagged(status: int) -> None:
    history = history_of("a")
    history.creates.append(created("c"))
    answers = fetched(history) | {"c": Fetched(100.0, status, "")}
    check = links_kept(history, answers, S)
    assert (check.verdict, check.counts["lost"]) == ("invalid", 1)


def test_an_acknowledged_link_that_leads_elsewhere_is_flagged() -> None:
    history = history_of("a")
    check = links_kept(history, {"a": Fetched(100.0, 302, "https://old/b")}, S)
    assert (check.verdict, check.counts["wrong_target"]) == ("invalid", 1)


def test_a_link_refused_under_load_is_flagged_even_if_it_is_back_later() -> None:
    history = history_of("a")
    visited(history, "a", "", 1.0, status=404)
    check = links_kept(history, fetched(history), S)
    assert (check.verdict, check.counts["refused_under_load"]) == ("invalid", 1)


def test_an_acknowledged_edit_that_is_gone_after_the_bound_is_flagged() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, version=2))
    old = {"a": Fetched(100.0, 302, "https://old/a")}
    assert links_kept(history, old, S).verdict == "invalid"
    assert links_kept(history, {"a": Fetched(2.0, 302, "https://old/a")}, S).verdict == "valid"
    assert links_kept(history, {"a": Fetched(100.0, 302, "https://e/1")}, S).verdict == "valid"


def test_an_edit_that_timed_out_may_or_may_not_hold() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, status=0))
    for url in ("https://old/a", "https://e/1"):
        assert links_kept(history, {"a": Fetched(100.0, 302, url)}, S).verdict == "valid"


def test_an_edit_that_was_refused_must_not_hold() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, status=422))
    assert links_kept(history, {"a": Fetched(100.0, 302, "https://e/1")}, S).verdict == "invalid"
    assert links_kept(history, {"a": Fetched(100.0, 302, "https://old/a")}, S).verdict == "valid"


def test_links_that_cannot_be_asked_for_are_unknown_and_none_asked_for_too() -> None:
    history = history_of("a", "b")
    answers = fetched(history) | {"b": Fetched(100.0, 0, "")}
    assert links_kept(history, answers, S).verdict == "unknown"
    assert links_kept(history, {}, S).verdict == "unknown"


# --- targets


def test_redirects_to_what_the_link_was_and_became_are_valid() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, version=2))
    visited(history, "a", "https://old/a", 0.5)
    visited(history, "a", "https://e/1", 1.05)
    assert right_targets(history).verdict == "valid"


def test_a_redirect_to_where_the_link_never_led_is_flagged() -> None:
    history = history_of("a", "b")
    visited(history, "a", "https://old/b", 0.5)
    check = right_targets(history)
    assert (check.verdict, check.counts["wrong_target"]) == ("invalid", 1)


def test_a_redirect_without_a_target_is_flagged() -> None:
    history = history_of("a")
    visited(history, "a", "", 0.5)
    assert right_targets(history).verdict == "invalid"


def test_an_answer_from_before_its_edit_was_sent_is_flagged() -> None:
    history = history_of("a")
    visited(history, "a", "https://e/1", 1.2)
    visited(history, "a", "https://e/1", 0.5)  # histories come in by the round, not by the time of the answer
    visited(history, "a", "https://e/1", 1.4)
    history.edit(edit("a", "https://e/1", 1.0, version=2))
    check = right_targets(history)
    assert (check.verdict, check.counts["before_it_was_asked_for"]) == ("invalid", 1)


def test_an_edit_that_was_refused_must_not_be_seen() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, status=422))
    visited(history, "a", "https://e/1", 2.0)
    assert right_targets(history).verdict == "invalid"


def test_a_redirect_with_another_status_than_the_knob_asks_for_is_flagged() -> None:
    history = history_of("a")
    visited(history, "a", "https://old/a", 0.5, status=301)
    check = right_targets(history)
    assert (check.verdict, check.counts["wrong_status"]) == ("invalid", 1)


def test_a_code_nobody_has_must_not_redirect() -> None:
    history = history_of("a")
    history.visit("zzz", 0.0, 0.1, 302, "https://old/a", 302, real=False)
    assert right_targets(history).verdict == "invalid"


def test_a_create_that_timed_out_may_be_found_under_any_code() -> None:
    history = history_of("a")
    history.creates.append(Write("", "https://new/1", 0.0, 5.0, 0))
    history.visit("zzz", 6.0, 6.1, 302, "https://new/1", 302, real=False)
    assert right_targets(history).verdict == "valid"


def test_without_redirects_nothing_is_known_of_targets() -> None:
    assert right_targets(history_of("a")).verdict == "unknown"


# --- staleness


def stale_check(history: History) -> SafetyCheck:
    return staleness(history, S, ALLOWANCE_S)


def test_an_old_answer_within_the_bound_is_counted_but_allowed() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, version=2))  # acknowledged at 1.1
    visited(history, "a", "https://old/a", 2.1)
    visited(history, "a", "https://e/1", 2.2)
    check = stale_check(history)
    assert check.verdict == "valid"
    assert (check.counts["stale_answers"], check.counts["worst_stale_ms"]) == (1, 1_000)


def test_an_old_answer_beyond_the_bound_is_flagged() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, version=2))
    visited(history, "a", "https://old/a", 1.1 + S + ALLOWANCE_S + 0.01)
    check = stale_check(history)
    assert (check.verdict, check.counts["beyond_bound"]) == ("invalid", 1)
    assert check.counts["worst_stale_ms"] == 2_260


def test_a_redirect_asked_for_before_the_acknowledgement_is_not_stale() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, version=2))
    history.visit("a", 1.05, 9.0, 302, "https://old/a", 302, real=True)  # the answer was long on its way
    assert stale_check(history).counts["stale_answers"] == 0


def test_an_edit_that_timed_out_makes_nothing_stale() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, status=0))
    history.edit(edit("a", "https://e/2", 50.0, version=3))
    visited(history, "a", "https://old/a", 49.0)
    visited(history, "a", "https://e/1", 90.0)
    assert stale_check(history).verdict == "valid"


def test_of_two_edits_at_once_the_version_says_which_one_is_old() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.00, version=3))
    history.edit(edit("a", "https://e/2", 1.05, version=2))
    visited(history, "a", "https://e/1", 9.0)
    assert stale_check(history).verdict == "valid"
    visited(history, "a", "https://e/2", 9.0)
    assert stale_check(history).verdict == "invalid"


def test_without_versions_two_edits_at_once_may_have_come_in_either_order() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.00))
    history.edit(edit("a", "https://e/2", 1.05))
    visited(history, "a", "https://e/1", 9.0)
    visited(history, "a", "https://e/2", 9.0)
    assert stale_check(history).verdict == "valid"


def test_a_link_sent_back_to_where_it_led_before_is_not_stale_there() -> None:
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, version=2))
    history.edit(edit("a", "https://old/a", 2.0, version=3))
    visited(history, "a", "https://old/a", 50.0)
    assert stale_check(history).verdict == "valid"


def test_of_a_url_given_twice_the_last_time_counts() -> None:
    history = history_of("a")
    for number, url in enumerate(("https://e/1", "https://old/a", "https://e/2")):
        history.edit(edit("a", url, 10.0 * (number + 1), version=number + 2))
    visited(history, "a", "https://old/a", 29.0)
    assert stale_check(history).verdict == "valid"
    visited(history, "a", "https://old/a", 39.0)
    assert stale_check(history).verdict == "invalid"


def test_edits_without_redirects_and_redirects_without_edits_say_nothing_of_staleness() -> None:
    history = history_of("a")
    visited(history, "a", "https://old/a", 0.5)
    assert stale_check(history).verdict == "unknown"
    history = history_of("a")
    history.edit(edit("a", "https://e/1", 1.0, version=2))
    assert stale_check(history).verdict == "unknown"


@given(
    edit_times_s=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    reads_s=st.lists(st.floats(0, 120), min_size=1, max_size=20),
    lag_s=st.floats(0, 4),
)
def test_a_cache_that_lags_less_than_the_bound_passes_and_what_is_flagged_lagged_more(
    edit_times_s: list[float], reads_s: list[float], lag_s: float
) -> None:
    """The model: an edit takes effect in the middle of its request; readers see the state of `lag_s` ago."""
    history = history_of("a")
    edits = [edit("a", f"https://e/{n}", at_s, version=n + 2) for n, at_s in enumerate(sorted(edit_times_s))]
    for write in edits:
        history.edit(write)
    for read_s in reads_s:
        applied = [write.url for write in edits if write.sent_s + 0.05 <= read_s - lag_s]
        visited(history, "a", applied[-1] if applied else "https://old/a", read_s)
    check = stale_check(history)
    if lag_s <= S:
        assert check.verdict == "valid"
    if check.verdict == "invalid":
        assert lag_s > S
    assert check.counts["worst_stale_ms"] <= lag_s * 1_000 + 1
    assert right_targets(history).verdict == "valid"


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 5), st.integers(0, 5)), max_size=6))
def test_the_last_acknowledged_version_is_never_superseded(writes: list[tuple[float, float, int]]) -> None:
    values = [Write("a", f"https://e/{n}", at_s, at_s + took_s, 200, version) for n, (at_s, took_s, version) in enumerate(writes)]
    for value in values:
        if value.version == max((write.version for write in values), default=0) and all(write.version for write in values):
            assert superseded_s(value, values) is None


# --- clicks


def clicked_history() -> History:
    history = history_of("a", "b")
    for n in range(10):
        visited(history, "a", "https://old/a", float(n))
    visited(history, "b", "https://old/b", 1.0)
    return history


def test_clicks_counted_once_each_are_valid() -> None:
    history = clicked_history()
    check = clicks_conserved(history, stored(history), counting=True)
    assert (check.verdict, check.counts["clicks_accepted"], check.counts["clicks_stored"]) == ("valid", 11, 11)


def test_a_click_counted_twice_is_flagged_even_before_the_queue_is_empty() -> None:
    history = clicked_history()
    for complete in (True, False):
        check = clicks_conserved(history, stored(history, complete=complete, a=1), counting=True)
        assert (check.verdict, check.counts["counted_twice"]) == ("invalid", 1)


def test_a_click_counted_twice_is_not_hidden_by_one_that_is_lost_elsewhere() -> None:
    history = clicked_history()
    check = clicks_conserved(history, stored(history, a=1, b=-1), counting=True)
    assert (check.counts["counted_twice"], check.counts["lost_undeclared"]) == (1, 1)


def test_a_click_lost_in_silence_is_flagged_and_a_declared_one_is_not() -> None:
    history = clicked_history()
    assert clicks_conserved(history, stored(history, a=-1), counting=True).verdict == "invalid"
    assert clicks_conserved(history, stored(history, dropped=1, a=-1), counting=True).verdict == "valid"


def test_clicks_declared_unsure_may_be_stored_or_not() -> None:
    history = clicked_history()
    for lost in (0, -1, -2):
        assert clicks_conserved(history, replace(stored(history, a=lost), unsure=2), counting=True).verdict == "valid"
    assert clicks_conserved(history, replace(stored(history, a=-3), unsure=2), counting=True).verdict == "invalid"


def test_a_declared_loss_that_is_none_is_flagged() -> None:
    history = clicked_history()
    check = clicks_conserved(history, stored(history, dropped=2, a=-1), counting=True)
    assert (check.verdict, check.counts["declared_but_not_missing"]) == ("invalid", 1)


def test_a_visit_that_timed_out_may_be_counted_or_not_or_dropped() -> None:
    history = clicked_history()
    visited(history, "a", "", 20.0, status=0)
    assert clicks_conserved(history, stored(history), counting=True).verdict == "valid"
    assert clicks_conserved(history, stored(history, a=1), counting=True).verdict == "valid"
    assert clicks_conserved(history, stored(history, dropped=1), counting=True).verdict == "valid"
    check = clicks_conserved(history, stored(history, a=2), counting=True)
    assert (check.verdict, check.counts["counted_twice"]) == ("invalid", 1)


def test_a_visit_of_one_link_that_timed_out_excuses_no_click_of_another() -> None:
    history = clicked_history()
    visited(history, "a", "", 20.0, status=0)
    assert clicks_conserved(history, stored(history, b=1), counting=True).verdict == "invalid"


def test_a_queue_that_is_not_empty_leaves_lost_clicks_unknown() -> None:
    history = clicked_history()
    check = clicks_conserved(history, stored(history, complete=False, a=-5), counting=True)
    assert check.verdict == "unknown"
    assert "queue" in check.detail


def test_with_clicks_off_none_is_counted() -> None:
    history = clicked_history()
    nothing = StoredClicks({"a": 0, "b": 0}, 0, complete=True)
    assert clicks_conserved(history, nothing, counting=False).verdict == "valid"
    assert clicks_conserved(history, StoredClicks({"a": 1, "b": 0}, 0, complete=True), counting=False).verdict == "invalid"


def test_without_visits_nothing_is_known_of_clicks() -> None:
    history = history_of("a")
    assert clicks_conserved(history, stored(history), counting=True).verdict == "unknown"


# --- the sample


@given(count=st.integers(0, 500), limit=st.integers(2, 100))
def test_an_even_sample_is_bounded_ordered_and_holds_both_ends(count: int, limit: int) -> None:
    codes = [str(n) for n in range(count)]
    sample = sample_evenly(codes, limit)
    assert len(sample) == min(count, limit)
    assert len(set(sample)) == len(sample)
    assert [int(code) for code in sample] == sorted(int(code) for code in sample)
    if count:
        assert (sample[0], sample[-1]) == (codes[0], codes[-1])
