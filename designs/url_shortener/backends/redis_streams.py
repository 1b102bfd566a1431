"""The queues of the URL shortener as Redis Streams: clicks, their dead letters, and links that wait for the store.

    {su}:clicks          stream  batches of clicks, field b = body; an entry goes when it was applied
    {su}:clicks:dead     hash    entry id -> letter as JSON, for batches that could not be applied
    {su}:clicks:parked   zset    entry id by the order in which it was first parked
    {su}:pending         stream  write-behind: links on their way to the store, field b = link as JSON

One consumer group a stream. An entry is deleted when it is done, so the length of a stream is the work that is left, and a
stream is bounded by refusing new entries, never by trimming old ones.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict

import orjson
from redis.exceptions import ResponseError

from designs.building_blocks.dead_letter_queue import DeadLetter, DeadLettersFull
from designs.building_blocks.redis_connection import Client
from designs.url_shortener.backends.redis import RUN, as_store_error, decode_link, encode_link, link_key
from designs.url_shortener.links import Link
from designs.url_shortener.ports import Delivery, QueueError, QueueFull

GROUP = "workers"
LOOK_BACK_EVERY_S = 2.0
CLICKS = "{su}:clicks"
DEAD = "{su}:clicks:dead"
PARKED = "{su}:clicks:parked"
PENDING = "{su}:pending"

_PUBLISH = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
return redis.call('XADD', KEYS[1], '*', 'b', ARGV[2])
"""
_DONE = """
local ids = {unpack(ARGV, 2)}
redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
return redis.call('XDEL', KEYS[1], unpack(ids))
"""
_PARK = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'NX', redis.call('INCR', KEYS[2] .. ':serial'), ARGV[1])
if ARGV[3] ~= '' then
  redis.call('XACK', KEYS[3], ARGV[3], ARGV[1])
  redis.call('XDEL', KEYS[3], ARGV[1])
end
return 1
"""
_UNPARK = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
"""
_PEND = (
    RUN
    + """
if redis.call('EXISTS', KEYS[1]) == 1 and (redis.call('HGET', KEYS[1], 'd') or '') ~= '' then return 0 end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[3]) then return -1 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'd', ARGV[2], 'c', 0, 'r', run)
redis.call('XADD', KEYS[2], '*', 'b', ARGV[2])
return 1
"""
)


class RedisPendingLinks:
    """Write-behind: new links that are acknowledged and not in the store yet. The cache entry stays until they are.

    `added` counts the links this process has put there.
    """

    def __init__(self, client: Client, bound: int, consumer: str) -> None:
        self.added = 0
        self._redis, self._bound = client, bound
        self._pend = client.register_script(_PEND)
        self._stream = _Stream(client, PENDING, consumer)

    async def add(self, link: Link) -> bool:
        """False when the code is taken in Redis. Raises `QueueFull` at the bound."""
        with as_store_error("write-behind", QueueError):
            args = [link.version, encode_link(link), self._bound]
            answer = int(await self._pend(keys=[link_key(link.code), PENDING], args=args))
        if answer < 0:
            raise QueueFull
        self.added += answer
        return answer == 1

    async def holds(self, code: str) -> Link | None:
        """The link as Redis has it, waiting or cached, from an earlier life of the server too: ask the store first."""
        with as_store_error("HGET", QueueError):
            body = await self._redis.hget(link_key(code), "d")
        return decode_link(body) if body else None

    async def receive(self, limit: int, wait_ms: int) -> Sequence[Delivery]:
        with as_store_error("XREADGROUP", QueueError):
            return await self._stream.receive(limit, wait_ms)

    async def stored(self, deliveries: Sequence[Delivery], ttl_ms: int) -> None:
        """The store has them: their entries may expire now."""
        with as_store_error("XACK", QueueError):
            async with self._redis.pipeline(transaction=False) as pipe:
                for delivery in deliveries:
                    pipe.pexpire(link_key(decode_link(delivery.body).code), ttl_ms)
                await pipe.execute()
            await self._stream.done(deliveries)


