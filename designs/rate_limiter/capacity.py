"""The back-of-envelope estimate of a rate limiter as a function: what the assumptions make of Redis, memory, replicas and error.

Pure arithmetic, no measurement in it: what a decision costs is an input, so that a measured figure can replace the assumed one.
The usual costs are of the order that `designs bench limiter` finds on a small machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from designs.building_blocks.estimation import Row, above_zero, peak_over_mean, shares, shares_above_zero, zero_or_above
from designs.rate_limiter.limits import MAX_LOG, AlgorithmName

Assumption: TypeAlias = float | int | str

SKETCH_BYTES = 4 * 1_024 * 2 * 4  # rows x counters x windows x bytes, whatever the number of keys
TABLE_BYTES = 64  # a key with an end is in two hash tables of Redis: an entry in the second, slots in both, room to grow
LEASE_PER_QUOTA = 10  # a lease is a tenth of the quota at most
BITS = 8


@dataclass(frozen=True, slots=True)
class Anchor:
    """What one limit costs in Redis. `script_us`: of an admission and of a refusal, parsing and sockets apart.

    `state_bytes`: what the key takes besides its name by MEMORY USAGE (an entry, an object, numbers), `unit_bytes` each unit in it.
    """

    script_us: tuple[float, float]
    state_bytes: float
    unit_bytes: float = 0.0


# A script that looks at three keys costs far less than three: this share of the first one for each more.
MORE_LIMIT = 0.6
ANCHORS: Mapping[AlgorithmName, Anchor] = MappingProxyType(
    {
        "gcra": Anchor((4.4, 2.9), 52),
        "token_bucket": Anchor((5.0, 3.3), 70),
        "leaky_bucket": Anchor((5.0, 3.3), 70),
        "leaky_queue": Anchor((4.4, 2.9), 52),
        "fixed_window": Anchor((2.7, 2.1), 62),
        "sliding_window": Anchor((4.9, 3.2), 78),
        "sliding_log": Anchor((6.2, 5.0), 138, 10),
        "sketch": Anchor((10.0, 8.0), 0),
    }
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What follows from the assumptions. Bytes are bytes (a GB is 1e9); rates and cores are those of the peak."""

    decisions_per_s: float
    peak_factor: float
    active_keys: float
    limits_per_request: int
    algorithm: AlgorithmName
    lease_size: int
    busy_share: float
    hot_keys: float
    quota_per_key: float
    peak_decisions_per_s: float
    script_us: float
    redis_us: float
    redis_cores: float
    shards: int
    keys: float
    bytes_per_key: float
    memory_bytes: float
    memory_per_shard_bytes: float
    replica_cores: float
    replicas: int
    redis_bits_per_s: float
    client_bits_per_s: float
    hot_units_per_trip: float
    cold_units_per_trip: float
    trips_per_decision: float
    leased_shards: int
    overshoot_units: float
    overshoot_share: float
    local_fallback_units: float

    def rows(self) -> list[Row]:
        """The estimate as a table, in the order in which an interview asks for it."""
        limits = f"{self.limits_per_request} limit{'s' * (self.limits_per_request > 1)}"
        return [
            Row("decisions at peak", f"{_number(self.peak_decisions_per_s)} /s", f"mean x {_number(self.peak_factor)}"),
            Row(
                "Redis CPU per decision",
                f"{_number(self.redis_us)} us",
                f"{_number(self.script_us)} us of script for {limits}, + sockets",
            ),
            Row("Redis cores at peak", _number(self.redis_cores), "decisions x CPU per decision, one round trip each"),
            Row(
                "Redis shards",
                str(self.shards),
                f"cores / {_ratio(self.busy_share)} busy, rounded up; a domain has one slot, so it takes as many domains",
            ),
            Row("keys", _number(self.keys), f"{_number(self.active_keys)} clients x {limits}, until their state has run out"),
            Row("bytes per key", _bytes(self.bytes_per_key), f"name, entry, end and state of {self.algorithm}"),
            Row("memory", _bytes(self.memory_bytes), "keys x bytes per key, one copy"),
            Row("memory per shard", _bytes(self.memory_per_shard_bytes), "memory / shards"),
            Row("service cores at peak", _number(self.replica_cores), "decisions x CPU of the service per decision"),
            Row("replicas", str(self.replicas), f"cores / {_ratio(self.busy_share)} busy, a core each, one to spare"),
            Row("network to Redis", _bits(self.redis_bits_per_s), "both ways, at peak"),
            Row("network to clients", _bits(self.client_bits_per_s), "both ways, at peak; none where the limiter is a middleware"),
            Row(
                "units per lease, hot key",
                _number(self.hot_units_per_trip),
                f"min(lease of {self.lease_size}, 1 + rate x life / 2), {_number(self.hot_keys)} keys",
            ),
            Row(
                "units per lease, other keys", _number(self.cold_units_per_trip), "the same: who comes seldom finds its lease ended"
            ),
            Row("round trips with leases", f"{_ratio(self.trips_per_decision)} of decisions", "shares / units per lease"),
            Row("Redis shards with leases", str(self.leased_shards), "round trips with leases x CPU per decision"),
            Row(
                "over the limit with leases",
                f"{_number(self.overshoot_units)} units",
                f"min(replicas x lease, rate x its life): {_ratio(self.overshoot_share)} of {_number(self.quota_per_key)}",
            ),
            Row(
                "limit while Redis is away",
                f"{_number(self.local_fallback_units)} units",
                "on_store_down=local: each replica keeps it alone",
            ),
        ]


