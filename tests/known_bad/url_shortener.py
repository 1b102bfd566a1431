"""Parts of a URL shortener as they are often written down, each wrong in one respect; the flaw is in the docstring."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from designs.building_blocks.caching import LayeredCache
from designs.url_shortener.backends.memory import MemoryClickStore, MemoryLinkStore
from designs.url_shortener.links import Link
from designs.url_shortener.ports import ClickCount, RequestClaim
from workbench.museum.url_shortener_flaws import AckBeforeWriteWorker as AckBeforeWriteWorker

V = TypeVar("V")


class CheckThenInsertStore(MemoryLinkStore):
    """Two owners of one alias: both look, both find it free, both insert."""

    async def insert_if_absent(self, link: Link) -> Link | None:
        holder = self._links.get(link.code)
        await asyncio.sleep(0)
        if holder is not None:
            return holder
        self._links[link.code] = link
        return None


class ReadCountThenRedirectStore(MemoryLinkStore):
    """More visits than the cap: everybody who reads the count before the first has written it gets in."""

    async def take_visit(self, code: str) -> bool:
        link, taken = self._links.get(code), self._visits[code]
        await asyncio.sleep(0)
        if link is None or (link.max_visits is not None and taken >= link.max_visits):
            return False
        self._visits[code] = taken + 1
        return True


class OverwritingClaimStore(MemoryLinkStore):
    """Two links for one Idempotency-Key: the later request overwrites the claim, and each uses a code of its own."""

    async def claim_request(self, owner: str, key: str, attempt: int, claim: RequestClaim) -> RequestClaim:
        await asyncio.sleep(0)
        self._requests[owner, key, attempt] = claim
        return claim


class AddsBlindlyStore(MemoryClickStore):
    """Clicks counted twice: a batch that comes again, because its acknowledgement was lost, is added again."""

    async def apply(self, batches: Mapping[str, Sequence[ClickCount]]) -> Collection[str]:
        self._applied.clear()
        return await super().apply(batches)


class CreateLeavesCacheAlone(LayeredCache[V]):
    """201, then 404: "no such link" was cached before the create and nobody takes it out."""

    async def write(self, key: str, version: int, value: V) -> None:
        return None

    async def invalidate(self, key: str, version: int) -> None:
        return None


_DENIED = re.compile(r"^(javascript|vbscript|file|ftp):", re.IGNORECASE)
_LOOKS_LIKE_A_URL = re.compile(r"^[a-z][a-z0-9+.-]*:\S+$", re.IGNORECASE)


def deny_listed_url(raw: str, own_hosts: Collection[str]) -> str | None:
    """Lets `data:` through, as every list of what is bad lets through what its author did not think of. None: refused."""
    if _DENIED.match(raw) or not _LOOKS_LIKE_A_URL.match(raw) or any(host in raw for host in own_hosts):
        return None
    return raw
