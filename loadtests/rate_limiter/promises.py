"""What a rate limiter with these knobs promises: the rules that the load meets, as numbers, and the names of what is judged.

The load knows the limiter from outside, so the rules stand here once more, and a test says that they are those of the service's
own file. A rule without an algorithm counts by the knob's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from designs.rate_limiter.knobs import LimiterKnobs
from loadtests.history.recorded import Header

BOUND = "no limit admits more than it promises"
ROOM = "nobody is refused while there is room"
TOGETHER = "several limits admit together or not at all"
NOTHING_USED = "a refusal uses nothing up"
RETRY = "who waits as long as he is told gets in"
SLOTS = "no more slots are held than there are, and all come back"
TOLD = "status, body and headers say the same"
DEGRADED = "answers do without the store only while it is away"
ANSWERED = "every question is answered"

DOMAIN = "demo"
ANY = "*"
Policy: TypeAlias = Literal["local", "open", "closed"]
Kind: TypeAlias = Literal["bucket", "fixed", "sliding", "log", "sketch"]

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "gcra": "bucket",
        "token_bucket": "bucket",
        "leaky_bucket": "bucket",
        "leaky_queue": "bucket",
        "fixed_window": "fixed",
        "sliding_window": "sliding",
        "sliding_log": "log",
        "sketch": "sketch",
    }
)
SHARED_STORES = frozenset({"redis", "local_lease", "sqlite"})
REDIS_STORES = frozenset({"redis", "local_lease"})
LEASE_SHARE = 10  # a lease is a tenth of the burst at most


@dataclass(frozen=True, slots=True)
class Quota:
    """`quota` units in `period_s`; `burst` at once, 0 where nothing is said of it."""

    quota: int
    period_s: float
    burst: int = 0


@dataclass(frozen=True, slots=True)
class SlotCount:
    slots: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class DeclaredRule:
    """A rule as the service's file has it. `algorithm` and `on_store_down` "": as the knobs say."""

    name: str
    match: Mapping[str, str]
    limit: Quota | SlotCount
    tiers: Mapping[str, Quota | SlotCount] = field(default_factory=dict)
    algorithm: str = ""
    on_store_down: str = ""
    shadow: bool = False

    def applies_to(self, descriptor: Mapping[str, str]) -> bool:
        return all(key in descriptor and wanted in (ANY, descriptor[key]) for key, wanted in self.match.items())


RULES: Sequence[DeclaredRule] = (
    DeclaredRule("per-user", {"user": ANY}, Quota(20, 1.0, 40)),
    DeclaredRule("per-route", {"route": ANY}, Quota(10_000, 1.0)),
    DeclaredRule("per-tenant", {"tenant": ANY}, Quota(600, 60.0), {"free": Quota(600, 60.0), "pro": Quota(6_000, 60.0)}),
    DeclaredRule("login-ip", {"ip": ANY, "route": "/login"}, Quota(5, 60.0), {}, "sliding_window", "local"),
    DeclaredRule("checkout", {"user": ANY, "route": "/checkout"}, Quota(10, 60.0), {}, "token_bucket", "closed"),
    DeclaredRule("search", {"user": ANY, "route": "/search"}, Quota(5, 1.0, 10), {}, "", "open"),
    DeclaredRule("exports", {"tenant": ANY}, SlotCount(5, 30.0), {"pro": SlotCount(20, 30.0)}),
    DeclaredRule("previews", {"user": ANY, "job": "preview"}, SlotCount(3, 1.0)),
    DeclaredRule("per-user-daily", {"user": ANY}, Quota(50_000, 86_400.0), {}, "sliding_window", "", shadow=True),
)
WITH_BURST = frozenset({"gcra", "token_bucket", "leaky_bucket", "leaky_queue"})


