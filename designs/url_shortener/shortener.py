"""The URL shortener itself: create, visit, edit. It knows ports and ideas; which backends stand behind them is `app.py`'s choice.

create   idempotency claim -> code -> insert-if-absent -> cache
visit    local layer -> shared layer -> store -> outcome at this moment -> a visit of a capped link
edit     marker in the shared layer -> store -> cache; in this order, so that an acknowledged edit is never undone by a
         cache that was away
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import orjson

from designs.building_blocks.cache_layers import CacheUnavailable
from designs.building_blocks.caching import LayeredCache
from designs.url_shortener.codes import MAX_ATTEMPTS, CodeSource, next_code
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.links import Link, LinkEdit, Outcome, Redirect, Refusal, outcome
from designs.url_shortener.ports import LinkStore, RequestClaim, StoreError
from designs.url_shortener.urls import BadAlias, canonical_alias, canonical_url, host_of, is_listed

MAX_VISITS = 1_000_000_000
LATEST_US = 253_402_300_799_999_999  # the last microsecond of the year 9999, where dates in JSON end


@dataclass(frozen=True, slots=True)
class NewLink:
    """What somebody asks for. `url` and `alias` are raw; times are microseconds."""

    url: str
    alias: str | None = None
    expires_at_us: int | None = None
    max_visits: int | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """The link; `new` is False when it was there already, from an equal request or (ids=hash) from an equal URL."""

    link: Link
    new: bool


class Conflict(enum.Enum):
    """Why a create was refused by what is there already."""

    ALIAS_TAKEN = "alias_taken"
    KEY_REUSED = "key_reused"


CreateAnswer: TypeAlias = Created | Conflict


class PendingLinks(Protocol):
    """Write-behind: where new links wait for the store."""

    async def add(self, link: Link) -> bool:
        """False when the code is taken there; an acknowledged link stays until the store has it."""

    async def holds(self, code: str) -> Link | None:
        """The link if it waits there or is cached."""


class Announcements(Protocol):
    """Tells the other replicas that a link changed; for when there is no shared layer that does."""

    async def publish(self, code: str, version: int) -> None: ...


class Shortener:
    """The service behind the routes. One per process; everything it shares with other processes is behind a port."""

    def __init__(
        self,
        knobs: ShortenerKnobs,
        store: LinkStore,
        codes: CodeSource,
        *,
        clock_us: Callable[[], int],
        cache: LayeredCache[Link] | None = None,
        pending: PendingLinks | None = None,
        announcements: Announcements | None = None,
        own_hosts: Collection[str] = (),
        blocked_hosts: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._knobs = knobs
        self._store = store
        self._codes = codes
        self._clock_us = clock_us
        self._cache = cache
        self._pending = pending
        self._announcements = announcements
        self._own_hosts = frozenset(own_hosts)
        self.blocks_hosts = blocked_hosts is not None
        self._blocked_hosts: Callable[[], Collection[str]] = blocked_hosts or frozenset

    # -- create ---------------------------------------------------------------------------------------------------------

    async def create(self, owner: str, wanted: NewLink, request_key: str = "") -> CreateAnswer:
        """A new link for `owner`. Raises BadUrl, BadAlias or BadLimit for what can't be, StoreError when the store can't.

        With a `request_key` the answer is the same however often and wherever it is asked: each attempt first claims its code
        under the key (insert-if-absent), so that a repeat, also after a crash, walks the same codes.
        """
        fingerprint = _fingerprint(wanted)
        earlier = await self._store.find_request(owner, request_key, 0) if request_key else None
        if earlier is not None:  # a repeat is not judged again: what was right then gets the same answer now
            url, alias = earlier.link.url, wanted.alias
        else:
            url = canonical_url(wanted.url, self._own_hosts, self._blocked_hosts())
            alias = self._checked_alias(wanted.alias)
            check_limits(wanted.expires_at_us, wanted.max_visits, self._clock_us())
        for attempt in range(MAX_ATTEMPTS):
            claim = await self._claim(owner, request_key, attempt, fingerprint, wanted, url, alias)
            if claim.fingerprint != fingerprint:
                return Conflict.KEY_REUSED
            holder = await self._insert(claim.link, may_wait=alias is None and earlier is None)
            if holder is None:
                self._codes.accepted()
                return Created(claim.link, new=True)
            if request_key and holder.request_id == claim.link.request_id:
                return Created(claim.link, new=True)
            if alias:
                return Conflict.ALIAS_TAKEN
            if self._knobs.ids == "hash" and _same_plain_link(holder, claim.link):
                return Created(holder, new=False)
            self._codes.collided(claim.link.code)
        raise StoreError(f"no free code in {MAX_ATTEMPTS} attempts; is code_length too short?", may_have_happened=False)

    async def _claim(
        self, owner: str, key: str, attempt: int, fingerprint: str, wanted: NewLink, url: str, alias: str | None
    ) -> RequestClaim:
        """The link to try at this attempt; with a key, the one that the first asker with this key tried."""
        if key and (held := await self._store.find_request(owner, key, attempt)):
            return held
        now_us = self._clock_us()
        code = alias or await next_code(self._codes, f"{owner}\n{url}", attempt)
        request_id = f"{owner}:{key}" if key else ""
        link = Link(code, url, owner, now_us, now_us, wanted.expires_at_us, wanted.max_visits, request_id=request_id)
        claim = RequestClaim(fingerprint, link)
        return await self._store.claim_request(owner, key, attempt, claim) if key else claim

    async def _insert(self, link: Link, *, may_wait: bool) -> Link | None:
        """None when the link is acknowledged, else who has the code.

        With write-behind, only a new link with a generated code may wait for the store. Whether an alias is free, and what became
        of a link that is asked for again, the store alone knows: Redis forgets.
        """
        if self._pending is not None and may_wait and link.max_visits is None:
            if await self._pending.add(link):
                return None
            return await self._pending.holds(link.code) or await self._store.get(link.code) or link
        holder = await self._store.insert_if_absent(link)
        if holder is None:
            await self._tell_cache_of(link)
        return holder

    async def _tell_cache_of(self, link: Link) -> None:
        """A created link replaces "no such link". Without Redis that entry dies by itself, in negative_ttl_s."""
        if self._cache is None:
            return
        try:
            if self._knobs.cache == "aside":
                await self._cache.invalidate(link.code, link.version)
            else:
                await self._cache.write(link.code, link.version, link)
        except CacheUnavailable:
            pass

    def _checked_alias(self, raw: str | None) -> str | None:
        if raw is None:
            return None
        alias = canonical_alias(raw)
        if self._pending is not None and alias.isalnum() and len(alias) >= self._knobs.code_length:
            # Generated codes are acknowledged before the store has seen them; an alias must not be able to take one.
            raise BadAlias(f"with cache=write-behind an alias holds - or _, or has fewer than {self._knobs.code_length} characters")
        return alias

    # -- visit ----------------------------------------------------------------------------------------------------------

    def peek(self, code: str) -> Link | None:
        """The link if the process holds it itself: the hot path, without awaiting. None says nothing."""
        return self._cache.peek(code) if self._cache is not None else None

    async def find(self, code: str) -> Link | None:
        """The link, through the cache. Raises StoreError, and CacheUnavailable where the knobs refuse without a cache."""
        if self._cache is None:
            return await self._store.get(code)
        link = (await self._cache.get(code)).value
        if link is None and self._pending is not None:
            return await self._pending.holds(code)  # the store may not have it yet, and a cache that is down said nothing
        return link

    def judge(self, link: Link | None) -> Outcome:
        """What a visit gets now, before a capped link's visits are asked for."""
        verdict = outcome(link, self._clock_us())
        blocked = self._blocked_hosts()
        if blocked and isinstance(verdict, Redirect) and is_listed(host_of(verdict.url), blocked):
            return Refusal.BLOCKED
        return verdict

    async def visit(self, code: str, *, counts: bool) -> Outcome:
        """What a visit of `code` gets. Only a visit that `counts` (GET, not HEAD) uses up one of a capped link."""
        link = await self.find(code)
        verdict = self.judge(link)
        if isinstance(verdict, Redirect) and verdict.capped:
            if counts:
                granted = await self._store.take_visit(code)
            else:
                granted = link is not None and await self._store.visits_taken(code) < (link.max_visits or 0)
            return verdict if granted else Refusal.USED_UP
        return verdict

    # -- the owner's side -----------------------------------------------------------------------------------------------

    async def owned(self, owner: str, code: str) -> Link | None:
        """The link as its owner sees it, from the store. None for others' links too: they are none of the asker's business."""
        link = await self._store.get(code)
        if link is None and self._pending is not None:
            link = await self._pending.holds(code)
        return link if link is not None and link.owner == owner and not link.deleted else None

    async def page(self, owner: str, after: tuple[int, str] | None, limit: int) -> Sequence[Link]:
        return await self._store.page(owner, after, limit)

    async def edit(self, owner: str, code: str, edit: LinkEdit) -> Link | None:
        """The link after the edit; None when the owner has no such link.

        Raises CacheUnavailable, with nothing changed, when the shared layer can't be told: an edit that it may outlive must
        not be acknowledged.
        """
        before = await self.owned(owner, code)
        if before is None:
            return None
        if edit.url is not None:
            edit = replace(edit, url=canonical_url(edit.url, self._own_hosts, self._blocked_hosts()))
        now_us = self._clock_us()
        check_limits(edit.expires_at_us, edit.max_visits, now_us)
        if self._pending is not None:
            await self._store.insert_if_absent(before)  # write-behind: an edit needs the link in the store
        announced = max(before.version + 1, now_us)
        if self._cache is not None:
            await self._cache.invalidate(code, announced)
        after = await self._store.edit(code, edit, announced)
        if after is None:
            return None
        await self._settle(after)
        return None if after.deleted and edit.deleted is None else after

    async def _settle(self, after: Link) -> None:
        """The caches after an edit: the marker again, and only then may the edit be acknowledged.

        A shared layer that came back meanwhile may have lost the first marker, and have been filled with the old link since; of
        the second one it can be said that it was there after the store had the edit. What comes after it costs misses at most.
        """
        if self._cache is None:
            return
        try:
            await self._cache.invalidate(after.code, after.version)
        except CacheUnavailable as error:
            raise StoreError("the link was changed, but the caches could not be told", may_have_happened=True) from error
        try:
            if self._knobs.cache != "aside":
                await self._cache.write(after.code, after.version, after)
            if self._announcements is not None:
                await self._announcements.publish(after.code, after.version)
        except CacheUnavailable:
            pass


