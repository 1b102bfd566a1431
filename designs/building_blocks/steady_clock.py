"""The time of day as it was when the process started, and from then on a clock that nobody sets.

For what one process counts by itself: a wall clock that is put forward by a second would refill whatever refills in a second, and a
virtual machine that was paused has its clock put forward. Processes that have to agree need one clock for all instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def steady_clock(
    wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
) -> Callable[[], int]:
    """Microseconds since 1970, never back, and forward by what has passed."""
    began_ns = wall_ns() - monotonic_ns()
    return lambda: (began_ns + monotonic_ns()) // 1000
