"""What is behind trusted proxies sees the client that they vouch for, and otherwise whom the connection comes from."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from designs.building_blocks.behind_proxies import BehindProxies
from designs.building_blocks.client_address import parse_proxies


def seen(peer: tuple[str, int] | None, forwarded: str, trusted: str = "10.0.0.0/8, unix", kind: str = "http") -> Any:
    clients = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        clients.append(scope.get("client"))

    given = {"type": kind, "client": peer, "headers": [(b"x-forwarded-for", forwarded.encode())]}
    asyncio.run(BehindProxies(app, parse_proxies(trusted))(given, None, None))  # type: ignore[arg-type]
    assert given["client"] == peer, "the scope belongs to whoever made it"
    return clients[0]


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_client_that_a_trusted_proxy_names_stands_in_its_place(kind: str) -> None:
    assert seen(("10.0.0.1", 80), "198.51.100.7, 203.0.113.9, 10.0.0.2", kind=kind) == ("203.0.113.9", 0)
    assert seen(None, "203.0.113.9", kind=kind) == ("203.0.113.9", 0)


def test_what_a_stranger_says_of_himself_changes_nothing() -> None:
    assert seen(("203.0.113.66", 4711), "127.0.0.1") == ("203.0.113.66", 4711)
    assert seen(None, "203.0.113.9", trusted="10.0.0.0/8") is None


def test_what_is_no_request_is_left_alone() -> None:
    assert seen(("10.0.0.1", 80), "203.0.113.9", kind="lifespan") == ("10.0.0.1", 80)
