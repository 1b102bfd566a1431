"""The store side of the composition: who counts, as the knob `store` chose, how long a decision waits for it, and the watch on it.

    memory        this process; nothing to wait for
    sqlite        `limits.db`, shared by the processes of one machine
    redis         one Redis, shared by all
    local_lease   units leased from Redis in blocks and spent here; the deadline is on the leasing

Each call has `deadline_ms`, with the wait for its turn in it. While more wait than can have theirs in time, whoever comes is
answered without the store at once, and that is no failure of the store. After five failures in ten seconds it is left alone for a
second, and then asked by one request or by the watch, whichever comes first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.deadline import within
from designs.building_blocks.fault_hooks import FaultHooks
from designs.building_blocks.guarded_port import Patience
from designs.building_blocks.stampede import monotonic_us
from designs.building_blocks.telemetry import Telemetry
from designs.building_blocks.watching import PROBE_WITHIN_S, dependency
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.ports import LimitStore, StoreError
from designs.rate_limiter.settings import LimiterSettings

VERBS = ("take", "peek", "give_back", "reset", "acquire", "renew", "release")
CALLS = "calls"  # signal of the store
# Calls of the store under way, each on a connection of its own. One process keeps no more of them busy, and to make a connection
# takes it as long as several decisions: who comes in a crowd waits less for one that is there.
AT_ONCE = 16
DECISION_MS = 1.0  # of this process's time: so many may wait their turn as it can decide within the deadline


class StoreParts:
    """The store of one process: `store` is what a decision asks, `fallback` what it asks instead, `lease` set where it leases."""

    def __init__(
        self,
        knobs: LimiterKnobs,
        settings: LimiterSettings,
        telemetry: Telemetry,
        wall_us: Callable[[], int],
        own_us: Callable[[], int],
        hooks: FaultHooks | None,
    ) -> None:
        self.server = dependency("redis" if knobs.needs_redis else "store")
        self.fallback = MemoryLimitStore(own_us, knobs.memory_keys)
        self.memories = [self.fallback]
        self.lease: Any = None
        breaker = CircuitBreaker(time.monotonic) if knobs.breaker == "on" else None
        self.breakers = {"store": breaker} if breaker is not None else {}
        self._patience = Patience(
            _NAMES[knobs.store],
            knobs.deadline_ms / 1000,
            breaker,
            _is_outage,
            self._heard,
            AT_ONCE,
            int(knobs.deadline_ms / DECISION_MS),
        )
        self._plain: Any = self._opened(knobs, settings, wall_us, own_us)
        slowed = hooks.slowed(self._plain, VERBS) if hooks is not None else self._plain
        timed = telemetry.timed_port(slowed, "redis" if knobs.needs_redis else knobs.store, VERBS)
        waits = knobs.store != "memory" or hooks is not None
        self.store: LimitStore = self._patience.guard(timed, VERBS, _store_error) if waits else timed
        if breaker is not None:
            self.server.watch("breaker", lambda: breaker.state == "closed")
        if knobs.store == "local_lease":
            from designs.rate_limiter.backends.local_lease import LocalLeaseStore

            self.lease = LocalLeaseStore(self.store, knobs.lease_size, int(knobs.lease_ms * 1000), monotonic_us)
            self.store = self.lease

    def _opened(
        self, knobs: LimiterKnobs, settings: LimiterSettings, wall_us: Callable[[], int], own_us: Callable[[], int]
    ) -> LimitStore:
        if knobs.store == "memory":
            memory = MemoryLimitStore(own_us, knobs.memory_keys)
            self.memories.append(memory)
            return memory
        if knobs.store == "sqlite":
            from designs.rate_limiter.backends.sqlite import SqliteLimitStore

            return SqliteLimitStore(settings.limits_file, wall_us)
        if settings.redis_url is None:
            raise ValueError(f"store={knobs.store} needs Redis; set REDIS_URL, or choose store=memory or sqlite")
        from designs.building_blocks.redis_connection import connect
        from designs.rate_limiter.backends.redis import RedisLimitStore

        # The guard gives up first: the driver's own time-out is for pings, and for what is left of a call that was given up.
        waits_s = max(PROBE_WITHIN_S, knobs.deadline_ms / 1000)
        client = connect(settings.redis_url.get_secret_value(), waits_s, max_connections=AT_ONCE)
        return RedisLimitStore(client, wall_us if knobs.clock == "client" else None)

    def _heard(self, well: bool) -> None:
        self.server.hear(CALLS, well)

    async def probe(self) -> None:
        """Ask the store itself whether it is there, and be the probe of a half-open breaker where no request comes to be it."""
        began_s = time.monotonic()
        try:
            async with within(PROBE_WITHIN_S):
                await self._plain.ping()
            well = True
        except (StoreError, TimeoutError):
            well = False
        self._patience.probed(well, time.monotonic() - began_s)
        self.server.probed(well)

    async def warm_up(self) -> None:
        """Before the first request: what a connection takes to come about would be charged to a decision's deadline."""
        await self.probe()
        if not self.server.degraded:
            await asyncio.gather(*(self.probe() for _ in range(AT_ONCE - 1)))

    async def close(self) -> None:
        await (self.lease or self.store).close()
        await self.fallback.close()


_NAMES = {"memory": "the memory of this process", "sqlite": "SQLite", "redis": "Redis", "local_lease": "Redis"}


def _store_error(sentence: str, may_have_happened: bool) -> StoreError:
    return StoreError(sentence, may_have_happened=may_have_happened)


def _is_outage(error: Exception) -> bool:
    """Whether the store could not, in contrast to what a limit can't have, and to a bug of ours."""
    return isinstance(error, StoreError)
