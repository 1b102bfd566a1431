"""Parts of the rate limiter as they are often written down, each wrong in one respect; the flaw is in the docstring.

Functions that take `self` stand in for a method of that class, and texts for pieces of the scripts. None of them sleeps or fails in
order to be caught: what gives them away is the load, and the faults of their exhibit.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from designs.building_blocks.guarded_port import Patience
from designs.rate_limiter import fixed_window
from designs.rate_limiter.algorithms import ALGORITHMS, answer
from designs.rate_limiter.backends import redis_scripts
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.backends.redis import RedisLimitStore, _as_store_error
from designs.rate_limiter.backends.redis_scripts import FRAGMENTS, Fragments, Kind
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.limiter import Ask, Limiter, RuleDecision, Verdict
from designs.rate_limiter.limits import AlgorithmName, Decision, Limit, State
from designs.rate_limiter.ports import Demand, LimitStore, Taken
from designs.rate_limiter.rules import Applied, Rule
from designs.rate_limiter.settings import LimiterSettings
from designs.rate_limiter.store_parts import StoreParts

Scripts: TypeAlias = Mapping[AlgorithmName, Fragments]

# The right parts that some of the bad ones are built on, from before anything was exchanged.
_take, _opened, _guard = RedisLimitStore.take, StoreParts._opened, Patience.guard
_take_script, _slot_script = redis_scripts.take_script, redis_scripts.slot_script


# -- one step made of several --------------------------------------------------------------------------------------------------


async def read_then_write(self: RedisLimitStore, demands: Sequence[Demand]) -> Taken:
    """GET, decide here, SET: all who read before the first of them has written find the same room."""
    with _as_store_error("GET"):
        async with self._redis.pipeline(transaction=False) as reading:
            (seconds, rest), found = await reading.time().mget([demand.key for demand in demands]).execute()
    now_us = seconds * 1_000_000 + rest
    before = [_read(demand.limit, each) for demand, each in zip(demands, found, strict=True)]
    after = [
        ALGORITHMS[demand.limit.algorithm].take(demand.limit, state, now_us, demand.cost)
        for demand, state in zip(demands, before, strict=True)
    ]
    allowed = all(state is not None or demand.shadow for demand, state in zip(demands, after, strict=True))
    kept = [state if allowed and state is not None else was for state, was in zip(after, before, strict=True)]
    with _as_store_error("SET"):
        async with self._redis.pipeline(transaction=True) as writing:
            for demand, state in zip(demands, kept, strict=True):
                if allowed and state and demand.cost:
                    writing.set(demand.key, _written(demand.limit, state), px=_life_ms(demand.limit))
            await writing.execute()
    decisions = [
        answer(
            demand,
            ALGORITHMS[demand.limit.algorithm].view(demand.limit, state, now_us, demand.cost),
            now_us,
            passed=passed is not None,
            taken=allowed and passed is not None,
        )
        for demand, state, passed in zip(demands, kept, after, strict=True)
    ]
    return Taken(allowed, tuple(decisions))


async def one_after_the_other(self: RedisLimitStore, demands: Sequence[Demand]) -> Taken:
    """A loop over the limits: those that stand before the one which refuses have been debited for nothing."""
    decisions: list[Decision] = []
    for place, demand in enumerate(demands, start=1):
        taken = await _take(self, [demand])
        decisions += taken.decisions
        if not taken.allowed:
            rest = await self.peek(demands[place:]) if demands[place:] else Taken(True, ())
            return Taken(False, (*decisions, *rest.decisions))
    return Taken(True, tuple(decisions))


def debits_what_it_refuses(demands: tuple[tuple[AlgorithmName, Kind], ...], *, client_time: bool) -> str:
    """Take, then look whether there was enough: who asks on while he is refused digs himself in, 1, -3, -7, -11."""
    text, times = re.subn(r"^if ok\d.* then$", "do", _take_script(demands, client_time=client_time), count=1, flags=re.MULTILINE)
    assert times or all(kind != "take" for _, kind in demands), "the right script does not look before it takes any more"
    return text


# -- keys that end too late or too early ---------------------------------------------------------------------------------------


async def increment_then_expire(self: RedisLimitStore, demands: Sequence[Demand]) -> Taken:
    """INCR, then EXPIRE for whoever was first. Who is cut off between the two leaves a key that ends never."""
    return await _counted(self, demands, rearm=False)


async def increment_and_rearm(self: RedisLimitStore, demands: Sequence[Demand]) -> Taken:
    """INCR and EXPIRE, at every hit: a window that is pushed on by those it refuses, and ends when they give up."""
    return await _counted(self, demands, rearm=True)


async def _counted(self: RedisLimitStore, demands: Sequence[Demand], *, rearm: bool) -> Taken:
    """Fixed windows as a number for each key. Rules that count in other ways are taken as they should be."""
    decisions: list[Decision] = []
    for demand in demands:
        limit = demand.limit
        if limit.algorithm != "fixed_window":
            decisions += (await _take(self, [demand])).decisions
            continue
        key = f"{demand.key}:count"
        with _as_store_error("INCRBY"):
            async with self._redis.pipeline(transaction=True) as counting:
                (seconds, rest), used = await counting.time().incrby(key, demand.cost).execute()
            now_us = seconds * 1_000_000 + rest
            start_us = fixed_window.start_of_window(now_us, limit.period_us)
            if rearm or used == demand.cost:
                end_us = (now_us if rearm else start_us) + limit.period_us
                await self._redis.pexpireat(key, -(-end_us // 1000))
        view = (start_us, min(used, limit.quota))
        decisions.append(fixed_window.decide(limit, view, now_us, demand.cost, used <= limit.quota))
    allowed = all(decision.allowed or demand.shadow for decision, demand in zip(decisions, demands, strict=True))
    return Taken(allowed, tuple(decisions))


# EXPIRE in whole seconds: what is over within one has a life of 0, and Redis takes that for a DEL.
LIFE_IN_WHOLE_SECONDS: Scripts = {
    **FRAGMENTS,
    "gcra": replace(
        FRAGMENTS["gcra"],
        take="tat@ = tat@ + A2\ncall('SET', KEY, tat@)\ncall('EXPIRE', KEY, math.floor((tat@ - now) / 1000000))\n",
    ),
}


class LeastRecentlyUsed(MemoryLimitStore):
    """A cache of counters: whoever has been refused comes in again after a crowd has pushed his counter out."""

    def _place(self, demand: Demand, now_us: int) -> str:
        if demand.key in self._states:
            self._states.move_to_end(demand.key)
        elif len(self._states) >= self._max_keys:
            self._states.popitem(last=False)
        return demand.key


# -- clocks --------------------------------------------------------------------------------------------------------------------

# TIME without its microseconds: nothing comes back for a second, then a second's worth at once.
WHOLE_SECONDS = "local t = call('TIME')\nlocal now = t[1] * 1000000\n"


def counts_by_its_own_clock(
    self: StoreParts, knobs: LimiterKnobs, settings: LimiterSettings, wall_us: Callable[[], int], own_us: Callable[[], int]
) -> LimitStore:
    """The time is sent along. A replica that is fast finds everybody's bucket full again."""
    return _opened(self, knobs.model_copy(update={"clock": "client"}), settings, wall_us, own_us)


