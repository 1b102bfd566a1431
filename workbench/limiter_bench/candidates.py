"""Who is measured, and with which work: the same number of keys, the same limit and period, the same half allowed and half refused.

fastapi-limiter is not here: since 0.2 it counts nothing itself and asks a pyrate-limiter `Limiter`, which is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

# What a limiter of L in a period promises, which is what its run is held to:
Promise: TypeAlias = Literal[
    "any window",  # L in any stretch as long as the period
    "window edges",  # L in each window, so 2 L where two meet
    "burst and rate",  # in t seconds L + t x rate
]
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Work:
    """What each does in a turn: `keys` keys, `limit` times each, which all pass, and as often again, which all are refused.

    Nothing comes back while it does: the period is a day.
    """

    keys: int = 50
    limit: int = 10
    period_s: int = 86_400

    @property
    def decisions(self) -> int:
        """Allowed in a turn, and refused as well."""
        return self.keys * self.limit


@dataclass(frozen=True, slots=True)
class Candidate:
    """`peer` is the module of `peers` that runs it and `how` what that calls it. `promise`: None for a floor, which limits nothing.

    `limits`: how many limits each decision keeps. `again`: the same once more, to see by how much a figure differs from itself.
    """

    peer: str
    how: str
    promise: Promise | None
    limits: int = 1
    again: bool = False

    @property
    def name(self) -> str:
        title = "floor" if self.promise is None else TITLES[self.peer]
        return f"{title}: {self.how}{', again' if self.again else ''}"


TITLES = {OURS: OURS, "limits": "limits", "throttled": "throttled-py", "pyrate": "pyrate-limiter", "slowapi": "slowapi"}
PEERS = tuple(peer for peer in TITLES if peer != OURS)

FLOOR = Candidate(OURS, "return 1", None)
TIME_FLOOR = Candidate(OURS, "TIME", None)
GCRA = Candidate(OURS, "gcra", "burst and rate")
GCRA_AGAIN = Candidate(OURS, "gcra", "burst and rate", again=True)
THREE = Candidate(OURS, "gcra x3", "burst and rate", limits=3)

CANDIDATES = (
    FLOOR,
    TIME_FLOOR,
    GCRA,
    THREE,
    Candidate(OURS, "token_bucket", "burst and rate"),
    Candidate(OURS, "leaky_bucket", "burst and rate"),
    Candidate(OURS, "leaky_queue", "burst and rate"),
    Candidate(OURS, "fixed_window", "window edges"),
    Candidate(OURS, "sliding_window", "window edges"),
    Candidate(OURS, "sliding_log", "any window"),
    Candidate(OURS, "sketch", "window edges"),
    Candidate("limits", "fixed-window", "window edges"),
    Candidate("limits", "fixed-window, stats", "window edges"),
    Candidate("limits", "sliding-window-counter", "window edges"),
    Candidate("limits", "moving-window", "any window"),
    GCRA_AGAIN,
    Candidate("throttled", "fixed_window", "window edges"),
    Candidate("throttled", "sliding_window", "window edges"),
    Candidate("throttled", "token_bucket", "burst and rate"),
    Candidate("throttled", "leaking_bucket", "burst and rate"),
    Candidate("throttled", "gcra", "burst and rate"),
    Candidate("pyrate", "log", "any window"),
    Candidate("pyrate", "gcra", "burst and rate"),
    Candidate("slowapi", "fixed-window", "window edges"),
    Candidate("slowapi", "fixed-window, headers", "window edges"),
    Candidate("slowapi", "moving-window, headers", "any window"),
)


def candidates_of(peers: Iterable[str]) -> list[Candidate]:
    """Those of these peers, and always ours, in the order of the table."""
    wanted = {OURS, *peers}
    return [candidate for candidate in CANDIDATES if candidate.peer in wanted]
