"""The record of one comparison: what `result.json` holds, and what every report and document reads.

A number without its conditions is worse than none, so a `Result` carries its manifest: machine, versions, knobs, plan, seed
and the blocks that were thrown away. Units are in the names; ratios are `other / baseline`, so 0.8 means 20 % less.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 2


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ratio(Record):
    """A paired ratio over blocks: the Hodges-Lehmann estimate with its exact signed-rank interval."""

    estimate: float = Field(description="other / baseline")
    low: float | None = Field(description="lower end of the interval; None when there are fewer than 6 blocks")
    high: float | None = Field(description="upper end of the interval")
    confidence: float = Field(description="what the interval really covers, e.g. 0.951 for 10 blocks")
    blocks: int = Field(description="how many blocks it rests on")
    sd_log: float = Field(description="standard deviation of the per-block log-ratios")


class Comparison(Record):
    """One figure of one variant against the baseline."""

    figure: str = Field(examples=["cpu_us_per_request"])
    title: str = Field(examples=["CPU per request, all processes"])
    unit: str = Field(examples=["us"])
    baseline: float = Field(description="median over the blocks")
    other: float = Field(description="median over the blocks")
    ratio: Ratio | None = Field(description="None where a ratio has no meaning (a count of zero)")
    verdict: Literal["less", "more", "same", "inconclusive", "count"] = Field(
        description="what the interval says against the margin; count: there is no ratio"
    )
    sentence: str = Field(examples=["aside uses 38 % less CPU per request [36, 41]"])
    primary: bool = Field(default=False, description="the one figure that was named before the run to decide it")
    p_value: float | None = Field(
        default=None,
        description="exact signed-rank p of no difference, adjusted by Holm over the other variants; None without ratio",
    )


class QuantileRatio(Record):
    """The ratio function at one quantile: how the distributions differ, where one percentile would hide a crossing."""

    q: float = Field(examples=[0.99])
    ratio: Ratio = Field(description="latency from the planned start at q, other / baseline, over the blocks that carry q")


class Steadiness(Record):
    """Whether warm-up was over: the Theil-Sen slope of the primary figure over the blocks."""

    change_per_block: float = Field(description="slope over the median: 0.01 means 1 % more with each block")
    low: float | None = Field(description="exact 95 % interval from Kendall's statistic; None below 5 blocks")
    high: float | None = Field(description="upper end of it")
    steady: bool = Field(description="the interval includes 0, or the change over the whole run is within the margin")


class Band(Record):
    """A time in which something was done to a variant on purpose, such as a fault. Drawn behind the plots over time."""

    name: str = Field(examples=["stopped for 500 ms"])
    variant: str = Field(description='the variant it happened to, "" for all')
    start_s: float = Field(description="on the clock of `over_time`")
    end_s: float = Field(description="on the same clock")


class LatencySummary(Record):
    """Merged samples of one variant. Percentiles the sample count does not carry are None (p99: 1,000, p99.9: 10,000)."""

    samples: int = Field(description="answered requests that were merged")
    p50_ms: float | None = Field(description="needs 20 samples")
    p90_ms: float | None = Field(description="needs 100 samples")
    p99_ms: float | None = Field(description="needs 1,000 samples")
    p999_ms: float | None = Field(description="needs 10,000 samples")
    max_ms: float | None = Field(description="the slowest request")
    ecdf: list[tuple[float, float]] = Field(description="(latency_ms, fraction at or below), at most 200 points, tail kept")


class Variant(Record):
    """One side of the comparison: its knobs, what it did, and how it was measured."""

    name: str = Field(examples=["cache=aside"])
    knobs: dict[str, str | int | float | bool] = Field(description="every knob of the variant, as the service read it")
    requests: int = Field(description="requests in accepted blocks")
    statuses: dict[str, int] = Field(
        description='responses by status; no answer as "error", what the client itself decided not to send as "not sent"'
    )
    figures: dict[str, float] = Field(description="medians over blocks: CPU by role, counted work")
    latency_intended: LatencySummary = Field(description="from the planned start: what a user waits")
    latency_sent: LatencySummary = Field(description="from the actual send: hides a stalled generator (coordinated omission)")
    over_time: list[tuple[float, float, float, float]] = Field(
        description="(seconds since its first block, p50_ms, p99_ms or max_ms when too few, requests/s), one row a slice"
    )
    steadiness: Steadiness | None = Field(default=None, description="None where the primary figure was not measured")


class SafetyCheck(Record):
    """One invariant, judged on the history of the same run that measured the speed."""

    name: str = Field(examples=["no acknowledged link is lost"])
    verdict: Literal["valid", "invalid", "unknown"] = Field(description="unknown: the history does not decide it")
    counts: dict[str, int] = Field(description="what was counted while judging, e.g. lost, duplicates")
    detail: str = Field(default="", description="the first offenders, for whoever looks for the cause")
    witness: list[str] = Field(
        default_factory=list,
        description="when invalid: the smallest piece of history that shows it, a line an operation, in the order of time",
    )


class Block(Record):
    """One ABBA block: the statistical unit."""

    index: int = Field(description="a rejected block and its repetition share an index")
    order: list[str] = Field(description="variants by name, in the order of their rounds")
    accepted: bool = Field(description="whether the block counts")
    rejected_because: str = Field(default="", description="the rule that voided it; empty for an accepted block")
    figures: dict[str, dict[str, float]] = Field(description="variant -> figure -> value")


class Manifest(Record):
    """The conditions of the run."""

    design: str = Field(description="the design that was measured")
    knob: str = Field(description="the knob whose values are compared")
    mix: str = Field(description="name of the load")
    faults: list[str] = Field(default_factory=list, description="schedules of faults that struck in every round")
    mix_description: str = Field(description="who sends it, in a sentence")
    seed: int = Field(description="draws the plan")
    plan_hash: str = Field(description="SHA-256 of arrivals, operations and keys, the same for every variant")
    rate_per_s: float = Field(description="planned requests per second, open loop")
    round_s: float = Field(description="seconds of a variant's turn that are measured")
    blocks_planned: int = Field(description="accepted blocks that were asked for")
    blocks_rejected: int = Field(description="blocks that broke a rule and were measured again")
    margin: float = Field(description="differences below this are called none; fixed before the run")
    experiment_hash: str = Field(default="", description="SHA-256 of the experiment file: all that was fixed before the run")
    rules: dict[str, float] = Field(default_factory=dict, description="limits beyond which a block was void")
    primary_figure: str = Field(description="named before the run")
    started_at: str = Field(description="RFC 3339, UTC")
    duration_s: float = Field(description="the whole run, starts and checks included")
    command: str = Field(description="repeats the run")
    commit: str = Field(description="of the code that was measured")
    dirty: bool = Field(description="whether files differed from that commit")
    versions: dict[str, str] = Field(description="Python, packages and servers")
    machine: dict[str, str] = Field(description="processor, memory, kernel, and the load before the run")
    pinning: str = Field(description='which CPUs servers and generator were held to, or "unpinned" and why')
    notes: list[str] = Field(description="what a reader of the figures must know, a sentence each")


class Result(Record):
    """Everything a report shows."""

    schema_version: int = Field(default=SCHEMA_VERSION, description="which version of this page the record follows")
    headline: str = Field(description="the verdict of the primary figure in one sentence")
    baseline: str = Field(description="name of the variant the others are compared with, the first of `variants`")
    variants: list[Variant] = Field(description="the baseline first")
    comparisons: list[list[Comparison]] = Field(description="one list for each variant after the baseline")
    noise_floor: Ratio = Field(description="A/A control: the baseline's two rounds of each block against each other")
    noise_sentence: str = Field(description="what the A/A control means: the smallest difference this run could have seen")
    bought: list[str] = Field(description="what the other variant buys, sentences with numbers")
    paid: list[str] = Field(description="what it costs")
    safety: dict[str, list[SafetyCheck]] = Field(description="variant -> its checks")
    blocks: list[Block] = Field(
        description="all blocks in the order they were measured, rejected ones too; empty in a compact record"
    )
    ratio_functions: list[list[QuantileRatio]] = Field(
        default_factory=list, description="one list for each variant after the baseline"
    )
    bands: list[Band] = Field(default_factory=list, description="what was done on purpose during the run, such as faults")
    manifest: Manifest = Field(description="the conditions of the run")

    def safety_verdict(self) -> Literal["valid", "invalid", "unknown"]:
        """The worst verdict of any check of any variant."""
        verdicts = {check.verdict for checks in self.safety.values() for check in checks}
        if "invalid" in verdicts:
            return "invalid"
        return "valid" if verdicts == {"valid"} else "unknown"
