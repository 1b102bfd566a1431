"""Which process asked: concurrent questions come from different ones, as in a history of Jepsen."""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush

from loadtests.history.operation import Operation


class Processes:
    """Numbers for who asks: each asks one thing at a time, and never again once nobody knows what became of its question."""

    def __init__(self) -> None:
        self._next = 0
        self._free: list[tuple[float, int]] = []  # a heap: since when, number

    def numbered(self, operation: Operation) -> Operation:
        """The operation with the number of a process that is free then. They have to come in the order of their invocation."""
        if self._free and self._free[0][0] <= operation.invoked_s:
            number = heappop(self._free)[1]
        else:
            number, self._next = self._next, self._next + 1
        if operation.outcome != "info":
            heappush(self._free, (operation.ended_s, number))
        return replace(operation, process=number)
