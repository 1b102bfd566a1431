"""Redis as every backend of every design uses it: a client that gives up in time, and what its errors mean.

Import it only where Redis was chosen: it brings the driver.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

MAX_CONNECTIONS = 64

# redis-py annotates every answer as the union over protocols, decoders and sync or async; here it is RESP2, bytes, async.
Client: TypeAlias = Any

# What may come out of a call; `is_of_the_connection` tells which RuntimeError is one of them.
REDIS_ERRORS = (RedisError, OSError, TimeoutError, RuntimeError)


def connect(url: str, timeout_s: float, max_connections: int = MAX_CONNECTIONS) -> Client:
    """A client that waits `timeout_s` at most and never retries by itself: retries belong to one layer only."""
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
    )
    return aioredis.Redis.from_pool(pool)  # the client owns its pool, so that closing it closes the connections


def is_of_the_connection(error: Exception) -> bool:
    """uvloop says with a RuntimeError that a connection was closed when something was to be written, and redis-py passes it on."""
    return not isinstance(error, RuntimeError) or "closed" in str(error)


def never_sent(error: Exception) -> bool:
    """Is it sure that the command did nothing? A refused connection and a refused command are; a time-out is not."""
    refused = isinstance(error, RedisConnectionError) and isinstance(error.__cause__ or error.__context__, ConnectionRefusedError)
    return refused or isinstance(error, ResponseError)
