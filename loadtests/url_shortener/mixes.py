"""Who asks a URL shortener for what: the mixes, the knob that each one shows, and their page, which is made from them.

Everything that makes load reads this declaration: the open-loop plans of a comparison and the Locust journeys alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from loadtests.workload import Mix
from loadtests.workloads_page import PageWords, page_of

OPS: Mapping[str, str] = MappingProxyType(
    {
        "redirect": "open a short link that exists: `GET /{code}`",
        "create": "shorten a URL nobody has shortened before: `POST /api/v1/links`",
        "stats": "read a link's clicks: `GET /api/v1/links/{code}/stats`",
        "unknown": "open one of 200 codes that nobody has, again and again: `GET /{code}`",
        "scan": "open a code that nobody has, another one each time: `GET /{code}`",
        "edit": "send a link elsewhere: `PATCH /api/v1/links/{code}`",
        "open_new": "open the link that the step before has made: `GET /{code}`",
        "stats_new": "read its clicks: `GET /api/v1/links/{code}/stats`",
        "delete": "delete it: `DELETE /api/v1/links/{code}`",
        "open_deleted": "open it once more, soon after: `GET /{code}`",
        "knock": "open an alias that nobody has yet: `GET /{alias}`",
        "claim": "make a link with that alias: `POST /api/v1/links` with `alias`",
        "open_claimed": "open it: `GET /{alias}`",
        "race": "want an alias that two others want at about the same time: `POST /api/v1/links` with `alias`",
        "open_race": "open it, whoever got it: `GET /{alias}`",
        "cap": "make a link that may be opened twice: `POST /api/v1/links` with `alias` and `max_visits`",
        "capped": "open the latest of these, with several others at about the same time: `GET /{alias}`",
        "brief": "make a link that ends 1.2 s later: `POST /api/v1/links` with `expires_at`",
        "open_brief": "open it while it lasts: `GET /{code}`",
        "open_expired": "open it when it has ended: `GET /{code}`",
        "repeat": "make a link with an `Idempotency-Key` that somebody else uses too, for the same link: `POST /api/v1/links`",
        "repeat_again": "ask the same once more, as if the answer had been lost: `POST /api/v1/links`",
        "unlucky": (
            "shorten a URL whose MD5 begins, in base62, with the same seven characters as that of the one before or after it: "
            "`POST /api/v1/links`"
        ),
    }
)

# All load comes from one address, which a limit per client would stop.
UNLIMITED = {"misses_per_minute": "0"}

MIXES: Mapping[str, Mix] = MappingProxyType(
    {
        mix.name: mix
        for mix in (
            Mix(
                name="mixed",
                who=(
                    "An ordinary day: browsers open links that were shared, programs shorten new ones, owners look at their "
                    "clicks, and some people mistype."
                ),
                ratios={"redirect": 0.90, "create": 0.05, "stats": 0.02, "unknown": 0.03},
                keys=2_000,
                zipf_s=1.0,
                rate_per_s=400.0,
                knobs=UNLIMITED,
                touch="redirect",
            ),
            Mix(
                name="redirects",
                who="Browsers only: the path that has to be cheap, since a link is opened far more often than it is made.",
                ratios={"redirect": 1.0},
                keys=2_000,
                zipf_s=1.0,
                rate_per_s=600.0,
                knobs=UNLIMITED,
                touch="redirect",
            ),
            Mix(
                name="hot",
                who="A link is read out on television: nearly everybody wants the same one.",
                ratios={"redirect": 1.0},
                keys=20,
                zipf_s=1.2,
                rate_per_s=600.0,
                knobs=UNLIMITED,
                touch="redirect",
            ),
            Mix(
                name="create",
                who="A newsletter system shortens every link of every letter, and opens few of its own to see that they work.",
                ratios={"create": 0.90, "redirect": 0.10},
                keys=200,
                zipf_s=1.0,
                rate_per_s=250.0,
                knobs=UNLIMITED,
            ),
            Mix(
                name="unknown",
                who=(
                    "A scanner guesses codes, and a dead campaign is still printed on posters: most codes asked for do not "
                    "exist, some of them over and over, between visits to real links."
                ),
                ratios={"unknown": 0.60, "scan": 0.20, "redirect": 0.20},
                keys=2_000,
                zipf_s=1.0,
                rate_per_s=500.0,
                knobs=UNLIMITED,
                touch="redirect",
            ),
            Mix(
                name="expiring",
                who="One link that everybody opens, in a cache that forgets it ten times a second.",
                ratios={"redirect": 1.0},
                keys=1,
                zipf_s=0.0,
                rate_per_s=1_500.0,
                knobs={**UNLIMITED, "cache_ttl_s": "0.1", "staleness_s": "0.1"},
            ),
            Mix(
                name="edits",
                who="A campaign is running while its owner keeps correcting where its twenty links lead.",
                ratios={"redirect": 0.98, "edit": 0.02},
                keys=20,
                zipf_s=1.0,
                rate_per_s=400.0,
                knobs=UNLIMITED,
                touch="redirect",
            ),
            *(
                Mix(
                    name=f"zipf-{zipf_s}",
                    who=(
                        f"{who} Each replica's own memory holds one link in twenty, so popularity decides how often it is enough."
                    ),
                    ratios={"redirect": 0.90, "create": 0.10},
                    keys=5_000,
                    zipf_s=zipf_s,
                    rate_per_s=400.0,
                    knobs={**UNLIMITED, "cache_entries": "250"},
                    touch="redirect",
                )
                for zipf_s, who in (
                    (0.8, "An archive: old links are opened nearly as often as new ones."),
                    (1.0, "A busy site: few links are popular, most are opened now and then."),
                    (1.2, "A news day: a handful of links gets most of the visits."),
                )
            ),
            Mix(
                name="returning",
                who=(
                    "Forty people who come back: they open the same fifty links again and again, in browsers that keep what "
                    "they may."
                ),
                ratios={"redirect": 1.0},
                keys=50,
                zipf_s=1.0,
                rate_per_s=600.0,
                knobs=UNLIMITED,
                touch="redirect",
                clients=40,
            ),
            Mix(
                name="journeys",
                who=(
                    "Programs that make a link, open it to see that it works, and look at its clicks, a step every 0.3 s, while "
                    "browsers open older links."
                ),
                ratios={"create": 0.3, "redirect": 0.7},
                keys=500,
                zipf_s=1.0,
                rate_per_s=300.0,
                knobs=UNLIMITED,
                then={"create": ("open_new", 0.3), "open_new": ("stats_new", 0.3)},
            ),
            Mix(
                name="copies",
                who=(
                    "Links that are kept on several machines and in no cache: most visits are to links that somebody has just made "
                    "or sent elsewhere."
                ),
                ratios={"redirect": 0.70, "create": 0.15, "edit": 0.15},
                keys=500,
                zipf_s=1.0,
                rate_per_s=150.0,
                knobs={**UNLIMITED, "store": "cassandra", "cache": "none"},
                touch="redirect",
            ),
            Mix(
                name="everything",
                who=(
                    "All at once what a promise is made about: links are opened, edited, deleted, wanted twice, asked for before "
                    "there are any, capped, and end while somebody looks."
                ),
                ratios={
                    "redirect": 0.46,
                    "edit": 0.07,
                    "create": 0.06,
                    "knock": 0.05,
                    "race": 0.07,
                    "cap": 0.02,
                    "capped": 0.10,
                    "brief": 0.02,
                    "repeat": 0.04,
                    "unlucky": 0.04,
                    "stats": 0.02,
                    "unknown": 0.02,
                    "scan": 0.03,
                },
                keys=150,
                zipf_s=1.0,
                rate_per_s=200.0,
                knobs={**UNLIMITED, "staleness_s": "1", "cache_ttl_s": "2"},
                touch="redirect",
                then={
                    "create": ("open_new", 0.05),
                    "open_new": ("delete", 0.3),
                    "delete": ("open_deleted", 0.1),
                    "knock": ("claim", 0.05),
                    "claim": ("open_claimed", 0.05),
                    "race": ("open_race", 0.1),
                    "brief": ("open_brief", 0.2),
                    "open_brief": ("open_expired", 1.3),
                    "repeat": ("repeat_again", 0.1),
                },
            ),
        )
    }
)

CHECK_MIX = "everything"

# Where a knob bites only when something fails (the cache is gone, the queue is full), the mix is the one to run beside the fault.
DEFAULT_MIX: Mapping[str, str] = MappingProxyType(
    {
        "ids": "create",
        "code_length": "create",
        "lease_size": "create",
        "store": "create",
        "consistency": "copies",
        "speculative_ms": "copies",
        "cache": "mixed",
        "cache_layers": "redirects",
        "cache_entries": "zipf-1.0",
        "cache_ttl_s": "expiring",
        "cache_ttl_jitter": "expiring",
        "staleness_s": "edits",
        "negative_ttl_s": "unknown",
        "stampede": "expiring",
        "on_cache_down": "redirects",
        "cache_deadline_ms": "redirects",
        "clicks": "redirects",
        "click_flush_ms": "redirects",
        "click_buffer": "hot",
        "redirect": "returning",
        "redirect_path": "redirects",
        "misses_per_minute": "unknown",
        "metrics": "redirects",
        "traces": "redirects",
        "": "mixed",
    }
)

_REDIRECT_COST = ("cpu_us_per_request", "cpu_us_per_request_service", "cpu_us_per_request_store", "latency_p50_ms")
_CREATE_COST = ("store_writes", "fsyncs", "redis_commands", "cpu_us_per_request", "latency_p50_ms")
_STORE_COST = ("latency_p50_ms", "latency_p99_ms", "cpu_us_per_request_store", "cpu_us_per_request", "store_calls")
_WATCHING_COST = ("cpu_us_per_request_service", "cpu_us_per_request_worker", "latency_p50_ms", "latency_p99_ms", "rss_mb")
_CACHE_COST = ("store_reads", "cache_misses", "redis_commands", "redis_bytes", *_REDIRECT_COST)

# Figures by knob, most telling first: counted work before CPU, CPU before latency.
CARD: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ids": _CREATE_COST,
        "code_length": _CREATE_COST,
        "lease_size": _CREATE_COST,
        "store": (
            "latency_p50_ms",
            "latency_p99_ms",
            "cpu_us_per_request",
            "cpu_us_per_request_service",
            "cpu_us_per_request_store",
            "store_writes",
            "fsyncs",
        ),
        "consistency": _STORE_COST,
        "speculative_ms": _STORE_COST,
        "cache": ("store_reads", "store_writes", "fsyncs", "redis_commands", "redis_bytes", *_REDIRECT_COST),
        "cache_layers": ("redis_commands", "redis_bytes", "store_reads", *_REDIRECT_COST, "rss_mb"),
        "cache_entries": ("cache_local_hits", "cache_hit_ratio", "redis_commands", "store_reads", *_REDIRECT_COST, "rss_mb"),
        "cache_ttl_s": ("cache_loads", "store_reads", "redis_commands", *_REDIRECT_COST),
        "cache_ttl_jitter": ("cache_loads", "store_reads", "latency_p99_ms", *_REDIRECT_COST),
        "staleness_s": ("redis_commands", "cache_local_hits", "store_reads", *_REDIRECT_COST),
        "negative_ttl_s": ("store_reads", "cache_negative_hits", "redis_commands", *_REDIRECT_COST),
        "stampede": ("cache_loads", "store_reads", "redis_commands", "latency_p99_ms", *_REDIRECT_COST),
        "on_cache_down": ("failed_per_100", *_CACHE_COST),
        "cache_deadline_ms": ("latency_p99_ms", "failed_per_100", *_CACHE_COST),
        "clicks": (
            "store_writes",
            "fsyncs",
            "messages",
            "redis_commands",
            "cpu_us_per_request_worker",
            "cpu_us_per_request_broker",
            *_REDIRECT_COST,
            "rss_mb",
            "clicks_dropped",
        ),
        "click_flush_ms": ("store_writes", "fsyncs", "messages", "redis_commands", "cpu_us_per_request_worker", *_REDIRECT_COST),
        "click_buffer": ("clicks_dropped", *_REDIRECT_COST, "rss_mb"),
        "redirect": ("requests_sent", "clicks_counted", "cpu_us_per_request", "cpu_us_per_request_service", "latency_p50_ms"),
        "redirect_path": ("cpu_us_per_request_service", "cpu_us_per_request", "latency_p50_ms", "latency_p99_ms"),
        "misses_per_minute": ("store_reads", "redis_commands", *_REDIRECT_COST),
        "metrics": _WATCHING_COST,
        "traces": ("spans_sent", "spans_dropped", "cpu_us_per_request_collector", *_WATCHING_COST),
        "": ("cpu_us_per_request", "store_calls", "redis_commands", "redis_bytes", "latency_p50_ms", "latency_p99_ms"),
    }
)


def workloads_page(mixes: Mapping[str, Mix] = MIXES, default_mix: Mapping[str, str] = DEFAULT_MIX) -> str:
    """The page `WORKLOADS.md`."""

    def shows_instead(mix: Mix) -> str:
        if mix.name == CHECK_MIX:
            return "whether every promise is kept while faults strike"
        return "that what was just made can be read at once" if mix.then else "what popularity does to a cache"

    words = PageWords(
        title="Workloads of the URL shortener",
        key="link",
        touched="each link is opened once, so that caches are full",
        untouched="nothing; caches are empty",
        client="each with a cache of its own",
        shows_instead=shows_instead,
    )
    return page_of(words, mixes, default_mix, OPS)
