"""What browsers remember: each keeps the answers it may keep, and asks again only when one is stale (RFC 9111).

Promises. An answer is found again by the same client for the same thing, until the age that the server allowed. A browser is a
private cache: it keeps what is `private`, and `s-maxage` is not meant for it. Nothing is evicted; clients and things are as many
as a plan has.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from email.utils import parsedate_to_datetime

PERMANENT = frozenset({301, 308})


class BrowserCache:
    """The caches of all clients of one target."""

    def __init__(self) -> None:
        self._stale_s: dict[tuple[int, Hashable], float] = {}

    def keep(self, client: int, thing: Hashable, response: bytes, received_s: float) -> None:
        """A newer answer takes the place of an older one, also when it says that it must not be kept."""
        stale_s = received_s + fresh_for_s(response)
        if stale_s > received_s:
            self._stale_s[client, thing] = stale_s
        else:
            self._stale_s.pop((client, thing), None)

    def knows(self, client: int, thing: Hashable, now_s: float) -> bool:
        return now_s < self._stale_s.get((client, thing), -math.inf)


def fresh_for_s(response: bytes) -> float:
    """How long the receiver of a raw HTTP/1.1 response may answer with it itself: seconds, 0 for not at all.

    A permanent redirect that says nothing of its age is kept for good, as browsers do; anything else that says nothing is not.
    """
    lines = response.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value.strip()
    allowed = _directives(fields.get("cache-control", ""))
    if "no-store" in allowed or "no-cache" in allowed or fields.get("vary") == "*":
        return 0.0
    if "max-age" in allowed:
        return max(0.0, _seconds(allowed["max-age"]) - _seconds(fields.get("age", "0")))
    if "expires" in fields:
        return max(0.0, _moment_s(fields["expires"]) - _moment_s(fields["date"])) if "date" in fields else 0.0
    status = lines[0].split(" ")[1:2]
    return math.inf if status and status[0].isdigit() and int(status[0]) in PERMANENT else 0.0


def _directives(cache_control: str) -> dict[str, str]:
    """Directive -> its argument, "" for none; names ignore case. The first of two counts."""
    directives: dict[str, str] = {}
    for each in cache_control.split(","):
        name, _, argument = each.partition("=")
        directives.setdefault(name.strip().lower(), argument.strip().strip('"'))
    return directives


def _seconds(text: str) -> float:
    """0 for what is no number of seconds."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _moment_s(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:  # `Expires: 0` means: already
        return 0.0
