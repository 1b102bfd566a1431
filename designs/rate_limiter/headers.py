"""How a verdict is told over HTTP: the fields of a response, and the problem document of a refusal.

    style        fields
    current      RateLimit-Policy: "per-user";q=40;w=2   RateLimit: "per-user";r=39;t=1    one item for each rule
    draft-06     RateLimit-Limit: 40   RateLimit-Remaining: 39   RateLimit-Reset: 1        the rule that is nearest to its end
    x-ratelimit  X-RateLimit-*, the same with an epoch as the reset                        likewise
    none         none

`current` is draft-ietf-httpapi-ratelimit-headers-11 (RFC 9651 lists of String items). q is what may come at once and w how long
that takes to come back, so that r never exceeds q: a bucket of 100 a minute with a burst of 20 is q=20;w=12. Within t seconds no
more than r is to be counted on: until everything is back when allowed, and on a refusal no longer than Retry-After says.

A refusal has Retry-After in every style, in whole seconds, rounded up, and `no-store`, since an answer to one client is no answer
to the next (RFC 6585, 4). What can never pass is no matter of waiting: 422 and no Retry-After. A shadow rule is never seen here.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from designs.building_blocks.problem_details import Problem
from designs.rate_limiter.limiter import RuleDecision, Verdict
from designs.rate_limiter.limits import Limit, Slots
from designs.rate_limiter.ports import SlotDemand

HeaderStyle: TypeAlias = Literal["current", "draft-06", "x-ratelimit", "none"]
Headers: TypeAlias = list[tuple[bytes, bytes]]

# The types the draft asks IANA to register.
PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"
MAX_INTEGER = 999_999_999_999_999  # of a structured field (RFC 9651, 3.3.1)
SECOND_US = 1_000_000
_NO_STORE = (b"cache-control", b"no-store")
_PK_BYTES = 9  # twelve characters of base64, without padding


def headers_of(
    verdict: Verdict, style: HeaderStyle, *, pk_key: bytes | None = None, clock_us: Callable[[], int] | None = None
) -> Headers:
    """All fields that the verdict adds to a response, names in lower case.

    `pk_key`: with it each item of `current` says whose quota it is, by a keyed hash: without the key nobody can find out whom by
    hashing likely names. All replicas need the same. `clock_us` is asked for the epoch of x-ratelimit alone.
    """
    shown = [rule for rule in verdict.rules if not rule.shadow]
    retry_after_s = retry_after_s_of(verdict)
    headers: Headers = []
    if shown and style == "current":
        headers.append((b"ratelimit-policy", ", ".join(_policy_item(rule, pk_key) for rule in shown).encode()))
        headers.append((b"ratelimit", ", ".join(_limit_item(rule, retry_after_s, pk_key) for rule in shown).encode()))
    elif shown and style in ("draft-06", "x-ratelimit"):
        rule = nearest_to_its_end(shown)
        reset_s = _reset_s(rule, retry_after_s)
        prefix, reset = b"ratelimit-", reset_s
        if style == "x-ratelimit":
            now_us = clock_us() if clock_us is not None else time.time_ns() // 1000
            prefix, reset = b"x-ratelimit-", _ceil_s(now_us) + reset_s
        headers.append((prefix + b"limit", b"%d" % _fit(rule.decision.limit)))
        headers.append((prefix + b"remaining", b"%d" % _fit(rule.decision.remaining)))
        headers.append((prefix + b"reset", b"%d" % reset))
    if not verdict.allowed:
        headers.append(_NO_STORE)
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    return headers


def retry_after_s_of(verdict: Verdict) -> int | None:
    """Whole seconds until it is worth another try, 1 at least. None when allowed, and when it can never pass."""
    if verdict.allowed:
        return None
    wait_us = verdict.retry_after_us
    return None if wait_us is None else max(1, _ceil_s(wait_us))


def status_of(verdict: Verdict) -> int:
    """429 for who asks too often, 422 for who asks for more than there can ever be, 503 where only a missing store refuses."""
    if verdict.allowed:
        return 200
    if verdict.unavailable:
        return 503
    return 422 if verdict.retry_after_us is None else 429


def problem_of(verdict: Verdict, *, with_shadows: bool = False) -> Problem:
    """The refusal as RFC 9457 document. Its headers are Retry-After alone; `headers_of` has that and the rest."""
    assert not verdict.allowed
    status, wait_s = status_of(verdict), retry_after_s_of(verdict)
    names = ", ".join(rule.rule for rule in verdict.refusing)
    if status == 503:
        name = f"{PROBLEM_TYPES}temporary-reduced-capacity"
        detail = f"{names} can't be counted now and is refused meanwhile; nothing was taken, try again in {wait_s} s"
    elif status == 422:
        never = [rule for rule in verdict.refusing if rule.decision.retry_after_us is None]
        name = "cost-above-capacity"
        most = ", ".join(f"{rule.rule} {rule.decision.limit:,} at most" for rule in never)
        detail = f"so much can never pass at once: {most}; ask for less"
    else:
        name = f"{PROBLEM_TYPES}quota-exceeded"
        detail = f"too much of {names}; nothing was taken, try again in {wait_s} s"
    return Problem(
        status,
        name,
        detail,
        headers={"Retry-After": str(wait_s)} if wait_s is not None else None,
        more={
            "violated-policies": [rule.rule for rule in verdict.refusing],
            "degraded": verdict.degraded,
            "limits": limits_of(verdict, with_shadows=with_shadows),
        },
    )


def limits_of(verdict: Verdict, *, with_shadows: bool) -> list[dict[str, Any]]:
    """What each rule says, for the body of an answer. Shadow rules are for those who run the limits, not for those they count."""
    return [
        {
            "rule": rule.rule,
            "allowed": rule.decision.allowed,
            "limit": rule.decision.limit,
            "remaining": rule.decision.remaining,
            "retry_after_us": rule.decision.retry_after_us,
            "reset_after_us": rule.decision.reset_after_us,
            "shadow": rule.shadow,
            "degraded": rule.degraded,
        }
        for rule in verdict.rules
        if with_shadows or not rule.shadow
    ]


def _policy_item(rule: RuleDecision, pk_key: bytes | None) -> str:
    demand = rule.demand
    limit = demand.slots if isinstance(demand, SlotDemand) else demand.limit
    return _policy(rule.rule, limit) + _pk(rule, pk_key)


@functools.lru_cache(maxsize=4_096)
def _policy(name: str, limit: Limit | Slots) -> str:
    if isinstance(limit, Slots):
        return f'{_string(name)};q={limit.limit};qu="concurrent-requests"'
    window_us = -(-limit.period_us * limit.burst // limit.quota)
    # A window of less than a second has no w: to round 50 ms up to one would tell of a twentieth of the rate.
    return f"{_string(name)};q={_fit(limit.burst)}" + (f";w={_ceil_s(window_us)}" if window_us >= SECOND_US else "")


def _limit_item(rule: RuleDecision, retry_after_s: int | None, pk_key: bytes | None) -> str:
    reset_s = _reset_s(rule, retry_after_s)
    window = f";t={reset_s}" if reset_s else ""
    return f"{_string(rule.rule)};r={_fit(rule.decision.remaining)}{window}{_pk(rule, pk_key)}"


def _reset_s(rule: RuleDecision, retry_after_s: int | None) -> int:
    """Until this rule has all of its quota again; on a refusal until its own wait is over, and not after Retry-After."""
    decision = rule.decision
    wait_us = decision.reset_after_us if decision.allowed or decision.retry_after_us is None else decision.retry_after_us
    return _ceil_s(wait_us) if retry_after_s is None else min(_ceil_s(wait_us), retry_after_s)


def _pk(rule: RuleDecision, pk_key: bytes | None) -> str:
    if pk_key is None or not rule.demand.item:
        return ""
    digest = hashlib.blake2b(rule.demand.key.encode(), digest_size=_PK_BYTES, key=pk_key).digest()
    return f";pk=:{base64.b64encode(digest).decode()}:"


def nearest_to_its_end(rules: Iterable[RuleDecision]) -> RuleDecision:
    """One rule that stands for all, where there is room for one: who refuses longest, else who has the smallest share left."""

    def nearness(rule: RuleDecision) -> tuple[bool, float, float]:
        said = rule.decision
        wait_us = float("inf") if said.retry_after_us is None else said.retry_after_us
        return said.allowed, -wait_us, said.remaining / max(1, said.limit)

    return min(rules, key=nearness)


@functools.lru_cache(maxsize=4_096)
def _string(text: str) -> str:
    """A String of RFC 9651: printable ASCII in quotes; the rest is percent-encoded."""
    if not (text.isascii() and text.isprintable()):
        text = quote(text, safe=" !#$&'()*+,/:;=?@[]\"\\")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _ceil_s(us: int) -> int:
    return -(-us // SECOND_US)


def _fit(number: int) -> int:
    return min(number, MAX_INTEGER)
