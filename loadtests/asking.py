"""What seeding and the checks ask a variant, apart from its load: a client, a few requests at a time, the metrics pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2

from loadtests.generator.open_loop import closed_loop
from loadtests.plain_http import TRUSTS_NOBODY
from loadtests.workload import NO_ANSWER, Exchange, Target

CHECK_CLIENTS = 8
CHECK_TIMEOUT_S = 10.0
CHECK_WITHIN_S = 60.0


@asynccontextmanager
async def client_of(target: Target) -> AsyncIterator[httpx2.AsyncClient]:
    """A client for the first replica, with the key."""
    headers = {"authorization": f"Bearer {target.api_key}"}
    async with httpx2.AsyncClient(
        base_url=target.urls[0], headers=headers, timeout=CHECK_TIMEOUT_S, trust_env=False, verify=TRUSTS_NOBODY
    ) as client:
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


async def metrics(target: Target) -> list[str]:
    """The pages of all processes, one after the other: what a later one has not got yet, an earlier one does not have any more."""
    async with httpx2.AsyncClient(timeout=CHECK_TIMEOUT_S, trust_env=False, verify=TRUSTS_NOBODY) as client:
        try:
            answers = [await client.get(url) for url in target.metrics_urls]
        except AttributeError as error:  # uvloop's transport of a connection that was closed as soon as it stood has no socket
            raise httpx2.ConnectError("closed as soon as it stood") from error
    return [answer.raise_for_status().text for answer in answers]
