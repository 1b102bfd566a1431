"""The record of one comparison: what `result.json` holds, and what every report and document reads.

A number without its conditions is worse than none, so a `Result` carries its manifest: machine, versions, knobs, plan, seed
and the blocks that were thrown away. Units are in the names; ratios are `other / baseline`, so 0.8 means 20 % less.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ratio(Record):
    """A paired ratio over blocks: the Hodges-Lehmann estimate with its exact signed-rank interval."""

    estimate: float
    low: float | None = Field(description="lower end of the interval; None when there are fewer than 6 blocks")
    high: float | None
    confidence: float = Field(description="what the interval really covers, e.g. 0.951 for 10 blocks")
    blocks: int
    sd_log: float = Field(description="standard deviation of the per-block log-ratios")


class Comparison(Record):
    """One figure of one variant against the baseline."""

    figure: str = Field(examples=["cpu_us_per_request"])
    title: str = Field(examples=["CPU per request, all processes"])
    unit: str = Field(examples=["us"])
    baseline: float = Field(description="median over the blocks")
    other: float
    ratio: Ratio | None = Field(description="None where a ratio has no meaning (a count of zero)")
    verdict: Literal["less", "more", "same", "inconclusive", "count"]
    sentence: str = Field(examples=["aside uses 38 % less CPU per request [36, 41]"])
    primary: bool = False


class LatencySummary(Record):
    """Merged samples of one variant. Percentiles the sample count does not carry are None (p99: 1,000, p99.9: 10,000)."""

    samples: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    ecdf: list[tuple[float, float]] = Field(description="(latency_ms, fraction at or below), at most 200 points, tail kept")


class Variant(Record):
    """One side of the comparison: its knobs, what it did, and how it was measured."""

    name: str = Field(examples=["cache=aside"])
    knobs: dict[str, str | int | float | bool]
    requests: int
    statuses: dict[str, int] = Field(description='responses by status, connection errors as "error"')
    figures: dict[str, float] = Field(description="medians over blocks: CPU by role, counted work")
    latency_intended: LatencySummary = Field(description="from the planned start: what a user waits")
    latency_sent: LatencySummary = Field(description="from the actual send: hides a stalled generator (coordinated omission)")
    over_time: list[tuple[float, float, float, float]] = Field(
        description="(seconds since its first block, p50_ms, p99_ms or max_ms when too few, requests/s), one row a slice"
    )


class SafetyCheck(Record):
    """One invariant, judged on the history of the same run that measured the speed."""

    name: str = Field(examples=["no acknowledged link is lost"])
    verdict: Literal["valid", "invalid", "unknown"]
    counts: dict[str, int]
    detail: str = ""


class Block(Record):
    """One ABBA block: the statistical unit."""

    index: int
    order: list[str]
    accepted: bool
    rejected_because: str = ""
    figures: dict[str, dict[str, float]] = Field(description="variant -> figure -> value")


class Manifest(Record):
    """The conditions of the run."""

    design: str
    knob: str
    mix: str
    mix_description: str
    seed: int
    plan_hash: str
    rate_per_s: float
    round_s: float
    blocks_planned: int
    blocks_rejected: int
    margin: float = Field(description="differences below this are called none; fixed before the run")
    primary_figure: str
    started_at: str = Field(description="RFC 3339, UTC")
    duration_s: float
    command: str
    commit: str
    dirty: bool
    versions: dict[str, str]
    machine: dict[str, str]
    pinning: str
    notes: list[str]


class Result(Record):
    """Everything a report shows."""

    schema_version: int = SCHEMA_VERSION
    headline: str = Field(description="the verdict of the primary figure in one sentence")
    baseline: str
    variants: list[Variant]
    comparisons: list[list[Comparison]] = Field(description="one list for each variant after the baseline")
    noise_floor: Ratio = Field(description="A/A control: the baseline's two rounds of each block against each other")
    noise_sentence: str
    bought: list[str] = Field(description="what the other variant buys, sentences with numbers")
    paid: list[str] = Field(description="what it costs")
    safety: dict[str, list[SafetyCheck]] = Field(description="variant -> its checks")
    blocks: list[Block]
    manifest: Manifest

    def safety_verdict(self) -> Literal["valid", "invalid", "unknown"]:
        """The worst verdict of any check of any variant."""
        verdicts = {check.verdict for checks in self.safety.values() for check in checks}
        if "invalid" in verdicts:
            return "invalid"
        return "valid" if verdicts == {"valid"} else "unknown"
