"""Refuse early what would only wait: 503 with `Retry-After` as soon as `limit` requests are under way.

A server that takes in more than it can finish answers everybody late, and so nobody in time. Little's law says what the limit is
worth: at 2 s a request, 1,000 waiting ones are 500 requests a second.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from designs.building_blocks.problem_details import MEDIA_TYPE, Problem
from designs.building_blocks.telemetry import UNTIMED

OVERLOADED = Problem(
    503, "overloaded", "too many requests are waiting here; nothing was changed, try again", headers={"Retry-After": "1"}
)


class ConcurrencyLimit:
    """ASGI middleware. What operators ask (`UNTIMED`) is let through: they want to know why."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._under_way = 0
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTIMED:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._limit:
            self.refused += 1
            await refuse(send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1


async def refuse(send: Send) -> None:
    body = OVERLOADED.body()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
