"""What a limit is and what is decided by it: the words that every algorithm, backend and answer of this design shares.

All times are integer microseconds, and every number that a decision depends on stays below 2^53: Redis calculates in doubles, which
are exact up to there, so that its scripts and the functions here agree to the last unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

AlgorithmName: TypeAlias = Literal[
    "gcra", "token_bucket", "leaky_bucket", "leaky_queue", "fixed_window", "sliding_window", "sliding_log", "sketch"
]
ALGORITHM_NAMES: tuple[AlgorithmName, ...] = get_args(AlgorithmName)
# With these a burst may be smaller or larger than what a period allows; a window allows its quota at once, always.
WITH_BURST: frozenset[AlgorithmName] = frozenset({"gcra", "token_bucket", "leaky_bucket", "leaky_queue"})

EXACT = 1 << 53
MAX_PERIOD_US = 366 * 86_400 * 1_000_000
MAX_LOG = 10_000  # a log costs memory and time for each unit: 70,000 a day in one log have stalled a shared Redis
NOW_MAX_US = 1 << 52  # 2112: sums of now and a wait stay exact

State: TypeAlias = tuple[int, ...]
NEVER_SEEN: State = ()


class BadLimit(ValueError):
    """A limit that can't be kept, or not exactly. The message says what would be right."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`quota` units in `period_us`, and `burst` units at once. Raises `BadLimit`.

    For the algorithms of `WITH_BURST` the two are apart: "120 per minute" in GCRA is one each 500 ms, and the burst says how many
    may come together. For windows and logs the burst is the quota.
    """

    algorithm: AlgorithmName
    quota: int
    period_us: int
    burst: int

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHM_NAMES:
            raise BadLimit(f"there is no algorithm {self.algorithm!r}; there are {', '.join(ALGORITHM_NAMES)}")
        if self.quota < 1 or self.burst < 1:
            raise BadLimit("a quota and a burst are 1 at least; to let nobody in, take the route away")
        if not 1 <= self.period_us <= MAX_PERIOD_US:
            raise BadLimit("a period lies between a microsecond and 366 days")
        if self.algorithm in WITH_BURST:
            if self.quota > self.period_us:
                raise BadLimit("no more than one unit each microsecond can be told apart: a million a second at most")
            if self.period_us * self.burst >= EXACT // 4:
                raise BadLimit("burst x period leaves the range in which Redis calculates exactly; shorten one of them")
        elif self.burst != self.quota:
            raise BadLimit(
                f"{self.algorithm} allows its whole quota at once: leave burst out, or choose one of {_words(WITH_BURST)}"
            )
        if self.algorithm == "sliding_log" and self.quota > MAX_LOG:
            raise BadLimit(f"a log keeps a stamp for each unit, so at most {MAX_LOG:,}; sliding_window needs three numbers instead")
        if self.algorithm in ("sliding_window", "sketch") and 2 * self.quota * (self.period_us // self.tick_us) >= EXACT:
            raise BadLimit("quota x period leaves the range in which Redis calculates exactly; shorten one of them")
        if self.algorithm == "sketch" and self.quota >= 1 << 31:
            raise BadLimit("the counters of a sketch have 32 bits")

    @property
    def tick_us(self) -> int:
        """The resolution of a sliding window: a microsecond, and a millisecond where microseconds would not be exact."""
        return 1 if 2 * self.quota * self.period_us < EXACT or self.period_us % 1000 else 1000

    @property
    def gap_us(self) -> int:
        """Time between two units at the sustained rate, rounded up: the bound holds, and less than 1 / gap of the rate is lost."""
        return -(-self.period_us // self.quota)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one limit says to one cost.

    `retry_after_us`: 0 when allowed; when refused the shortest wait after which the same would pass if nobody else came; None for
    never, since the cost is more than can ever be there. `reset_after_us`: until it is as if nobody had ever come. `delay_us`: an
    admitted request has to wait so long before it goes on (leaky_queue).
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after_us: int | None
    reset_after_us: int
    delay_us: int = 0


@dataclass(frozen=True, slots=True)
class Slots:
    """At most `limit` under way at once. Who does not renew within `lease_us` loses the slot, so that the dead give theirs back."""

    limit: int
    lease_us: int

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 100_000:
            raise BadLimit("a concurrency limit lies between 1 and 100,000")
        if not 1_000 <= self.lease_us <= 86_400 * 1_000_000:
            raise BadLimit("a lease lies between a millisecond and a day")


def _words(names: frozenset[AlgorithmName]) -> str:
    return ", ".join(name for name in ALGORITHM_NAMES if name in names)
