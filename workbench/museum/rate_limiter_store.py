"""Exhibits of the rate limiter: keys that live too long or not long enough, and a store that is away."""

from __future__ import annotations

from pathlib import Path

from loadtests.rate_limiter.promises import ANSWERED, BOUND, DEGRADED, ROOM
from workbench.museum.exhibit import Exhibit

DESIGN = "rate_limiter"
OWN_SCHEDULES = Path(__file__).parent / "schedules"
FLAWS = "workbench.museum.rate_limiter_flaws"
REDIS = "designs.rate_limiter.backends.redis"
SCRIPTS = "designs.rate_limiter.backends.redis_scripts"
SILENT = str(OWN_SCHEDULES / "silent_store.toml")

STORE: tuple[Exhibit, ...] = (
    Exhibit(
        name="immortal_key",
        design=DESIGN,
        title="A key that nobody ends",
        wrong=(
            "INCR, then EXPIRE for whoever was first. When the answer to the INCR is lost, or the process killed, the EXPIRE never "
            "comes: the count only rises, and the user is refused for ever."
        ),
        seen_in="The INCR and EXPIRE of the tutorials, as two commands; no product is meant.",
        tempting="Two commands that are both atomic, and nothing ever went wrong between them. It takes one bad second a year.",
        right_way=(
            "Count and end are set together, in one script, at each write. And a state knows its own time, so that a key which "
            "lives on says nothing."
        ),
        knobs={"algorithm": "fixed_window", "breaker": "off", "deadline_ms": "1000"},
        mix="checks",
        schedules=(str(OWN_SCHEDULES / "answers_lost_once.toml"),),
        seconds=7.0,
        rate_per_s=200.0,
        swaps={f"{REDIS}:RedisLimitStore.take": f"{FLAWS}:increment_then_expire"},
        flagged_by=ROOM,
    ),
    Exhibit(
        name="rearmed_expiry",
        design=DESIGN,
        title="A window that never ends",
        wrong=(
            "EXPIRE at every hit, those that are refused among them. The window ends a second after the last try: who asks on is "
            "kept out for ever, although he asks for what he may have."
        ),
        seen_in="[shenyu#6649](https://github.com/apache/shenyu/issues/6649): the expiry is set again at each request.",
        tempting="It heals the key that nobody ended, and it is one line less than to ask whether one was the first.",
        right_way="The end of a window follows from the clock, not from who comes. The script sets it, and no refusal writes.",
        knobs={"algorithm": "fixed_window"},
        mix="hot",
        rate_per_s=120.0,
        swaps={f"{REDIS}:RedisLimitStore.take": f"{FLAWS}:increment_and_rearm"},
        flagged_by=ROOM,
    ),
    Exhibit(
        name="life_of_zero",
        design=DESIGN,
        title="A life that is rounded down to nothing",
        wrong=(
            "EXPIRE takes whole seconds, and what is used is back within less than one: the life is 0, Redis deletes the key, and "
            "the limit has never heard of anybody."
        ),
        seen_in=(
            "[redis-cell#50](https://github.com/brandur/redis-cell/issues/50): the TTL rounds to 0 and nothing is stored. The "
            "token bucket of throttled-py 3.5.0 sends an EXPIRE 0; 200 of 200 passed 10 per second."
        ),
        tempting="For limits per minute and per hour it is right, and those are the ones that are tried.",
        right_way="PX instead of EX, rounded up, and a millisecond more: a key that lives too long changes no decision.",
        mix="hot",
        rate_per_s=120.0,
        swaps={f"{SCRIPTS}:FRAGMENTS": f"{FLAWS}:LIFE_IN_WHOLE_SECONDS"},
        flagged_by=BOUND,
    ),
    Exhibit(
        name="forgetful_memory",
        design=DESIGN,
        title="A limiter with the memory of a cache",
        wrong=(
            "Counters in a cache of bounded size, which drops the one that was used least recently. A counter that was dropped is "
            "a quota given anew: five tries, a crowd of made-up keys, and five tries again."
        ),
        seen_in=(
            "An LRU store of 1,024 gave 5, and 5 again after 1,100 other keys. A shared Redis with an `allkeys` eviction policy is "
            "the same; no product is meant."
        ),
        tempting="Memory has to be bounded, and `lru_cache` bounds it. That a miss means `never seen` is right for a cache.",
        right_way=(
            "A key goes when it says nothing any more. When there is no room, new keys share buckets: refused too early, never "
            "too late. In Redis: `noeviction`."
        ),
        knobs={"store": "memory", "memory_keys": "64"},
        seconds=6.0,
        rate_per_s=300.0,
        swaps={"designs.rate_limiter.store_parts:MemoryLimitStore": f"{FLAWS}:LeastRecentlyUsed"},
        flagged_by=BOUND,
    ),
    Exhibit(
        name="evalsha_alone",
        design=DESIGN,
        title="A script that Redis has forgotten",
        wrong=(
            "The script is loaded at the start and asked for by its hash from then on. A Redis that was started again, failed over "
            "or was flushed knows no scripts: every decision fails until somebody starts the service again."
        ),
        seen_in=(
            "[PyrateLimiter#182](https://github.com/vutran1710/PyrateLimiter/issues/182) and "
            "[effect-smol#2328](https://github.com/Effect-TS/effect-smol/issues/2328)."
        ),
        tempting="The hash is forty bytes and the script is a page; it is loaded once, where connections are made.",
        right_way="NOSCRIPT is an answer like any other: load, ask again. It costs a round trip, once after each start.",
        # The breaker would hide it: one that opens says that something failed, and not what.
        knobs={"breaker": "off", "deadline_ms": "2000"},
        mix="checks",
        schedules=(str(OWN_SCHEDULES / "redis_restarts.toml"),),
        seconds=8.0,
        rate_per_s=150.0,
        swaps={f"{REDIS}:RedisLimitStore._run": f"{FLAWS}:evalsha_alone"},
        flagged_by=DEGRADED,
    ),
    Exhibit(
        name="error_as_the_answer",
        design=DESIGN,
        title="A limiter that takes down what it protects",
        wrong="The store's error is the answer to whoever asked: Redis is away, and so is every API that has a limit.",
        seen_in=(
            "[slowapi#114](https://github.com/laurentS/slowapi/issues/114) and "
            "[#253](https://github.com/laurentS/slowapi/issues/253): with the store down requests end as 500."
        ),
        tempting="An exception that nobody catches is seen at once, which is right for nearly everything else.",
        right_way=(
            "Each rule says what happens without the store: counted here, open, or closed. That is a decision about each rule, and "
            "a counter beside the store."
        ),
        mix="checks",
        schedules=("redis_down",),
        rate_per_s=150.0,
        swaps={"designs.rate_limiter.limiter:Limiter._asked": f"{FLAWS}:ask_and_hope"},
        flagged_by=ANSWERED,
    ),
    Exhibit(
        name="no_deadline",
        design=DESIGN,
        title="Fail open, some time later",
        wrong=(
            "Without the store everybody passes, once the store has failed. A store that takes the connection and says nothing has "
            "not failed: each request waits for the driver to give up, which takes it five seconds or for ever."
        ),
        seen_in=(
            "[envoy ratelimit#462](https://github.com/envoyproxy/ratelimit/issues/462) and "
            "[traefik#12091](https://github.com/traefik/traefik/issues/12091). With a Redis that hangs, limits 5.8.0 and "
            "throttled-py 3.5.0 took 5 s, fastapi-redis-sdk 0.9.1 more than 12 s."
        ),
        tempting="`try`, `except`, allow: that is what failing open means, and a test that stops Redis passes at once.",
        right_way=(
            "Each decision has a deadline of its own, tens of milliseconds, and a breaker spares the next ones the wait. It is too "
            "short now and then, and then one replica decides by itself."
        ),
        knobs={"deadline_ms": "30"},
        mix="checks",
        schedules=(SILENT,),
        seconds=6.0,
        rate_per_s=100.0,
        swaps={
            "designs.building_blocks.guarded_port:Patience.guard": f"{FLAWS}:patience_without_end",
            "designs.building_blocks.redis_connection:connect": f"{FLAWS}:connect_by_default",
        },
        flagged_by=ANSWERED,
    ),
    Exhibit(
        name="blocking_client",
        design=DESIGN,
        title="A client that blocks in the event loop",
        wrong=(
            "A coroutine asks Redis with a client that blocks. While one request waits for the store, the whole process does, also "
            "for what needs no store; no deadline can end it, since the clock of the deadline waits as well."
        ),
        seen_in=(
            "slowapi 0.1.10 blocks the loop: with a store 2 ms away a `/health` without a limit takes 131 ms and more, beside 2 to "
            "6 ms with the others."
        ),
        tempting="The library has no other client, it is fast on one machine, and `async def` in front of it looks asynchronous.",
        right_way="An asynchronous driver, and a deadline on each call. That costs CPU: a round trip through the loop is dearer.",
        knobs={"deadline_ms": "30"},
        mix="checks",
        schedules=(SILENT,),
        seconds=6.0,
        rate_per_s=100.0,
        swaps={f"{REDIS}:RedisLimitStore._run": f"{FLAWS}:run_in_the_way"},
        flagged_by=ANSWERED,
    ),
)
