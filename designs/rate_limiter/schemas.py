"""The bodies of the API: what a client may send and what it gets, with the limits that are stated in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from designs.rate_limiter.limiter import Request

MAX_BATCH = 100
MAX_ENTRIES = 16
MAX_KEY_CHARS, MAX_VALUE_CHARS, MAX_TIER_CHARS = 64, 512, 64
MAX_COST = 1_000_000_000

# What is counted shows up in the store's tools, and in the log of whoever looks.
NO_CONTROL = r"[^\x00-\x1f\x7f-\x9f]"
_TEXT = rf"^{NO_CONTROL}+$"
NAME, MAX_NAME_CHARS = r"[A-Za-z0-9][A-Za-z0-9._-]*", 64
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=rf"^{NAME}$")]
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARS, pattern=_TEXT)]
Value = Annotated[str, Field(min_length=1, max_length=MAX_VALUE_CHARS, pattern=_TEXT)]

_EXAMPLE: JsonDict = {
    "domain": "demo",
    "descriptor": {"user": "u1", "route": "/items/{id}", "tenant": "acme"},
    "tier": "pro",
    "cost": 1,
}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Asked(Body):
    """Who asks: the rules of `domain` are matched against `descriptor`. Leave out a key that is not known; it has no value ""."""

    domain: Name
    descriptor: dict[Key, Value] = Field(min_length=1, max_length=MAX_ENTRIES)
    tier: str = Field(
        default="", max_length=MAX_TIER_CHARS, description="chooses among the tiers of a rule; one it does not know has none"
    )

    def request(self, cost: int = 1) -> Request:
        return Request(self.domain, self.descriptor, self.tier, cost)


class Check(Asked):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    cost: int = Field(default=1, ge=1, le=MAX_COST, description="units that this request takes of each limit")


class Peek(Asked):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    cost: int = Field(default=1, ge=0, le=MAX_COST, description="what a check of so much would be told")


class Slot(Asked):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"domain": "demo", "descriptor": {"tenant": "acme"}, "token": "job-4711"}]}
    )

    token: str = Field(
        min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$", description="names what is under way, and nobody else's: a UUID"
    )


class CheckBatch(Body):
    items: list[Check] = Field(min_length=1, max_length=MAX_BATCH)


class LimitOut(BaseModel):
    """What one rule says. A null `retry_after_us` is never: the cost is more than can ever be there at once."""

    rule: str
    allowed: bool
    limit: int
    remaining: int
    retry_after_us: int | None
    reset_after_us: int
    shadow: bool = Field(description="counted, and no reason of a refusal")
    degraded: bool = Field(description="said without the store, as the rule's on_store_down would have it")


class VerdictOut(BaseModel):
    allowed: bool
    degraded: bool
    delay_us: int = Field(description="leaky_queue: wait so long before going on")
    limits: list[LimitOut]


class BatchItem(BaseModel):
    """What became of one item: `verdict` with 200, else `problem`."""

    status: int
    verdict: VerdictOut | None = None
    problem: dict[str, Any] | None = None


class BatchOut(BaseModel):
    items: list[BatchItem]


class Held(BaseModel):
    held: bool


class Released(BaseModel):
    released: bool = Field(description="false when the lease had run out, or was given back before")


class RulesOut(BaseModel):
    """The rules in force. Times in microseconds."""

    version: str = Field(description="of the text of the file")
    mode: str
    reloads: dict[str, int] = Field(description="files that were taken up and refused since the start")
    domains: dict[str, Any]
