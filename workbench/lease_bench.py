"""`designs bench leases`: what leasing units spares, wastes and lets through, counted on the limiter's own code in simulated time.

Four replicas share one limit through a store in memory, and nothing here depends on the machine. Two loads:

    steady   requests at four fifths of the rate, each to any replica (from one seed): round trips, units that ran out unspent, and
             requests that were refused, of which without leases there are none
    saved    each replica fetches a block; when it has nearly run out, all is spent in one moment, beside all that the store has by
             then: where a lease lets more through than the limit

A block is a tenth of the burst at most, however large `lease_size` is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from designs.rate_limiter.backends.local_lease import LocalLeaseStore
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.limits import Limit
from designs.rate_limiter.ports import Demand, Taken
from loadtests.manifest import conditions
from workbench.bench_verdicts import conclude, met_or_missed

SIZES = (1, 2, 5, 10, 20, 50, 100)
REPLICAS = 4
LIMIT = Limit("gcra", 100, 1_000_000, 1_000)
LEASE_US = 1_000_000
SHARE, REQUESTS, SEED = 0.8, 10_000, 7
SPARED_BY_TEN = 0.75
COLUMNS = (
    "lease_size",
    "round trips per 100 requests",
    "units lost per 100 admitted",
    "refused per 100 requests",
    "most at once beyond the burst",
    "replicas x lease_size",
    "rate x life of a lease",
)


@dataclass(frozen=True, slots=True)
class Found:
    """Of one size: counts of the steady load, and the most that was admitted at once beyond the burst after it was saved for."""

    size: int
    trips: int
    admitted: int
    lost: int
    beyond: int

    @property
    def held(self) -> int:
        """What all replicas together may hold."""
        return REPLICAS * self.size if self.size > 1 else 0


class Clock:
    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


class CountingStore(MemoryLimitStore):
    """Counts the units that it gave."""

    given = 0

    async def take(self, demands: Sequence[Demand]) -> Taken:
        taken = await super().take(demands)
        if taken.allowed:
            self.given += sum(demand.cost for demand in demands)
        return taken


class Replicas:
    """So many with one store, and one key that all ask about."""

    def __init__(self, size: int) -> None:
        self.clock = Clock()
        self.store = CountingStore(self.clock)
        self.all = [LocalLeaseStore(self.store, size, LEASE_US, self.clock) for _ in range(REPLICAS)]

    async def asks(self, replica: LocalLeaseStore) -> bool:
        return (await replica.take([Demand("{bench}:gcra1:per-tenant", "acme", LIMIT)])).allowed


def found_of(size: int) -> Found:
    trips, admitted, lost = asyncio.run(steady(size))
    return Found(size, trips, admitted, lost, asyncio.run(saved(size)))


async def steady(size: int, requests: int = REQUESTS) -> tuple[int, int, int]:
    """(round trips, admitted, units lost) of a Poisson stream."""
    chance, replicas = random.Random(SEED), Replicas(size)
    admitted = 0
    for _ in range(requests):
        replicas.clock.now_us += round(chance.expovariate(SHARE * LIMIT.quota / LIMIT.period_us))
        admitted += await replicas.asks(chance.choice(replicas.all))
    return sum(each.trips for each in replicas.all), admitted, replicas.store.given - admitted


async def saved(size: int) -> int:
    """Units beyond the burst that are admitted in one moment, when everybody has saved up for it."""
    replicas = Replicas(size)
    for replica in replicas.all:
        for _ in range(2):  # who comes twice has a block
            await replicas.asks(replica)
    replicas.clock.now_us += LEASE_US - 1
    at_once = 0
    for replica in replicas.all:
        while await replicas.asks(replica):
            at_once += 1
    return at_once - LIMIT.burst


def rate_over_a_lease() -> int:
    return LIMIT.quota * LEASE_US // LIMIT.period_us


def leases_command(*, record: bool = False) -> int:
    """Count, print, and answer 0 when every requirement is met, else 1."""
    around = conditions()
    found = {size: found_of(size) for size in SIZES}
    table = [row(each) for each in found.values()]
    return conclude("rate_limiter", "leases", COLUMNS, table, verdicts(found), record=record, around=around)


def row(found: Found) -> list[str]:
    return [
        f"{found.size}",
        f"{100 * found.trips / REQUESTS:.1f}",
        f"{100 * found.lost / found.admitted:.1f}",
        f"{100 * (REQUESTS - found.admitted) / REQUESTS:.1f}",
        f"{found.beyond}",
        f"{found.held}",
        f"{rate_over_a_lease()}",
    ]


def verdicts(found: dict[int, Found]) -> list[str]:
    """A sentence for each requirement: met or MISSED."""
    spent = round(SHARE * LIMIT.quota / REPLICAS * LEASE_US / LIMIT.period_us)  # by a replica, while a lease lasts
    over = [f"{each.size}: {each.beyond}" for each in found.values() if each.beyond > min(each.held, rate_over_a_lease())]
    refused = [str(each.size) for each in found.values() if each.size <= spent and each.admitted < REQUESTS]
    spared = 1 - found[10].trips / found[1].trips
    judged = [
        (
            not over,
            "no lease lets more through at once than the burst and the smaller of replicas x lease_size and rate x its life: "
            f"{', '.join(over) or 'none did'}",
        ),
        (spared >= SPARED_BY_TEN, f"leases of ten spare at least {SPARED_BY_TEN:.0%} of the round trips: {spared:.0%}"),
        (
            not refused,
            f"nobody is refused for a lease that a replica spends while it lasts (here {spent} units): "
            f"{', '.join(refused) or 'nobody was'}",
        ),
        (
            found[100].trips > found[1].trips,
            "a lease of five times that asks more often than none, for a limit that it has used up in vain: "
            f"{found[100].trips / found[1].trips:.1f} times as often",
        ),
    ]
    return [met_or_missed(met, sentence) for met, sentence in judged]
