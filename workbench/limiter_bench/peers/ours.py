"""This book's limiter in the process of the bench: rules, the Redis store, and the header fields of each verdict made.

Beside it the floors: a script that returns 1, and one that asks for the time, through the same client.
"""

from __future__ import annotations

import time
from typing import cast, get_args

from redis.asyncio import Redis

from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.backends.redis import RedisLimitStore
from designs.rate_limiter.headers import headers_of
from designs.rate_limiter.limiter import Limiter, Request
from designs.rate_limiter.limits import WITH_BURST, AlgorithmName, Limit
from designs.rate_limiter.rules import Domain, Rule, RuleSet
from workbench.limiter_bench.peers.line_protocol import CLIENT, Decide, serve

FLOORS = {"return 1": "return 1", "TIME": "local t = redis.call('TIME') return t[1] * 1000000 + t[2]"}
DOMAIN = "bench"
_clients: dict[str, Redis] = {}


async def opened(url: str, how: str, limit: int, period_s: int) -> Decide:
    """`how` is a floor, or an algorithm, with " x3" for a request that meets three rules of it."""
    client = _clients.setdefault(url, Redis.from_url(url, **CLIENT))
    return _floor(client, FLOORS[how]) if how in FLOORS else _limiter(client, how, limit, period_s)


def _floor(client: Redis, text: str) -> Decide:
    script = client.register_script(text)

    async def decide(key: str) -> bool:
        await script(keys=[key])
        return True

    return decide


def _limiter(client: Redis, how: str, limit: int, period_s: int) -> Decide:
    name, _, three = how.partition(" x")
    if name not in get_args(AlgorithmName):
        raise ValueError(f"there is no algorithm {name}")
    algorithm = cast(AlgorithmName, name)
    allowed = Limit(algorithm, quota=limit, period_us=period_s * 1_000_000, burst=limit)
    assert allowed.burst == limit or algorithm in WITH_BURST
    counted = ("user", "route", "tenant") if three else ("user",)
    rules = RuleSet({DOMAIN: Domain(DOMAIN, [Rule(f"per-{what}", {what: "*"}, allowed) for what in counted])}, version="bench")
    fallback = MemoryLimitStore(lambda: time.time_ns() // 1000)
    limiter = Limiter(RedisLimitStore(client), fallback, lambda: rules)

    async def decide(key: str) -> bool:
        verdict = await limiter.check(Request(DOMAIN, dict.fromkeys(counted, key)))
        if verdict.degraded:
            raise RuntimeError("the store was not asked")
        headers_of(verdict, "current")
        return verdict.allowed

    return decide


if __name__ == "__main__":
    serve(opened)
