"""What seeding and the checks ask a variant, apart from its load: made links, where they lead, clicks, metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2

from loadtests.generator.open_loop import closed_loop
from loadtests.url_shortener import requests
from loadtests.url_shortener.counters import service_counters
from loadtests.url_shortener.history import Fetched
from loadtests.workload import NO_ANSWER, Exchange, Target

CHECK_CLIENTS = 8
CHECK_TIMEOUT_S = 10.0
CHECK_WITHIN_S = 60.0


@asynccontextmanager
async def asking(target: Target) -> AsyncIterator[httpx2.AsyncClient]:
    """A client for the first replica, with the key."""
    headers = {"authorization": f"Bearer {target.api_key}"}
    async with httpx2.AsyncClient(base_url=target.urls[0], headers=headers, timeout=CHECK_TIMEOUT_S, trust_env=False) as client:
        yield client


async def answers(target: Target, asked: Sequence[tuple[int, bytes]]) -> list[Exchange]:
    """An exchange for each (index of a replica, request), in order, a few at a time; status `NO_ANSWER` where there was none."""
    if not asked:
        return []
    exchanges = await closed_loop(
        asked, CHECK_CLIENTS, target.urls, duration_s=CHECK_WITHIN_S, count=len(asked), timeout_s=CHECK_TIMEOUT_S
    )
    never_sent = [Exchange("", 0, 0, 0.0, 0.0, 0.0, 0.0, NO_ANSWER, b"") for _ in range(len(asked) - len(exchanges))]
    return exchanges + never_sent


async def fetched(target: Target, codes: Sequence[str]) -> dict[str, Fetched]:
    """Where links lead now, each asked of a replica that its code picks: with several, each is asked for its share.

    By HEAD, which counts no click.
    """
    tails = [requests.visit_tail(urlsplit(url).netloc, *requests.VISITORS[0]) for url in target.urls]
    asked = [(replica, requests.head(code, tails[replica])) for code in codes for replica in [sum(code.encode()) % len(tails)]]
    return {
        code: Fetched(exchange.sent_s, exchange.status, requests.location(exchange.response))
        for code, exchange in zip(codes, await answers(target, asked), strict=True)
    }


async def clicks(target: Target, codes: Sequence[str], counting: bool) -> dict[str, int | None]:
    """Clicks and bots of each code; None where they can't be read. Without `counting`, having no counts is having counted 0."""
    tail = requests.api_tail(urlsplit(target.urls[0]).netloc, target.api_key)

    def told(exchange: Exchange) -> int | None:
        if exchange.status == 404 and not counting:
            return 0
        stats = requests.json_body(exchange) if exchange.status == 200 else {}
        return int(stats["clicks"]) + int(stats["bots"]) if stats else None

    exchanges = await answers(target, [(0, requests.stats(code, tail)) for code in codes])
    return {code: told(exchange) for code, exchange in zip(codes, exchanges, strict=True)}


async def metrics(target: Target) -> list[str]:
    async with httpx2.AsyncClient(timeout=CHECK_TIMEOUT_S, trust_env=False) as client:
        answers = [await client.get(url) for url in target.metrics_urls]
    return [answer.raise_for_status().text for answer in answers]


def declared_losses(pages: Iterable[str]) -> Counter[str]:
    """Clicks the processes say are lost, and those they are not sure of."""
    counts = service_counters(pages)
    dropped = counts["clicks_dropped"] + counts["clicks_dead_lettered"]
    return Counter(dropped=int(dropped), unsure=int(counts["clicks_unsure"]))
