"""Checks of the rate limiter in the stack: what it admits and refuses, that two replicas and both doors share one count.

The limits are those of the rules in force, which may have been edited; what is counted here is under users of its own.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import httpx2

from workbench.smoke_check import REQUEST_S, Check, NotSo, Running, expect

PROCESSES = ("rate-limiter-1", "rate-limiter-2")
DOMAIN, RULE, ROUTE = "demo", "checkout", "/checkout"  # slow to refill, and of a user on that route
MOST_ASKED = 2_000


def check_needs_a_key(running: Running) -> str:
    with running.http(PROCESSES[0]) as http, running.http(PROCESSES[0], running.api_key) as caller:
        expect("a check without a key", http.post("/v1/check", json=body_of(someone())).status_code, 401)
        expect("the rules with a caller's key", caller.get("/v1/rules").status_code, 403)
    return "401, and 403 for the operator's route"


def admitted(running: Running) -> str:
    """By each replica, by Redis and not for want of it."""
    for process in PROCESSES:
        with running.http(process, running.api_key) as http:
            answer = http.post("/v1/check", json=body_of(someone()))
            expect(f"a check at {process}", answer.status_code, 200)
            verdict = answer.json()
            expect(f"the verdict of {process}", (verdict["allowed"], verdict["degraded"]), (True, False))
            if "ratelimit" not in answer.headers:
                raise NotSo(f"{process} does not say what remains")
    return "200, not degraded, and RateLimit says what remains"


def shared_and_refused(running: Running) -> str:
    """One user at both replicas by turns: together they admit what one limit admits."""
    limit, user = checkout_limit(running), someone()
    began_s = time.monotonic()
    with running.http(PROCESSES[0], running.api_key) as one, running.http(PROCESSES[1], running.api_key) as other:
        for number in range(MOST_ASKED):
            answer = (one, other)[number % 2].post("/v1/check", json=body_of(user))
            if answer.status_code != 200:
                break
    most = limit["burst"] + (time.monotonic() - began_s) * 1e6 * limit["quota"] / limit["period_us"]
    expect("the first that is not admitted", answer.status_code, 429)
    if not limit["burst"] <= number <= most:
        raise NotSo(f"{number} admitted by both, of {limit['burst']}")
    wait_s = int(answer.headers["retry-after"])
    return f"{number} admitted by both, then 429 with Retry-After: {wait_s}"


def envoy_is_answered(running: Running) -> str:
    """All of a limit at one replica's gRPC port, then one more at the other's, and over HTTP."""
    from grpc import StatusCode

    limit, user = checkout_limit(running), someone()
    first, second = (
        asked_as_envoy(running, process, user, hits) for process, hits in zip(PROCESSES, (limit["burst"], 1), strict=True)
    )
    expect("all of the limit, then one more", (first, second), ("OK", "OVER_LIMIT"))
    with running.http(PROCESSES[0], running.api_key) as http:
        expect("the same user over HTTP", http.post("/v1/check", json=body_of(user)).status_code, 429)
    expect("a call without the secret", asked_as_envoy(running, PROCESSES[0], user, 1, key=""), StatusCode.UNAUTHENTICATED.name)
    return f"{limit['burst']} hits OK, the next OVER_LIMIT at the other replica and 429 over HTTP"


def asked_as_envoy(running: Running, process: str, user: str, hits: int, key: str | None = None) -> str:
    """The code of the answer, or the status of a call that was not answered."""
    import grpc
    from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc

    if process not in running.grpc_addresses:
        raise NotSo(f"{process} publishes no gRPC port")
    call = rls_pb2.RateLimitRequest(domain=DOMAIN, hits_addend=hits)
    descriptor = call.descriptors.add()
    for name, value in (("user", user), ("route", ROUTE)):
        descriptor.entries.add(key=name, value=value)
    metadata = (("authorization", f"Bearer {running.grpc_key if key is None else key}"),)
    with grpc.insecure_channel(running.grpc_addresses[process]) as channel:
        try:
            answer = rls_pb2_grpc.RateLimitServiceStub(channel).ShouldRateLimit(call, timeout=REQUEST_S, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(rls_pb2.RateLimitResponse.Code.Name(answer.overall_code))


def checkout_limit(running: Running) -> dict[str, Any]:
    """Quota, period_us and burst of the rule, as the operator is told."""
    with running.http(PROCESSES[0], running.admin_key) as http:
        answer: httpx2.Response = http.get("/v1/rules")
    expect("the rules for the operator", answer.status_code, 200)
    found = [rule for rule in answer.json()["domains"].get(DOMAIN, {"rules": []})["rules"] if rule["name"] == RULE]
    if not found:
        raise NotSo(f"the rules have no {RULE} in {DOMAIN}")
    return dict(found[0])


def someone() -> str:
    return f"smoke-{secrets.token_hex(8)}"


def body_of(user: str) -> dict[str, Any]:
    return {"domain": DOMAIN, "descriptor": {"user": user, "route": ROUTE}}


CHECKS: dict[str, Check] = {
    "a check needs a key": check_needs_a_key,
    "a check is admitted": admitted,
    "two replicas share a limit": shared_and_refused,
    "Envoy is answered": envoy_is_answered,
}
