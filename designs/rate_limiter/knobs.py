"""What can be turned in the rate limiter, and what each turn trades. THE declaration: everything else reads it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from designs.building_blocks.knobs import Knobs
from designs.building_blocks.observability import MetricsKnob, TracesKnob
from designs.rate_limiter.limits import AlgorithmName

PREFIX = "RATE_LIMITER_KNOB_"


class LimiterKnobs(Knobs):
    """The knobs of one running rate limiter. Every replica of it runs with the same ones."""

    algorithm: AlgorithmName = Field(
        default="gcra",
        description=(
            "How a rule that names none counts. gcra: one number per key, even spacing with a burst. token_bucket: the same "
            "promise, exact at any rate, three numbers. leaky_bucket: the bucket upside down. leaky_queue: admits with a delay, so "
            "that what comes out is evenly spaced. fixed_window: cheapest, and twice the limit at a window's edge. sliding_window: "
            "smooths the edge by an estimate. sliding_log: exact for any window, a stamp for each unit. sketch: any number of keys "
            "in fixed memory, and refuses some who have done nothing."
        ),
    )
    store: Literal["redis", "memory", "sqlite", "local_lease"] = Field(
        default="redis",
        description=(
            "Who counts. redis: one limit for all replicas, a round trip per decision. local_lease: each replica takes units from "
            "Redis in blocks and spends them itself; fewer round trips, and at most replicas x lease_size over the limit. memory: "
            "no round trip, one limit per replica. sqlite: all processes of one machine, no server."
        ),
    )
    lease_size: int = Field(
        default=10,
        ge=1,
        le=100_000,
        examples=[1, 10, 100],
        description=(
            "Units a replica takes at once (store=local_lease), a tenth of the burst at most: larger asks Redis less often, and "
            "can overshoot by as much per replica."
        ),
    )
    lease_ms: float = Field(
        default=1_000.0,
        gt=0,
        le=60_000,
        examples=[100, 1_000],
        description=(
            "How long leased units may be spent (store=local_lease): shorter wastes more of the quota of keys that go quiet, "
            "longer spends units long after they were counted."
        ),
    )
    on_store_down: Literal["local", "open", "closed"] = Field(
        default="local",
        description=(
            "What a rule that says nothing else does when the store is late or gone. local: each replica keeps the limit on its "
            "own, so at most replicas x limit. open: everybody passes; available, and a bypass for whoever can slow the store "
            "down. closed: nobody passes, 503 with Retry-After."
        ),
    )
    deadline_ms: float = Field(
        default=30.0,
        gt=0,
        le=5_000,
        examples=[10, 30, 250],
        description=(
            "How long a decision waits for the store. Beyond it the rule's on_store_down decides, and the answer is degraded."
        ),
    )
    breaker: Literal["on", "off"] = Field(
        default="on",
        description=(
            "on: after 5 failures in 10 s the store is left alone for a second, then asked by one request at a time. off: while it "
            "is down every decision waits for the deadline."
        ),
    )
    clock: Literal["store", "client"] = Field(
        default="store",
        description=(
            "Whose time counts. store: Redis TIME, one clock for all. client: each replica's own, for servers that refuse TIME in "
            "scripts; a replica that is fast by d lets through what d more would refill."
        ),
    )
    headers: Literal["current", "draft-06", "x-ratelimit", "none"] = Field(
        default="current",
        description=(
            "Which headers tell a client where it stands. current: RateLimit and RateLimit-Policy as structured fields. draft-06: "
            "RateLimit-Limit, -Remaining, -Reset. x-ratelimit: the custom ones with an epoch. none: Retry-After alone."
        ),
    )
    memory_keys: int = Field(
        default=100_000,
        ge=64,
        le=10_000_000,
        examples=[1_000, 100_000],
        description=(
            "Keys kept in a replica's memory (store=memory, and on_store_down=local). No live one is ever forgotten, which would "
            "give it a new quota: keys beyond that share buckets of 1 / 64 of the rest, and may be refused for each other's use."
        ),
    )
    shed: Literal["off", "priority"] = Field(
        default="off",
        description=(
            "priority: when this service itself is short of room, checks of low priority are refused first, and a fifth of it is "
            "kept for critical ones. off: first come, first served, up to the same bound."
        ),
    )
    metrics: MetricsKnob = "on"
    traces: TracesKnob = 0.0

    @model_validator(mode="after")
    def _refuse_the_impossible(self) -> LimiterKnobs:
        if self.clock == "client" and self.store in ("memory", "sqlite"):
            raise ValueError(f"store={self.store} has the machine's clock and no other; clock=client is about Redis")
        if self.store == "local_lease" and self.algorithm in ("sketch", "leaky_queue"):
            raise ValueError(
                f"store=local_lease can't lease algorithm={self.algorithm}: "
                + ("a sketch has no key to lease for" if self.algorithm == "sketch" else "a delay is one request's, not a block's")
            )
        return self

    @property
    def needs_redis(self) -> bool:
        return self.store in ("redis", "local_lease")
