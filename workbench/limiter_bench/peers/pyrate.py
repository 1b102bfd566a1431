"""pyrate-limiter in the process of the bench: a bucket for each key, as its documentation has it for many clients.

In its favour: a script is loaded once and not for each bucket, and no background task takes old entries out of its logs.
"""

from __future__ import annotations

from typing import Any

from pyrate_limiter import GCRA, BucketFactory, Limiter, Rate, RateItem, RedisBucket, RedisStateStore, StateBucket
from redis.asyncio import Redis

from workbench.limiter_bench.peers.line_protocol import CLIENT, Decide, serve

_clients: dict[str, Redis] = {}


class BucketPerKey(BucketFactory):  # type: ignore[misc] # the package is not there when types are checked
    """`make(key)` is the bucket of a key that was not seen before."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._buckets: dict[str, Any] = {}

    def wrap_item(self, name: str, weight: int = 1) -> Any:
        return RateItem(name, self.get_named(name).now(), weight=weight)

    def get(self, item: Any) -> Any:
        return self.get_named(item.name)

    def get_named(self, name: str) -> Any:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = self._make(name)
        return bucket


async def opened(url: str, how: str, limit: int, period_s: int) -> Decide:
    """`how` is "log", its default, or "gcra"."""
    client = _clients.setdefault(url, Redis.from_url(url, **CLIENT))
    rates = [Rate(limit, period_s * 1000)]
    if how == "log":
        first = await RedisBucket.init(rates, client, "log:first")

        def make(key: str) -> Any:
            return RedisBucket(rates, client, f"log:{key}", first.script_hash)
    elif how == "gcra":

        def make(key: str) -> Any:
            return StateBucket(rates, GCRA(), RedisStateStore(client, f"gcra:{key}"))
    else:
        raise ValueError(f"{how}?")
    limiter = Limiter(BucketPerKey(make))

    async def decide(key: str) -> bool:
        return bool(await limiter.try_acquire_async(key, blocking=False))

    return decide


if __name__ == "__main__":
    serve(opened)
