"""What is kept of one variant from one seeding to the next: its history, folded as it comes, and in full where it is wanted.

Times in a history count from the moment its seeding began, on the monotonic clock of the process that makes the load.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from loadtests.history.operation import HistoryItem, Observation, Operation, Struck
from loadtests.history.processes import Processes
from loadtests.history.recorded import Header, in_order
from loadtests.workload import Mix, Target


class Fold(Protocol):
    """A history as a design's checks read it. The order in which items are taken in must not matter."""

    observations: list[Observation]
    strikes: list[Struck]

    def take_operation(self, op: Operation) -> None: ...


F = TypeVar("F", bound=Fold)


def take(history: Fold, item: HistoryItem) -> None:
    if isinstance(item, Observation):
        history.observations.append(item)
    elif isinstance(item, Struck):
        history.strikes.append(item)
    else:
        history.take_operation(item)


def take_all(history: F, items: Iterable[HistoryItem]) -> F:
    """The history given."""
    for item in items:
        take(history, item)
    return history


@dataclass(slots=True)
class Recording(Generic[F]):
    """`kept` None: what is judged is folded into `history`, and no file can be written of it."""

    header: Header
    began_s: float
    history: F
    kept: list[HistoryItem] | None = None

    def clock(self, monotonic_s: float) -> float:
        """On the clock of the history, in whole nanoseconds, as its file has them."""
        return round((monotonic_s - self.began_s) * 1e9) / 1e9

    def take(self, item: HistoryItem) -> None:
        take(self.history, item)
        if self.kept is not None:
            self.kept.append(item)

    def strike(self, struck: Struck) -> None:
        """As `take`, of a fault dated by the monotonic clock."""
        self.take(replace(struck, began_s=self.clock(struck.began_s), ended_s=self.clock(struck.ended_s)))

    def note(self, observation: Observation) -> None:
        """As `take`, of an observation dated by the monotonic clock."""
        self.take(replace(observation, at_s=self.clock(observation.at_s)))

    def recorded(self) -> tuple[Header, list[HistoryItem]]:
        """See `loadtests.workload.Workload.recorded`."""
        if self.kept is None:
            raise RuntimeError("the history was not kept; make the workload with keep=True")
        processes = Processes()
        return self.header, [processes.numbered(item) if isinstance(item, Operation) else item for item in in_order(self.kept)]


def begun(
    design: str,
    target: Target,
    mix: Mix,
    seed: int,
    history: F,
    *,
    keep: bool,
    bounds: Mapping[str, float] = MappingProxyType({}),
) -> Recording[F]:
    """A recording that begins now: to be made before the first request of a seeding."""
    began_s, clock_s = time.monotonic(), time.time()
    header = Header(
        design=design,
        mix=mix.name,
        seed=seed,
        knobs=dict(target.knobs),
        started_at=dt.datetime.fromtimestamp(clock_s, dt.UTC).isoformat(timespec="milliseconds"),
        clock=clock_s,
        nodes=tuple(f"replica-{number}" for number in range(1, len(target.urls) + 1)),
        bounds=dict(bounds),
        ops=tuple(dict.fromkeys([*mix.ratios, *(op for op, _ in mix.then.values())])),
    )
    return Recording(header, began_s, history, kept=[] if keep else None)