@dataclass(frozen=True, slots=True)
class Met:
    """A limit that a request meets: of which rule, for whom, how large. `lease_s` 0: it counts units, else it has slots."""

    rule: str
    item: str
    kind: Kind
    algorithm: str
    quota: int
    period_s: float
    burst: int
    policy: Policy
    lease_s: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        return self.rule, self.item

    @property
    def capacity(self) -> int:
        """Units at once."""
        return self.burst if self.kind == "bucket" else self.quota

    @property
    def gap_s(self) -> float:
        """Time between two units at the sustained rate, in GCRA rounded up to a microsecond."""
        return self.period_s / self.quota + (1e-6 if self.algorithm in ("gcra", "leaky_queue") else 0.0)

    @property
    def horizon_s(self) -> float:
        """What was admitted longer ago than this can't be why anybody is refused."""
        return {"bucket": self.burst * self.gap_s, "sliding": 2 * self.period_s, "sketch": 2 * self.period_s}.get(
            self.kind, self.period_s
        )


@dataclass(frozen=True, slots=True)
class Promises:
    """What a judge needs to know of the knobs. `clock` is the wall clock at second 0 of the history."""

    clock: float
    algorithm: str
    store: str
    on_store_down: Policy
    lease_size: int
    lease_s: float
    deadline_s: float
    breaker: bool
    client_clock: bool
    headers: str
    memory_keys: int
    replicas: int
    rules: Sequence[DeclaredRule] = RULES

    def met(self, descriptor: Mapping[str, str], tier: str = "") -> list[Met]:
        """The limits that a check meets, in the order of the rules. Shadows refuse nobody and are left out."""
        return [self._limit(rule, descriptor, tier) for rule in self._applied(descriptor, Quota)]

    def slots(self, descriptor: Mapping[str, str], tier: str = "") -> list[Met]:
        return [self._limit(rule, descriptor, tier) for rule in self._applied(descriptor, SlotCount)]

    @property
    def per_user(self) -> int:
        """What a user has at once."""
        [limit] = self.met({"user": ""})
        return limit.capacity

    def leased(self, limit: Met) -> int:
        """Units that all replicas together may have taken and not spent."""
        if self.store != "local_lease":
            return 0
        return self.replicas * min(self.lease_size, max(1, limit.capacity // LEASE_SHARE))

    def _applied(self, descriptor: Mapping[str, str], of: type[Quota] | type[SlotCount]) -> list[DeclaredRule]:
        return [rule for rule in self.rules if isinstance(rule.limit, of) and not rule.shadow and rule.applies_to(descriptor)]

    def _limit(self, rule: DeclaredRule, descriptor: Mapping[str, str], tier: str) -> Met:
        limit, item = rule.tiers.get(tier, rule.limit), "|".join(descriptor[key] for key in rule.match)
        policy: Any = rule.on_store_down or self.on_store_down
        if isinstance(limit, SlotCount):
            return Met(rule.name, item, "log", "concurrency", limit.slots, limit.lease_s, limit.slots, policy, limit.lease_s)
        algorithm = rule.algorithm or self.algorithm
        burst = (limit.burst or limit.quota) if algorithm in WITH_BURST else limit.quota
        return Met(rule.name, item, KINDS[algorithm], algorithm, limit.quota, limit.period_s, burst, policy)


def promises_of(header: Header) -> Promises:
    """What the knobs in the header promise; a knob it does not name stands at its default."""
    return promises(header.knobs, len(header.nodes), header.clock)


def promises(knobs: Mapping[str, Any], replicas: int = 1, clock: float = 0.0) -> Promises:
    def knob(name: str) -> Any:
        return knobs.get(name, LimiterKnobs.model_fields[name].default)

    return Promises(
        clock=clock,
        algorithm=knob("algorithm"),
        store=knob("store"),
        on_store_down=knob("on_store_down"),
        lease_size=int(knob("lease_size")),
        lease_s=float(knob("lease_ms")) / 1e3,
        deadline_s=float(knob("deadline_ms")) / 1e3,
        breaker=knob("breaker") == "on",
        client_clock=knob("clock") == "client" or knob("store") not in REDIS_STORES,
        headers=knob("headers"),
        memory_keys=int(knob("memory_keys")),
        replicas=max(1, replicas),
    )
