"""The record of one check: what `check.json` holds and what its report shows. Times are seconds since the load began."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from loadtests.result import Band, Record, SafetyCheck

SCHEMA_VERSION = 1

Verdict = Literal["valid", "invalid", "unknown"]


class Slice(Record):
    """A tenth of a second or more of the load: requests by the time they were due."""

    at_s: float = Field(description="when the slice begins")
    requests: int = Field(description="requests due in it")
    failed: int = Field(description="those without an answer, or with one that says the service failed (5xx)")
    p50_ms: float | None = Field(description="latency from the planned start, of the answered ones; None when there are none")
    max_ms: float | None = Field(description="the slowest of them")


class NodeState(Record):
    """What a node said of itself at a moment. A row for each change only."""

    at_s: float = Field(description="when it was seen first")
    node: str = Field(examples=["replica-1"])
    state: Literal["ready", "degraded", "down", "gone"] = Field(description="gone: no answer")
    breaker: Literal["", "closed", "half-open", "open"] = Field(default="", description="of its worst circuit breaker")


class PolicyFigure(Record):
    """A figure of how the failure policy worked, with the bound the design names for it. It is shown, and decides no verdict."""

    name: str = Field(examples=["redirect p99 under redis_black_hole"])
    value: float | None = Field(description="None: it was not seen, or there were too few requests")
    unit: str = Field(examples=["ms", "s", ""])
    bound: float | None = Field(default=None, description="what the design promises; None: nothing")
    sentence: str = Field(description="the figure in words")


class CheckRecord(Record):
    """Everything the report of a check shows."""

    schema_version: int = Field(default=SCHEMA_VERSION)
    verdict: Verdict = Field(description="the worst of the checks")
    headline: str = Field(description="the verdict in one sentence")
    design: str
    knobs: dict[str, str | int | float | bool] = Field(description="every knob, as the service read it")
    mix: str = Field(description="name of the load")
    mix_description: str = Field(description="who sends it")
    rate_per_s: float = Field(description="planned requests per second, open loop")
    seconds: float = Field(description="how long the load lasted")
    replicas: int
    seed: int = Field(description="draws the plan of requests and the schedule of faults")
    plan_hash: str = Field(description="SHA-256 of the plan of requests")
    schedules: list[str] = Field(description="names of the schedules of faults; empty for a run without")
    checks: list[SafetyCheck]
    operations: dict[str, dict[str, int]] = Field(description="what was asked -> outcome (ok, fail, info) -> how often")
    bands: list[Band] = Field(description="the faults as they happened; `variant` is the target")
    slices: list[Slice]
    states: list[NodeState]
    policy: list[PolicyFigure]
    history: str = Field(description="name of the history's file beside this one")
    started_at: str = Field(description="RFC 3339, UTC")
    duration_s: float = Field(description="the whole run, starts and checks included")
    command: str = Field(description="repeats the run")
    commit: str
    dirty: bool
    versions: dict[str, str]
    machine: dict[str, str]
    notes: list[str]
