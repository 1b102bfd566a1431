"""What seeding and the checks ask a variant, apart from its load: made links, where they lead, clicks, metrics."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx2

from loadtests.url_shortener.counters import service_counters
from loadtests.url_shortener.history import Fetched
from loadtests.url_shortener.requests import STATS_DAYS, VISITORS
from loadtests.workload import Target

CHECK_CLIENTS = 8
CHECK_TIMEOUT_S = 10.0

T = TypeVar("T")
R = TypeVar("R")


@asynccontextmanager
async def asking(target: Target) -> AsyncIterator[httpx2.AsyncClient]:
    """A client for the first replica, with the key."""
    headers = {"authorization": f"Bearer {target.api_key}"}
    limits = httpx2.Limits(max_connections=2 * CHECK_CLIENTS)
    async with httpx2.AsyncClient(
        base_url=target.urls[0], headers=headers, timeout=CHECK_TIMEOUT_S, limits=limits, trust_env=False
    ) as client:
        yield client


async def each(items: Iterable[T], ask: Callable[[T], Awaitable[R]]) -> dict[T, R]:
    """Ask for all of them, `CHECK_CLIENTS` at a time."""
    waiting, answers = iter(items), {}

    async def client() -> None:
        for item in waiting:
            answers[item] = await ask(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(CHECK_CLIENTS):
            group.create_task(client())
    return answers


async def fetch(client: httpx2.AsyncClient, urls: Sequence[str], code: str) -> Fetched:
    """Where the link leads now, from a replica that its code picks: with several, each is asked for its share."""
    url = urls[sum(code.encode()) % len(urls)]
    sent_s = time.monotonic()
    try:
        answer = await client.head(f"{url}/{code}", headers={"user-agent": VISITORS[0][0]})
    except httpx2.HTTPError:
        return Fetched(sent_s, 0, "")
    return Fetched(sent_s, answer.status_code, answer.headers.get("location", ""))


async def clicks(client: httpx2.AsyncClient, codes: Iterable[str], counting: bool) -> dict[str, int | None]:
    """Clicks and bots of each code; None where they can't be read. Without `counting`, having no counts is having counted 0."""

    async def ask(code: str) -> int | None:
        try:
            answer = await client.get(f"/api/v1/links/{code}/stats", params={"days": STATS_DAYS})
        except httpx2.HTTPError:
            return None
        if answer.status_code == 404 and not counting:
            return 0
        if answer.status_code != 200:
            return None
        stats = answer.json()
        return int(stats["clicks"]) + int(stats["bots"])

    return await each(codes, ask)


async def metrics(target: Target) -> list[str]:
    async with httpx2.AsyncClient(timeout=CHECK_TIMEOUT_S, trust_env=False) as client:
        answers = [await client.get(url) for url in target.metrics_urls]
    return [answer.raise_for_status().text for answer in answers]


def declared_losses(pages: Iterable[str]) -> Counter[str]:
    """Clicks the processes say are lost, and those they are not sure of."""
    counts = service_counters(pages)
    dropped = counts["clicks_dropped"] + counts["clicks_dead_lettered"]
    return Counter(dropped=int(dropped), unsure=int(counts["clicks_unsure"]))
