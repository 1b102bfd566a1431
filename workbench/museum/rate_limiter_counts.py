"""Exhibits of the rate limiter: counts that let too many in, or keep out who has done nothing."""

from __future__ import annotations

from loadtests.rate_limiter.promises import BOUND, NOTHING_USED, RETRY, ROOM, SLOTS, TOGETHER
from workbench.museum.exhibit import Exhibit

DESIGN = "rate_limiter"
FLAWS = "workbench.museum.rate_limiter_flaws"
REDIS = "designs.rate_limiter.backends.redis"
SCRIPTS = "designs.rate_limiter.backends.redis_scripts"

COUNTS: tuple[Exhibit, ...] = (
    Exhibit(
        name="check_then_increment",
        design=DESIGN,
        title="A limit that is read, then written",
        wrong=(
            "GET the count, decide in the service, write it back. All who read before the first of them has written find the "
            "same room, and each of them is let in."
        ),
        seen_in=(
            "[llm-driven-system-design](https://github.com/evgenyvinnik/llm-driven-system-design) decides between a GET and a "
            "MULTI, as answers to the interview question do. Ten, fifty and two hundred at a time got 104, 128 and 200 through "
            "a limit of 100, with a store a millisecond away."
        ),
        tempting=(
            "The rule is easy to write in one's own language, and the write is in a MULTI, so it looks atomic. What is not is "
            "the way from the reading to the writing."
        ),
        right_way="The whole decision is one script on the server: one round trip instead of two, and a rule written in Lua.",
        mix="hot",
        schedules=("redis_latency",),
        rate_per_s=150.0,
        swaps={f"{REDIS}:RedisLimitStore.take": f"{FLAWS}:read_then_write"},
        flagged_by=BOUND,
    ),
    Exhibit(
        name="debit_on_refusal",
        design=DESIGN,
        title="A refusal that costs",
        wrong=(
            "Take first, then look whether there was enough. Each refusal is debited as well, 1, -3, -7, -11: who asks on while "
            "he is refused never gets in again."
        ),
        seen_in=(
            "The fixed windows of [limits](https://github.com/alisaifee/limits) 5.8.0 and of throttled-py 3.5.0 count what they "
            "refuse."
        ),
        tempting="INCR answers with the new count, so one command both counts and decides. It even survives every race.",
        right_way="Look, then take, in one script: a refusal writes nothing, so it is also the cheaper answer.",
        mix="hot",
        rate_per_s=120.0,
        swaps={f"{REDIS}:take_script": f"{FLAWS}:debits_what_it_refuses"},
        flagged_by=NOTHING_USED,
    ),
    Exhibit(
        name="loop_over_limits",
        design=DESIGN,
        title="Limits that are asked one after the other",
        wrong=(
            "A request meets the limits of a user, a route and a checkout, in a loop. When the last one refuses, the others have "
            "been debited for an order that never was."
        ),
        seen_in=(
            "[limits](https://github.com/alisaifee/limits) is asked for one limit at a time, so whoever has several loops, as "
            "slowapi 0.1.10 and fastapi-limiter 0.2.0 do."
        ),
        tempting="Each single limit is right, and a loop over a list is how one asks all of them.",
        right_way=(
            "All keys of a request go into one script, which takes from all or from none. They must be in one slot of a cluster, "
            "so the domain is the hash tag, and one domain is one server's load."
        ),
        seconds=8.0,
        rate_per_s=300.0,
        swaps={f"{REDIS}:RedisLimitStore.take": f"{FLAWS}:one_after_the_other"},
        flagged_by=TOGETHER,
    ),
    Exhibit(
        name="cost_left_out",
        design=DESIGN,
        title="Room for one is room for all",
        wrong=(
            "The limiter asks whether anything is left, and then adds the cost: with a limit of 10 and a cost of 8 the count "
            "stands at 16, and what is more than the limit by itself passes too."
        ),
        seen_in="What becomes of `if count < limit` once a request may cost more than one; no product is meant.",
        tempting="It was right for years, while every request cost one. The cost was added where the count is raised.",
        right_way=(
            "The comparison knows the cost, and what costs more than can ever be there is told so, with 422 and no Retry-After."
        ),
        mix="costs",
        rate_per_s=150.0,
        swaps={f"{SCRIPTS}:FRAGMENTS": f"{FLAWS}:ROOM_FOR_ONE_IS_ROOM_FOR_ALL"},
        flagged_by=BOUND,
    ),
    Exhibit(
        name="stamps_as_members",
        design=DESIGN,
        title="A log in which five are one",
        wrong=(
            "The log of admissions is a sorted set, with the time as score and as member. Five units of one request have one "
            "time, so they are one member: 480 units passed a limit of 100."
        ),
        seen_in=(
            "[limits#112](https://github.com/alisaifee/limits/pull/112): requests of mixed costs pass its log. Two requests of "
            "one microsecond do the same where costs are all one."
        ),
        tempting="ZADD, ZCARD and ZREMRANGEBYSCORE are the log of every tutorial, and each of them writes `ZADD key now now`.",
        right_way=(
            "A list with a stamp for each unit: nothing in it has to be unique, and it takes a fifth of the memory of a sorted "
            "set. Still 20 bytes a unit, so a log has 10,000 at most."
        ),
        knobs={"algorithm": "sliding_log"},
        mix="costs",
        rate_per_s=150.0,
        swaps={f"{SCRIPTS}:FRAGMENTS": f"{FLAWS}:STAMPS_AS_MEMBERS"},
        flagged_by=BOUND,
    ),
    Exhibit(
        name="one_bucket_for_all",
        design=DESIGN,
        title="A limit per user that knows no users",
        wrong=(
            "Whom a request is of is asked, and what is answered never gets into the key: B is refused for A's use, and one who "
            "asks without end keeps everybody out."
        ),
        seen_in="[fastapi-limiter#80](https://github.com/long2ice/fastapi-limiter/issues/80): the identifier is ignored.",
        tempting="With one client, which is what tests have, it counts as it should.",
        right_way="Whom a rule counts is a part of every key, escaped, so that no two share one by accident.",
        mix="checks",
        rate_per_s=150.0,
        swaps={"designs.rate_limiter.rules:item_of": f"{FLAWS}:everybody"},
        flagged_by=ROOM,
    ),
    Exhibit(
        name="whole_seconds",
        design=DESIGN,
        title="A clock without fractions",
        wrong=(
            "The script takes the seconds of TIME and leaves the microseconds. Nothing comes back for a second, and then a "
            "second's worth at once: 1,000 passed over a second's edge where 610 is the bound, and who is told to wait 100 ms "
            "waits up to a second."
        ),
        seen_in="The token and leaky buckets of throttled-py 3.5.0 count in whole seconds of Redis.",
        tempting="TIME answers with two numbers, and the first one looks like the time.",
        right_way=(
            "Integers in microseconds, everywhere. They stay below 2^53, where Lua's numbers are exact, which bounds periods and "
            "bursts; and they are never written with `..`, which makes 1.79e+15 of them."
        ),
        rate_per_s=200.0,
        swaps={f"{SCRIPTS}:STORE_TIME": f"{FLAWS}:WHOLE_SECONDS"},
        flagged_by=RETRY,
    ),
    Exhibit(
        name="each_by_its_own_clock",
        design=DESIGN,
        title="Two replicas, two times",
        wrong=(
            "Each replica sends its own time along. One that is two seconds fast finds everybody's bucket refilled, and pushes "
            "what it writes ahead of the others: they refuse until they have caught up."
        ),
        seen_in=(
            "The log of limits 5.8.0, pyrate-limiter 4.5.1 and fastapi-limiter 0.2.0 take the client's time; one process that "
            "was two seconds fast got 10 through a limit of 5."
        ),
        tempting="`time.time()` is at hand, tests can set it, and NTP keeps clocks together. Nearly always.",
        right_way=(
            "The store's clock decides, in the same script: one more command in it. For servers that refuse TIME in scripts there "
            "is a knob, which says what it costs."
        ),
        mix="hot",
        schedules=("clock_skew",),
        seconds=5.0,
        rate_per_s=120.0,
        swaps={"designs.rate_limiter.store_parts:StoreParts._opened": f"{FLAWS}:counts_by_its_own_clock"},
        flagged_by=BOUND,
    ),
    Exhibit(
        name="slots_without_lease",
        design=DESIGN,
        title="Slots that die with their holder",
        wrong=(
            "A count of what is under way goes up at the beginning and down at the end. Who is killed in between keeps his slot "
            "for ever, and when all have gone that way nobody gets in any more."
        ),
        seen_in="Every INCR and DECR around a piece of work; no product is meant.",
        tempting="`finally` gives the slot back, whatever happens. But a kill, and a machine that is gone, run no `finally`.",
        right_way=(
            "A slot is a lease: who does not renew it has lost it. A sorted set instead of a number, and a renewal now and then "
            "from whoever works for long."
        ),
        mix="slots",
        seconds=5.0,
        rate_per_s=120.0,
        swaps={f"{REDIS}:slot_script": f"{FLAWS}:slots_without_lease"},
        flagged_by=SLOTS,
    ),
)
