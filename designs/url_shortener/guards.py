"""How long each call to the outside may take while a request waits for it, and who hears how it went.

    the shared cache      `cache_deadline_ms` for all calls of a request together, behind its own breaker (`GuardedSharedCache`)
    Redis for a redirect  `REDIRECT_DEADLINE_S` at most: pending links, and visitors with clicks=sync
    Redis for the API     `REQUEST_DEADLINE_S`: numbers, pending links, announcements, unique visitors, dead letters
    the store             `STORE_DEADLINE_S`
    clicks on their way   `SEND_DEADLINE_S`, while nobody waits for them
    letters in Kafka      `LETTERS_DEADLINE_S`: the operator's list of them is read from the topic

What requests ask of Redis has a breaker for each of the first three rows: while it is open they are refused at once. What waits for
work (the click worker, the carrier of pending links) is in nobody's way, and has the driver's own time-out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from designs.building_blocks.cache_layers import CacheUnavailable
from designs.building_blocks.dependencies import Dependency
from designs.building_blocks.guarded_port import GuardedPort
from designs.url_shortener.ports import QueueError, QueueFull, StoreError

STORE_DEADLINE_S = 2.0
REDIRECT_DEADLINE_S = 0.04  # it comes on top of that of the shared cache
REQUEST_DEADLINE_S = 0.5
SEND_DEADLINE_S = 1.0
LETTERS_DEADLINE_S = 5.0
READS, WRITES, CLICKS = "reads", "writes", "clicks"  # signals of the store: a disk that is full can still be read
READ_VERBS = ("get", "visits_taken", "page", "find_request")
WRITE_VERBS = ("insert_if_absent", "edit", "take_visit", "lease_range", "claim_request")


def guarded_links(store: Any, dependency: Dependency) -> Any:
    """The link store (`LinkStore`) with a deadline on what requests ask of it."""
    return _of_store(_of_store(store, READ_VERBS, READS, dependency), WRITE_VERBS, WRITES, dependency)


def guarded_clicks(store: Any, dependency: Dependency) -> Any:
    """The click store (`ClickStore`), likewise. Its outcomes are a signal of their own: it is another file."""
    return _of_store(store, ["apply", "stats"], CLICKS, dependency)


def store_error(sentence: str, may_have_happened: bool) -> StoreError:
    return StoreError(sentence, may_have_happened=may_have_happened)


def queue_error(sentence: str, may_have_happened: bool) -> QueueError:
    return QueueError(sentence, may_have_happened=may_have_happened)


def cache_error(sentence: str, maybe_done: bool) -> CacheUnavailable:
    return CacheUnavailable(sentence, maybe_done=maybe_done)


def is_outage(error: Exception) -> bool:
    """Whether a server could not, in contrast to a queue that is full, and to a bug of ours."""
    return isinstance(error, StoreError | CacheUnavailable) and not isinstance(error, QueueFull)


def guarded_letters(letters: Any, server: str) -> Any:
    """Dead letters (`DeadLetterQueue`) on a server that has no breaker here: who asks for them is an operator."""
    return GuardedPort(
        letters,
        ["list", "count"],
        deadline_s=LETTERS_DEADLINE_S,
        late=lambda verb: queue_error(f"{server} did not answer {verb} within {LETTERS_DEADLINE_S:g} s", False),
        is_outage=is_outage,
        heard=lambda _: None,
    )


def guarded_queue(queue: Any, dependency: Dependency, server: str) -> Any:
    """The click queue for those who put batches into it: nobody waits, but the buffer fills meanwhile."""
    return GuardedPort(
        queue,
        ["publish"],
        deadline_s=SEND_DEADLINE_S,
        late=lambda _: queue_error(f"{server} did not take the clicks within {SEND_DEADLINE_S:g} s", True),
        is_outage=is_outage,
        heard=lambda well: dependency.hear(CLICKS, well),
    )


def heard_of(port: Any, verbs: Iterable[str], dependency: Dependency, signal: str) -> Any:
    """The port as it is, and the dependency hears how its calls go."""
    return GuardedPort(
        port,
        verbs,
        deadline_s=None,
        late=lambda verb: store_error(f"{verb} came too late", True),  # never: there is no deadline
        is_outage=is_outage,
        heard=lambda well: dependency.hear(signal, well),
    )


def _of_store(store: Any, verbs: Iterable[str], signal: str, dependency: Dependency) -> GuardedPort:
    return GuardedPort(
        store,
        verbs,
        deadline_s=STORE_DEADLINE_S,
        late=lambda _: store_error(f"the store did not answer within {STORE_DEADLINE_S:g} s", signal != READS),
        is_outage=is_outage,
        heard=lambda well: dependency.hear(signal, well),
    )
