"""throttled-py in the process of the bench: its asyncio `Throttled` on a Redis store, and the state of each result read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from throttled.asyncio import RedisStore, Throttled, rate_limiter

from workbench.limiter_bench.peers.line_protocol import CLIENT, Decide, serve

_stores: dict[str, Any] = {}


async def opened(url: str, how: str, limit: int, period_s: int) -> Decide:
    """`how` is what it calls the algorithm."""
    if url not in _stores:
        _stores[url] = RedisStore(server=url, options={"CONNECTION_POOL_KWARGS": CLIENT})
    quota = rate_limiter.per_duration(timedelta(seconds=period_s), limit=limit, burst=limit)
    throttle = Throttled(using=how, quota=quota, store=_stores[url])

    async def decide(key: str) -> bool:
        result = await throttle.limit(key)
        assert result.state.limit == limit
        return not result.limited

    return decide


if __name__ == "__main__":
    serve(opened)
