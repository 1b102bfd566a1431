"""The routes of the API, thin: authenticate, hand over, turn the answer into HTTP."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import HTMLResponse

from designs.building_blocks.api_keys import let_operator_in, owner_of
from designs.building_blocks.cache_layers import CacheUnavailable
from designs.building_blocks.dead_letter_queue import DeadLetterQueue
from designs.building_blocks.id_generation import ClockMovedBack, SequenceExhausted
from designs.building_blocks.problem_details import Problem
from designs.url_shortener.clicks import day_of, last_days
from designs.url_shortener.links import LinkEdit, Redirect
from designs.url_shortener.ports import ClickStore, LinkStore, StoreError, VisitorCounter
from designs.url_shortener.redirects import RedirectRoute
from designs.url_shortener.schemas import (
    MAX_PAGE,
    MAX_STATS_DAYS,
    Block,
    BulkCreate,
    BulkItem,
    BulkOut,
    CreateLink,
    DeadLetterOut,
    EditLink,
    LinkOut,
    Page,
    Redrive,
    Stats,
    decode_cursor,
    encode_cursor,
)
from designs.url_shortener.shortener import BadLimit, Conflict, Shortener
from designs.url_shortener.urls import BadAlias, BadUrl, is_code

if TYPE_CHECKING:
    from jinja2 import Template

_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_PREVIEW = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>Where {{ short_url }} leads</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:12vh auto;padding:0 1rem;color-scheme:light dark}
code{overflow-wrap:anywhere}</style>
<h1>{{ short_url }}</h1><p>leads to</p><p><code>{{ url }}</code></p>
<p><a rel="noreferrer nofollow" href="{{ url }}">Go there</a></p></html>"""


class Services(Protocol):
    """What the routes need; `app.create_app` puts it together and hangs it on `app.state.services`."""

    shortener: Shortener
    store: LinkStore
    clicks: ClickStore | None
    visitors: VisitorCounter | None
    dead_letters: DeadLetterQueue | None
    redirect: RedirectRoute
    owners: dict[bytes, str]
    admin_key: str | None
    public_url: str
    clock_us: Callable[[], int]


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Have = Annotated[Services, Depends(services)]


def owner(have: Have, authorization: Annotated[str, Header(description="Bearer and an API key")] = "") -> str:
    """Whose API key this is."""
    return owner_of(have.owners, authorization)


def operator(have: Have, authorization: Annotated[str, Header(description="Bearer and the operator's key")] = "") -> None:
    """Lets the operator in, and nobody when no operator's key is set."""
    let_operator_in(have.admin_key, authorization)


Owner = Annotated[str, Depends(owner)]
Code = Annotated[str, Path(max_length=64, examples=["aZ3kQ9x"])]
Idempotency = Annotated[
    str, Header(alias="Idempotency-Key", description="up to 128 visible ASCII characters; a repeat with it gets the same answer")
]

api = APIRouter(prefix="/api/v1", tags=["links"])
admin = APIRouter(prefix="/api/v1/admin", tags=["operator"], dependencies=[Depends(operator)])
public = APIRouter(tags=["visitors"])


@api.post(
    "/links", status_code=201, response_model=LinkOut, responses={200: {"description": "ids=hash: you had this link already"}}
)
async def create_link(body: CreateLink, response: Response, have: Have, who: Owner, idempotency_key: Idempotency = "") -> LinkOut:
    """Make a short link."""
    status, link = await _create(have, who, body, _checked(idempotency_key))
    response.status_code = status
    response.headers["Location"] = f"/api/v1/links/{link.code}"
    return link


@api.post("/links/bulk", response_model=BulkOut, response_model_exclude_none=True)
async def create_links(body: BulkCreate, have: Have, who: Owner, idempotency_key: Idempotency = "") -> BulkOut:
    """Make up to 100 links; each item has a status of its own, and one that fails does not touch the others.

    With an Idempotency-Key, item n is repeated under "key#n".
    """
    key = _checked(idempotency_key)

    async def one(index: int, item: CreateLink) -> BulkItem:
        try:
            status, link = await _create(have, who, item, f"{key}#{index}" if key else "")
        except tuple(PROBLEMS) as error:
            problem = PROBLEMS[type(error)](error)
            return BulkItem(status=problem.status, problem=problem.document())
        except Problem as problem:
            return BulkItem(status=problem.status, problem=problem.document())
        return BulkItem(status=status, link=link)

    return BulkOut(items=await asyncio.gather(*(one(index, item) for index, item in enumerate(body.links))))


