"""What a variant is asked once the load is over: whether every slot is there again when all leases must have run out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from loadtests.asking import answers
from loadtests.history.operation import HistoryItem
from loadtests.rate_limiter import requests
from loadtests.rate_limiter.operations import operations
from loadtests.rate_limiter.steps import PATHS, Question
from loadtests.workload import Target

Take = Callable[[HistoryItem], None]
Clock = Callable[[float], float]


async def ask_for_slots(
    target: Target, users: Sequence[str], slots: int, after_s: float, name: str, take: Take, clock: Clock
) -> None:
    """After `after_s`, take all slots of each user under new tokens, and give them back: all there are, from whichever replica."""
    await asyncio.sleep(max(0.0, after_s))
    wanted = [
        Question("acquire", {"user": user, "job": "preview"}, token=f"{name}q{place}-{slot}")
        for place, user in enumerate(users)
        for slot in range(slots)
    ]
    await _ask(target, wanted, take, clock)
    await _ask(target, [Question("release", each.descriptor, token=each.token) for each in wanted], take, clock)


async def _ask(target: Target, questions: Sequence[Question], take: Take, clock: Clock) -> None:
    tails = [requests.api_tail(urlsplit(url).netloc, target.api_key) for url in target.urls]
    asked = [
        (place % len(tails), requests.post(PATHS[question.f], question.document(), tails[place % len(tails)]))
        for place, question in enumerate(questions)
    ]
    for place, (question, exchange) in enumerate(zip(questions, await answers(target, asked), strict=True)):
        for item in operations([question], exchange, f"replica-{place % len(tails) + 1}", clock):
            take(item)
