"""Which knobs a soak turns, and among which values: what changes how a promise is kept, with numbers that bite within seconds.

Each check of a soak leaves some knobs at their default, so that combinations come up that a change of everything would hide: swarm
testing (Groce, Zhang, Eide, Chen, Regehr, "Swarm testing", ISSTA 2012).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

VARIED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "algorithm": (
            "gcra",
            "token_bucket",
            "leaky_bucket",
            "leaky_queue",
            "fixed_window",
            "sliding_window",
            "sliding_log",
            "sketch",
        ),
        "store": ("redis", "memory", "sqlite", "local_lease"),
        "lease_size": ("1", "10", "100"),
        "lease_ms": ("100", "1000"),
        "on_store_down": ("local", "open", "closed"),
        "deadline_ms": ("10", "30", "250"),
        "breaker": ("on", "off"),
        "clock": ("store", "client"),
        "headers": ("current", "draft-06", "x-ratelimit", "none"),
        "memory_keys": ("64", "100000"),
        "shed": ("off", "priority"),
    }
)

# Alternatives it never takes, and why.
LEFT_OUT: Mapping[str, Mapping[str, str]] = MappingProxyType({})

# Knobs a soak leaves alone, and why.
LEFT_ALONE: Mapping[str, str] = MappingProxyType(
    {
        "metrics": "off hides from the checks that a breaker opened, and that keys shared buckets",
        "traces": "a collector would be one process more, and no promise is about it",
    }
)