@api.get("/links", response_model=Page)
async def list_links(
    have: Have, who: Owner, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20, cursor: Annotated[str, Query(max_length=128)] = ""
) -> Page:
    """Your links, newest first, a page at a time."""
    try:
        after = decode_cursor(cursor) if cursor else None
    except ValueError:
        raise Problem(422, "bad-cursor", "this cursor is not one of ours; start without one") from None
    links = await have.shortener.page(who, after, limit + 1)
    more = len(links) > limit
    items = [LinkOut.of(link, have.public_url) for link in links[:limit]]
    return Page(items=items, next_cursor=encode_cursor(links[limit - 1]) if more else None)


@api.get("/links/{code}", response_model=LinkOut)
async def get_link(code: Code, have: Have, who: Owner) -> LinkOut:
    """One of your links."""
    link = await have.shortener.owned(who, code) if is_code(code) else None
    if link is None:
        raise _no_such_link()
    return LinkOut.of(link, have.public_url)


@api.patch("/links/{code}", response_model=LinkOut)
async def edit_link(code: Code, body: EditLink, have: Have, who: Owner) -> LinkOut:
    """Change a link. No visitor sees the old one later than `staleness_s` after the answer."""
    link = await have.shortener.edit(who, code, body.edit()) if is_code(code) else None
    if link is None:
        raise _no_such_link()
    return LinkOut.of(link, have.public_url)


@api.delete("/links/{code}", status_code=204)
async def delete_link(code: Code, have: Have, who: Owner) -> None:
    """Delete a link for good; its code is never used again."""
    if not is_code(code) or await have.shortener.edit(who, code, LinkEdit(deleted=True)) is None:
        raise _no_such_link()


@api.get("/links/{code}/stats", response_model=Stats)
async def link_stats(code: Code, have: Have, who: Owner, days: Annotated[int, Query(ge=1, le=MAX_STATS_DAYS)] = 30) -> Stats:
    """Clicks by day and referrer, and unique visitors."""
    if not is_code(code) or await have.shortener.owned(who, code) is None:
        raise _no_such_link()
    if have.clicks is None or have.visitors is None:
        raise Problem(404, "clicks-off", "clicks are not counted here (clicks=off)")
    today = day_of(have.clock_us() / 1e6)
    counts = await have.clicks.stats(code, days, today)
    try:
        unique: int | None = await have.visitors.count(code, last_days(days, today))
    except StoreError:
        unique = None
    return Stats(
        code=code,
        days=days,
        clicks=counts.clicks,
        bots=counts.bots,
        unique_visitors=unique,
        by_day=dict(counts.by_day),
        by_referrer=dict(counts.by_referrer),
    )


@admin.get("/dead-letters", response_model=list[DeadLetterOut])
async def list_dead_letters(
    have: Have, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: Annotated[str | None, Query(max_length=64)] = None
) -> list[DeadLetterOut]:
    """Click batches that could not be counted."""
    if have.dead_letters is None:
        return []
    letters = await have.dead_letters.list(limit, after)
    return [
        DeadLetterOut(
            id=letter.id,
            reason=letter.reason,
            deliveries=letter.deliveries,
            parked_at=dt.datetime.fromtimestamp(letter.parked_at_us / 1e6, dt.UTC),
            size_bytes=len(letter.body),
        )
        for letter in letters
    ]


@admin.post("/dead-letters/redrive")
async def redrive_dead_letters(body: Redrive, have: Have) -> dict[str, int]:
    """Put dead letters back into the queue."""
    if have.dead_letters is None:
        return {"redriven": 0}
    return {"redriven": await have.dead_letters.redrive(limit=body.limit, ids=body.ids)}


@admin.put("/links/{code}/block", response_model=LinkOut)
async def block_link(code: Code, body: Block, have: Have) -> LinkOut:
    """Block a link (visitors get 451), or lift the block."""
    link = await have.shortener.find(code) if is_code(code) else None  # it may wait for the store still
    after = await have.shortener.edit(link.owner, code, LinkEdit(blocked=body.blocked)) if link is not None else None
    if after is None:
        raise _no_such_link()
    return LinkOut.of(after, have.public_url)


