"""A collector of traces that keeps nothing, so that a comparison of `traces` has somewhere to send its spans.

`python -m workbench.trace_sink --port N` speaks OTLP over HTTP (OpenTelemetry Protocol 1.x, protobuf bodies): it answers 200 to
`POST /v1/traces` and counts. A process of its own, so that what a collector costs is not taken for what tracing costs a service.

    GET /counts   {"requests": 3, "bytes": 40960, "spans": 512}
    GET /healthz  200
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from starlette.types import Receive, Scope, Send

from workbench.asgi_process import serve_on_port

MAX_BODY_BYTES = 64 * 1024 * 1024


class BadProtobuf(ValueError):
    """The bytes are no message in protobuf's wire format."""


class TraceSink:
    """The ASGI application, with its counts."""

    def __init__(self) -> None:
        self.counts = {"requests": 0, "bytes": 0, "spans": 0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        route = (scope["method"], scope["path"])
        status, answer = 404, b""
        if route == ("POST", "/v1/traces"):
            status = await self._take(receive)
        elif route == ("GET", "/counts"):
            status, answer = 200, orjson.dumps(self.counts)
        elif route == ("GET", "/healthz"):
            status = 200
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _take(self, receive: Receive) -> int:
        """Counts one export. 200, 413 for one that is too large, 400 for one that can't be read."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY_BYTES:
                return 413
        try:
            spans = spans_in(bytes(body))
        except BadProtobuf:
            return 400
        self.counts["requests"] += 1
        self.counts["bytes"] += len(body)
        self.counts["spans"] += spans
        return 200


def spans_in(export: bytes) -> int:
    """Spans of an ExportTraceServiceRequest, in which the field numbers lead: resource_spans 1, scope_spans 2, spans 2.

    Only lengths are read, a few per span, so that counting costs next to nothing. Raises `BadProtobuf`.
    """
    return sum(1 for resource in messages(export, 1) for scope in messages(resource, 2) for _ in messages(scope, 2))


def messages(message: bytes, wanted: int) -> Iterator[bytes]:
    """The values of the length-delimited field of this number, in a message of protobuf's wire format."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            _, at = _varint(message, at)
        elif wire_type == 2:
            length, at = _varint(message, at)
            if number == wanted and at + length <= len(message):
                yield message[at : at + length]
            at += length
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            raise BadProtobuf(f"there is no wire type {wire_type}")
    if at != len(message):
        raise BadProtobuf("the message ends in the middle of a field")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at this place, seven bits a byte, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BadProtobuf("a number does not end")


if __name__ == "__main__":
    serve_on_port(TraceSink(), __doc__)
