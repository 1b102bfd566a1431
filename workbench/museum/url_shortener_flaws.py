"""Parts of the URL shortener as they are often written down, each wrong in one respect; the flaw is in the docstring.

Functions that take `self` stand in for a method of that class. None of them sleeps or fails in order to be caught: what gives
them away is the load, and the faults of their exhibit.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, astuple, replace
from typing import Any

import orjson

from designs.url_shortener.backends import redis
from designs.url_shortener.backends.redis import RedisInvalidations, RedisNumbers, as_store_error
from designs.url_shortener.backends.sqlite import _COLUMNS, SqliteLinkStore
from designs.url_shortener.click_recorder import Send
from designs.url_shortener.click_worker import BATCHES_AT_ONCE, ClickWorker
from designs.url_shortener.clicks import ClickBatch, decode_batch, encode_batch
from designs.url_shortener.codes import CodeSource
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.links import Link, Outcome, Redirect, Refusal, outcome
from designs.url_shortener.ports import ClickQueue, RequestClaim, StoreError
from designs.url_shortener.shortener import Shortener
from workbench.museum.building_block_flaws import md5_prefix_code

GATHERED_S = 0.5

# The right parts that some of the bad ones are built on, from before anything was exchanged.
_insert, _get, _listen = Shortener._insert, SqliteLinkStore.get, RedisInvalidations.listen
_waiting: set[asyncio.Task[None]] = set()


# -- codes ---------------------------------------------------------------------------------------------------------------------


class Md5PrefixCodes:
    """Two URLs, one code: 42 bits of a hash are few, and the leading ones are not even evenly used."""

    def __init__(self, length: int) -> None:
        self._length = length

    async def code(self, seed: str, attempt: int) -> str:
        url = seed.split("\n")[1]
        return md5_prefix_code(url, self._length)

    def collided(self, code: str) -> None: ...

    def accepted(self) -> None: ...


def md5_prefix_codes(
    knobs: ShortenerKnobs, store_lease: Callable[[str, int], Awaitable[int]], counter_lease: Any, key: bytes, clock_us: Any = None
) -> CodeSource:
    return Md5PrefixCodes(knobs.code_length)


def same_code_means_same_url(holder: Link, link: Link) -> bool:
    """The code is taken, so the URL must have been shortened before: here is its link."""
    return True


async def read_then_write(self: RedisNumbers, name: str, size: int) -> int:
    """GET, add, SET: two that read before either writes own the same numbers."""
    key = f"{{su}}:number:{name}"
    with as_store_error("GET", StoreError):
        number = int(await self._redis.get(key) or 0)
        await self._redis.set(key, number + size)
    return number


class BlindLinkStore(SqliteLinkStore):
    """A write that looks at nothing: whoever has the code already loses it."""

    async def insert_if_absent(self, link: Link) -> Link | None:
        places = ",".join("?" * len(_COLUMNS.split(",")))
        replacing = f"INSERT OR REPLACE INTO links ({_COLUMNS}) VALUES ({places})"  # noqa: S608 (the parts are constants)
        await self._file.write(lambda db: db.execute(replacing, astuple(link)).rowcount)
        return None

    insert_checked = SqliteLinkStore.insert_if_absent


async def trust_the_generator(self: Shortener, link: Link, *, may_wait: bool) -> Link | None:
    """A generated code is new, since nobody else gets the same: so why look? Only an alias is looked up. (`BlindLinkStore`)"""
    insert = self._store.insert_if_absent if may_wait else self._store.insert_checked  # type: ignore[attr-defined]
    holder: Link | None = await insert(link)
    if holder is None:
        await self._tell_cache_of(link)
    return holder


# -- creates -------------------------------------------------------------------------------------------------------------------


async def check_then_insert(self: Shortener, link: Link, *, may_wait: bool) -> Link | None:
    """Two owners of one alias: both look, both find it free, both insert. (`BlindLinkStore`)"""
    holder = await self._store.get(link.code)
    if holder is not None:
        return holder
    await self._store.insert_if_absent(link)
    await self._tell_cache_of(link)
    return None


async def acknowledge_first(self: Shortener, link: Link, *, may_wait: bool) -> Link | None:
    """201 at once, and the link goes to the store later, with others: a process that is killed takes them along."""
    if not may_wait:
        return await _insert(self, link, may_wait=may_wait)
    await self._tell_cache_of(link)
    task = asyncio.create_task(_store_later(self, link))
    _waiting.add(task)
    task.add_done_callback(_waiting.discard)
    return None


async def _store_later(shortener: Shortener, link: Link) -> None:
    await asyncio.sleep(GATHERED_S)
    with contextlib.suppress(StoreError):
        await shortener._store.insert_if_absent(link)


class OverwritingClaimStore(SqliteLinkStore):
    """Two links for one Idempotency-Key: both ask whether it was used, and the later claim overwrites the earlier."""

    async def claim_request(self, owner: str, key: str, attempt: int, claim: RequestClaim) -> RequestClaim:
        row = (owner, key, attempt, claim.fingerprint, orjson.dumps(asdict(claim.link)), claim.link.created_at_us)
        await self._file.write(lambda db: db.execute("INSERT OR REPLACE INTO requests VALUES (?,?,?,?,?,?)", row).rowcount)
        return claim


# -- caches --------------------------------------------------------------------------------------------------------------------


async def leave_the_cache_alone(self: Shortener, link: Link) -> None:
    """201, then 404: the first reader will fill the cache, so a create need not touch it. But "no such link" is in it already."""


async def hear_nothing(self: RedisInvalidations) -> AsyncIterator[tuple[str, int] | None]:
    """The shared cache is emptied, the memory of the other replicas is forgotten. With `RearmingLocalCache`: for ever."""
    async for message in _listen(self):
        if message is None:
            yield None


def _without(script: str, line: str) -> str:
    assert script.count(line) == 1, f"the right script has no line {line!r} any more"
    return script.replace(line, "")


# Cache-aside by the book, SET and DEL. With `settle_nothing`, who reads between the DEL and the edit puts the old value back.
PLAIN_FILL = _without(redis._FILL, "if tonumber(ARGV[1]) < held then return 0 end\n")
PLAIN_DELETE = """
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' ' .. ARGV[1])
return 1
"""


async def settle_nothing(self: Shortener, *_: Any) -> None:
    """The key was deleted before the edit, so nothing is left to do after it."""


async def get_unless_expired(self: SqliteLinkStore, code: str) -> Link | None:
    """The query leaves out what has expired ..."""
    link = await _get(self, code)
    expired = link is not None and link.expires_at_us is not None and link.expires_at_us <= time.time_ns() // 1000
    return None if expired else link


def outcome_of_what_was_found(link: Link | None, now_us: int) -> Outcome:
    """... so what was found has not: nobody looks at the time again, however long it is cached."""
    return outcome(replace(link, expires_at_us=None) if link is not None else None, now_us)


# -- visits and clicks -----------------------------------------------------------------------------------------------------------


async def count_then_redirect(self: Shortener, code: str, *, counts: bool) -> Outcome:
    """More visits than the cap: everybody who reads the count before the first has written it gets in."""
    link = await self.find(code)
    verdict = self.judge(link)
    if isinstance(verdict, Redirect) and verdict.capped and link is not None:
        if await self._store.visits_taken(code) >= (link.max_visits or 0):
            return Refusal.USED_UP
        if counts:
            await self._store.take_visit(code)
    return verdict


class AckBeforeWriteWorker(ClickWorker):
    """Lost clicks: what was acknowledged and not counted yet when the worker died never comes again."""

    async def work_once(self, wait_ms: int) -> int:
        deliveries = await self._queue.receive(self._consumer, BATCHES_AT_ONCE, wait_ms)
        await self._queue.done(deliveries)
        await self._apply([(delivery, decode_batch(delivery.body)) for delivery in deliveries])
        return len(deliveries)


def batch_under_a_new_id(body: bytes) -> ClickBatch:
    """Clicks counted twice: a batch is numbered where it arrives, so one that comes again looks like another one."""
    return replace(decode_batch(body), id=secrets.token_hex(12))


def send_and_forget(queue: ClickQueue) -> Send:
    """Fire and forget: what could not be sent is gone, and counts as sent."""

    async def send(batch: ClickBatch) -> None:
        with contextlib.suppress(StoreError):
            await queue.publish(encode_batch(batch))

    return send
