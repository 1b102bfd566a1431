"""What the schedule `random` may do to a rate limiter, and how badly: its menu.

Beside what goes well with the deadline of the store (30 ms unless a knob says otherwise) there is what is far beyond it. No
fault is left out because the design would not like it.
"""

from __future__ import annotations

from loadtests.faults.menu import LONG_S, MACHINE, REDIS_ITSELF, REPLICA, SHORT_S, WAY_TO_REDIS
from loadtests.faults.pattern import FaultPattern

MENU: tuple[FaultPattern, ...] = (
    # The way to Redis, within and far beyond the deadline, and Redis itself.
    FaultPattern("latency", "redis", LONG_S, {"latency": (1, 25), "jitter": (0, 10)}),
    *WAY_TO_REDIS,
    *REDIS_ITSELF,
    # The replicas.
    FaultPattern("kill", REPLICA, SHORT_S),
    FaultPattern("pause", REPLICA, LONG_S),
    FaultPattern("slow_store", "*", LONG_S, {"delay": (5, 500)}),
    FaultPattern("slow_store", "*", LONG_S, {"delay": (5, 25)}, pick="all"),
    FaultPattern("clock_offset", REPLICA, LONG_S, {"seconds": (-3, 3)}),
    *MACHINE,
)
