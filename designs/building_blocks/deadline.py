"""A time limit that is kept although something under it swallows a cancellation.

`asyncio.timeout` cancels once. Up to Python 3.11 `asyncio.wait_for` loses a cancellation that meets its result, so that a driver
which sends by it goes on to wait for an answer, for as long as its own time-out lasts: seconds, where milliseconds were granted.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

AGAIN_S = 0.01
LOOKS = 3


class Deadline:
    """`async with Deadline(when_s):` as `asyncio.timeout_at`, on the event loop's clock; None for no limit. Raises TimeoutError.

    From `when_s` on the task is cancelled every `AGAIN_S` until it leaves the block. Before the first time the event loop goes
    round `LOOKS` times: when it was busy for longer than the time that was left, an answer may have come meanwhile, and lies in a
    socket that the loop looks at only after its timers. That takes no time when there is nothing to do. `overrun_s` is how late
    the loop was for `when_s`.
    """

    __slots__ = ("_cancelled", "_cancelling", "_handle", "_loop", "_task", "_when_s", "overrun_s")

    def __init__(self, when_s: float | None) -> None:
        self._when_s = when_s
        self._handle: asyncio.Handle | None = None
        self._cancelled = 0
        self.overrun_s = 0.0

    @property
    def expired(self) -> bool:
        return self._cancelled > 0

    async def __aenter__(self) -> Deadline:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        if self._when_s is not None:
            self._loop = asyncio.get_running_loop()
            self._handle = self._loop.call_at(self._when_s, self._due, self._when_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if not self._cancelled:
            return
        for _ in range(self._cancelled):
            self._task.uncancel()
        # A cancellation from elsewhere, at the same time, is not ours to turn into a time-out.
        if kind is not None and issubclass(kind, asyncio.CancelledError) and self._task.cancelling() <= self._cancelling:
            raise TimeoutError from error

    def _due(self, when_s: float) -> None:
        self.overrun_s = self._loop.time() - when_s
        self._look(LOOKS)

    def _look(self, looks: int) -> None:
        if looks:
            self._handle = self._loop.call_soon(self._look, looks - 1)
        else:
            self._cancel()

    def _cancel(self) -> None:
        self._cancelled += 1
        self._task.cancel()
        self._handle = self._loop.call_later(AGAIN_S, self._cancel)


def within(seconds: float | None) -> Deadline:
    """As `asyncio.timeout`."""
    return Deadline(None if seconds is None else asyncio.get_running_loop().time() + seconds)
