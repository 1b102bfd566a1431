"""Which links are asked for again after the load: spread over all of them, and never one that may have ended by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtests.recording import take_all
from loadtests.url_shortener.evidence import Evidence
from loadtests.url_shortener.final_questions import links_to_look_at, sample_evenly
from loadtests.url_shortener.history import History
from loadtests.url_shortener.promises import promises_of
from tests.loadtests.url_shortener.histories import WALL_S, Story, header


@given(count=st.integers(0, 500), limit=st.integers(2, 100))
def test_an_even_sample_is_bounded_ordered_and_holds_both_ends(count: int, limit: int) -> None:
    codes = [str(n) for n in range(count)]
    sample = sample_evenly(codes, limit)
    assert len(sample) == min(count, limit)
    assert len(set(sample)) == len(sample)
    assert [int(code) for code in sample] == sorted(int(code) for code in sample)
    if count:
        assert (sample[0], sample[-1]) == (codes[0], codes[-1])


def test_new_and_old_links_are_looked_at_and_aliases_that_all_were_refused() -> None:
    story = Story().seeded("a", "b", "c")
    story.create("new", 1.0)
    story.create("capped", 1.0, max_visits=3)
    story.create("brief", 1.0, expires_at=WALL_S + 2)
    story.create("", 1.0, alias="nobodys", status=409)
    story.create("x", 1.0, alias="x")
    story.create("", 1.0, alias="x", status=409)
    story.delete("b", 2.0)
    evidence = Evidence(take_all(History(), story.items), promises_of(header()))
    assert set(links_to_look_at(evidence, 100)) == {"a", "b", "c", "new", "x", "nobodys"}
    assert set(links_to_look_at(evidence, 4)) == {"a", "c", "new", "x", "nobodys"}