class RedisClickQueue:
    """Batches of clicks in a stream with one consumer group: redelivered until done, parked when they can't be applied."""

    def __init__(self, client: Client, bound: int = 10_000, reclaim_ms: int = 30_000) -> None:
        self._redis, self._bound, self._reclaim_ms = client, bound, reclaim_ms
        self._publish = client.register_script(_PUBLISH)
        self._streams: dict[str, _Stream] = {}
        self.dead_letters = RedisDeadLetterQueue(client, self.publish)

    async def publish(self, body: bytes) -> None:
        with as_store_error("XADD", QueueError):
            added = await self._publish(keys=[CLICKS], args=[self._bound, body])
        if added is None:
            raise QueueFull

    async def receive(self, consumer: str, limit: int, wait_ms: int) -> Sequence[Delivery]:
        stream = self._streams.setdefault(consumer, _Stream(self._redis, CLICKS, consumer, self._reclaim_ms))
        with as_store_error("XREADGROUP", QueueError):
            return await stream.receive(limit, wait_ms)

    async def done(self, deliveries: Sequence[Delivery]) -> None:
        with as_store_error("XACK", QueueError):
            for stream in self._streams.values():
                await stream.done([delivery for delivery in deliveries if delivery.id in stream.unfinished])

    async def retry_later(self, delivery: Delivery) -> None:
        """What is not done is delivered again anyway, and holds up nobody."""

    async def park(self, delivery: Delivery, reason: str) -> None:
        letter = DeadLetter(delivery.id, delivery.body, reason, delivery.deliveries, time.time_ns() // 1000)
        await self.dead_letters.park(letter, finish_in=GROUP)
        for stream in self._streams.values():
            stream.unfinished.discard(delivery.id)

    async def depth(self) -> tuple[int, float]:
        with as_store_error("XLEN", QueueError):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xlen(CLICKS)
                pipe.xrange(CLICKS, count=1)
                pipe.time()
                length, oldest, (seconds, _) = await pipe.execute()
        born_ms = int(oldest[0][0].split(b"-")[0]) if oldest else 0
        return int(length), max(0.0, seconds - born_ms / 1000) if oldest else 0.0


class RedisDeadLetterQueue:
    """Dead letters of the click queue (`DeadLetterQueue`). `publish(body)` returns once the source queue has it."""

    def __init__(self, client: Client, publish: Callable[[bytes], Awaitable[None]], capacity: int = 10_000) -> None:
        self._redis, self._publish, self._capacity = client, publish, capacity
        self._park, self._unpark = client.register_script(_PARK), client.register_script(_UNPARK)

    async def park(self, letter: DeadLetter, finish_in: str = "") -> None:
        """Park the letter; with `finish_in`, acknowledge it in that consumer group in the same step."""
        args = [letter.id, _encode_letter(letter), finish_in, self._capacity]
        with as_store_error("park", QueueError):
            parked = await self._park(keys=[DEAD, PARKED, CLICKS], args=args)
        if not parked:
            raise DeadLettersFull(self._capacity)

    async def list(self, limit: int, after: str | None = None) -> Sequence[DeadLetter]:
        if limit < 1:
            return []  # to Redis, a range that ends at -1 means all of it
        with as_store_error("ZRANGE", QueueError):
            rank = await self._redis.zrank(PARKED, after) if after is not None else None
            first = 0 if rank is None else rank + 1
            ids = await self._redis.zrange(PARKED, first, first + limit - 1)
            bodies = await self._redis.hmget(DEAD, ids) if ids else []
        return [_decode_letter(body) for body in bodies if body is not None]

    async def redrive(self, *, limit: int = 100, ids: Sequence[str] | None = None) -> int:
        wanted = list(dict.fromkeys(ids)) if ids is not None else [letter.id for letter in await self.list(limit)]
        moved = 0
        for identity in wanted:
            if moved >= limit:
                break
            with as_store_error("HGET", QueueError):
                body = await self._redis.hget(DEAD, identity)
            if body is None:
                continue
            await self._publish(_decode_letter(body).body)
            moved += 1
            with as_store_error("HDEL", QueueError):
                await self._unpark(keys=[DEAD, PARKED], args=[identity, body])
        return moved

    async def count(self) -> int:
        with as_store_error("HLEN", QueueError):
            return int(await self._redis.hlen(DEAD))


class _Stream:
    """One consumer's view of a stream: first what it took and did not finish, then what silent consumers hold, then new.

    It looks back every `LOOK_BACK_EVERY_S`: an answer may be lost with what it brought, and a server that comes back from its log
    may have forgotten that something was done. Nobody need be told of either.
    """

    def __init__(self, client: Client, key: str, consumer: str, reclaim_ms: int = 30_000) -> None:
        self._redis, self._key, self._consumer, self._reclaim_ms = client, key, consumer, reclaim_ms
        self._done = client.register_script(_DONE)
        self._look_back_at_s = 0.0
        self._reclaimed_at_s = 0.0
        self.unfinished: set[str] = set()

    async def receive(self, limit: int, wait_ms: int) -> list[Delivery]:
        try:
            taken = await self._receive(limit, wait_ms)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            # A new or emptied server. "0": what was added before the group existed belongs to it too.
            with contextlib.suppress(ResponseError):
                await self._redis.xgroup_create(self._key, GROUP, id="0", mkstream=True)
            taken = await self._receive(limit, wait_ms)
        self.unfinished.update(delivery.id for delivery in taken)
        return taken

    async def done(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            ids = [delivery.id for delivery in deliveries]
            await self._done(keys=[self._key], args=[GROUP, *ids])
            self.unfinished.difference_update(ids)

    async def _receive(self, limit: int, wait_ms: int) -> list[Delivery]:
        taken: list[Delivery] = []
        if self.unfinished or time.monotonic() >= self._look_back_at_s:
            own = await self._read("0", limit, 0)
            # Behind a full page there may be more, and it is forgotten below who they are: so the next call looks again.
            self._look_back_at_s = time.monotonic() + LOOK_BACK_EVERY_S if len(own) < limit else 0.0
            self.unfinished.intersection_update(identity for identity, _ in own)
            taken = await self._with_deliveries(own)
        if len(taken) < limit and time.monotonic() - self._reclaimed_at_s >= self._reclaim_ms / 4000:
            self._reclaimed_at_s = time.monotonic()
            _, claimed, *_ = await self._redis.xautoclaim(
                self._key, GROUP, self._consumer, self._reclaim_ms, start_id="0-0", count=limit - len(taken)
            )
            taken += await self._with_deliveries([(identity.decode(), fields[b"b"]) for identity, fields in claimed if fields])
        if len(taken) < limit:
            # Who has work in hand does not wait for more.
            new = await self._read(">", limit - len(taken), 0 if taken else wait_ms)
            taken += [Delivery(identity, body, 1) for identity, body in new]
        return taken

    async def _read(self, start: str, limit: int, wait_ms: int) -> list[tuple[str, bytes]]:
        # To Redis, BLOCK 0 means for ever; without BLOCK it answers at once.
        answer = await self._redis.xreadgroup(GROUP, self._consumer, {self._key: start}, count=limit, block=wait_ms or None)
        return [(identity.decode(), fields[b"b"]) for _, entries in answer or [] for identity, fields in entries if fields]

    async def _with_deliveries(self, taken: list[tuple[str, bytes]]) -> list[Delivery]:
        if not taken:
            return []
        pending = await self._redis.xpending_range(
            self._key, GROUP, min=taken[0][0], max=taken[-1][0], count=len(taken) * 2, consumername=self._consumer
        )
        times = {entry["message_id"].decode(): int(entry["times_delivered"]) for entry in pending}
        return [Delivery(identity, body, times.get(identity, 1)) for identity, body in taken]


def _encode_letter(letter: DeadLetter) -> bytes:
    return orjson.dumps(asdict(letter) | {"body": letter.body.hex()})  # a body that can't be parsed need not be text


def _decode_letter(body: bytes) -> DeadLetter:
    fields = orjson.loads(body)
    return DeadLetter(**fields | {"body": bytes.fromhex(fields["body"])})
