"""The routes of the API, thin: authenticate, ask the limiter, tell its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response

from designs.building_blocks.api_keys import let_operator_in, owner_of
from designs.building_blocks.problem_details import Problem
from designs.rate_limiter.headers import Headers, problem_of, status_of
from designs.rate_limiter.limiter import Limiter, Verdict
from designs.rate_limiter.limits import Limit, Slots
from designs.rate_limiter.ports import NotKept, StoreError
from designs.rate_limiter.rule_file import RuleFile
from designs.rate_limiter.rules import Rule
from designs.rate_limiter.schemas import (
    Asked,
    BatchOut,
    Check,
    CheckBatch,
    Held,
    Peek,
    Released,
    RulesOut,
    Slot,
    VerdictOut,
)
from designs.rate_limiter.told import document_of, told

# Of a batch: a hundred at once would keep this process busy for longer than the last of them may wait for the store.
BATCH_AT_ONCE = 16


class Services(Protocol):
    """What the routes need; `app.create_app` puts it together and hangs it on `app.state.services`."""

    limiter: Limiter
    rule_file: RuleFile
    tell: Callable[[Verdict], Headers]
    callers: dict[bytes, str]
    admin_key: str | None


async def services(request: Request) -> Services:
    # async, as the two below are: what is not, the framework runs in a thread, and a decision would wait for that.
    found: Services = request.app.state.services
    return found


Have = Annotated[Services, Depends(services)]


async def caller(have: Have, authorization: Annotated[str, Header(description="Bearer and an API key")] = "") -> str:
    """Whose API key this is."""
    return owner_of(have.callers, authorization)


async def operator(have: Have, authorization: Annotated[str, Header(description="Bearer and the operator's key")] = "") -> None:
    """Lets the operator in, and nobody when no operator's key is set."""
    let_operator_in(have.admin_key, authorization)


_REFUSALS: dict[int | str, dict[str, Any]] = {
    422: {"description": "the cost is more than can ever pass at once, or the body is wrong"},
    429: {"description": "refused; Retry-After says when it is worth another try"},
    503: {"description": "refused because the store is away and a rule's on_store_down is closed"},
}

api = APIRouter(prefix="/v1", tags=["limits"], dependencies=[Depends(caller)])
admin = APIRouter(prefix="/v1", tags=["operator"], dependencies=[Depends(operator)])


@api.post("/check", responses={200: {"model": VerdictOut}, **_REFUSALS}, response_class=Response)
async def check(body: Check, have: Have) -> Response:
    """Count a request, and say whether it may pass. All limits that apply are counted, or none."""
    _known(have, body.domain)
    return _response(have, await have.limiter.check(body.request(body.cost)))


@api.post("/check/batch", responses={200: {"model": BatchOut}}, response_class=Response)
async def check_batch(body: CheckBatch, have: Have) -> Response:
    """Up to 100 checks, each counted and answered for itself."""
    domains = have.limiter.rules.domains
    turn = asyncio.Semaphore(BATCH_AT_ONCE)

    async def one(item: Check) -> dict[str, Any]:
        if item.domain not in domains:
            return {"status": 404, "problem": _no_such_domain(item.domain).document()}
        async with turn:
            verdict = await have.limiter.check(item.request(item.cost))
        if verdict.allowed:
            return {"status": 200, "verdict": document_of(verdict)}
        return {"status": status_of(verdict), "problem": problem_of(verdict, with_shadows=True).document()}

    items = await asyncio.gather(*(one(item) for item in body.items))
    return Response(orjson.dumps({"items": items}), media_type="application/json")


@api.post("/peek", responses={200: {"model": VerdictOut}}, response_class=Response)
async def peek(body: Peek, have: Have) -> Response:
    """What a check would be told now. Counts nothing, and the answer is 200 either way."""
    _known(have, body.domain)
    verdict = await have.limiter.peek(body.request(body.cost))
    response = Response(orjson.dumps(document_of(verdict)), media_type="application/json")
    response.raw_headers += have.tell(verdict)
    return response


@api.post("/refund", status_code=204)
async def refund(body: Check, have: Have) -> None:
    """Give back what a check of the same took, because the work was not done. Never more than was taken."""
    _known(have, body.domain)
    await have.limiter.refund(body.request(body.cost))


@api.post("/acquire", responses={200: {"model": VerdictOut}, **_REFUSALS}, response_class=Response)
async def acquire(body: Slot, have: Have) -> Response:
    """A slot of each concurrency limit that applies, or of none. The same token again renews."""
    _known(have, body.domain)
    return _response(have, await have.limiter.acquire(body.request(), body.token))


@api.post("/renew", responses={409: {"description": "a lease had run out: the slot may be somebody else's by now"}})
async def renew(body: Slot, have: Have) -> Held:
    """A new lease of each slot."""
    _known(have, body.domain)
    if not await have.limiter.renew(body.request(), body.token):
        raise Problem(409, "lease-lost", "a lease of this token had run out; stop the work, or acquire anew")
    return Held(held=True)


@api.post("/release")
async def release(body: Slot, have: Have) -> Released:
    """Give the slots back."""
    _known(have, body.domain)
    return Released(released=await have.limiter.release(body.request(), body.token))


@admin.post("/reset", status_code=204)
async def reset(body: Asked, have: Have) -> None:
    """Forget what has been used of every limit that applies."""
    _known(have, body.domain)
    await have.limiter.reset(body.request())


@admin.get("/rules", response_model=RulesOut)
async def rules(have: Have) -> RulesOut:
    """The rules in force."""
    found = have.limiter.rules
    domains = {
        name: {"mode": domain.mode, "rules": [_rule_document(rule) for rule in domain.rules]}
        for name, domain in found.domains.items()
    }
    return RulesOut(version=found.version, mode=found.mode, reloads=have.rule_file.reloads, domains=domains)


def _response(have: Services, verdict: Verdict) -> Response:
    status, headers, body = told(have, verdict)
    response = Response(body, status)
    response.raw_headers = headers
    return response


def _known(have: Services, domain: str) -> None:
    if domain not in have.limiter.rules.domains:
        raise _no_such_domain(domain)


def _no_such_domain(domain: str) -> Problem:
    return Problem(404, "no-such-domain", f"the rule file has no domain {domain}; nothing was counted")


def _rule_document(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "match": dict(rule.match),
        **_limit_document(rule.limit),
        "tiers": {tier: _limit_document(limit) for tier, limit in rule.tiers.items()},
        "on_store_down": rule.on_store_down,
        "mode": rule.mode,
    }


def _limit_document(limit: Limit | Slots) -> Mapping[str, Any]:
    if isinstance(limit, Slots):
        return {"slots": limit.limit, "lease_us": limit.lease_us}
    return {"algorithm": limit.algorithm, "quota": limit.quota, "period_us": limit.period_us, "burst": limit.burst}


def _busy(error: StoreError) -> Problem:
    maybe = error.may_have_happened
    detail = f"{error}; {'it may have happened all the same' if maybe else 'nothing was changed'}: try again"
    return Problem(503, "temporarily-unavailable", detail, headers={"Retry-After": "1"}, more={"may_have_happened": maybe})


PROBLEMS: dict[type[Exception], Any] = {
    StoreError: _busy,
    NotKept: lambda error: Problem(422, "not-kept", str(error)),
}
