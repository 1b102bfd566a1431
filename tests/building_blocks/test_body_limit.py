from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from designs.building_blocks.body_limit import BodyLimit

LIMIT = 20


class Application:
    """Reads the whole body and remembers it."""

    def __init__(self) -> None:
        self.read: bytes | None = None
        self.then: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.read = b""
        while True:
            message = await receive()
            self.read += message.get("body", b"")
            if not message.get("more_body", False):
                break
        self.then = (await receive())["type"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def post(chunks: Sequence[bytes], declared: bytes | None = None, method: str = "POST") -> tuple[Application, list[Message], int]:
    """The application behind the limit, what was answered, and how many chunks were taken from the wire."""
    app, answered, taken = Application(), [], 0

    async def receive() -> Message:
        nonlocal taken
        if taken >= len(chunks):
            return {"type": "http.disconnect"}
        taken += 1
        return {"type": "http.request", "body": chunks[taken - 1], "more_body": taken < len(chunks)}

    async def send(message: Message) -> None:
        answered.append(message)

    headers = [] if declared is None else [(b"content-length", declared)]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": "/", "headers": headers}
    asyncio.run(BodyLimit(app, LIMIT)(scope, receive, send))
    return app, answered, taken


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=8))
def test_a_body_arrives_whole_or_is_refused_whole(chunks: list[bytes]) -> None:
    app, answered, _ = post(chunks)
    body = b"".join(chunks)
    if len(body) <= LIMIT:
        assert app.read == body
        assert app.then == "http.disconnect"  # and what comes after the body still reaches the application
        assert answered[0]["status"] == 200
    else:
        assert app.read is None
        assert answered[0]["status"] == 413


def test_a_body_declared_too_large_is_refused_before_any_of_it_is_read() -> None:
    app, answered, taken = post([b"x" * 21], declared=b"21")
    assert (app.read, taken) == (None, 0)
    assert answered[0]["status"] == 413
    assert (b"content-type", b"application/problem+json") in answered[0]["headers"]
    document = orjson.loads(answered[1]["body"])
    assert document["status"] == 413
    assert "at most 20 bytes" in document["detail"]


def test_reading_ends_at_the_limit_however_much_was_promised_or_is_sent() -> None:
    _, answered, taken = post([b"x" * 8] * 1_000)
    assert (answered[0]["status"], taken) == (413, 3)


@pytest.mark.parametrize("declared", [b"", b"-1", b"many", b"20", b"5", None])
def test_a_length_that_is_none_or_too_small_does_not_help(declared: bytes | None) -> None:
    app, answered, _ = post([b"x" * 21], declared=declared)
    assert answered[0]["status"] == 413
    assert app.read is None


def test_exactly_the_limit_is_accepted() -> None:
    app, _, _ = post([b"x" * 20], declared=b"20")
    assert app.read == b"x" * 20


def test_a_request_without_a_body_of_interest_passes_untouched() -> None:
    app, _, _ = post([b"x" * 21], method="GET")
    assert app.read == b"x" * 21


def test_a_client_that_leaves_in_the_middle_gets_no_answer_and_the_application_no_half() -> None:
    app, answered = Application(), []
    messages: Iterator[Message] = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        answered.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(BodyLimit(app, LIMIT)(scope, receive, send))
    assert (app.read, answered) == (None, [])
