"""ASGI middleware that refuses a request body over a stated limit, before the application has read it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from designs.building_blocks.problem_details import MEDIA_TYPE, Problem
from designs.building_blocks.telemetry import header


class BodyLimit:
    """Bodies of at most `limit_bytes`: by Content-Length where there is one, else by counting what arrives."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        declared = header(scope, b"content-length")
        if declared.isdigit() and int(declared) > self._limit_bytes:
            await self._refuse(send)
            return
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if size > self._limit_bytes:
                await self._refuse(send)
                return
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        body: Message | None = {"type": "http.request", "body": b"".join(chunks), "more_body": False}

        async def replay() -> Message:
            nonlocal body
            first, body = body, None
            return first if first is not None else await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, send: Send) -> None:
        problem = Problem(413, "body-too-large", f"the body is too large; at most {self._limit_bytes} bytes are accepted")
        body = problem.body()
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
