"""What an edge asks of whoever counts: a `Limiter` in this process, or the service through `client.LimiterClient`.

Both answer with the same few facts. A verdict of the service comes with the fields and the problem document that it was sent with,
because those say more than its body does; one of this process is told by `headers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from designs.building_blocks.problem_details import Problem
from designs.rate_limiter.headers import Headers, HeaderStyle, headers_of, problem_of
from designs.rate_limiter.limiter import Request, Verdict

LISTS = frozenset({b"ratelimit", b"ratelimit-policy"})  # of these two verdicts can stand in one answer


@dataclass(frozen=True, slots=True)
class RemoteLimit:
    """What the service says of one rule; the words are those of its answer."""

    rule: str
    allowed: bool
    limit: int
    remaining: int
    retry_after_us: int | None
    reset_after_us: int
    shadow: bool = False
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class RemoteVerdict:
    """`headers`: what the service would have its client be told. `problem`: why not, None when allowed.

    `unavailable`: refused only because nobody could count.
    """

    allowed: bool
    limits: tuple[RemoteLimit, ...] = ()
    degraded: bool = False
    unavailable: bool = False
    retry_after_us: int | None = 0
    delay_us: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    problem: Problem | None = None


AnyVerdict: TypeAlias = Verdict | RemoteVerdict


class Counter(Protocol):
    """The verbs of `Limiter`, with its errors: `refund`, `renew` and `release` raise `StoreError`, the others decide without."""

    async def check(self, request: Request) -> AnyVerdict: ...
    async def peek(self, request: Request) -> AnyVerdict: ...
    async def refund(self, request: Request) -> None: ...
    async def acquire(self, request: Request, token: str) -> AnyVerdict: ...
    async def renew(self, request: Request, token: str) -> bool: ...
    async def release(self, request: Request, token: str) -> bool: ...


def lease_us_of(verdict: AnyVerdict) -> int | None:
    """How long the slots of this admission are held without being renewed; None when it holds none.

    A shadow rule that was full holds none, and neither does one that let everybody pass because its store was away.
    """
    if isinstance(verdict, RemoteVerdict):
        leases = [limit.reset_after_us for limit in verdict.limits if limit.allowed]
    else:
        leases = [rule.decision.reset_after_us for rule in verdict.rules if rule.decision.allowed]
    return min((lease_us for lease_us in leases if lease_us > 0), default=None)


def told(verdicts: Sequence[AnyVerdict], style: HeaderStyle) -> Headers:
    """The fields of one answer that several verdicts have a part in, such as a rate and a slot; of a refusal the last one's."""
    last = verdicts[-1]
    if not last.allowed:
        verdicts = [last]
    headers: Headers = []
    here = [verdict for verdict in verdicts if isinstance(verdict, Verdict)]
    if here:
        headers += headers_of(Verdict(last.allowed, tuple(rule for verdict in here for rule in verdict.rules)), style)
    for verdict in verdicts:
        if isinstance(verdict, RemoteVerdict):
            names = {name for name, _ in headers}
            headers += [(name, value) for name, value in verdict.headers if name in LISTS or name not in names]
    return headers


def refusal_of(verdict: AnyVerdict) -> Problem:
    """The problem document of a verdict that is not allowed."""
    if isinstance(verdict, RemoteVerdict):
        assert verdict.problem is not None
        return verdict.problem
    return problem_of(verdict)
