"""How far a partition is done when its records are finished in any order: to the end of the prefix without a gap.

A log remembers one number per consumer: "everything below this offset is done". Records are taken in the order of their offsets
and finished as their work ends, so that 7 may be done while 6 still runs. Committing 8 then would lose 6 with the process.

    taken 3 4 6 7, finished 3 4 7  ->  5 may be committed;   6 finished as well  ->  8
"""

from __future__ import annotations

from collections import deque


class FinishedPrefix:
    """One partition, since it was assigned. Offsets may have gaps, as compaction and transactions leave them."""

    def __init__(self) -> None:
        self._taken: deque[int] = deque()  # from the first unfinished one on
        self._finished: set[int] = set()  # of those
        self._last = -1
        self._committable: int | None = None

    @property
    def committable(self) -> int | None:
        """The offset to commit, that of the next record to read; None while nothing can be."""
        return self._committable

    def take(self, offset: int) -> None:
        """The record at this offset is being worked on. Raises ValueError unless it lies behind all taken before."""
        if offset <= self._last:
            raise ValueError(f"offset {offset} was to be taken after {self._last}")
        self._last = offset
        self._taken.append(offset)

    def finish(self, offset: int) -> None:
        """Its work is done; again, or for an offset that was never taken, changes nothing."""
        if not self._taken or not self._taken[0] <= offset <= self._last:
            return
        self._finished.add(offset)
        while self._taken and self._taken[0] in self._finished:
            first = self._taken.popleft()
            self._finished.discard(first)
            self._committable = first + 1
