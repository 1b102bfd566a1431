"""A visitor's and a program's requests as bytes, and what is read from the bytes of an answer.

Everything follows from the seed and the numbers of the plan, so two variants are asked exactly the same.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import string
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson

STATS_DAYS = 30

# (User-Agent, Referer) of the visitors. A crawler is among them: bots are counted apart, and must not be lost either.
VISITORS: Sequence[tuple[str, str]] = (
    ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "https://news.example.com/today"),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/138.0 Safari/537.36", "https://mail.example.net/"),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 15_5) AppleWebKit/605.1.15 Version/18.5 Safari/605.1.15", ""),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "https://chat.example.org/"),
    ("Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/138.0 Mobile Safari/537.36", ""),
    ("ExampleBot/2.1 (+https://bot.example.com/about)", ""),
)
# Pairs of URLs with the same first seven base62 digits of their MD5 (https://example.org/u/<one> and <other>), found by trying 3.4
# million of them: chance gives a pair among a few hundred thousand, since the first digit is nearly always 1 to 7. A scheme that
# cuts a hash meets them sooner or later; whoever checks what is taken hands out another code.
UNLUCKY_PAIRS: Sequence[tuple[int, int]] = (
    (467119, 1646267),
    (512926, 1881037),
    (663995, 2159962),
    (1714453, 2213714),
    (2246043, 2714791),
    (1710199, 2730257),
    (495045, 2976002),
    (1474641, 3340526),
)
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def seeded_url(seed: int, key: int) -> str:
    return f"https://example.org/{seed}/{key}"


def created_url(seed: int, serial: int) -> str:
    return f"https://example.org/{seed}/new/{serial}"


def edited_url(seed: int, key: int, serial: int) -> str:
    return f"https://example.org/{seed}/{key}/edit/{serial}"


def repeated_url(seed: int, number: int) -> str:
    return f"https://example.org/{seed}/repeated/{number}"


def unlucky_url(number: int) -> str:
    """One of a pair; the next number is the other one."""
    pair = UNLUCKY_PAIRS[number // 2 % len(UNLUCKY_PAIRS)]
    return f"https://example.org/u/{pair[number % 2]}"


def alias(kind: str, seed: int, number: int) -> str:
    """An alias nobody else has asked for. The hyphen tells it from generated codes."""
    return f"{kind}-{unknown_code(f'{seed} {kind} {number}', 12)}"


def unknown_code(name: str, length: int) -> str:
    """A code of the usual length that hardly anybody has: base62 digits of a hash."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest())
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(digits)


def visit(code: str, tail: bytes) -> bytes:
    return b"GET /%b HTTP/1.1\r\n%b" % (code.encode(), tail)


def head(code: str, tail: bytes) -> bytes:
    """Where a link leads, without a click."""
    return b"HEAD /%b HTTP/1.1\r\n%b" % (code.encode(), tail)


def create(url: str, tail: bytes, value: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    """`value` may name an `alias`, `max_visits`, `expires_at` (seconds since the epoch) and an `idempotency_key`."""
    document = {"url": url, **{name: value[name] for name in ("alias", "max_visits") if name in value}}
    if "expires_at" in value:
        document["expires_at"] = dt.datetime.fromtimestamp(value["expires_at"], dt.UTC).isoformat()
    key = value.get("idempotency_key", "")
    return _with_body(b"POST /api/v1/links", tail + (f"Idempotency-Key: {key}\r\n".encode() if key else b""), document)


def edit(code: str, url: str, tail: bytes) -> bytes:
    return _with_body(b"PATCH /api/v1/links/" + code.encode(), tail, {"url": url})


def delete(code: str, tail: bytes) -> bytes:
    return b"DELETE /api/v1/links/%b HTTP/1.1\r\n%b\r\n" % (code.encode(), tail)


def stats(code: str, tail: bytes) -> bytes:
    return b"GET /api/v1/links/%b/stats?days=%d HTTP/1.1\r\n%b\r\n" % (code.encode(), STATS_DAYS, tail)


def visit_tail(host: str, user_agent: str, referer: str) -> bytes:
    lines = [f"Host: {host}", f"User-Agent: {user_agent}", "Accept: text/html"] + ([f"Referer: {referer}"] if referer else [])
    return "\r\n".join([*lines, "", ""]).encode()


def api_tail(host: str, api_key: str) -> bytes:
    """Header lines of an API request, each ended; the blank line is still to come."""
    return f"Host: {host}\r\nAuthorization: Bearer {api_key}\r\nAccept: application/json\r\n".encode()


def _with_body(method_and_path: bytes, tail: bytes, document: Mapping[str, Any]) -> bytes:
    body = orjson.dumps(document)
    length = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return method_and_path + b" HTTP/1.1\r\n" + tail + length + body


def location(response: bytes) -> str:
    """The Location of a raw HTTP/1.1 response, "" where there is none. Field names ignore case."""
    head, _, _ = response.partition(b"\r\n\r\n")
    at = head.lower().find(b"\r\nlocation:")
    return head[at + 11 :].partition(b"\r\n")[0].strip().decode("latin-1") if at >= 0 else ""
