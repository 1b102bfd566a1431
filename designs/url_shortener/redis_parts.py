"""The Redis side of the composition: the backends of one process with their deadlines and breakers, and the watch on the server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from designs.building_blocks.cache_layers import SharedCache
from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.dead_letter_queue import DeadLetterQueue
from designs.building_blocks.dependencies import Dependency
from designs.building_blocks.guarded_port import Patience
from designs.building_blocks.telemetry import Telemetry
from designs.building_blocks.watching import answers, dependency
from designs.url_shortener.guards import (
    REDIRECT_DEADLINE_S,
    REQUEST_DEADLINE_S,
    cache_error,
    is_outage,
    queue_error,
    store_error,
)
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.links import Link
from designs.url_shortener.settings import ShortenerSettings
from designs.url_shortener.watching import probe_redis

MARKER_TTL_MS = 30_000
PENDING_BOUND = 50_000
BREAKER_OPEN_S = 1.0
# Calls of each kind under way. A bulk of links asks for all its numbers at once: who waits here for a turn says nothing of Redis,
# and to open a connection for each would take longer than to wait for one.
AT_ONCE, WAITING = 32, 10_000


class RedisParts:
    """The Redis backends of one process, and their connections: those of the cache give up early, the others wait.

    `patiences` are those of everything but the shared cache that a request waits for.
    """

    def __init__(self, knobs: ShortenerKnobs, settings: ShortenerSettings, telemetry: Telemetry) -> None:
        from designs.building_blocks.redis_connection import connect
        from designs.url_shortener.backends import redis as backend

        if settings.redis_url is None:
            raise ValueError("these knobs need Redis; set REDIS_URL, or choose cache=none ids=lease clicks=batched")
        url = settings.redis_url.get_secret_value()
        self._backend = backend
        self._telemetry = telemetry
        deadline_s = knobs.cache_deadline_ms / 1000
        self._redirects, self._requests = (
            Patience(
                "Redis",
                wait_s,
                CircuitBreaker(time.monotonic, open_s=BREAKER_OPEN_S),
                is_outage,
                at_once=AT_ONCE,
                waiting=WAITING,
            )
            for wait_s in (min(REDIRECT_DEADLINE_S, deadline_s), REQUEST_DEADLINE_S)
        )
        self.patiences = {"redis_redirects": self._redirects, "redis_requests": self._requests}
        self.breakers = {name: each.breaker for name, each in self.patiences.items() if each.breaker is not None}
        self._sync = knobs.clicks == "sync"
        self._fast = connect(url, deadline_s)
        self.client = connect(url, backend.QUEUE_DEADLINE_S)
        numbers = telemetry.timed_port(backend.RedisNumbers(self.client), "redis", ["lease_range"])
        self._numbers = self._requests.guard(numbers, ["lease_range"], store_error)

    def shared_cache(self) -> Any:
        cache = self._backend.RedisSharedCache(self._fast, MARKER_TTL_MS)
        return self._telemetry.timed_port(cache, "redis", ["get", "fill", "invalidate", "acquire", "release"], prefix="shared_")

    def invalidations(self) -> Any:
        return self._backend.RedisInvalidations(self.client)

    def announcements(self) -> Any:
        return self._requests.guard(self.invalidations(), ["publish"], cache_error)

    async def lease(self, size: int) -> int:
        number: int = await self._numbers.lease_range("links", size)
        return number

    def visitors(self) -> Any:
        visitors = self._backend.RedisVisitorCounter(self.client)
        timed = self._telemetry.timed_port(visitors, "redis", ["add", "count"], prefix="visitors_")
        counted = self._requests.guard(timed, ["count"], store_error)
        return self._redirects.guard(counted, ["add"], store_error) if self._sync else counted

    def pending(self, consumer: str) -> Any:
        from designs.url_shortener.backends.redis_streams import RedisPendingLinks

        links = RedisPendingLinks(self.client, PENDING_BOUND, consumer)
        timed = self._telemetry.timed_port(links, "redis", ["add", "holds", "stored"], prefix="pending_")
        return self._redirects.guard(self._requests.guard(timed, ["add"], queue_error), ["holds"], queue_error)

    def guarded_dead_letters(self, letters: DeadLetterQueue) -> Any:
        return self._requests.guard(letters, ["list", "count"], queue_error)

    async def ping(self) -> bool:
        return await answers(self.client)

    async def close(self) -> None:
        await self._fast.aclose()
        await self.client.aclose()


def watched(
    redis: RedisParts, breaker: CircuitBreaker | None, shared: SharedCache[Link] | None
) -> tuple[Dependency, Callable[[], Awaitable[None]]]:
    """Redis as a dependency: what is known of it without asking, and how to ask."""
    server = dependency("redis")
    for name, each in (redis.breakers | ({"shared_cache": breaker} if breaker is not None else {})).items():
        server.watch(name, lambda each=each: each.state == "closed")  # type: ignore[misc]
    return server, lambda: probe_redis(redis.ping, server, redis.patiences.values(), breaker, shared)
