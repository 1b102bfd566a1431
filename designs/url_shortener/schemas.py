"""The bodies of the API: what a client may send and what it gets, with the limits that are stated in the OpenAPI document."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from designs.url_shortener.links import Link, LinkEdit
from designs.url_shortener.shortener import MAX_VISITS, NewLink
from designs.url_shortener.urls import MAX_ALIAS_CHARS, MAX_URL_CHARS

MAX_BULK = 100
MAX_PAGE = 100
MAX_STATS_DAYS = 90


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CreateLink(Body):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"url": "https://example.org/a/long/page?with=query"},
                {"url": "https://example.org/sale", "alias": "sale-2026", "expires_at": "2026-12-31T23:59:59Z", "max_visits": 1000},
            ]
        },
    )

    url: str = Field(min_length=1, max_length=MAX_URL_CHARS, description="http or https; kept in its canonical form")
    alias: str | None = Field(default=None, max_length=MAX_ALIAS_CHARS, description="the code you want: 3 to 32 of A-Z a-z 0-9 - _")
    expires_at: AwareDatetime | None = Field(default=None, description="RFC 3339; from then on the link answers 410")
    max_visits: int | None = Field(default=None, ge=1, le=MAX_VISITS, description="after so many redirects the link answers 410")

    def wanted(self) -> NewLink:
        return NewLink(self.url, self.alias, _us(self.expires_at), self.max_visits)


class EditLink(Body):
    """Only what is named changes; null takes an expiry or a cap away."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": "https://example.org/moved"}, {"enabled": False}]}
    )

    url: str | None = Field(default=None, min_length=1, max_length=MAX_URL_CHARS)
    expires_at: AwareDatetime | None = None
    max_visits: int | None = Field(default=None, ge=1, le=MAX_VISITS)
    enabled: bool | None = None

    def edit(self) -> LinkEdit:
        named = self.model_fields_set
        return LinkEdit(
            url=self.url,
            expires_at_us=_us(self.expires_at),
            clear_expiry="expires_at" in named and self.expires_at is None,
            max_visits=self.max_visits,
            clear_max_visits="max_visits" in named and self.max_visits is None,
            enabled=self.enabled,
        )


class LinkOut(BaseModel):
    """A link as its owner sees it."""

    code: str = Field(examples=["aZ3kQ9x"])
    short_url: str = Field(examples=["https://sho.rt/aZ3kQ9x"])
    url: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    max_visits: int | None
    enabled: bool
    blocked: bool
    version: str = Field(description="rises with every edit; a string, because it does not fit into a double for ever")

    @classmethod
    def of(cls, link: Link, public_url: str) -> LinkOut:
        return cls(
            code=link.code,
            short_url=f"{public_url}/{link.code}",
            url=link.url,
            created_at=_time(link.created_at_us),
            expires_at=_time(link.expires_at_us) if link.expires_at_us is not None else None,
            max_visits=link.max_visits,
            enabled=link.enabled,
            blocked=link.blocked,
            version=str(link.version),
        )


class BulkCreate(Body):
    links: list[CreateLink] = Field(min_length=1, max_length=MAX_BULK)


class BulkItem(BaseModel):
    """What became of one link of a bulk: `link` with 201 or 200, else `problem`."""

    status: int
    link: LinkOut | None = None
    problem: dict[str, Any] | None = None


class BulkOut(BaseModel):
    items: list[BulkItem]


class Page(BaseModel):
    items: list[LinkOut]
    next_cursor: str | None = Field(description="hand it back as `cursor` for the next page; null on the last")


class Stats(BaseModel):
    """Clicks of the last days. Robots that say so are counted apart; no country is derived from addresses."""

    code: str
    days: int
    clicks: int
    bots: int
    unique_visitors: int | None = Field(description="estimate (HyperLogLog, 0.8 %), counted per day; null while it can't be had")
    by_day: dict[str, int]
    by_referrer: dict[str, int] = Field(description='the 20 hosts with most clicks; "" for none')


class DeadLetterOut(BaseModel):
    id: str
    reason: str
    deliveries: int
    parked_at: dt.datetime
    size_bytes: int


class Redrive(Body):
    ids: list[str] | None = Field(default=None, max_length=100, description="which letters; without it the oldest")
    limit: int = Field(default=100, ge=1, le=100)


class Block(Body):
    blocked: bool


def encode_cursor(link: Link) -> str:
    return base64.urlsafe_b64encode(f"{link.created_at_us}.{link.code}".encode()).decode()


def decode_cursor(cursor: str) -> tuple[int, str]:
    """(created_at_us, code) of the last link seen; ValueError for what is no cursor of ours."""
    created, _, code = base64.urlsafe_b64decode(cursor.encode()).decode().partition(".")
    created_at_us = int(created)
    if not 0 <= created_at_us < 2**63:  # more than a store can compare with
        raise ValueError("no time of ours")
    return created_at_us, code


def _us(time: dt.datetime | None) -> int | None:
    if time is None:
        return None
    since = time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return since // dt.timedelta(microseconds=1)


def _time(us: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)
