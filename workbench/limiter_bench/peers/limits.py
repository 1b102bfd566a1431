"""limits in the process of the bench: its asyncio storage on redis-py, as its documentation shows."""

from __future__ import annotations

from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import STRATEGIES

from workbench.limiter_bench.peers.line_protocol import CLIENT, Decide, serve

WITH_STATS = ", stats"
_storages: dict[str, Any] = {}


async def opened(url: str, how: str, limit: int, period_s: int) -> Decide:
    """`how` is a strategy; with ", stats" each decision also asks what remains and until when, as a header needs it."""
    if url not in _storages:
        _storages[url] = RedisStorage(f"async+{url}", implementation="redispy", **CLIENT)
    limiter = STRATEGIES[how.removesuffix(WITH_STATS)](_storages[url])
    item = RateLimitItemPerSecond(limit, period_s)

    async def decide(key: str) -> bool:
        return bool(await limiter.hit(item, key))

    async def decide_and_tell(key: str) -> bool:
        allowed = bool(await limiter.hit(item, key))
        await limiter.get_window_stats(item, key)
        return allowed

    return decide_and_tell if how.endswith(WITH_STATS) else decide


if __name__ == "__main__":
    serve(opened)
