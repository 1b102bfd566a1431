"""What seeding and the checks ask a URL shortener, apart from its load: where links lead, clicks, what its metrics say."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from loadtests.asking import answers
from loadtests.history.operation import Observation
from loadtests.url_shortener import requests
from loadtests.url_shortener.counters import cache_failures, declared_losses
from loadtests.workload import Exchange, Target


async def looks(target: Target, asked: Sequence[tuple[str, int]]) -> list[Exchange]:
    """Where links lead now: (code, index of the replica to ask). By HEAD, which counts no click."""
    tails = [requests.visit_tail(urlsplit(url).netloc, *requests.VISITORS[0]) for url in target.urls]
    return await answers(target, [(replica, requests.head(code, tails[replica])) for code, replica in asked])


async def tallies(target: Target, codes: Sequence[str]) -> list[Exchange]:
    """The statistics of each code, from the first replica."""
    tail = requests.api_tail(urlsplit(target.urls[0]).netloc, target.api_key)
    return await answers(target, [(0, requests.stats(code, tail)) for code in codes])


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
