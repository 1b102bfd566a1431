"""What the schedule `random` may do to a URL shortener, and how badly: its menu.

Beside what goes well with the deadline of the shared cache (50 ms unless a knob says otherwise) there is what is far beyond it. No
fault is left out because the design would not like it.
"""

from __future__ import annotations

from loadtests.faults.menu import LONG_S, MACHINE, REDIS_ITSELF, REPLICA, SHORT_S, WAY_TO_REDIS
from loadtests.faults.pattern import FaultPattern

WORKER = "click-worker"

MENU: tuple[FaultPattern, ...] = (
    # The way to Redis, within and far beyond the deadline, and Redis itself.
    FaultPattern("latency", "redis", LONG_S, {"latency": (1, 40), "jitter": (0, 20)}),
    *WAY_TO_REDIS,
    *REDIS_ITSELF,
    # Kafka and Cassandra, where the knobs need them: the way to them, and where that is allowed they themselves.
    FaultPattern("latency", "kafka@*", LONG_S, {"latency": (20, 500)}, stream="both"),
    FaultPattern("timeout", "kafka", LONG_S, {"timeout": 0}),
    FaultPattern("reset_peer", "kafka", SHORT_S, {"timeout": (0, 100)}, toxicity=(0.2, 1.0)),
    FaultPattern("limit_data", "kafka", SHORT_S, {"bytes": (0, 4_000)}, toxicity=(0.2, 1.0)),
    FaultPattern("down", "kafka@*", LONG_S),
    FaultPattern("kill", "kafka", SHORT_S),
    FaultPattern("pause", "kafka", LONG_S),
    FaultPattern("latency", "cassandra@*", LONG_S, {"latency": (5, 300)}, stream="both"),
    FaultPattern("timeout", "cassandra", LONG_S, {"timeout": 0}),
    FaultPattern("reset_peer", "cassandra", SHORT_S, {"timeout": (0, 100)}, toxicity=(0.2, 1.0)),
    FaultPattern("limit_data", "cassandra", SHORT_S, {"bytes": (0, 4_000)}, toxicity=(0.2, 1.0)),
    FaultPattern("down", "cassandra@*", LONG_S),
    FaultPattern("kill", "cassandra", SHORT_S),
    FaultPattern("pause", "cassandra", LONG_S),
    # The design's own processes.
    FaultPattern("kill", REPLICA, SHORT_S),
    FaultPattern("pause", REPLICA, LONG_S),
    FaultPattern("kill", WORKER, SHORT_S),
    FaultPattern("pause", WORKER, LONG_S),
    FaultPattern("slow_store", "*", LONG_S, {"delay": (5, 500)}),
    FaultPattern("slow_store", "*", LONG_S, {"delay": (5, 100)}, pick="all"),
    FaultPattern("clock_offset", REPLICA, LONG_S, {"seconds": (-3, 3)}),
    *MACHINE,
)
