"""The record of one capacity test: every step as it was measured, and what was concluded from all of them.

`result.json` of a run of `designs capacity-test` holds it, and page, Markdown and terminal read nothing else. Units are in the
names; a ratio of a CPU is a share of one CPU, so two full ones are 2.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from loadtests.result import Record, SafetyCheck

SCHEMA_VERSION = 1


class Interval(Record):
    low: float
    estimate: float
    high: float


class Usage(Record):
    """What the processes of a variant and the generator used during one step."""

    cpu_us_per_request: dict[str, float] = Field(description="by role: service, worker, store")
    cpu_ratio: dict[str, float] = Field(description="by role, of one CPU")
    waited_ratio: float = Field(description="time the variant's threads were ready and had no CPU, over the time of the step")
    generator_cpu_ratio: float
    steal_ratio: float = Field(description="share of all CPU time that the hypervisor gave to others")


class ClosedStep(Record):
    """So many clients, each sending its next request when it has its answer."""

    clients: int
    repetition: int
    requests: int
    failed: int
    throughput_per_s: float = Field(description="answers, failures left out")
    mean_response_ms: float
    littles_law_clients: float = Field(description="throughput times mean response: the clients, by Little's law")
    usage: Usage
    void_because: str = ""


class OpenStep(Record):
    """Requests at a planned rate, whatever becomes of those before. Latency counts from the planned start."""

    purpose: Literal["knee", "curve"] = Field(description="part of a search for the knee, or a point of latency against rate")
    repetition: int
    planned_per_s: float
    achieved_per_s: float = Field(description="answers within the step and the objective's limit after it, per second of the step")
    duration_s: float
    requests: int = Field(description="sent; what the client decided not to send is left out")
    failed: int = Field(description="no answer, status 429, or a status from 500 up")
    p50_ms: float | None = Field(description="None where the samples do not carry it, as for the other percentiles")
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    objective_ms: float | None = Field(description="the percentile that the objective names")
    in_flight_growth_per_s: float = Field(description="Theil-Sen slope of the requests in flight")
    in_flight_most: int
    lag_p99_ms: float = Field(description="how late the generator was by itself")
    usage: Usage
    outcome: Literal["pass", "fail", "void"]
    because: str


class ScalabilityFit(Record):
    """The Universal Scalability Law, fitted to the closed steps."""

    lambda_per_s: Interval
    sigma: Interval
    kappa: Interval
    peak_clients: Interval | None = Field(description="None: no peak was found, since kappa's interval touches 0")
    peak_per_s: float | None
    curve: list[tuple[float, float, float, float]] = Field(description="(clients, low, fitted, high requests/s)")
    most_clients: int


class Bracket(Record):
    """One search for the knee."""

    last_pass_per_s: float | None
    first_fail_per_s: float | None
    first_fail_because: str
    ended: Literal["found", "void", "floor", "ceiling", "steps"]
    steps: int
    void_steps: int


class Knee(Record):
    """All searches together; see `knee.Spread`."""

    low_per_s: float | None
    estimate_per_s: float | None
    high_per_s: float | None
    brackets: list[Bracket]


class Limiter(Record):
    what: str = Field(examples=["service CPU"])
    sentence: str


class CapacityVariant(Record):
    name: str
    knobs: dict[str, str | int | float | bool]
    closed: list[ClosedStep]
    open: list[OpenStep]
    fit: ScalabilityFit | None
    no_fit_because: str = ""
    most_per_s: float = Field(description="the highest median throughput of any number of clients")
    most_at_clients: int
    one_core_per_s: float = Field(
        description="1e6 over the CPU-us of a request there: what one core would do, were it busy all the time"
    )
    knee: Knee
    limiter: Limiter


class CapacityManifest(Record):
    """The conditions of the run."""

    design: str
    knob: str = Field(description='the knob that differs between the variants, "" for one variant')
    mix: str
    mix_description: str
    objective: str = Field(examples=["p99 < 50 ms"])
    objective_percentile: Literal["p50", "p90", "p99", "p99.9"]
    objective_limit_ms: float
    clients: list[int]
    repeats: int
    step_s: float = Field(description="of a closed step; an open one takes half as long again, or what its percentile needs")
    resolution: float = Field(description="a search ends when its bracket is this narrow")
    connections_per_url: int
    seed: int
    started_at: str = Field(description="RFC 3339, UTC")
    duration_s: float
    command: str
    commit: str
    dirty: bool
    versions: dict[str, str]
    machine: dict[str, str]
    pinning: str
    notes: list[str]


class CapacityResult(Record):
    schema_version: int = SCHEMA_VERSION
    headline: str
    variants: list[CapacityVariant]
    safety: dict[str, list[SafetyCheck]] = Field(description="variant -> its checks, on the history of all steps")
    manifest: CapacityManifest

    def safety_verdict(self) -> Literal["valid", "invalid", "unknown"]:
        """The worst verdict of any check of any variant."""
        verdicts = {check.verdict for checks in self.safety.values() for check in checks}
        if "invalid" in verdicts:
            return "invalid"
        return "valid" if verdicts == {"valid"} else "unknown"