# -- units ---------------------------------------------------------------------------------------------------------------------

# `used < limit`, then add the cost: a limit of 40 with 39 used has room for any cost.
ROOM_FOR_ONE_IS_ROOM_FOR_ALL: Scripts = {**FRAGMENTS, "gcra": replace(FRAGMENTS["gcra"], ok="tat@ - now < A1")}

# A sorted set of stamps, where the stamp is the member too: the units of one request are one member.
_ZSET_LOG = """
local since@ = string.format('(%.0f', now - A1)
local used@, frees@ = call('ZCOUNT', KEY, since@, '+inf'), 0
local newest@ = call('ZRANGE', KEY, -1, -1, 'WITHSCORES')
local last@ = used@ > 0 and newest@[2] + 0 or 0
if used@ > 0 and used@ + A3 > A2 then
  local first = call('ZRANGEBYSCORE', KEY, since@, '+inf', 'WITHSCORES', 'LIMIT', used@ + A3 - A2 - 1, 1)
  frees@ = (first[2] or 0) + 0
end
"""
STAMPS_AS_MEMBERS: Scripts = {
    **FRAGMENTS,
    "sliding_log": replace(
        FRAGMENTS["sliding_log"],
        look=_ZSET_LOG,
        take="""
call('ZREMRANGEBYSCORE', KEY, '-inf', now - A1)
for n = 1, A3 do call('ZADD', KEY, now, now) end
call('PEXPIRE', KEY, math.ceil(A1 / 1000))
used@, frees@, last@ = call('ZCARD', KEY), 0, now
""",
        give_back="call('ZREMRANGEBYRANK', KEY, -A3, -1)\n",
    ),
}


