"""What a design tells the measuring about its load: who asks, in which ratios, how popular keys are, and what must hold.

The generator, the schedule and the statistics know no design. Each design brings one `Workload`: it seeds a running variant,
turns a planned step into the bytes of an HTTP/1.1 request, and afterwards judges the history of what came back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from loadtests.history.operation import HistoryItem, Observation, Struck
from loadtests.history.recorded import Header
from loadtests.result import SafetyCheck


@dataclass(frozen=True, slots=True)
class Mix:
    """Who does this, in which ratios. The page of a workload, as data."""

    name: str
    who: str
    ratios: Mapping[str, float]
    keys: int
    zipf_s: float
    rate_per_s: float
    knobs: Mapping[str, str] = field(default_factory=dict)  # what the mix needs of both variants to bite, e.g. a short TTL
    touch: str = ""  # this op is sent once for each key before a block, so that caches are as full as after a day; "" starts cold
    then: Mapping[str, tuple[str, float]] = field(default_factory=dict)  # op -> the op that follows it, and after how many seconds
    clients: int = 0  # requests come from so many, each remembered by its number; 0: nobody is remembered
    replicas: int = 1  # of each variant, where it takes several to show the trade-off


@dataclass(frozen=True, slots=True)
class Target:
    """A running variant: where it answers and which processes belong to it."""

    name: str
    knobs: Mapping[str, str | int | float | bool]
    urls: Sequence[str]
    api_key: str
    metrics_urls: Sequence[str]
    pids: Mapping[str, Sequence[int]]  # role (service, worker, store) -> process ids
    redis_url: str | None = None
    data_dir: str = ""
    shared_pids: frozenset[int] = frozenset()  # those of `pids` that are not this variant's alone: a server others use too


NO_ANSWER = 0
NOT_SENT = -1


@dataclass(slots=True)
class Exchange:
    """One request and what came back. Times are monotonic seconds of the generator's clock.

    Status `NO_ANSWER`: a transport error or a time-out. Status `NOT_SENT`: the client had no reason to ask (its own cache holds
    the answer, or the step before failed); then all times but the intended one are when that was decided.
    """

    op: str
    key: int
    serial: int
    intended_s: float
    sent_s: float
    first_byte_s: float
    end_s: float
    status: int
    response: bytes
    client: int = 0


class SeedingFailed(RuntimeError):
    """The data of the plan could not be made. The message says what the service answered."""


class Workload(Protocol):
    """A design's load. State between calls (codes made while seeding, expected answers) is per target, inside the workload."""

    mixes: Mapping[str, Mix]
    default_mix: Mapping[str, str]  # knob -> the mix that shows its trade-off; "" for any other knob
    check_mix: str  # the mix that asks for everything that has a promise

    async def seed(self, target: Target, mix: Mix, seed: int) -> None:
        """Make the data the plan's keys refer to, on a variant that has none, and forget what was known of it before.

        Called for each variant at the start of each block. Raises `SeedingFailed`.
        """

    def encode(self, target: Target, exchange: Exchange, before: Exchange | None) -> tuple[int, bytes] | None:
        """The index of the URL to send to, and the whole request; None for a request that the client has no reason to send.

        Reads the exchange's `op`, `key` (0 .. keys-1), `serial` (unique for a variant from one `seed` to the next) and `client`.
        `before`: the finished step that this one follows, by `Mix.then` or as the same client's last one of the same op and key;
        None for a first step, which is encoded before the round.
        """

    def observe(self, target: Target, exchanges: Sequence[Exchange]) -> None:
        """Take in the history of one round (warm-up included: the invariants hold there too)."""

    async def counters(self, target: Target) -> Mapping[str, float]:
        """Counted work so far (store round trips, cache loads, hits, Redis commands, bytes), rising; read between rounds."""

    def strike(self, target: Target, struck: Struck) -> None:
        """Take in a fault, once it is over: it widens what is allowed as far as the design says so, and no further.

        Like `note`, this may be called from any thread.
        """

    def note(self, target: Target, observation: Observation) -> None:
        """Take in what a node said of itself; see the workload for the names it reads."""

    def read_page(self, target: Target, node: str, at_s: float, metrics_text: str) -> None:
        """`note` what a node's metrics page says, as far as a promise depends on it: losses declared, failures of a cache.

        The more often during a run, the less a kill excuses. Cheap enough for several times a second.
        """

    async def check(self, target: Target) -> Sequence[SafetyCheck]:
        """Judge the whole history since the last `seed`, once the load of the block is over (asks the target what it kept)."""

    def recorded(self, target: Target) -> tuple[Header, list[HistoryItem]]:
        """The history since the last `seed` for `loadtests.history.recorded.write_history`; after `check` its questions too.

        Raises RuntimeError when the workload was not told to keep it.
        """

    def deadline_s(self, target: Target) -> float | None:
        """How much longer than usual an answer may take while a server it can do without is away; None where there is none."""

    def card(self, knob: str, baseline: str, other: str) -> tuple[str, ...]:
        """Figures (of `counters` or of the measuring) that the trade-off card shows for this knob, most telling first."""


# What a module of a design's load exports as `JUDGE`: the verdicts of `Workload.check` from a recorded history alone.
Judge: TypeAlias = Callable[[Header, Sequence[HistoryItem]], list[SafetyCheck]]
