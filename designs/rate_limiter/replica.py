"""One replica: what it consists of, and its life from the first background task to the last closed connection."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from designs.building_blocks.background_tasks import beside_the_requests
from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.dependencies import Dependency
from designs.building_blocks.settings import redacted
from designs.building_blocks.telemetry import Telemetry
from designs.building_blocks.watching import alarm
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.headers import Headers
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.limiter import Limiter, Verdict
from designs.rate_limiter.load_shedder import Shedder
from designs.rate_limiter.rule_file import RuleFile
from designs.rate_limiter.settings import LimiterSettings

log = structlog.get_logger()


@dataclass
class Replica:
    """What one replica consists of. Routes find it as `app.state.services`."""

    knobs: LimiterKnobs
    settings: LimiterSettings
    telemetry: Telemetry
    limiter: Limiter
    rule_file: RuleFile
    tell: Callable[[Verdict], Headers]  # the fields that a verdict adds to an answer
    callers: dict[bytes, str]
    admin_key: str | None
    memories: list[MemoryLimitStore]
    lease: Any = None  # a LocalLeaseStore
    envoy: Any = None  # an EnvoyService, from the start of the lifespan on
    start_envoy: Callable[[], Awaitable[Any]] | None = None
    shedder: Shedder | None = None  # where the knob `shed` wants one
    breakers: dict[str, CircuitBreaker] = field(default_factory=dict)
    dependencies: dict[str, Dependency] = field(default_factory=dict)
    probes: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    before: list[Callable[[], Any]] = field(default_factory=list)  # before the first request
    background: list[Callable[[], Any]] = field(default_factory=list)  # coroutine functions that run as long as the replica
    close: list[Callable[[], Any]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[None]:
    """Start what runs beside the requests; at the end take no more calls, then close."""
    log.info("starting", settings=redacted(replica.settings), knobs=replica.knobs.model_dump())
    for prepare in replica.before:
        await prepare()
    try:
        if replica.start_envoy is not None:
            replica.envoy = await replica.start_envoy()
        async with beside_the_requests(replica.background, alarm):
            yield
    finally:
        if replica.envoy is not None:
            await replica.envoy.stop()
        for close in replica.close:
            await close()
