"""What the URL shortener keeps in Redis: the shared cache, its invalidations, a counter and visitor sketches.

    {su}:link:{code}     hash    v = version, d = link as JSON ("" = no such link; no field d = invalidation marker), c = cost_us,
                                 r = run_id of the server that took it in
    {su}:lock:{code}     string  token of the process that regenerates the entry
    {su}:invalidations   channel "code version": replicas drop the link from their own memory
    {su}:number:{name}   string  the counter behind ids=counter
    {su}:visitors:{code}:{day}   HyperLogLog

Each verb is one command or one script, so one round trip, and atomic. Commands are those of Redis 6.2. The braces put all keys
into one slot of a cluster, because scripts touch several. Queues are in `redis_streams.py`.

A server that comes back from its append-only file may have forgotten its last second, and so a marker, while the entry that the
marker had replaced is there again. So the cache serves no entry of an earlier life of the server: each carries the server's run_id,
which is new with every start, and scripts ask the server for its own (3 us of its time, and no way that a client can be wrong).
A failover brings another server, and is another life as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict

import orjson

from designs.building_blocks.cache_layers import CacheUnavailable, Entry
from designs.building_blocks.deadline import within
from designs.building_blocks.redis_connection import REDIS_ERRORS, Client, is_of_the_connection, never_sent
from designs.building_blocks.stampede import monotonic_us
from designs.url_shortener.links import Link
from designs.url_shortener.ports import StoreError

CHANNEL = "{su}:invalidations"
VISITORS_KEPT_S = 90 * 86_400
QUEUE_DEADLINE_S = 5.0  # of those that wait for work, never of a request
SUBSCRIBE_WITHIN_S, PING_EVERY_S, SILENT_PINGS = 1.0, 1.0, 2

RUN = "local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')\n"
_GET = (
    RUN
    + """
local e = redis.call('HMGET', KEYS[1], 'v', 'd', 'c', 'r')
if e[4] ~= run then e[2] = false end
e[4], e[5] = redis.call('PTTL', KEYS[1]), run
return e
"""
)
# ARGV: version, link, cost, life in ms, and the run_id that the filler knew when its load began ("" for none).
_FILL = (
    RUN
    + """
