"""Who a request comes from, by `Authorization: Bearer <key>`: the clients of an API, and its operator.

Keys are looked up by their hash, or compared in constant time, so that the time of an answer says nothing about a key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from designs.building_blocks.problem_details import Problem

MIN_KEY_CHARS = 16


def checked_pairs(pairs: str) -> str:
    """The setting `api_keys` as it is. Raises ValueError."""
    for pair in filter(None, pairs.split(",")):
        owner, _, key = pair.partition(":")
        if not owner or len(key) < MIN_KEY_CHARS:
            raise ValueError(f"api_keys holds owner:key pairs, each key of at least {MIN_KEY_CHARS} characters")
    return pairs


def owners_of(pairs: str) -> dict[bytes, str]:
    """sha256 of an API key -> its owner, of `owner:key,owner:key`."""
    split = (pair.partition(":") for pair in pairs.split(",") if pair)
    return {hashlib.sha256(key.encode()).digest(): owner for owner, _, key in split}


def owner_of(owners: Mapping[bytes, str], authorization: str) -> str:
    """Whose API key this is. Raises `Problem` 401."""
    scheme, _, key = authorization.partition(" ")
    name = owners.get(hashlib.sha256(key.encode()).digest()) if scheme.lower() == "bearer" else None
    if name is None:
        detail = "send a valid API key as: Authorization: Bearer <key>"
        raise Problem(401, "not-authenticated", detail, headers={"WWW-Authenticate": "Bearer"})
    return name


def let_operator_in(admin_key: str | None, authorization: str) -> None:
    """Lets the operator in, and nobody when no operator's key is set. Raises `Problem` 403."""
    sent = authorization.partition(" ")[2]
    if admin_key is None or not hmac.compare_digest(sent.encode(), admin_key.encode()):
        raise Problem(403, "operators-only", "this route needs the operator's key")
