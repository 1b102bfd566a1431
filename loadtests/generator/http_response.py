"""A response from the bytes of a connection (RFC 9112): as much of HTTP/1 as a load generator has to understand.

Promises. Given the bytes so far, it says that some are missing, or what the response is, or (ValueError) that no HTTP/1 response
comes of them, whatever they are; nothing is kept between calls. It frames a response and tells whether the connection lives on;
what the other fields mean is for who reads the message.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_RESPONSE_BYTES = 4 << 20


class Response(NamedTuple):
    """`message` is the head as it came, blank line included, then the body without its chunk framing."""

    status: int
    message: bytes
    keep_alive: bool


def parse_response(data: bytes, head_only: bool = False, ended: bool = False) -> Response | None:
    """The final HTTP/1 response at the start of `data` (RFC 9112), or None while bytes are missing.

    `head_only` says the request was a HEAD; `ended`, that the server has closed its side. ValueError for what is no HTTP/1
    response, or larger than `MAX_RESPONSE_BYTES`.
    """
    if len(data) > MAX_RESPONSE_BYTES:
        raise ValueError("response too large")
    head_start, body_start, status = 0, 0, 100
    while 100 <= status < 200:  # interim responses (100 Continue, 103 Early Hints) come before the final one
        head_start = body_start
        if not b"HTTP/1.".startswith(data[head_start : head_start + 7]):
            raise ValueError("not an HTTP/1 response")
        head_end = data.find(b"\r\n\r\n", head_start)
        if head_end < 0:
            return None
        status = int(data[head_start + 9 : head_start + 12])
        body_start = head_end + 4
    head = data[head_start : head_end + 2].lower()

    connection = field(head, b"connection")
    keep_alive = b"close" not in connection if head[7:8] != b"0" else b"keep-alive" in connection
    encoding = field(head, b"transfer-encoding")
    if head_only or status in (204, 304):
        body, end = b"", body_start
    elif encoding:
        if encoding != b"chunked":
            raise ValueError(f"unknown transfer encoding {encoding!r}")
        chunked = decode_chunks(data, body_start)
        if chunked is None:
            return None
        body, end = chunked
    elif length_text := field(head, b"content-length"):
        if not length_text.isdigit():
            raise ValueError(f"content length {length_text!r} is no number")
        end = body_start + int(length_text)
        if len(data) < end:
            return None
        body = data[body_start:end]
    elif ended:
        body, end, keep_alive = data[body_start:], len(data), False
    else:
        return None
    return Response(status, data[head_start:body_start] + body, keep_alive and end == len(data))


def field(head: bytes, name: bytes) -> bytes:
    """A header field's value in a lower-case head, b"" where it is missing."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 3
    return head[at : head.find(b"\r\n", at)].strip()


def decode_chunks(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The body behind the chunks that begin at `at`, and where they end (RFC 9112, 7.1); None while bytes are missing."""
    chunks: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(data[at:line_end].partition(b";")[0], 16)
        if size < 0:
            raise ValueError("negative chunk size")
        at = line_end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            return None
        chunks.append(data[at : at + size])
        at += size + 2
    while True:  # trailer fields, then an empty line
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        if line_end == at:
            return b"".join(chunks), at + 2
        at = line_end + 2
