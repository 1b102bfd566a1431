"""Limits in Redis, shared by all replicas: each decision is one script and one round trip, however many limits there are.

The layout of keys and the scripts are in `redis_scripts.py`. The clock is the server's, unless a server refuses TIME in scripts
(knob clock=client); then replicas must not differ, and keys live an hour longer, so that none ends early by another clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from designs.building_blocks.redis_connection import REDIS_ERRORS, Client, is_of_the_connection, never_sent
from designs.rate_limiter import concurrency
from designs.rate_limiter.algorithms import answer
from designs.rate_limiter.backends.memory import refuse_sketches
from designs.rate_limiter.backends.redis_scripts import (
    FRAGMENTS,
    MAX_TOGETHER,
    Kind,
    give_back_script,
    slot_script,
    take_script,
)
from designs.rate_limiter.count_min_sketch import cells_of
from designs.rate_limiter.limits import Decision, Limit, State
from designs.rate_limiter.ports import Demand, SlotDemand, StoreError, Taken
from designs.rate_limiter.token_bucket import rate

MAX_SCRIPTS = 1_000


class RedisLimitStore:
    """`LimitStore` on one Redis. `clock_us`: the time to use instead of the server's.

    The client is closed with it. Counters that the server loses (a restart without a disk, an eviction) are quotas given anew: run
    it with maxmemory-policy noeviction, so that it refuses instead.
    """

    def __init__(self, client: Client, clock_us: Callable[[], int] | None = None) -> None:
        self._redis = client
        self._clock_us = clock_us
        self._scripts: dict[str, Any] = {}  # text -> the driver's script, which loads itself where the server does not know it

    async def take(self, demands: Sequence[Demand]) -> Taken:
        return await self._decided(demands, spend=True)

    async def peek(self, demands: Sequence[Demand]) -> Taken:
        return await self._decided(demands, spend=False)

    async def give_back(self, demands: Sequence[Demand]) -> None:
        refuse_sketches(demands)
        demands = [demand for demand in demands if demand.cost]
        if not demands:
            return
        demands = sorted(demands, key=lambda demand: demand.limit.algorithm)
        text = give_back_script(tuple(demand.limit.algorithm for demand in demands), client_time=self._clock_us is not None)
        await self._run("give_back", text, _keys(demands), [word for demand in demands for word in _arguments(demand)])

    async def reset(self, demands: Sequence[Demand]) -> None:
        refuse_sketches(demands)
        with _as_store_error("reset"):
            await self._redis.unlink(*_keys(demands))

    async def acquire(self, demands: Sequence[SlotDemand], token: str) -> Taken:
        passed, now_us, *seen = await self._run_slots("acquire", demands, token)
        oks = [bool(passed >> n & 1) for n in range(len(demands))]
        decisions = [
            concurrency.decide(demand.slots, used, frees_at_us, now_us, ok)
            for demand, ok, used, frees_at_us in zip(demands, oks, seen[::2], seen[1::2], strict=True)
        ]
        return Taken(all(ok or demand.shadow for ok, demand in zip(oks, demands, strict=True)), tuple(decisions))

    async def renew(self, demands: Sequence[SlotDemand], token: str) -> bool:
        return bool(await self._run_slots("renew", demands, token))

    async def release(self, demands: Sequence[SlotDemand], token: str) -> bool:
        return bool(await self._run_slots("release", demands, token))

    async def ping(self) -> None:
        with _as_store_error("ping"):
            await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()

    async def _decided(self, demands: Sequence[Demand], spend: bool) -> Taken:
        if len(demands) > MAX_TOGETHER:
            raise ValueError(f"at most {MAX_TOGETHER} limits fit into one script, and {len(demands)} were asked for")
        # In one order, whoever asks: who can choose which rules are met could make a script of each arrangement.
        planned = sorted(enumerate(demands), key=lambda each: (each[1].limit.algorithm, _kind(each[1], spend)))
        plan = tuple((demand.limit.algorithm, _kind(demand, spend)) for _, demand in planned)
        text = take_script(plan, client_time=self._clock_us is not None)
        ordered = [demand for _, demand in planned]
        words = [word for demand in ordered for word in _arguments(demand)]
        passed, now_us, *seen = await self._run("take", text, _keys(ordered), words)
        # Cost 0 passes always, even where a rule that was made smaller leaves less than nothing.
        oks = [not demand.cost or bool(passed >> n & 1) for n, demand in enumerate(ordered)]
        allowed = all(ok or demand.shadow for ok, demand in zip(oks, ordered, strict=True))
        decisions, at = dict[int, Decision](), 0
        for (place, demand), (algorithm, kind), ok in zip(planned, plan, oks, strict=True):
            width = len(FRAGMENTS[algorithm].view)
            view = _view(demand.limit, tuple(seen[at : at + width]))
            decisions[place] = answer(demand, view, now_us, passed=ok, taken=allowed and ok and kind != "read")
            at += width
        return Taken(allowed, tuple(decisions[place] for place in range(len(demands))))

    async def _run_slots(self, verb: Any, demands: Sequence[SlotDemand], token: str) -> Any:
        words: list[str | int] = [token]
        for demand in demands:
            words += [demand.slots.limit, demand.slots.lease_us, int(demand.shadow)]
        text = slot_script(verb, client_time=self._clock_us is not None)
        return await self._run(verb, text, [demand.key for demand in demands], words)

    async def _run(self, verb: str, text: str, keys: Sequence[str], words: Sequence[str | int]) -> Any:
        script = self._scripts.get(text)
        if script is None:
            if len(self._scripts) >= MAX_SCRIPTS:
                self._scripts.clear()  # they are made again as they are needed
            script = self._scripts[text] = self._redis.register_script(text)
        if self._clock_us is not None:
            words = [self._clock_us(), *words]
        with _as_store_error(verb):
            return await script(keys=keys, args=words)


def _kind(demand: Demand, spend: bool) -> Kind:
    if not spend or not demand.cost:
        return "read"
    return "shadow" if demand.shadow else "take"


def _keys(demands: Sequence[Demand]) -> list[str]:
    # All of a sketch is one key, and its windows have one length.
    return [f"{demand.bucket}:{demand.limit.period_us}" if demand.limit.algorithm == "sketch" else demand.key for demand in demands]


def _arguments(demand: Demand) -> tuple[int, ...]:
    """What the fragments of the algorithm want, in their order."""
    limit, cost = demand.limit, demand.cost
    match limit.algorithm:
        case "gcra" | "leaky_queue":
            return limit.gap_us * limit.burst, limit.gap_us * cost
        case "token_bucket" | "leaky_bucket":
            n, unit = rate(limit)
            return n, unit, limit.burst * unit, cost * unit
        case "fixed_window" | "sliding_log":
            return limit.period_us, limit.quota, cost
        case "sliding_window":
            return limit.period_us // limit.tick_us, limit.tick_us, limit.quota, cost
        case "sketch":
            return limit.period_us // limit.tick_us, limit.tick_us, limit.quota, cost, *cells_of(demand.item)


def _view(limit: Limit, seen: State) -> State:
    """The view as the algorithm has it: what the caller knows anyway, the script does not say."""
    return (*seen, rate(limit)[1]) if limit.algorithm in ("token_bucket", "leaky_bucket") else seen


@contextlib.contextmanager
def _as_store_error(doing: str) -> Iterator[None]:
    try:
        yield
    except REDIS_ERRORS as error:
        if not is_of_the_connection(error):
            raise
        raise StoreError(f"Redis {doing}: {type(error).__name__}", may_have_happened=not never_sent(error)) from error
