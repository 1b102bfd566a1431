"""What every link store promises, as checks: `for check in LINK_STORE_CONTRACT.values(): await check(store)`, on an empty store.

How claims are forgotten differs: a store keeps `FORGETS_WHEN_TOLD` (memory, sqlite) or `FORGETS_BY_ITSELF` (cassandra, by a TTL).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

from designs.url_shortener.links import Link, LinkEdit
from designs.url_shortener.ports import LinkStore, RequestClaim

Check: TypeAlias = Callable[[LinkStore], Coroutine[Any, Any, None]]
LATEST_US = 253_402_300_799_999_999  # the last microsecond of the year 9999


def link(code: str = "abcdefg", at_us: int = 1_000, **more: Any) -> Link:
    fields: dict[str, Any] = {"url": "https://example.org/", "owner": "alice", "created_at_us": at_us, "version": at_us}
    return Link(code, **(fields | more))


async def what_was_inserted_is_read_back_with_every_field(store: LinkStore) -> None:
    plain = link("plain")
    rich = link(
        "rich",
        url="https://example.org/%C3%A9?q=%22'--",
        owner="o'brien",
        expires_at_us=LATEST_US,
        max_visits=1_000_000_000,
        enabled=False,
        blocked=True,
        request_id="alice:key",
    )
    assert [await store.insert_if_absent(plain), await store.insert_if_absent(rich)] == [None, None]
    assert [await store.get("plain"), await store.get("rich")] == [plain, rich]
    assert await store.get("never") is None
    assert await store.count() == 2


async def codes_differ_by_case(store: LinkStore) -> None:
    assert await store.insert_if_absent(link("Sale")) is None
    assert await store.insert_if_absent(link("sale")) is None
    assert await store.get("SALE") is None


async def the_second_of_one_code_is_told_who_has_it(store: LinkStore) -> None:
    first, second = link(owner="alice"), link(owner="bob", at_us=2_000)
    assert await store.insert_if_absent(first) is None
    assert await store.insert_if_absent(second) == first
    assert await store.get("abcdefg") == first


async def inserting_an_equal_link_again_is_no_second_insert(store: LinkStore) -> None:
    assert await store.insert_if_absent(link()) is None
    assert await store.insert_if_absent(link()) == link()


async def of_many_inserts_of_one_code_exactly_one_wins(store: LinkStore) -> None:
    rivals = [link(owner=f"owner-{number}") for number in range(16)]
    holders = await asyncio.gather(*(store.insert_if_absent(rival) for rival in rivals))
    winners = [rival for rival, holder in zip(rivals, holders, strict=True) if holder is None]
    assert len(winners) == 1
    assert {holder for holder in holders if holder is not None} == {winners[0]}
    assert await store.get("abcdefg") == winners[0]


async def a_deleted_link_stays_as_a_tombstone_that_keeps_its_code(store: LinkStore) -> None:
    await store.insert_if_absent(link())
    gone = await store.edit("abcdefg", LinkEdit(deleted=True), 2_000)
    assert gone == link(version=2_000, deleted=True)
    assert await store.get("abcdefg") == gone
    assert await store.insert_if_absent(link(owner="bob")) == gone
    assert await store.edit("abcdefg", LinkEdit(url="https://example.org/back", enabled=True), 3_000) == gone


async def an_edit_changes_what_it_names_and_nothing_else(store: LinkStore) -> None:
    await store.insert_if_absent(link(expires_at_us=9_000, max_visits=5))
    edits: Sequence[tuple[LinkEdit, Link]] = [
        (LinkEdit(enabled=False), link(version=2_000, expires_at_us=9_000, max_visits=5, enabled=False)),
        (LinkEdit(clear_expiry=True, max_visits=7), link(version=2_001, max_visits=7, enabled=False)),
        (LinkEdit(clear_max_visits=True, blocked=True, enabled=True), link(version=2_002, blocked=True)),
        (LinkEdit(url="https://example.org/new", blocked=False), link(version=2_003, url="https://example.org/new")),
    ]
    for edit, after in edits:
        assert await store.edit("abcdefg", edit, 2_000) == after  # and the version rises while the clock stands still
        assert await store.get("abcdefg") == after
    assert await store.edit("never", LinkEdit(enabled=False), 2_000) is None
    assert await store.get("never") is None


async def edits_at_once_all_apply_and_no_version_repeats(store: LinkStore) -> None:
    await store.insert_if_absent(link())
    named = [LinkEdit(url="https://example.org/x"), LinkEdit(enabled=False), LinkEdit(blocked=True), LinkEdit(max_visits=3)] * 5
    after = await asyncio.gather(*(store.edit("abcdefg", edit, 2_000) for edit in named))
    assert len({each.version for each in after if each is not None}) == len(named)
    held = await store.get("abcdefg")
    assert held is not None
    assert (held.url, held.enabled, held.blocked, held.max_visits) == ("https://example.org/x", False, True, 3)


async def a_cap_admits_exactly_so_many_of_any_number_of_callers(store: LinkStore) -> None:
    await store.insert_if_absent(link(max_visits=7))
    granted = await asyncio.gather(*(store.take_visit("abcdefg") for _ in range(60)))
    assert sum(granted) == await store.visits_taken("abcdefg") == 7
    assert not await store.take_visit("abcdefg")


async def a_raised_cap_admits_the_difference_and_no_cap_admits_all(store: LinkStore) -> None:
    await store.insert_if_absent(link(max_visits=2))
    assert [await store.take_visit("abcdefg") for _ in range(3)] == [True, True, False]
    await store.edit("abcdefg", LinkEdit(max_visits=3), 2_000)
    assert [await store.take_visit("abcdefg") for _ in range(2)] == [True, False]
    await store.edit("abcdefg", LinkEdit(clear_max_visits=True), 2_000)
    assert await store.take_visit("abcdefg")
    await store.edit("abcdefg", LinkEdit(max_visits=1), 2_000)
    assert not await store.take_visit("abcdefg")
    assert not await store.take_visit("never")
    assert await store.visits_taken("never") == 0


async def pages_join_newest_first_without_a_gap_or_an_overlap(store: LinkStore) -> None:
    # Several links of one microsecond, and codes whose order differs from the order of their insertion.
    links = [link(f"code-{number * 7 % 25:02}", at_us=1_000 + number // 4) for number in range(25)]
    for each in links:
        await store.insert_if_absent(each)
    await store.insert_if_absent(link("others", owner="bob"))
    await store.edit("code-07", LinkEdit(deleted=True), 5_000)
    await store.edit("code-14", LinkEdit(enabled=False), 5_000)
    seen: list[Link] = []
    while page := await store.page("alice", (seen[-1].created_at_us, seen[-1].code) if seen else None, 4):
        assert len(page) <= 4
        seen += page
    assert [each.code for each in seen] == [
        each.code
        for each in sorted(links, key=lambda each: (each.created_at_us, each.code), reverse=True)
        if each.code != "code-07"
    ]
    assert [each.code for each in await store.page("bob", None, 4)] == ["others"]
    assert [*await store.page("nobody", None, 4)] == []


async def leased_ranges_never_overlap(store: LinkStore) -> None:
    sizes = [1, 1000, 7, 1, 50] * 8
    starts = await asyncio.gather(*(store.lease_range("links", size) for size in sizes))
    numbers = [number for start, size in zip(starts, sizes, strict=True) for number in range(start, start + size)]
    assert sorted(numbers) == list(range(sum(sizes)))
    assert await store.lease_range("workers", 1) == 0


async def the_first_claim_of_a_key_holds(store: LinkStore) -> None:
    first = RequestClaim("print-1", link("first", request_id="alice:key", expires_at_us=5, max_visits=2))
    second = RequestClaim("print-2", link("second"))
    assert await store.find_request("alice", "key", 0) is None
    assert await store.claim_request("alice", "key", 0, first) == first
    assert await store.claim_request("alice", "key", 0, second) == first
    assert await store.find_request("alice", "key", 0) == first
    for owner, key, attempt in (("bob", "key", 0), ("alice", "other", 0), ("alice", "key", 1)):
        assert await store.find_request(owner, key, attempt) is None
        assert await store.claim_request(owner, key, attempt, second) == second


async def of_claims_at_once_one_holds_for_all(store: LinkStore) -> None:
    claims = [RequestClaim("print", link(f"code-{number}")) for number in range(30)]
    held = await asyncio.gather(*(store.claim_request("alice", "key", 0, claim) for claim in claims))
    assert len({each.link.code for each in held}) == 1


async def old_claims_are_forgotten_and_new_ones_are_not(store: LinkStore) -> None:
    for at_us in (1_000, 2_000, 3_000):
        await store.claim_request("alice", f"key-{at_us}", 0, RequestClaim("print", link(f"code-{at_us}", at_us=at_us)))
    assert await store.forget_requests(3_000) == 2
    assert await store.forget_requests(3_000) == 0
    assert await store.find_request("alice", "key-2000", 0) is None
    assert await store.find_request("alice", "key-3000", 0) is not None


async def claims_do_not_wait_to_be_told(store: LinkStore) -> None:
    claim = RequestClaim("print", link("code", at_us=1_000))
    await store.claim_request("alice", "key", 0, claim)
    assert await store.forget_requests(2_000) == 0
    assert await store.find_request("alice", "key", 0) == claim


FORGETS_WHEN_TOLD: dict[str, Check] = {
    "old_claims_are_forgotten_and_new_ones_are_not": old_claims_are_forgotten_and_new_ones_are_not
}
FORGETS_BY_ITSELF: dict[str, Check] = {"claims_do_not_wait_to_be_told": claims_do_not_wait_to_be_told}
LINK_STORE_CONTRACT: dict[str, Check] = {
    check.__name__: check
    for check in (
        what_was_inserted_is_read_back_with_every_field,
        codes_differ_by_case,
        the_second_of_one_code_is_told_who_has_it,
        inserting_an_equal_link_again_is_no_second_insert,
        of_many_inserts_of_one_code_exactly_one_wins,
        a_deleted_link_stays_as_a_tombstone_that_keeps_its_code,
        an_edit_changes_what_it_names_and_nothing_else,
        edits_at_once_all_apply_and_no_version_repeats,
        a_cap_admits_exactly_so_many_of_any_number_of_callers,
        a_raised_cap_admits_the_difference_and_no_cap_admits_all,
        pages_join_newest_first_without_a_gap_or_an_overlap,
        leased_ranges_never_overlap,
        the_first_claim_of_a_key_holds,
        of_claims_at_once_one_holds_for_all,
    )
}

# -- histories: (verb, arguments) in any order, over so few codes, owners and keys that they meet ------------------------------

_codes, _owners = st.sampled_from(["aaa", "bbb", "AAA"]), st.sampled_from(["alice", "bob"])
_times = st.integers(1, 50)
_maybe_times = st.none() | _times
_caps = st.none() | st.integers(1, 3)
_flags = st.none() | st.booleans()
_links = st.builds(
    lambda code, owner, at_us, expires, cap: link(code, at_us, owner=owner, expires_at_us=expires, max_visits=cap),
    _codes,
    _owners,
    _times,
    _maybe_times,
    _caps,
)
_edits = st.builds(
    LinkEdit,
    url=st.none() | st.just("https://example.org/edited"),
    expires_at_us=_maybe_times,
    clear_expiry=st.booleans(),
    max_visits=_caps,
    clear_max_visits=st.booleans(),
    enabled=_flags,
    blocked=_flags,
    deleted=st.none() | st.none() | st.just(True),
)
_keys = st.tuples(_owners, st.sampled_from(["k1", "k2"]), st.integers(0, 1))
STEPS = st.one_of(
    st.tuples(st.just("insert_if_absent"), st.tuples(_links)),
    st.tuples(st.just("get"), st.tuples(_codes)),
    st.tuples(st.just("edit"), st.tuples(_codes, _edits, _times)),
    st.tuples(st.just("take_visit"), st.tuples(_codes)),
    st.tuples(st.just("visits_taken"), st.tuples(_codes)),
    st.tuples(st.just("page"), st.tuples(_owners, st.none() | st.tuples(_times, _codes), st.integers(1, 3))),
    st.tuples(st.just("lease_range"), st.tuples(st.sampled_from(["links", "workers"]), st.integers(1, 9))),
    st.tuples(st.just("find_request"), _keys),
    st.builds(
        lambda key, mark, claimed: ("claim_request", (*key, RequestClaim(mark, claimed))), _keys, st.sampled_from("xy"), _links
    ),
    st.tuples(st.just("forget_requests"), st.tuples(_times)),
    st.tuples(st.just("count"), st.tuples()),
)
HISTORIES = st.lists(STEPS, max_size=60)


async def replayed(store: LinkStore, history: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Any]:
    """What the store answers to each step."""
    answers = []
    for verb, arguments in history:
        answer = await getattr(store, verb)(*arguments)
        answers.append(list(answer) if verb == "page" else answer)
    return answers
