from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.url_shortener.links import Link, LinkEdit, Redirect, Refusal, edited, outcome

LINK = Link("abcdefg", "https://example.org/", "alice", 1_000, 1_000)
links = st.builds(
    Link,
    code=st.just("abcdefg"),
    url=st.just("https://example.org/"),
    owner=st.just("alice"),
    created_at_us=st.integers(1, 100),
    version=st.integers(1, 100),
    expires_at_us=st.none() | st.integers(1, 100),
    max_visits=st.none() | st.integers(1, 3),
    enabled=st.booleans(),
    blocked=st.booleans(),
    deleted=st.booleans(),
)
edits = st.builds(
    LinkEdit,
    url=st.none() | st.just("https://example.org/new"),
    expires_at_us=st.none() | st.integers(1, 100),
    clear_expiry=st.booleans(),
    max_visits=st.none() | st.integers(1, 3),
    clear_max_visits=st.booleans(),
    enabled=st.none() | st.booleans(),
    blocked=st.none() | st.booleans(),
    deleted=st.none() | st.just(True),
)


def test_a_link_expires_at_its_microsecond_and_not_before() -> None:
    link = replace(LINK, expires_at_us=2_000)
    assert outcome(link, 1_999) == Redirect(LINK.url, capped=False, limited=True)
    assert outcome(link, 2_000) is Refusal.EXPIRED
    assert outcome(link, 2_001) is Refusal.EXPIRED


def test_missing_deleted_and_disabled_are_one_answer_whatever_else_is_true_of_them() -> None:
    more = replace(LINK, expires_at_us=1, blocked=True, max_visits=1)
    for link in (None, replace(more, deleted=True), replace(more, enabled=False)):
        assert outcome(link, 5_000) is Refusal.MISSING


def test_a_blocked_link_says_so_before_it_says_that_it_expired() -> None:
    assert outcome(replace(LINK, blocked=True, expires_at_us=1), 5_000) is Refusal.BLOCKED


def test_only_a_capped_link_has_to_ask_for_its_visit() -> None:
    assert outcome(LINK, 5_000) == Redirect(LINK.url, capped=False, limited=False)
    assert outcome(replace(LINK, max_visits=5), 5_000) == Redirect(LINK.url, capped=True, limited=True)


@given(links, edits, st.integers(0, 200))
def test_every_edit_raises_the_version_and_deletion_is_final(link: Link, edit: LinkEdit, now_us: int) -> None:
    after = edited(link, edit, now_us)
    if link.deleted:
        assert after == link
    else:
        assert after.version > link.version
        assert after.version >= now_us
    assert (after.code, after.owner, after.created_at_us, after.request_id) == (
        link.code,
        link.owner,
        link.created_at_us,
        link.request_id,
    )


@given(links, edits, st.integers(0, 200))
def test_an_edit_changes_the_fields_it_names_and_no_other(link: Link, edit: LinkEdit, now_us: int) -> None:
    after, before = asdict(edited(link, edit, now_us)), asdict(link)
    wanted = {name: value for name, value in asdict(edit).items() if not name.startswith("clear_") and value is not None}
    if edit.clear_expiry:
        wanted["expires_at_us"] = None
    if edit.clear_max_visits:
        wanted["max_visits"] = None
    if link.deleted:
        wanted = {}
    for name in before.keys() - {"version"}:
        assert after[name] == wanted.get(name, before[name])


@pytest.mark.parametrize("now_us", [0, 999, 1_000])
def test_the_version_rises_even_when_the_clock_went_back(now_us: int) -> None:
    assert edited(LINK, LinkEdit(enabled=False), now_us).version == 1_001
