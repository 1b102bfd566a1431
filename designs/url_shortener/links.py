"""A link, what a redirect makes of it at a moment, and what a write may say about it. Pure functions over plain data."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Link:
    """One link as the store keeps it. Times are integer microseconds since the epoch.

    `version` rises with each write of the link, and is never 0: the caches let the higher version win. A deleted link stays
    as a tombstone, so that its code is never handed out again and an old copy can't come back.
    """

    code: str
    url: str
    owner: str
    created_at_us: int
    version: int
    expires_at_us: int | None = None
    max_visits: int | None = None
    enabled: bool = True
    blocked: bool = False
    deleted: bool = False
    request_id: str = ""  # which idempotent request made it; "" for none


@dataclass(frozen=True, slots=True)
class LinkEdit:
    """What an edit changes; None leaves a field as it is. `clear_*` takes a limit away."""

    url: str | None = None
    expires_at_us: int | None = None
    clear_expiry: bool = False
    max_visits: int | None = None
    clear_max_visits: bool = False
    enabled: bool | None = None
    blocked: bool | None = None
    deleted: Literal[True] | None = None


def edited(link: Link, edit: LinkEdit, now_us: int) -> Link:
    """The link after the edit. Deletion is final; the version rises even when the clock does not."""
    if link.deleted:
        return link
    changes: dict[str, Any] = {
        name: value
        for name in ("url", "expires_at_us", "max_visits", "enabled", "blocked", "deleted")
        if (value := getattr(edit, name)) is not None
    }
    if edit.clear_expiry:
        changes["expires_at_us"] = None
    if edit.clear_max_visits:
        changes["max_visits"] = None
    return replace(link, version=max(link.version + 1, now_us), **changes)


class Refusal(enum.Enum):
    """Why a code does not redirect. Missing, deleted and disabled are one answer, so that nobody can tell them apart."""

    MISSING = "missing"
    EXPIRED = "expired"
    USED_UP = "used_up"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the visitor there. `capped` links must win a visit from the store first; `limited` ones end some time."""

    url: str
    capped: bool
    limited: bool


Outcome: TypeAlias = Redirect | Refusal


def outcome(link: Link | None, now_us: int) -> Outcome:
    """What a visit at `now_us` gets. An expiry at t refuses from t on."""
    if link is None or link.deleted or not link.enabled:
        return Refusal.MISSING
    if link.blocked:
        return Refusal.BLOCKED
    if link.expires_at_us is not None and now_us >= link.expires_at_us:
        return Refusal.EXPIRED
    capped = link.max_visits is not None
    return Redirect(link.url, capped, limited=capped or link.expires_at_us is not None)
