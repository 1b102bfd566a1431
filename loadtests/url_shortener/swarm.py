"""Which knobs a soak turns, and among which values: what changes how a promise is kept, with numbers that bite within seconds.

Each check of a soak leaves some knobs at their default, so that combinations come up that a change of everything would hide: swarm
testing (Groce, Zhang, Eide, Chen, Regehr, "Swarm testing", ISSTA 2012).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

VARIED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ids": ("lease", "counter", "snowflake", "random", "hash"),
        "code_length": ("6", "7", "8"),
        "lease_size": ("1", "100", "1000"),
        "store": ("sqlite", "cassandra"),
        "consistency": ("local_quorum", "one", "all"),
        "speculative_ms": ("0", "5"),
        "cache": ("none", "aside", "write-through", "write-behind"),
        "cache_layers": ("process", "redis", "both"),
        "cache_entries": ("20", "1000", "20000"),
        "cache_ttl_s": ("0.5", "2", "300"),
        "cache_ttl_jitter": ("0", "0.1", "0.5"),
        "staleness_s": ("0.3", "0.5", "2"),
        "negative_ttl_s": ("0", "1", "5"),
        "stampede": ("none", "single-flight", "lease", "early-expiry"),
        "on_cache_down": ("bypass", "refuse"),
        "cache_deadline_ms": ("20", "50", "250"),
        "clicks": ("redis_streams", "kafka", "batched", "sync", "off"),
        "click_flush_ms": ("10", "100", "500"),
        "click_buffer": ("50", "20000"),
        "redirect": ("302", "301", "307"),
        "redirect_path": ("asgi", "fastapi"),
    }
)

# Alternatives it never takes, and why. What needs a server that is not given is left out by the soak itself.
LEFT_OUT: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"store": {"memory": "promises nothing to a second replica, nor to one that was killed"}}
)

# Knobs a soak leaves alone, and why.
LEFT_ALONE: Mapping[str, str] = MappingProxyType(
    {
        "misses_per_minute": "all requests come from one address, so the limit would refuse the load itself",
        "metrics": "off hides from the checks which losses were declared",
        "traces": "a collector would be one process more, and no promise is about it",
    }
)
