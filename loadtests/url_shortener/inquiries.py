"""What seeding and the checks ask a variant, apart from its load: made links, where they lead, clicks, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2

from loadtests.generator.open_loop import closed_loop
from loadtests.history.operation import Observation
from loadtests.url_shortener import requests
from loadtests.url_shortener.counters import cache_failures, declared_losses
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


async def looks(target: Target, asked: Sequence[tuple[str, int]]) -> list[Exchange]:
    """Where links lead now: (code, index of the replica to ask). By HEAD, which counts no click."""
    tails = [requests.visit_tail(urlsplit(url).netloc, *requests.VISITORS[0]) for url in target.urls]
    return await answers(target, [(replica, requests.head(code, tails[replica])) for code, replica in asked])


async def tallies(target: Target, codes: Sequence[str]) -> list[Exchange]:
    """The statistics of each code, from the first replica."""
    tail = requests.api_tail(urlsplit(target.urls[0]).netloc, target.api_key)
    return await answers(target, [(0, requests.stats(code, tail)) for code in codes])


async def metrics(target: Target) -> list[str]:
    """The pages of all processes, one after the other: what a later one has not got yet, an earlier one does not have any more."""
    async with httpx2.AsyncClient(timeout=CHECK_TIMEOUT_S, trust_env=False) as client:
        try:
            answers = [await client.get(url) for url in target.metrics_urls]
        except AttributeError as error:  # uvloop's transport of a connection that was closed as soon as it stood has no socket
            raise httpx2.ConnectError("closed as soon as it stood") from error
    return [answer.raise_for_status().text for answer in answers]


def node_names(target: Target) -> list[str]:
    """The name of each process that has metrics, in the order of `metrics_urls`: replicas by their URL, then the click worker."""
    replicas = {urlsplit(url).netloc: f"replica-{number}" for number, url in enumerate(target.urls, start=1)}
    return [replicas.get(urlsplit(url).netloc, "click-worker") for url in target.metrics_urls]


def observations(node: str, at_s: float, metrics_text: str) -> list[Observation]:
    """What a metrics page says that promises depend on: clicks declared lost, and how often the shared cache did not answer."""
    return [
        Observation("losses", node, at_s, dict(declared_losses([metrics_text]))),
        Observation("cache", node, at_s, {"errors": cache_failures(metrics_text)}),
    ]