def estimate(
    *,
    decisions_per_s: float = 100_000.0,
    peak_factor: float = 2.0,
    active_keys: float = 1e6,
    limits_per_request: int = 1,
    algorithm: str = "gcra",
    units_per_key: float = 100.0,
    key_bytes: float = 32.0,
    refused_share: float = 0.05,
    socket_us: float = 8.0,
    service_us: float = 300.0,
    busy_share: float = 0.5,
    request_bytes: float = 300.0,
    http_bytes: float = 1_000.0,
    hot_keys: float = 100.0,
    hot_share: float = 0.5,
    quota_per_key: float = 1_000.0,
    period_s: float = 60.0,
    lease_size: int = 10,
    lease_s: float = 1.0,
) -> Estimate:
    """The whole estimate. `ValueError` with a sentence for an assumption that can't be.

    `units_per_key`: what a log of the last period holds of a key; no other algorithm needs it. `busy_share`: how busy a core may be
    at peak. `request_bytes`: to Redis and back for one limit. `http_bytes`: the same between a client and the service. The leases:
    `hot_share` of all decisions are about `hot_keys` keys, the rest about the others; each has `quota_per_key` in `period_s`.
    """
    above_zero(
        decisions_per_s=decisions_per_s,
        active_keys=active_keys,
        hot_keys=hot_keys,
        quota_per_key=quota_per_key,
        period_s=period_s,
        lease_s=lease_s,
        service_us=service_us,
    )
    zero_or_above(
        units_per_key=units_per_key,
        key_bytes=key_bytes,
        socket_us=socket_us,
        request_bytes=request_bytes,
        http_bytes=http_bytes,
    )
    shares(refused_share=refused_share, hot_share=hot_share)
    shares_above_zero(busy_share=busy_share)
    peak_over_mean(peak_factor)
    for name, value in {"limits_per_request": limits_per_request, "lease_size": lease_size}.items():
        if value != int(value) or value < 1:
            raise ValueError(f"{name}={value} must be a whole number, 1 or above")
    chosen = next((name for name in ANCHORS if name == algorithm), None)
    if chosen is None:
        raise ValueError(f"algorithm={algorithm} is none; there are {', '.join(ANCHORS)}")
    if chosen == "sliding_log" and units_per_key > MAX_LOG:
        raise ValueError(f"units_per_key={units_per_key} is more than a log may hold: at most {MAX_LOG:,}; take sliding_window")
    if hot_keys > active_keys:
        raise ValueError(f"hot_keys={hot_keys} must be at most active_keys={active_keys}: they are some of them")

    limits = int(limits_per_request)
    lease = min(int(lease_size), max(1, int(quota_per_key / LEASE_PER_QUOTA)))
    anchor = ANCHORS[chosen]
    peak = decisions_per_s * peak_factor
    allowed_us, refused_us = anchor.script_us
    one_us = (1 - refused_share) * allowed_us + refused_share * refused_us
    script_us = one_us * (1 + MORE_LIMIT * (limits - 1))
    redis_us = script_us + socket_us
    redis_cores = peak * redis_us / 1e6
    shards = math.ceil(redis_cores / busy_share)
    keys = active_keys * limits
    bytes_per_key = TABLE_BYTES + key_bytes + anchor.state_bytes + anchor.unit_bytes * units_per_key
    memory = float(SKETCH_BYTES * limits * shards) if chosen == "sketch" else keys * bytes_per_key
    replica_cores = peak * service_us / 1e6
    replicas = math.ceil(replica_cores / busy_share) + 1
    # What is spent late was counted before: by no more replicas than there are, and no faster than the limit lets it come.
    held = min(float(replicas * lease), quota_per_key / period_s * lease_s) if lease > 1 else 0.0

    def units_per_trip(share: float, of_keys: float) -> float:
        """Decisions for each trip of a replica: the first goes alone, the second fetches a block for who comes while it lasts."""
        rate_per_s = share * peak / of_keys / replicas if of_keys else 0.0
        return min(float(lease), 1 + rate_per_s * lease_s / 2)

    hot = units_per_trip(hot_share, hot_keys)
    cold = units_per_trip(1 - hot_share, active_keys - hot_keys)
    trips = hot_share / hot + (1 - hot_share) / cold
    return Estimate(
        decisions_per_s=decisions_per_s,
        peak_factor=peak_factor,
        active_keys=active_keys,
        limits_per_request=limits,
        algorithm=chosen,
        lease_size=lease,
        busy_share=busy_share,
        hot_keys=hot_keys,
        quota_per_key=quota_per_key,
        peak_decisions_per_s=peak,
        script_us=script_us,
        redis_us=redis_us,
        redis_cores=redis_cores,
        shards=shards,
        keys=keys,
        bytes_per_key=memory / keys if chosen == "sketch" else bytes_per_key,
        memory_bytes=memory,
        memory_per_shard_bytes=memory / shards,
        replica_cores=replica_cores,
        replicas=replicas,
        redis_bits_per_s=peak * request_bytes * limits * BITS,
        client_bits_per_s=peak * http_bytes * BITS,
        hot_units_per_trip=hot,
        cold_units_per_trip=cold,
        trips_per_decision=trips,
        leased_shards=math.ceil(redis_cores * trips / busy_share),
        overshoot_units=held,
        overshoot_share=held / quota_per_key,
        local_fallback_units=replicas * quota_per_key,
    )