class BadLimit(ValueError):
    """An expiry or a visit cap that can't be; the message says what can."""


def check_limits(expires_at_us: int | None, max_visits: int | None, now_us: int) -> None:
    if expires_at_us is not None and expires_at_us <= now_us:
        raise BadLimit("expires_at lies in the past")
    if expires_at_us is not None and expires_at_us > LATEST_US:
        raise BadLimit("expires_at lies beyond the year 9999 (UTC); leave it out for a link without an end")
    if max_visits is not None and not 1 <= max_visits <= MAX_VISITS:
        raise BadLimit(f"max_visits lies between 1 and {MAX_VISITS}")


def _fingerprint(wanted: NewLink) -> str:
    """Equal for equal requests: does a repeat under the same key ask for the same?"""
    fields = [wanted.url, wanted.alias, wanted.expires_at_us, wanted.max_visits]
    return hashlib.sha256(orjson.dumps(fields)).hexdigest()


def _same_plain_link(holder: Link, link: Link) -> bool:
    """Would the holder's link serve whoever asks for this one? Not if it has limits, or was switched off."""
    plain = holder.enabled and not (holder.deleted or holder.blocked or holder.expires_at_us or holder.max_visits)
    return plain and not (link.expires_at_us or link.max_visits) and (holder.owner, holder.url) == (link.owner, link.url)
