"""One call at a time set beforehand, as precisely as the system can: what keeps a plan of requests on its schedule.

Promises. One time is held, the last one armed, and the callback runs in the event loop, as near to it as the system can. It looks
at the clock itself, for a coarse timer may be early, and then arms the next time or disarms: until then it may be called again.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from typing import Protocol


def precise_timer(due: Callable[[], None]) -> Timer:
    return LinuxTimer(due) if sys.platform == "linux" else LoopTimer(due)


class Timer(Protocol):
    """Calls back when a time of the event loop's clock has come; arming again replaces the time."""

    def arm(self, at_s: float) -> None: ...

    def disarm(self) -> None: ...

    def close(self) -> None: ...


class LoopTimer:
    """The event loop's own timer, which rounds to whole milliseconds."""

    def __init__(self, due: Callable[[], None]) -> None:
        self._due = due
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, at_s: float) -> None:
        self.disarm()
        loop = asyncio.get_running_loop()
        self._handle = loop.call_at(at_s, self._due)

    def disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    close = disarm


class LinuxTimer:
    """A timerfd on the monotonic clock: due within some 50 us, where the loop's timers would be half a millisecond late.

    struct itimerspec { interval: timespec; value: timespec }, each timespec two longs: seconds, nanoseconds.
    """

    _CLOCK_MONOTONIC = 1
    _TFD_TIMER_ABSTIME = 1

    def __init__(self, due: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(self._CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timerfd")
        self._spec = (ctypes.c_long * 4)()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, due)

    def arm(self, at_s: float) -> None:
        self._set(*divmod(int(at_s * 1e9) + 1, 1_000_000_000))

    def disarm(self) -> None:
        self._set(0, 0)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _set(self, seconds: int, nanoseconds: int) -> None:
        # Setting a timer also takes back an expiry nobody read, so the descriptor needs no read.
        self._spec[2], self._spec[3] = seconds, nanoseconds
        self._libc.timerfd_settime(self._fd, self._TFD_TIMER_ABSTIME, self._spec, None)
