"""Parts of menus: what may happen to any design that keeps something in Redis, and to the machine that all of it stands on.

A design's menu is a tuple of patterns, and what the schedule `random` draws depends on their order: these keep theirs.
"""

from __future__ import annotations

from loadtests.faults.pattern import FaultPattern

SHORT_S = (0.2, 1.0)
LONG_S = (0.5, 2.5)
REPLICA = "replica-*"

# The way to Redis, of all processes or of one, far beyond any deadline. What goes well with its deadline a design adds by itself.
WAY_TO_REDIS: tuple[FaultPattern, ...] = (
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
)
REDIS_ITSELF: tuple[FaultPattern, ...] = (
    FaultPattern("kill", "redis", SHORT_S),
    FaultPattern("pause", "redis", LONG_S),
    FaultPattern("wipe", "redis", SHORT_S),
    FaultPattern("power_loss", "redis", SHORT_S),
)
# What all processes stand on.
MACHINE: tuple[FaultPattern, ...] = (
    FaultPattern("disk_full", "*", SHORT_S, {"bytes": 0}, pick="all"),
    FaultPattern("disk_full", REPLICA, LONG_S, {"bytes": 0}),
    FaultPattern("power_loss", "host", SHORT_S),
)
