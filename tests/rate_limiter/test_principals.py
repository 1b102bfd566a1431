"""Whom a request counts for: by a key that somebody knows, else by its address, and never by what it made up."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.client_address import parse_proxies
from designs.rate_limiter.principals import MAX_KEY_BYTES, Principal, bearer_key, known_keys, principals_of

KEY = b"a-key-of-the-demo-owner"
OWNERS = {hashlib.sha256(KEY).digest(): "demo"}


def request(key: bytes | None = None, peer: Any = ("192.0.2.1", 4711), *, scheme: bytes = b"Bearer") -> dict[str, Any]:
    headers = [(b"accept", b"*/*")]
    if key is not None:
        headers.append((b"authorization", scheme + b" " + key))
    return {"client": peer, "headers": headers}


def test_a_known_key_counts_for_its_owner_and_its_address_is_still_said() -> None:
    assert principals_of(request(KEY), owner_of=OWNERS.get) == {"ip": "192.0.2.1", "user": "demo", "principal": "user:demo"}
    assert principals_of(request(KEY, scheme=b"bearer"), owner_of=OWNERS.get)["principal"] == "user:demo"


@given(st.binary(max_size=600))
def test_a_made_up_key_is_no_fresh_quota(key: bytes) -> None:
    made_up = principals_of(request(key), owner_of=OWNERS.get)
    assert made_up == principals_of(request(), owner_of=OWNERS.get) == {"ip": "192.0.2.1", "principal": "ip:192.0.2.1"}


def test_the_key_itself_is_in_nothing_that_is_said() -> None:
    said = principals_of(request(KEY), owner_of=known_keys(OWNERS.keys()))
    assert said["user"] == hashlib.sha256(KEY).hexdigest()[:32]
    assert KEY.decode() not in repr(said)
    assert principals_of(request(b"another"), owner_of=known_keys(OWNERS.keys())).keys() == {"ip", "principal"}


def test_strangers_of_whom_nothing_is_known_share_no_bucket() -> None:
    assert principals_of(request(peer=None)) == {}
    assert principals_of(request(KEY, peer=None), owner_of=OWNERS.get) == {"user": "demo", "principal": "user:demo"}


def test_a_user_who_is_named_like_an_address_is_not_that_address() -> None:
    assert str(Principal("user", "192.0.2.1")) != str(Principal("ip", "192.0.2.1"))


def test_only_a_bearer_key_is_a_key_and_only_the_first() -> None:
    assert bearer_key([(b"authorization", b"Basic abc")]) == b""
    assert bearer_key([(b"Authorization", b"Bearer one"), (b"authorization", b"Bearer two")]) == b"one"
    assert bearer_key([(b"authorization", b"Bearer " + b"x" * (MAX_KEY_BYTES + 1))]) == b""
    assert bearer_key([]) == b""


def test_behind_a_trusted_proxy_the_client_counts_by_its_64() -> None:
    scope = request(peer=("10.0.0.1", 1))
    scope["headers"].append((b"x-forwarded-for", b"192.0.2.66, 2001:db8:1:2:3:4:5:6"))
    assert principals_of(scope, parse_proxies("10.0.0.0/8"))["ip"] == "2001:db8:1:2::/64"
    assert principals_of(scope)["ip"] == "10.0.0.1"
