"""What the schedule `random` may do to a rate limiter, and how badly: its menu.

Beside what goes well with the deadline of the store (30 ms unless a knob says otherwise) there is what is far beyond it. No
fault is left out because the design would not like it.
"""

from __future__ import annotations

from loadtests.faults.pattern import FaultPattern

SHORT_S = (0.2, 1.0)
LONG_S = (0.5, 2.5)
REPLICA = "replica-*"

MENU: tuple[FaultPattern, ...] = (
    # The way to Redis, of all replicas or of one.
    FaultPattern("latency", "redis", LONG_S, {"latency": (1, 25), "jitter": (0, 10)}),
    FaultPattern("latency", "redis@*", LONG_S, {"latency": (20, 300)}, stream="both"),
    FaultPattern("timeout", "redis", LONG_S, {"timeout": 0}),
    FaultPattern("timeout", "redis@*", LONG_S, {"timeout": 0}, stream="both"),
    FaultPattern("timeout", "redis@*", LONG_S, {"timeout": 0}, stream="upstream", toxicity=(0.2, 0.8)),
    FaultPattern("reset_peer", "redis", SHORT_S, {"timeout": (0, 100)}, toxicity=(0.2, 1.0)),
    FaultPattern("limit_data", "redis", SHORT_S, {"bytes": (0, 4_000)}, toxicity=(0.2, 1.0)),
    FaultPattern("bandwidth", "redis", LONG_S, {"rate": (1, 32)}, stream="both"),
    FaultPattern("slicer", "redis", LONG_S, {"average_size": (1, 200), "delay": (0, 2_000)}, stream="both"),
    FaultPattern("slow_close", "redis", LONG_S, {"delay": (100, 2_000)}),
    FaultPattern("down", "redis", SHORT_S),
    FaultPattern("down", "redis@*", LONG_S),
    # Redis itself.
    FaultPattern("kill", "redis", SHORT_S),
    FaultPattern("pause", "redis", LONG_S),
    FaultPattern("wipe", "redis", SHORT_S),
    FaultPattern("power_loss", "redis", SHORT_S),
    # The replicas.
    FaultPattern("kill", REPLICA, SHORT_S),
    FaultPattern("pause", REPLICA, LONG_S),
    FaultPattern("slow_store", "*", LONG_S, {"delay": (5, 500)}),
    FaultPattern("slow_store", "*", LONG_S, {"delay": (5, 25)}, pick="all"),
    FaultPattern("clock_offset", REPLICA, LONG_S, {"seconds": (-3, 3)}),
    # What all of them stand on.
    FaultPattern("disk_full", "*", SHORT_S, {"bytes": 0}, pick="all"),
    FaultPattern("disk_full", REPLICA, LONG_S, {"bytes": 0}),
    FaultPattern("power_loss", "host", SHORT_S),
)
