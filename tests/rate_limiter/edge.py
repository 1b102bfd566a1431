"""Scenes for what stands in front of an application: a limiter over memory, in virtual time, and requests without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message

from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.limiter import Limiter
from designs.rate_limiter.ports import StoreError
from designs.rate_limiter.rule_file import parse_rules
from tests.virtual_time import now_us

PEER = ("192.0.2.1", 4711)


class Store(MemoryLimitStore):
    """Memory that can be told to be away, and that remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__(now_us)
        self.away = False
        self.asked: list[str] = []

    def ask(self, verb: str) -> None:
        self.asked.append(verb)
        if self.away:
            raise StoreError("the store is away", may_have_happened=False)

    async def take(self, demands: Any) -> Any:
        self.ask("take")
        return await super().take(demands)

    async def give_back(self, demands: Any) -> None:
        self.ask("give_back")
        await super().give_back(demands)

    async def acquire(self, demands: Any, token: str) -> Any:
        self.ask("acquire")
        return await super().acquire(demands, token)

    async def renew(self, demands: Any, token: str) -> bool:
        self.ask("renew")
        return await super().renew(demands, token)

    async def release(self, demands: Any, token: str) -> bool:
        self.ask("release")
        return await super().release(demands, token)


def limiter_of(rules: str, store: Store | None = None) -> tuple[Limiter, Store]:
    """A limiter with the rules of domain "api", given as the lines of its list."""
    store = store or Store()
    text = "domains:\n  api:\n    rules:\n" + "\n".join(f"      {line}" for line in rules.strip("\n").splitlines())
    parsed = parse_rules(text)
    return Limiter(store, MemoryLimitStore(now_us), lambda: parsed), store


def client_of(app: ASGIApp, peer: tuple[str, int] = PEER) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app, client=peer, raise_app_exceptions=False), base_url="http://toy", trust_env=False
    )


class Call:
    """One ASGI call in a task, for what a client library hides: streams, disconnects, cancellations, WebSockets."""

    def __init__(self, app: ASGIApp, path: str, type: str = "http", extensions: Sequence[str] = ()) -> None:
        first = {"type": "websocket.connect"} if type == "websocket" else {"type": "http.request", "body": b"", "more_body": False}
        self.sent: list[Message] = []
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.inbox.put_nowait(first)
        scope = {
            "type": type,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "headers": [(b"host", b"toy")],
            "client": PEER,
            "server": ("toy", 80),
            "extensions": {name: {} for name in extensions},
            "subprotocols": [],
        }
        if type == "http":
            scope["method"] = "GET"
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: Any) -> None:
        await app(scope, self.inbox.get, self._send)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])
