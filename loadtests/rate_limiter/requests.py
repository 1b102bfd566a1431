"""Questions to a rate limiter as bytes, and what is read from the bytes of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from loadtests.rate_limiter.promises import DOMAIN
from loadtests.workload import Exchange

KEPT_HEADERS = ("ratelimit", "ratelimit-", "x-ratelimit-", "retry-after")


def api_tail(host: str, api_key: str) -> bytes:
    """Header lines of a request, each ended; the length of the body and the blank line are still to come."""
    lines = f"Host: {host}\r\nAuthorization: Bearer {api_key}\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
    return lines.encode()


def post(path: str, document: Mapping[str, Any], tail: bytes) -> bytes:
    body = orjson.dumps(document)
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (path.encode(), tail, len(body), body)


def document(descriptor: Mapping[str, str], tier: str = "", **more: Any) -> dict[str, Any]:
    """The body of a question."""
    return {"domain": DOMAIN, "descriptor": dict(descriptor), **({"tier": tier} if tier else {}), **more}


def limit_headers(exchange: Exchange) -> dict[str, str]:
    """The header fields about limits, names in lower case."""
    head, _, _ = exchange.response.partition(b"\r\n\r\n")
    found = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower().startswith(KEPT_HEADERS):
            found[name.lower()] = value.strip()
    return found


def batch(questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"items": list(questions)}