if ARGV[5] ~= '' and ARGV[5] ~= run then return run end
local held = tonumber(redis.call('HGET', KEYS[1], 'v') or -1)
if tonumber(ARGV[1]) < held then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'd', ARGV[2], 'c', ARGV[3], 'r', run)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""
)
_INVALIDATE = """
local held = redis.call('HMGET', KEYS[1], 'v', 'd')
local version = tonumber(held[1] or -1)
if tonumber(ARGV[1]) > version or not held[2] then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'v', math.max(tonumber(ARGV[1]), version))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
-- What is in no process's memory was in the shared layer first, so a key that is new here (a create) is news to nobody.
if held[1] then redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' ' .. ARGV[1]) end
return 1
"""
# ARGV: seconds to keep, then for each key how many hashes follow and the hashes.
_ADD_VISITORS = """
local at = 2
for _, key in ipairs(KEYS) do
  local last = at + tonumber(ARGV[at])
  for first = at + 1, last, 1000 do redis.call('PFADD', key, unpack(ARGV, first, math.min(first + 999, last))) end
  redis.call('EXPIRE', key, ARGV[1])
  at = last + 1
end
return #KEYS
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisSharedCache:
    """The cache layer that all replicas share (`SharedCache[Link]`). What an earlier life of the server took in is not served.

    Nor is it filled with what was loaded before its present life was heard of: the marker that would refuse an old value may be
    gone. So a fill names the life that this process knew when the load began, and the server takes it in that life only.
    """

    def __init__(self, client: Client, marker_ttl_ms: int) -> None:
        self._redis = client
        self._marker_ttl_ms = marker_ttl_ms
        self._run = b""
        self._run_since_us = 0
        self._get, self._fill = client.register_script(_GET), client.register_script(_FILL)
        self._invalidate, self._release = client.register_script(_INVALIDATE), client.register_script(_RELEASE)

    async def get(self, key: str) -> Entry[Link] | None:
        asked_at_us = monotonic_us()  # before the answer, so that an entry never seems to live longer than it does
        with _as_cache_error():
            version, body, cost_us, left_ms, run = await self._get(keys=[link_key(key)])
        self._heard_of(run)
        if version is None or body is None:
            return None
        fresh_until_us = asked_at_us + (int(left_ms) * 1000 if int(left_ms) >= 0 else 3_600_000_000)  # no TTL: write-behind
        return Entry(int(version), decode_link(body) if body else None, fresh_until_us, int(cost_us))

    async def fill(self, key: str, entry: Entry[Link]) -> bool:
        now_us = monotonic_us()
        ttl_ms = (entry.fresh_until_us - now_us) // 1000
        # Of a load that began before this process knew the present life, nobody here can tell in which life it did.
        if ttl_ms <= 0 or now_us - entry.cost_us < self._run_since_us:
            return False
        body = encode_link(entry.value) if entry.value else b""
        with _as_cache_error():
            args = [entry.version, body, entry.cost_us, ttl_ms, self._run]
            answer = await self._fill(keys=[link_key(key)], args=args)
        if isinstance(answer, bytes):
            self._heard_of(answer)
            return False
        return bool(answer)

    async def invalidate(self, key: str, version: int) -> None:
        with _as_cache_error():
            await self._invalidate(keys=[link_key(key)], args=[version, self._marker_ttl_ms, CHANNEL, key])

    async def acquire(self, key: str, token: str, ttl_ms: int) -> bool:
        with _as_cache_error():
            return bool(await self._redis.set(f"{{su}}:lock:{key}", token, nx=True, px=ttl_ms))

    async def release(self, key: str, token: str) -> None:
        with _as_cache_error():
            await self._release(keys=[f"{{su}}:lock:{key}"], args=[token])

    def _heard_of(self, run: bytes) -> None:
        if run != self._run:
            # Who has never heard of any life has loaded nothing in an earlier one.
            self._run_since_us = monotonic_us() if self._run else 0
            self._run = run


class RedisInvalidations:
    """Invalidations as they are announced. The subscription may break; what the listener then holds is stale at most S."""

    def __init__(self, client: Client) -> None:
        self._redis = client

    async def publish(self, code: str, version: int) -> None:
        """For replicas without a shared layer; with one, its `invalidate` announces by itself."""
        with _as_cache_error():
            await self._redis.publish(CHANNEL, f"{code} {version}")

    async def listen(self) -> AsyncIterator[tuple[str, int] | None]:
        """(code, version) as announced; None once the subscription stands. Raises `CacheUnavailable` when it breaks.

        A server that says nothing for `PING_EVERY_S` is asked whether it is there, and counts as lost when it has not answered
        `SILENT_PINGS` of these: a connection into a black hole breaks by itself only after minutes.
        """
        with _as_cache_error():
            async with self._redis.pubsub() as subscription:
                async with within(SUBSCRIBE_WITHIN_S):
                    await subscription.subscribe(CHANNEL)
                unanswered = 0
                while True:
                    message = await subscription.get_message(timeout=PING_EVERY_S)
                    if message is None:
                        if unanswered == SILENT_PINGS:
                            raise TimeoutError(f"no word from Redis after {SILENT_PINGS} pings")
                        async with within(SUBSCRIBE_WITHIN_S):
                            await subscription.ping()
                        unanswered += 1
                        continue
                    unanswered = 0
                    if message["type"] == "subscribe":
                        yield None
                    elif message["type"] == "message":
                        code, _, version = message["data"].decode().partition(" ")
                        yield code, int(version)


class RedisNumbers:
    """Numbers from a Redis counter. It may step back after a failover: the store's insert-if-absent decides."""

    def __init__(self, client: Client) -> None:
        self._redis = client

    async def lease_range(self, name: str, size: int) -> int:
        with as_store_error("INCRBY", StoreError):
            return int(await self._redis.incrby(f"{{su}}:number:{name}", size)) - size


class RedisVisitorCounter:
    """Unique visitors as HyperLogLog, a sketch of at most 12 kB with a standard error of 0.81 %."""

    def __init__(self, client: Client) -> None:
        self._redis = client
        self._add = client.register_script(_ADD_VISITORS)

    async def add(self, visitors: Mapping[tuple[str, str], Sequence[str]]) -> None:
        if not visitors:
            return
        keys = [_visitors_key(code, day) for code, day in visitors]
        counted = [argument for hashes in visitors.values() for argument in (len(hashes), *hashes)]
        with as_store_error("PFADD", StoreError):
            await self._add(keys=keys, args=[VISITORS_KEPT_S, *counted])

    async def count(self, code: str, days: Sequence[str]) -> int:
        with as_store_error("PFCOUNT", StoreError):
            return int(await self._redis.pfcount(*(_visitors_key(code, day) for day in days)))


def encode_link(link: Link) -> bytes:
    return orjson.dumps(asdict(link))


def decode_link(body: bytes) -> Link:
    return Link(**orjson.loads(body))


def link_key(code: str) -> str:
    return f"{{su}}:link:{code}"


def _visitors_key(code: str, day: str) -> str:
    return f"{{su}}:visitors:{code}:{day}"


@contextlib.contextmanager
def _as_cache_error() -> Iterator[None]:
    try:
        yield
    except REDIS_ERRORS as error:
        if not is_of_the_connection(error):
            raise
        raise CacheUnavailable(f"Redis: {type(error).__name__}", maybe_done=not never_sent(error)) from error


@contextlib.contextmanager
def as_store_error(doing: str, kind: type[StoreError]) -> Iterator[None]:
    try:
        yield
    except REDIS_ERRORS as error:
        if not is_of_the_connection(error):
            raise
        raise kind(f"Redis {doing}: {type(error).__name__}", may_have_happened=not never_sent(error)) from error
