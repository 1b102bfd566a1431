"""What a URL shortener with these knobs promises, as numbers, and the names under which the promises are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from designs.url_shortener.knobs import ShortenerKnobs
from loadtests.history.recorded import Header

UNIQUE = "no two links share a code"
TARGETS = "every redirect leads where its link was sent"
CLICKS = "every click is counted once or declared lost"
NO_CLICKS = "no click is counted"
STALENESS = "no answer is older than the staleness bound"
KEPT = "no acknowledged link is lost"
FOUND_AT_ONCE = "a new link is found at once"
ALIASES = "an alias is given to one link only"
REPEATS = "an Idempotency-Key stands for one link"
CAPS = "no link is opened more often than its cap"
EXPIRIES = "no link is opened after its expiry, and none refused before it"

# Where clicks wait for the worker, by the knob `clicks`. Redis may be killed, wiped and lose its power, and its log is synced every
# second; Kafka is only killed, and acknowledges what that can't take.
QUEUES: Mapping[str, str] = MappingProxyType({"redis_streams": "redis", "kafka": "kafka"})

# The bound counts from the fetch of a link, which may take this long on a busy machine.
STALENESS_ALLOWANCE_S = 0.25


@dataclass(frozen=True, slots=True)
class Promises:
    """What a judge needs to know. `clock` is the wall clock at second 0 of the history.

    `unseen_s`: how long "no such link" may be remembered where nobody replaces it. `click_servers`: those a replica
    needs to get rid of its clicks. `queued`: they wait there for the click worker, in `queue_server`.
    """

    clock: float
    redirect_status: int
    staleness_s: float
    allowance_s: float
    unseen_s: float
    flush_s: float
    counting: bool
    queued: bool
    queue_server: str
    click_servers: frozenset[str]
    cached: bool
    shared_layer: bool
    write_behind: bool
    durable: bool

    @property
    def bound_s(self) -> float:
        """What was superseded longer ago than this must not be seen any more."""
        return self.staleness_s + self.allowance_s


def bounds_of(knobs: Mapping[str, Any], allowance_s: float = STALENESS_ALLOWANCE_S) -> dict[str, float]:
    """The `bounds` of a history's header."""
    return {"staleness_s": float(_knob(knobs, "staleness_s")), "allowance_s": allowance_s}


def promises_of(header: Header) -> Promises:
    """What the knobs in the header promise; a knob it does not name stands at its default."""
    knobs, bounds = header.knobs, {**bounds_of(header.knobs), **header.bounds}
    cache, layers, clicks = (_knob(knobs, name) for name in ("cache", "cache_layers", "clicks"))
    return Promises(
        clock=header.clock,
        redirect_status=int(_knob(knobs, "redirect")),
        staleness_s=bounds["staleness_s"],
        allowance_s=bounds["allowance_s"],
        unseen_s=float(_knob(knobs, "negative_ttl_s")),
        flush_s=float(_knob(knobs, "click_flush_ms")) / 1_000 if clicks in (*QUEUES, "batched") else 0.0,
        counting=clicks != "off",
        queued=clicks in QUEUES,
        queue_server=QUEUES.get(clicks, ""),
        # Without a queue the store takes them, and after it Redis the visitors.
        click_servers=frozenset([QUEUES[clicks]] if clicks in QUEUES else ["redis", str(_knob(knobs, "store"))]),
        cached=cache != "none",
        shared_layer=cache != "none" and layers != "process",
        write_behind=cache == "write-behind",
        durable=_knob(knobs, "store") != "memory",
    )


def _knob(knobs: Mapping[str, Any], name: str) -> Any:
    return knobs.get(name, ShortenerKnobs.model_fields[name].default)
