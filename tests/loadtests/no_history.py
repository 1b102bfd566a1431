"""What the workloads that tests make up have in common: they keep no history and nothing strikes them."""

from __future__ import annotations

from loadtests.history.operation import HistoryItem, Observation, Struck
from loadtests.history.recorded import Header
from loadtests.workload import Target


class NoHistory:
    """The part of `loadtests.workload.Workload` that only a check needs."""

    check_mix = "reads"

    def strike(self, target: Target, struck: Struck) -> None: ...

    def note(self, target: Target, observation: Observation) -> None: ...

    def read_page(self, target: Target, node: str, at_s: float, metrics_text: str) -> None: ...

    def recorded(self, target: Target) -> tuple[Header, list[HistoryItem]]:
        raise RuntimeError("nothing is kept")

    def deadline_s(self, target: Target) -> float | None:
        return None