@functools.cache
def _preview_template() -> Template:
    from jinja2 import Environment  # here, because a start without it is quicker and few ask for it

    return Environment(autoescape=True).from_string(_PREVIEW)


@public.get("/{code}+", response_class=HTMLResponse)
async def preview(code: Code, request: Request, have: Have) -> Response:
    """Where a link leads, without going there. Counts no click and uses up no visit."""
    answer = await have.redirect.target(request.scope, code, counts=False)
    if not isinstance(answer, Redirect):
        return Response(answer.body, answer.status, dict(_decoded(answer.headers)))
    page = _preview_template().render(short_url=f"{have.public_url}/{code}", url=answer.url)
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return HTMLResponse(page, headers=headers)


@public.get("/{code}/qr", responses={200: {"content": {"image/svg+xml": {}, "image/png": {}}}}, response_class=Response)
async def qr_code(
    code: Code, request: Request, have: Have, format: Annotated[str, Query(pattern="^(svg|png)$")] = "svg"
) -> Response:
    """The short link as a QR code."""
    answer = await have.redirect.target(request.scope, code, counts=False)
    if not isinstance(answer, Redirect):
        return Response(answer.body, answer.status, dict(_decoded(answer.headers)))
    import segno  # here, because a start without it is quicker and few ask for it

    image = io.BytesIO()
    segno.make(f"{have.public_url}/{code}", micro=False).save(image, kind=format, scale=8, border=4)
    media_type = "image/svg+xml" if format == "svg" else "image/png"
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(image.getvalue(), media_type=media_type, headers=headers)


@public.head("/{code}", include_in_schema=False)  # one operation in the document: two of one function would share their id
@public.get("/{code}", responses={302: {"description": "to the long URL"}}, response_class=Response)
async def follow(code: str, request: Request) -> Response:
    """Follow a short link. 404 for missing and disabled alike, 410 for expired or used up, 451 for blocked."""
    # No dependencies and no constraints here: each costs this route microseconds, and `answer` checks the code itself.
    redirect = services(request).redirect
    answer = redirect.at_once(request.scope, code) or await redirect.answer(request.scope, code)
    response = Response(answer.body, answer.status)
    response.raw_headers = list(answer.headers)
    return response


async def _create(have: Services, who: str, body: CreateLink, key: str) -> tuple[int, LinkOut]:
    answer = await have.shortener.create(who, body.wanted(), key)
    if answer is Conflict.ALIAS_TAKEN:
        raise Problem(409, "alias-taken", f"the alias {body.alias!r} is taken; choose another, or leave it out")
    if answer is Conflict.KEY_REUSED:
        raise Problem(409, "idempotency-key-reused", "this Idempotency-Key was used with another body; use a new key")
    assert not isinstance(answer, Conflict)
    return 201 if answer.new else 200, LinkOut.of(answer.link, have.public_url)


def _checked(idempotency_key: str) -> str:
    if idempotency_key and not _KEY.fullmatch(idempotency_key):
        raise Problem(422, "bad-idempotency-key", "an Idempotency-Key has 1 to 128 visible ASCII characters")
    return idempotency_key


def _no_such_link() -> Problem:
    return Problem(404, "no-such-link", "you have no such link")


def _decoded(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _busy(error: Exception) -> Problem:
    """503. `may_have_happened` decides what a client may conclude; what a cache refused has changed nothing."""
    maybe = isinstance(error, StoreError) and error.may_have_happened
    detail = (
        f"{error}; nothing was acknowledged, {'it may have happened all the same' if maybe else 'nothing was changed'}: try again"
    )
    return Problem(503, "temporarily-unavailable", detail, headers={"Retry-After": "1"}, more={"may_have_happened": maybe})


PROBLEMS: dict[type[Exception], Any] = {
    BadUrl: lambda error: Problem(422, "bad-url", str(error)),
    BadAlias: lambda error: Problem(422, "bad-alias", str(error)),
    BadLimit: lambda error: Problem(422, "bad-limit", str(error)),
    StoreError: _busy,
    CacheUnavailable: _busy,
    ClockMovedBack: _busy,
    SequenceExhausted: _busy,
}
