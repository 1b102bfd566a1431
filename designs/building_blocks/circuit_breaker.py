"""Stop calling what keeps failing, and look again with one call at a time.

    closed --- `failures` failures within `window_s` ---> open --- `open_s` later ---> half-open
       ^                                                    ^                            |  |
       |                                                    +------ the probe failed ----+  |
       +------------------------------ the probe succeeded --------------------------------+

The Circuit Breaker of Michael Nygard, "Release It!", 2007, which opens on failures in a sliding window.

Promises: while open no call is allowed; while half-open one call, the probe, is allowed per `open_s`; the
memory used is `failures` timestamps. Asks nobody for the time but the `clock` it is given, never waits,
belongs to one event loop.
"""

from collections import deque
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "half-open", "open"]


class CircuitBreaker:
    """Ask `allow` before a call, then report `success` or `failure`; a cancelled call reports neither.

    `clock()` is in seconds and never goes back. `opened_total` counts how often it went to open, from
    half-open too.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        failures: int = 5,
        window_s: float = 10,
        open_s: float = 1.0,
    ) -> None:
        if failures < 1 or window_s <= 0 or open_s <= 0:
            raise ValueError("a breaker needs at least one failure, and a window and an open time above zero")
        self.opened_total = 0
        self._clock = clock
        self._window_s = window_s
        self._open_s = open_s
        # The newest `failures` suffice: if the oldest of them lies in the window, so do all.
        self._failed_at_s: deque[float] = deque(maxlen=failures)
        self._opened_at_s: float | None = None
        self._probed_at_s: float | None = None

    @property
    def state(self) -> State:
        if self._opened_at_s is None:
            return "closed"
        return "open" if self._clock() - self._opened_at_s < self._open_s else "half-open"

    def allow(self) -> bool:
        """Whether a call may be made now. In half-open, True makes the caller's call the probe.

        A probe that never reports, because its caller was cancelled or died, frees its slot after `open_s`.
        """
        state = self.state
        if state != "half-open":
            return state == "closed"
        now_s = self._clock()
        if self._probed_at_s is not None and now_s - self._probed_at_s < self._open_s:
            return False
        self._probed_at_s = now_s
        return True

    def success(self) -> None:
        """Closes the breaker after a probe. While closed, failures age out of the window instead."""
        if self._probed_at_s is not None:
            self._opened_at_s = self._probed_at_s = None

    def failure(self) -> None:
        """Opens the breaker after a probe, or when the window is full.

        Calls allowed before it opened report late; without a probe under way they change nothing.
        """
        now_s = self._clock()
        if self._probed_at_s is not None:
            self._open(now_s)
        elif self._opened_at_s is None:
            self._failed_at_s.append(now_s)
            full = len(self._failed_at_s) == self._failed_at_s.maxlen
            if full and now_s - self._failed_at_s[0] < self._window_s:
                self._open(now_s)

    def _open(self, now_s: float) -> None:
        self._opened_at_s = now_s
        self._probed_at_s = None
        self._failed_at_s.clear()
        self.opened_total += 1
