"""What the rate limiter asks of the outside: one port, whose verbs are each atomic, and the error it may get.

Plain data crosses; drivers stay in `backends/`. Memory is the reference, and `tests/rate_limiter/limit_store_contract.py` is the
definition that each backend has to pass. The time is the store's: whoever asks brings none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from designs.rate_limiter.limits import Decision, Limit, Slots


class StoreError(Exception):
    """The store could not do it. `may_have_happened`: units may have been taken although nobody was told."""

    def __init__(self, sentence: str, *, may_have_happened: bool) -> None:
        super().__init__(sentence)
        self.may_have_happened = may_have_happened


class NotKept(Exception):
    """A verb that this limit can't have: a sketch knows no single key, so it can neither forget one nor give back."""


@dataclass(frozen=True, slots=True)
class Demand:
    """`cost` units of one limit for one key. Cost 0 only reads.

    `bucket` names the rule, with the hash tag of its domain, algorithm and version in it; `item` whom it counts, escaped. The key
    is both. `shadow`: counted where it would have passed, and never the reason of a refusal.
    """

    bucket: str
    item: str
    limit: Limit
    cost: int = 1
    shadow: bool = False

    @property
    def key(self) -> str:
        return f"{self.bucket}:{self.item}"


@dataclass(frozen=True, slots=True)
class Taken:
    """`allowed`: every demand that is no shadow passed, and all were taken; otherwise none was. One decision for each demand."""

    allowed: bool
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class SlotDemand:
    """A slot of one concurrency limit for one key."""

    bucket: str
    item: str
    slots: Slots
    shadow: bool = False

    @property
    def key(self) -> str:
        return f"{self.bucket}:{self.item}"


class LimitStore(Protocol):
    """Counts for many processes. The demands of one call have different keys and one hash tag, and there is at least one."""

    async def take(self, demands: Sequence[Demand]) -> Taken:
        """All or nothing, and a refusal changes nothing: later decisions are as if it had never come."""

    async def peek(self, demands: Sequence[Demand]) -> Taken:
        """What `take` would say now. Changes nothing."""

    async def give_back(self, demands: Sequence[Demand]) -> None:
        """Undo an admitted `take` (the work was not done). Never more than was taken. Raises `NotKept`."""

    async def reset(self, demands: Sequence[Demand]) -> None:
        """Forget what these keys have used. Raises `NotKept`."""

    async def acquire(self, demands: Sequence[SlotDemand], token: str) -> Taken:
        """A slot of each, or of none. The same token again renews. `reset_after_us` of an admission is how long the lease runs."""

    async def renew(self, demands: Sequence[SlotDemand], token: str) -> bool:
        """A new lease of each; False when one had run out, and then the rest keep the lease they had."""

    async def release(self, demands: Sequence[SlotDemand], token: str) -> bool:
        """Give the slots back; False when none was held any more."""

    async def ping(self) -> None:
        """Raises `StoreError` when the store does not answer."""

    async def close(self) -> None: ...
