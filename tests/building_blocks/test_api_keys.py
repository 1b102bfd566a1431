"""Who a request comes from: clients by their keys, the operator by the one key that opens everything."""

from __future__ import annotations

import pytest

from designs.building_blocks.api_keys import checked_pairs, let_operator_in, owner_of, owners_of
from designs.building_blocks.problem_details import Problem

ALICE, BOB = "alice-key-0123456789", "bob:key:with:colons:0123"
OWNERS = owners_of(f"alice:{ALICE},bob:{BOB}")


@pytest.mark.parametrize(("key", "owner"), [(ALICE, "alice"), (BOB, "bob")])
def test_a_key_has_one_owner_and_may_hold_colons(key: str, owner: str) -> None:
    assert owner_of(OWNERS, f"Bearer {key}") == owner_of(OWNERS, f"bearer {key}") == owner


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", f"Basic {ALICE}", ALICE, f"Bearer {ALICE} ", "Bearer \xe9"])
def test_anything_else_is_nobody_and_is_told_what_would_be_right(authorization: str) -> None:
    with pytest.raises(Problem) as refused:
        owner_of(OWNERS, authorization)
    assert refused.value.status == 401
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}


def test_without_keys_there_are_no_owners() -> None:
    assert owners_of("") == {}
    with pytest.raises(Problem):
        owner_of({}, "Bearer ")


@pytest.mark.parametrize("pairs", ["alice", "alice:", "alice:short", ":a-key-of-nobody-0123456789", f"alice:{ALICE},bob"])
def test_pairs_that_are_none_or_short_are_refused(pairs: str) -> None:
    with pytest.raises(ValueError, match="owner:key pairs, each key of at least 16 characters"):
        checked_pairs(pairs)


def test_pairs_that_are_right_stay_as_they_are() -> None:
    for pairs in ("", f"alice:{ALICE}", f"alice:{ALICE},bob:{BOB},"):
        assert checked_pairs(pairs) == pairs


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer wrong", "Bearer \xe9"])
def test_the_operator_is_let_in_by_the_right_key_alone(authorization: str) -> None:
    let_operator_in("the-operators-key", "Bearer the-operators-key")
    with pytest.raises(Problem) as refused:
        let_operator_in("the-operators-key", authorization)
    assert refused.value.status == 403


def test_where_no_operators_key_is_set_nobody_is_let_in() -> None:
    for authorization in ("", "Bearer ", "Bearer None"):
        with pytest.raises(Problem):
            let_operator_in(None, authorization)
