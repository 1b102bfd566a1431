"""What a variant is asked once the load is over, until its answers say enough: how many clicks it counted, where links lead now."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

import httpx2

from loadtests import asking
from loadtests.history.operation import HistoryItem, Observation
from loadtests.url_shortener import inquiries
from loadtests.url_shortener.click_checks import may_be_uncounted, tallies_of
from loadtests.url_shortener.counters import buffered_clicks, queued_clicks
from loadtests.url_shortener.evidence import Evidence
from loadtests.url_shortener.excuses import declared_losses
from loadtests.url_shortener.operations import operation
from loadtests.url_shortener.promises import Promises
from loadtests.url_shortener.steps import Question
from loadtests.workload import Exchange, Target

POLL_S = 0.1
PATIENCE_S = 1.0  # for a queue to become empty
FIRST = "replica-1"
REFUSED_ALIASES = 200
ASKED_AT_ONCE = 500  # links, so that no answer is waited for much longer than the others

Take = Callable[[HistoryItem], None]
Clock = Callable[[float], float]


async def ask_for_clicks(
    target: Target, codes: Sequence[str], evidence: Callable[[], Evidence], take: Take, clock: Clock, give_up_s: float
) -> None:
    """Read the counts of these links once nothing waits any more; a count that is short is read once more, and then believed.

    Without a sign that nothing waits, counts that are short are read again until `give_up_s`. Something may wait for long, such as
    batches that Redis took for unfinished when it came back: who has all clicks need not wait for these.
    """
    promised, pending, confirmed = evidence().promises, list(codes), False
    patient_s = time.monotonic() + PATIENCE_S
    while True:
        idle = sure = False
        with contextlib.suppress(httpx2.HTTPError):  # a process is gone; it may come back in time
            idle, sure = await _look_at_the_queue(target, promised, take, clock)
        if idle or time.monotonic() > patient_s:
            for code, exchange in zip(pending, await inquiries.tallies(target, pending), strict=True):
                take(operation(Question("tally", code), exchange, FIRST, clock))
            pending, enough = _short(evidence(), pending)
            if enough or (sure and confirmed):
                take(Observation("drained", "", clock(time.monotonic()), {"complete": True}))
                return
            confirmed = sure
        if time.monotonic() > give_up_s:
            take(Observation("drained", "", clock(time.monotonic()), {"complete": idle}))
            return
        await asyncio.sleep(POLL_S)


async def _look_at_the_queue(target: Target, promised: Promises, take: Take, clock: Clock) -> tuple[bool, bool]:
    """Whether nothing seems to wait, and whether that is sure: a queue nobody measures may hold something."""
    pages = await asking.metrics(target)
    for node, page in zip(inquiries.node_names(target), pages, strict=True):
        for observation in inquiries.observations(node, clock(time.monotonic()), page):
            take(observation)
    queued = queued_clicks(pages)
    idle = not queued and not buffered_clicks(pages)
    return idle, idle and (queued is not None or not promised.queued)


def _short(evidence: Evidence, codes: Iterable[str]) -> tuple[list[str], bool]:
    """Those with fewer clicks than visits, or without an answer; and whether what was declared lost covers what is missing."""
    read = {each.code: each for each in tallies_of(evidence)}
    short = [code for code in codes if (read[code].unexplained > 0 if code in read else not may_be_uncounted(evidence, code))]
    declared = declared_losses(evidence.history.observations)
    missing = sum(each.unexplained for each in read.values())
    return short, all(code in read for code in short) and missing <= declared["dropped"] + declared["unsure"]


def links_to_look_at(evidence: Evidence, limit: int) -> list[str]:
    """Links without a limit, at most so many, half of them made before the load; and aliases that everybody was refused."""
    plain = {code: made[0] for code, made in evidence.made.items() if not any(write.limited for write in made)}
    new = [code for code, write in plain.items() if not write.seeded]
    seeded = [code for code, write in plain.items() if write.seeded]
    refused = [write.alias for write in evidence.history.creates if write.status == 409 and write.alias not in evidence.made]
    asked = [*sample_evenly(new, limit // 2), *sample_evenly(seeded, limit // 2), *refused[:REFUSED_ALIASES]]
    return list(dict.fromkeys(code for code in asked if code))


def sample_evenly(codes: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of them, first and last included, evenly spread over the time they were made."""
    if len(codes) <= limit:
        return list(codes)
    return [codes[round(index * (len(codes) - 1) / (limit - 1))] for index in range(limit)]


async def ask_for_links(
    target: Target, codes: Sequence[str], evidence: Callable[[], Evidence], take: Take, clock: Clock, give_up_s: float
) -> None:
    """Ask every replica for each link, and again while an answer is missing or is one that only time can tell from a mistake."""
    pending = [(code, replica) for code in codes for replica in range(len(target.urls))]
    while pending:
        asked: list[tuple[str, int, Exchange]] = []
        for first in range(0, len(pending), ASKED_AT_ONCE):
            some = pending[first : first + ASKED_AT_ONCE]
            answered = await inquiries.looks(target, some)
            asked += [(*each, exchange) for each, exchange in zip(some, answered, strict=True)]
        for code, replica, exchange in asked:
            take(operation(Question("look", code), exchange, f"replica-{replica + 1}", clock))
        judged = evidence()
        pending = [
            (code, replica)
            for code, replica in pending
            if judged.judge_look(code, judged.history.looks[code][f"replica-{replica + 1}"][-1]) in ("unanswered", "old", "excused")
        ]
        if time.monotonic() > give_up_s:
            return
        await asyncio.sleep(POLL_S)
