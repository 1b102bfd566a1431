"""One of several processes that race for the same keys: `python -m tests.rate_limiter.racer <store> <where> <race>`.

It says "ready", waits for a line, runs, and says on one line of JSON how many it was admitted.

    frozen   every algorithm and a concurrency limit, limits that refill a unit in hours: the sum over processes is the limit
    live     one bucket that refills while they race, for so many asks
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from designs.rate_limiter.limits import ALGORITHM_NAMES, WITH_BURST, Limit, Slots
from designs.rate_limiter.ports import Demand, LimitStore, SlotDemand, StoreError, Taken
from designs.rate_limiter.rules import bucket_of

DAY_US = 86_400 * 1_000_000
FROZEN_LIMIT, ASKS = 100, 40  # of each process; eight of them want three times what there is
LIVE = Limit("token_bucket", 200, 1_000_000, 20)
LIVE_ASKS = 150
SLOTS = SlotDemand(bucket_of("api", "concurrency", "race"), "all", Slots(FROZEN_LIMIT, DAY_US))
WAIT_S, TRIES = 60, 10


def frozen() -> dict[str, Demand]:
    """The longest windows, so that none ends in the race; for the buckets a unit comes back in a day."""
    demands: dict[str, Demand] = {}
    for name in ALGORITHM_NAMES:
        limit = (
            Limit(name, 1, DAY_US, FROZEN_LIMIT) if name in WITH_BURST else Limit(name, FROZEN_LIMIT, 300 * DAY_US, FROZEN_LIMIT)
        )
        demands[name] = Demand(bucket_of("api", name, "race"), "all", limit)
    return demands


def live() -> Demand:
    return Demand(bucket_of("api", "token_bucket", "live"), "all", LIVE)


def opened(store: str, where: str) -> LimitStore:
    if store == "redis":
        from designs.building_blocks.redis_connection import connect
        from designs.rate_limiter.backends.redis import RedisLimitStore

        return RedisLimitStore(connect(where, 30.0))
    from designs.rate_limiter.backends.sqlite import SqliteLimitStore

    return SqliteLimitStore(Path(where), lambda: time.time_ns() // 1_000)


async def surely(ask: Callable[[], Awaitable[Taken]]) -> Taken:
    """On a slow machine SQLite may let one wait for its lock in vain: that has changed nothing, so it may be asked again."""
    for _ in range(TRIES):
        try:
            return await ask()
        except StoreError as error:
            if error.may_have_happened:
                raise
    return await ask()


async def race(store: LimitStore, kind: str, name: str) -> Counter[str]:
    got: Counter[str] = Counter()
    if kind == "live":
        for _ in range(LIVE_ASKS):
            got["live"] += (await surely(partial(store.take, [live()]))).allowed
        return got
    for number in range(ASKS):
        for algorithm, demand in frozen().items():
            got[algorithm] += (await surely(partial(store.take, [demand]))).allowed
        got["slots"] += (await surely(partial(store.acquire, [SLOTS], f"{name}-{number}"))).allowed
    return got


def raced(store: str, where: str, kind: str, processes: int) -> Counter[str]:
    """The sum of what all were admitted. They begin together, when all are there."""
    command = [sys.executable, "-m", "tests.rate_limiter.racer", store, where, kind]
    racers = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in range(processes)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        total: Counter[str] = Counter()
        for racer in racers:
            total.update(json.loads(racer.communicate(timeout=WAIT_S)[0]))
        return total
    finally:
        for racer in racers:
            if racer.poll() is None:
                racer.kill()
                racer.communicate()


async def main(store: str, where: str, kind: str, name: str) -> dict[str, Any]:
    limits = opened(store, where)
    try:
        await limits.ping()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        return await race(limits, kind, name)
    finally:
        await limits.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
