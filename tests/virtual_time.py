"""An asyncio event loop whose clock jumps instead of waiting: simulated seconds cost nothing, and every run is the same.

    async def nap() -> float:
        await asyncio.sleep(3600)
        return now_s()

    assert run(nap()) == 3600

Time stands still while anything can run, then jumps to the next timer. The loop has no sockets, threads or processes to wait
for: when nothing is ready and no timer is set it raises `Deadlock` instead of hanging.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(Exception):
    """Everything waits, and nothing is left that could wake anything."""


class _JumpingSelector(selectors.DefaultSelector):
    """The event loop asks its selector to wait until the next timer; this one moves the clock there."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("no task can run and no timer is set")
        self.now_s += max(timeout, 0.0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at second 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def now_s() -> float:
    """Seconds since the loop began, for a `clock` in seconds."""
    return asyncio.get_running_loop().time()


def now_us() -> int:
    """Microseconds since the loop began, for a `clock_us`."""
    return round(now_s() * 1e6)
