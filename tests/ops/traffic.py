"""Even traffic on all replicas of a design by turns, in threads beside the test. No answer is too bad for it."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import grpc
import httpx2
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc

from loadtests.plain_http import TRUSTS_NOBODY
from tests.url_shortener.processes.driving import BROWSER
from workbench.launch import RunningDesign

VISITS_EVERY_S, CREATES_EVERY_S, CREATORS = 0.02, 0.25, 6
CHECKS_EVERY_S, ORDERS_EVERY_S, SLOTS_EVERY_S, ENVOY_EVERY_S = 0.03, 0.1, 0.25, 0.25
MAX_REQUESTS = 20_000

Ask: TypeAlias = Callable[[httpx2.Client, str, int], Any]  # of a client, the URL of a replica, and how many were before


class Traffic:
    """Each of `asks` is asked every so many seconds, by a thread of its own, until the block is left."""

    def __init__(self, design: RunningDesign, asks: Sequence[tuple[float, Ask]]) -> None:
        self._urls, self._api_key = design.urls, design.api_key
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=each, daemon=True) for each in asks]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, every_s: float, ask: Ask) -> None:
        headers = {"Authorization": f"Bearer {self._api_key}", "User-Agent": BROWSER}
        with httpx2.Client(headers=headers, timeout=5, verify=TRUSTS_NOBODY) as client:
            for number, url in zip(range(MAX_REQUESTS), itertools.cycle(self._urls), strict=False):
                if self._over.wait(every_s):
                    return
                try:
                    ask(client, url, number)
                except (httpx2.HTTPError, grpc.RpcError):
                    continue


def visits_and_creates(design: RunningDesign) -> Traffic:
    """Of a URL shortener: visits of one link, creates, and look-ups of what is not there."""
    headers = {"Authorization": f"Bearer {design.api_key}"}
    code = httpx2.post(
        f"{design.urls[0]}/api/v1/links", json={"url": "https://example.org"}, headers=headers, verify=TRUSTS_NOBODY
    ).json()["code"]

    def visit(client: httpx2.Client, url: str, _: int) -> None:
        client.get(f"{url}/{code}")

    def create(client: httpx2.Client, url: str, number: int) -> None:
        client.post(f"{url}/api/v1/links", json={"url": f"https://example.org/{number}"})
        client.get(f"{url}/{secrets.token_hex(4)}")

    return Traffic(design, [(VISITS_EVERY_S, visit), *[(CREATES_EVERY_S, create)] * CREATORS])


def checks_and_slots(design: RunningDesign) -> Traffic:
    """Of a rate limiter: checks of one who asks too much and of many, of a rule that is closed without the store, of what no rule
    applies to; slots; and Envoy's calls.
    """

    def check(client: httpx2.Client, url: str, number: int) -> None:
        user = "greedy" if number % 4 else f"user {number}"
        client.post(f"{url}/v1/check", json={"domain": "demo", "descriptor": {"user": user, "route": "/search"}})

    def order(client: httpx2.Client, url: str, number: int) -> None:
        client.post(f"{url}/v1/check", json={"domain": "demo", "descriptor": {"user": f"user {number}", "route": "/checkout"}})
        client.post(f"{url}/v1/check", json={"domain": "demo", "descriptor": {"colour": "nobody limits"}})

    def hold_a_slot(client: httpx2.Client, url: str, number: int) -> None:
        body = {"domain": "demo", "descriptor": {"tenant": "t"}, "token": f"token-{number}"}
        client.post(f"{url}/v1/acquire", json=body)
        client.post(f"{url}/v1/release", json=body)

    def ask_as_envoy(_: httpx2.Client, __: str, number: int) -> None:
        ask_envoys_door(design, number)

    asks = [(CHECKS_EVERY_S, check), (ORDERS_EVERY_S, order), (SLOTS_EVERY_S, hold_a_slot), (ENVOY_EVERY_S, ask_as_envoy)]
    return Traffic(design, asks)


def ask_envoys_door(design: RunningDesign, number: int = 0) -> None:
    """One call of Envoy's, at the replicas by turns."""
    doors = [urlsplit(url).netloc for spec in design.specs for url in spec.other_urls]
    call = rls_pb2.RateLimitRequest(domain="demo")
    call.descriptors.add().entries.add(key="user", value="envoy's")
    with grpc.insecure_channel(doors[number % len(doors)]) as channel:
        rls_pb2_grpc.RateLimitServiceStub(channel).ShouldRateLimit(call, timeout=5)
