"""What a check of `designs smoke` has at hand: the stack that runs, and words for what is not so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from loadtests.plain_http import TRUSTS_NOBODY

REQUEST_S = 10.0
SOON_S = 30.0  # by then whatever was accepted is counted, and whoever watches has seen it
PAUSE_S = 0.25
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"}


class NotSo(Exception):
    """A check found something else than it should. The message says what."""


@dataclass(frozen=True, slots=True)
class Running:
    """The stack that is up: service -> host:port of HTTP, or of what it has instead, and of gRPC; and the keys."""

    addresses: dict[str, str]
    grpc_addresses: dict[str, str]
    api_key: str
    admin_key: str
    grpc_key: str
    grafana_password: str

    def http(self, service: str, key: str = "") -> httpx2.Client:
        """A client of the service; `NotSo` where it does not run."""
        if service not in self.addresses:
            raise NotSo(f"{service} does not run")
        headers = BROWSER | ({"Authorization": f"Bearer {key}"} if key else {})
        return httpx2.Client(
            base_url=f"http://{self.addresses[service]}", headers=headers, timeout=REQUEST_S, trust_env=False, verify=TRUSTS_NOBODY
        )


Check = Callable[[Running], str]


def soon(what: str, look: Callable[[], Any], right: Callable[[Any], bool]) -> Any:
    """What `look` sees once it is right, within `SOON_S`; else `NotSo` with what it saw last."""
    end_s = time.monotonic() + SOON_S
    while True:
        try:
            seen = look()
        except httpx2.HTTPError as error:
            seen = error
        else:
            if right(seen):
                return seen
        if time.monotonic() > end_s:
            raise NotSo(f"{what}: not within {SOON_S:g} s, last {seen!r}")
        time.sleep(PAUSE_S)


def expect(what: str, seen: Any, wanted: Any) -> None:
    if seen != wanted:
        raise NotSo(f"{what}: {seen!r} instead of {wanted!r}")