PRESETS: Mapping[str, Mapping[str, Assumption]] = MappingProxyType(
    {
        # What most answers start from: a million checks a second for a hundred million users, and ten Redis primaries.
        "interview classic": {
            "decisions_per_s": 1e6,
            "peak_factor": 1.0,
            "active_keys": 100e6,
            "hot_share": 0.0,
        },
        # 500 requests a day for each of 10,000 users, as Figma published it: what its exact log would hold.
        "Figma, a log": {
            "decisions_per_s": 500 * 10_000 / 86_400,
            "active_keys": 10_000.0,
            "algorithm": "sliding_log",
            "units_per_key": 500.0,
            "quota_per_key": 500.0,
            "period_s": 86_400.0,
        },
        "Figma, GCRA": {
            "decisions_per_s": 500 * 10_000 / 86_400,
            "active_keys": 10_000.0,
            "quota_per_key": 500.0,
            "period_s": 86_400.0,
        },
        # An API of many small users and a hundred large tenants, each request with a limit of its user, route and tenant.
        "three limits, large tenants": {
            "decisions_per_s": 100_000.0,
            "active_keys": 1e6,
            "limits_per_request": 3,
            "hot_share": 0.8,
            "quota_per_key": 120_000.0,
        },
    }
)


def _number(value: float) -> str:
    """Three digits that count, with the short scale's letters: 100 M reads better than 100000000."""
    for size, unit in ((1e12, " tn"), (1e9, " bn"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def _scaled(value: float, unit: str) -> str:
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:.3g} {unit}"


def _bytes(value: float) -> str:
    return _scaled(value, "B")


def _bits(value: float) -> str:
    return _scaled(value, "bit/s")


def _ratio(value: float) -> str:
    return f"{100 * value:.3g} %"
