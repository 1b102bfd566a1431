"""Who asks a rate limiter for what: the mixes, the knob that each one shows, and their page, which is made from them.

Everything that makes load reads this declaration: the open-loop plans of a comparison and the Locust users alike. Whom a limit is
for has a name of its own in each seeding, so nobody meets a count that an earlier run left behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from loadtests.workload import Mix
from loadtests.workloads_page import PageWords, page_of

OPS: Mapping[str, str] = MappingProxyType(
    {
        "check": "a request of a user: `POST /v1/check` with `user`",
        "check_three": "a request that meets three limits: `POST /v1/check` with `user`, `route`, `tenant` and its `tier`",
        "arrive": "a request of somebody who comes once: `POST /v1/check` with `user`",
        "edge": (
            "a request of one user for five units within 60 ms of every other edge of a second of the wall clock, else of somebody "
            "who comes once: `POST /v1/check` with `user` and `cost`"
        ),
        "once": "a request of 100 units, for a tenant that never comes again: `POST /v1/check` with `tenant` and `cost`",
        "busy": "a request of a large customer: `POST /v1/check` with `tenant` and the tier of the largest",
        "login": "a try to log in: `POST /v1/check` with `ip` and `route`",
        "order": "an order, whose limit is closed without the store: `POST /v1/check` with `user` and `route`",
        "find": "a search, whose limit is open without the store: `POST /v1/check` with `user` and `route`",
        "spend": "a request of 1 to 8 units: `POST /v1/check` with `cost`",
        "spend_back": "a request of 1 to 8 units whose work is not done: `POST /v1/check` with `cost`",
        "refund": "give it back, if it was admitted: `POST /v1/refund`",
        "too_much": "a request of more units than can ever be there at once: `POST /v1/check` with `cost`",
        "drain": "take all that a user has, at once: `POST /v1/check` with `cost`",
        "patient": "ask for two units more, and be told to wait: `POST /v1/check` with `cost`",
        "patient_soon": "ask the same again, before the wait of a bucket is over: `POST /v1/check` with `cost`",
        "patient_again": "and again, which is after the wait of a bucket: `POST /v1/check` with `cost`",
        "patient_later": "and once more, which is after the wait of a window: `POST /v1/check` with `cost`",
        "peek": "see what is left of a user's limit: `POST /v1/peek`",
        "batch": "five requests of five users at once: `POST /v1/check/batch`",
        "acquire": "take a slot: `POST /v1/acquire`",
        "release": "give it back, if there was one: `POST /v1/release`",
        "hold": "take a slot for longer than its lease: `POST /v1/acquire`",
        "renew": "renew the lease, if there is one: `POST /v1/renew`",
        "let_go": "give it back: `POST /v1/release`",
        "abandon": "take a slot and die: `POST /v1/acquire`",
    }
)
SEVERAL = frozenset({"check_three", "login", "order", "find"})  # meet several limits
WAITING = frozenset({"drain"})
SLOT_OPS = frozenset({"acquire", "hold", "abandon"})
UNIT_OPS = frozenset(OPS) - SLOT_OPS - {"release", "renew", "let_go"}

_WORK = {"acquire": ("release", 0.2), "hold": ("renew", 0.6), "renew": ("let_go", 0.6)}
_WAITS = {
    "drain": ("patient", 0.05),
    "patient": ("patient_soon", 0.035),
    "patient_soon": ("patient_again", 0.115),
    "patient_again": ("patient_later", 1.2),
}

MIXES: Mapping[str, Mix] = MappingProxyType(
    {
        mix.name: mix
        for mix in (
            Mix(
                name="checks",
                who="An ordinary day: many users, some of them busy, and nearly all of them are let in.",
                ratios={"check": 1.0},
                keys=5_000,
                zipf_s=1.0,
                rate_per_s=200.0,
            ),
            Mix(
                name="hot",
                who="A script that has gone wild: one user asks ten times as often as he may, and is refused nearly always.",
                ratios={"check": 1.0},
                keys=1,
                zipf_s=0.0,
                rate_per_s=200.0,
                replicas=2,
            ),
            Mix(
                name="three",
                who="An API that limits by user, by route and by tenant: what one of them refuses, none counts.",
                ratios={"check_three": 1.0},
                keys=1_000,
                zipf_s=1.0,
                rate_per_s=200.0,
            ),
            Mix(
                name="edges",
                who=(
                    "Somebody who knows when windows end, saves up for every other edge, and asks as often as he can just before "
                    "and just after it, among others who come once."
                ),
                ratios={"arrive": 1.0},
                keys=1,
                zipf_s=0.0,
                rate_per_s=300.0,
                then={"arrive": ("edge", 0.0)},
            ),
            Mix(
                name="keys",
                who="A crowd: every request is of a tenant that was never seen before, so every one leaves a count behind.",
                ratios={"once": 1.0},
                keys=1,
                zipf_s=0.0,
                rate_per_s=200.0,
            ),
            Mix(
                name="tenants",
                who="A few large customers whose programs ask all day long, and stay within what they have paid for.",
                ratios={"busy": 1.0},
                keys=8,
                zipf_s=0.0,
                rate_per_s=200.0,
                replicas=2,
            ),
            Mix(
                name="slots",
                who="Programs that take a slot, work and give it back, or renew it when the work is long; one in six dies with it.",
                ratios={"acquire": 0.60, "hold": 0.24, "abandon": 0.16},
                keys=20,
                zipf_s=0.5,
                rate_per_s=200.0,
                then=_WORK,
            ),
            Mix(
                name="costs",
                who="Requests of different weight: some are given back since the work was not done, a few want more than there is.",
                ratios={"spend": 0.70, "spend_back": 0.25, "too_much": 0.05},
                keys=200,
                zipf_s=1.0,
                rate_per_s=300.0,
                then={"spend_back": ("refund", 0.1)},
            ),
            Mix(
                name="mixed",
                who="All at once what is promised something: users, routes, tenants, costs, refunds, slots, waits, edges, batches.",
                ratios={
                    "check": 0.20,
                    "check_three": 0.12,
                    "arrive": 0.10,
                    "login": 0.05,
                    "order": 0.08,
                    "find": 0.10,
                    "spend": 0.05,
                    "spend_back": 0.06,
                    "too_much": 0.02,
                    "drain": 0.03,
                    "peek": 0.05,
                    "batch": 0.04,
                    "acquire": 0.05,
                    "hold": 0.03,
                    "abandon": 0.02,
                },
                keys=30,
                zipf_s=1.0,
                rate_per_s=150.0,
                then={"arrive": ("edge", 0.0), "spend_back": ("refund", 0.1), **_WAITS, **_WORK},
            ),
        )
    }
)

CHECK_MIX = "mixed"

# Where a knob bites only when something fails (the store is gone), the mix is the one to run beside the fault.
DEFAULT_MIX: Mapping[str, str] = MappingProxyType(
    {
        "algorithm": "edges",
        "store": "hot",
        "lease_size": "tenants",
        "lease_ms": "tenants",
        "on_store_down": "hot",
        "deadline_ms": "checks",
        "breaker": "checks",
        "clock": "checks",
        "headers": "three",
        "memory_keys": "keys",
        "shed": "checks",
        "metrics": "checks",
        "traces": "checks",
        "": "checks",
    }
)

_COST = ("cpu_us_per_request", "cpu_us_per_request_service", "cpu_us_per_request_store", "latency_p50_ms", "latency_p99_ms")
_LET_IN = ("allowed", "refused", "over_quota")
_TRIPS = ("redis_scripts", "redis_commands", "redis_bytes")
_AWAY = ("degraded", *_LET_IN, "failed_per_100", *_COST)

# Figures by knob, most telling first: what was let in and counted work before CPU, CPU before latency.
CARD: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "algorithm": (*_LET_IN, "stored_bytes", "redis_script_us", *_TRIPS, *_COST),
        "store": (*_LET_IN, "lease_trips", *_TRIPS, "redis_script_us", *_COST, "rss_mb"),
        "lease_size": ("lease_trips", "leased_units", *_LET_IN, *_TRIPS, *_COST),
        "lease_ms": ("lease_trips", "leased_units", *_LET_IN, *_TRIPS, *_COST),
        "on_store_down": _AWAY,
        "deadline_ms": ("latency_p99_ms", "degraded", *_LET_IN, "failed_per_100", "cpu_us_per_request", "latency_p50_ms"),
        "breaker": ("latency_p99_ms", "degraded", *_TRIPS, *_LET_IN, "failed_per_100", "cpu_us_per_request", "latency_p50_ms"),
        "clock": (*_TRIPS, "redis_script_us", *_LET_IN, *_COST),
        "headers": (*_TRIPS, "answer_bytes", *_COST),
        "memory_keys": ("shared_buckets", *_LET_IN, "rss_mb", *_COST),
        "shed": ("turned_away", *_LET_IN, *_COST),
        "metrics": (*_COST, "rss_mb"),
        "traces": ("spans_sent", "spans_dropped", "cpu_us_per_request_collector", *_COST, "rss_mb"),
        "": (*_LET_IN, *_TRIPS, *_COST),
    }
)


def workloads_page(mixes: Mapping[str, Mix] = MIXES, default_mix: Mapping[str, str] = DEFAULT_MIX) -> str:
    """The page `WORKLOADS.md`."""

    def shows_instead(mix: Mix) -> str:
        return {
            CHECK_MIX: "whether every promise is kept while faults strike",
            "slots": "that slots come back, whatever becomes of who held them",
        }.get(mix.name, "that a unit is a unit, whoever takes it, and is given back once")

    words = PageWords(
        title="Workloads of the rate limiter",
        key="name",
        touched="",
        untouched="nothing; nobody has used anything",
        shows_instead=shows_instead,
    )
    return page_of(words, mixes, default_mix, OPS)