def everybody(rule: Rule, descriptor: Mapping[str, str]) -> str:
    """Whom a request is of is asked, and never put into the key: one bucket for all."""
    return "everybody"


# -- slots ---------------------------------------------------------------------------------------------------------------------


def slots_without_lease(verb: Literal["acquire", "renew", "release"], *, client_time: bool) -> str:
    """A number of slots that goes down again when its holder says so. Who dies with one says nothing."""
    text = _slot_script(verb, client_time=client_time)
    if verb == "acquire":
        text = _without(text, "  call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)\n")
        text = _without(text, "  if call('PTTL', KEYS[i]) < life then call('PEXPIRE', KEYS[i], life) end\n")
    return text


# -- the way to the store ------------------------------------------------------------------------------------------------------


async def evalsha_alone(self: RedisLimitStore, verb: str, text: str, keys: Sequence[str], words: Sequence[str | int]) -> Any:
    """Loaded once, asked for by its hash: a Redis that was started again knows no scripts, and all fails from then on."""
    with _as_store_error(verb):
        if text not in self._scripts:
            self._scripts[text] = await self._redis.script_load(text)
        return await self._redis.evalsha(self._scripts[text], len(keys), *keys, *words)


def patience_without_end(self: Patience, port: Any, verbs: Any, kind: Any) -> Any:
    """Fail open, as soon as the store has failed. A store that says nothing has not failed ..."""
    endless: Any = replace(self, deadline_s=None)  # type: ignore[arg-type]
    return _guard(endless, port, verbs, kind)


def connect_by_default(url: str, timeout_s: float, max_connections: int = 0) -> Any:
    """... and the driver's own time-outs are none, or some seconds, and of connections it opens as many as are asked for."""
    import redis.asyncio as aioredis

    return aioredis.Redis.from_url(url, protocol=2)


async def run_in_the_way(self: RedisLimitStore, verb: str, text: str, keys: Sequence[str], words: Sequence[str | int]) -> Any:
    """A client that blocks, in a coroutine: while one waits for the store, so does everything else in the process."""
    import redis

    if "" not in self._scripts:
        known = self._redis.connection_pool.connection_kwargs
        place = {name: known[name] for name in ("host", "port", "db", "username", "password") if name in known}
        self._scripts[""] = redis.Redis(**place, protocol=2)
    with _as_store_error(verb):
        script = self._scripts.setdefault(text, self._scripts[""].register_script(text))
        return script(keys=keys, args=words)


async def ask_and_hope(self: Limiter, met: Sequence[Applied], ask: Ask, ask_here: Ask) -> Verdict:
    """The store's error is the answer: what was to protect an API takes it down as soon as Redis is away."""
    taken = await ask([each.demand for each in met])
    decided = zip(met, taken.decisions, strict=True)
    return Verdict(taken.allowed, tuple(RuleDecision(each.rule.name, said, each.demand) for each, said in decided))


# -- what some of them are made of ---------------------------------------------------------------------------------------------


def _read(limit: Limit, found: bytes | None) -> State:
    """A state as the scripts lay it out, see `redis_scripts`."""
    if found is None:
        return ()
    if limit.algorithm in ("gcra", "leaky_queue"):
        return (int(found),)
    return tuple(map(int, struct.unpack(f"<{len(found) // 8}d", found)))


def _written(limit: Limit, state: State) -> bytes:
    if limit.algorithm in ("gcra", "leaky_queue"):
        return b"%d" % state[0]
    return struct.pack(f"<{len(state)}d", *state)


def _life_ms(limit: Limit) -> int:
    """Longer than any state says anything."""
    return 2 * max(limit.period_us, limit.gap_us * limit.burst) // 1000 + 1


def _without(script: str, line: str) -> str:
    assert script.count(line) == 1, f"the right script has no line {line!r} any more"
    return script.replace(line, "")
