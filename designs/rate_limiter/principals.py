"""Who a request is, for the limits that count per client.

    user       whose API key it brings, when somebody knows the key: made-up keys would each be a fresh quota
    ip         the address it comes from (`client_address`), IPv6 by its /64
    principal  the one that counts: user:<owner>, else ip:<network>

There is no bucket "unknown" that strangers share. A request of which nothing is known (by a Unix socket, from a peer that may not
speak for others) has none of the three, so that rules on them do not apply to it, and those on route or tenant do.

The key itself goes nowhere: it is looked up by its SHA-256, and what becomes part of a counter's name is its owner's name, or the
digest where keys have no owners. Keys are long and random, so that a digest can't be guessed back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from designs.building_blocks.client_address import NOBODY, RawHeaders, TrustedProxies, client_address, network_of

OwnerOf: TypeAlias = Callable[[bytes], str | None]
"""SHA-256 of an API key -> whose it is, None for no key of ours. `dict.get` of a settings' `owners()` is one."""

MAX_KEY_BYTES = 512  # a longer one is none of ours, and is not worth hashing
DIGEST_CHARS = 32


@dataclass(frozen=True, slots=True)
class Principal:
    """`name` is an owner, or a network as `network_of` writes it. Neither is secret; an address is personal data all the same."""

    kind: Literal["user", "ip"]
    name: str

    def __str__(self) -> str:
        """A user named like an address is not that address."""
        return f"{self.kind}:{self.name}"


def nobody_known(_: bytes) -> None:
    """The `OwnerOf` of an API without keys."""


def known_keys(digests: Collection[bytes]) -> OwnerOf:
    """For keys that have no owner: each is counted by itself, under the beginning of its digest."""
    return lambda digest: digest.hex()[:DIGEST_CHARS] if digest in digests else None


def bearer_key(headers: RawHeaders) -> bytes:
    """The key of `Authorization: Bearer <key>` (RFC 6750, 2.1), b"" for none. The first field counts, as for the framework."""
    for name, value in headers:
        if name.lower() == b"authorization":
            scheme, _, key = bytes(value).partition(b" ")
            key = key.strip(b" \t")
            return key if scheme.lower() == b"bearer" and len(key) <= MAX_KEY_BYTES else b""
    return b""


def user_of(headers: RawHeaders, owner_of: OwnerOf) -> Principal | None:
    """Whose key it is; None without a key, and for one that nobody knows."""
    key = bearer_key(headers)
    owner = owner_of(hashlib.sha256(key).digest()) if key else None
    return Principal("user", owner) if owner else None


def client_of(scope: Mapping[str, Any], proxies: TrustedProxies = NOBODY) -> Principal | None:
    """The client by its address; None when nobody knows it."""
    peer = scope.get("client")
    address = client_address(peer[0] if peer else None, scope["headers"], proxies)
    return Principal("ip", network_of(address)) if address is not None else None


def principals_of(scope: Mapping[str, Any], proxies: TrustedProxies = NOBODY, owner_of: OwnerOf = nobody_known) -> dict[str, str]:
    """The part of a descriptor that says who: user, ip and principal, as far as they are known.

    >>> principals_of({"client": ("192.0.2.1", 4711), "headers": []})
    {'ip': '192.0.2.1', 'principal': 'ip:192.0.2.1'}
    """
    client, user = client_of(scope, proxies), user_of(scope["headers"], owner_of)
    said: dict[str, str] = {each.kind: each.name for each in (client, user) if each is not None}
    counted = user or client
    return {**said, "principal": str(counted)} if counted is not None else {}
