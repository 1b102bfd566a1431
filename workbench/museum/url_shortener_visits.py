"""Exhibits of the URL shortener: caches that stay old, limits that are passed, and clicks that are lost or counted twice."""

from __future__ import annotations

from pathlib import Path

from loadtests.url_shortener.promises import CAPS, CLICKS, EXPIRIES, FOUND_AT_ONCE, STALENESS
from workbench.museum.exhibit import Exhibit

DESIGN = "url_shortener"
OWN_SCHEDULES = Path(__file__).parent / "schedules"
FLAWS = "workbench.museum.url_shortener_flaws"
SHARED_FLAWS = "workbench.museum.building_block_flaws"
ASSEMBLY = "designs.url_shortener.assembly"
SHORTENER = "designs.url_shortener.shortener"
REDIS = "designs.url_shortener.backends.redis"

VISITS: tuple[Exhibit, ...] = (
    Exhibit(
        name="sticky_negative",
        design=DESIGN,
        title="A cached miss that hides the new link",
        wrong=(
            "Somebody asks for an alias before it exists, and `no such link` is cached. The create does not touch the cache, "
            "so the owner gets 201, opens the link and gets 404."
        ),
        seen_in="Cache-aside by the book with a negative cache, which then belongs to the create as well; no product is meant.",
        tempting="A create has nothing to invalidate: how could something be cached that does not exist yet? Absence can.",
        right_way="A create leaves its version in the cache as an edit does: one round trip to Redis per create.",
        swaps={f"{SHORTENER}:Shortener._tell_cache_of": f"{FLAWS}:leave_the_cache_alone"},
        rate_per_s=350.0,
        flagged_by=FOUND_AT_ONCE,
    ),
    Exhibit(
        name="unbounded_staleness",
        design=DESIGN,
        title="A local cache that hits keep alive",
        wrong=(
            "An edit empties the shared cache and is not told to the memory of the other replicas, where each hit renews the "
            "life of the entry. The more often a link is opened, the longer it stays old: a hot one for ever."
        ),
        seen_in=(
            "[dub#4267](https://github.com/dubinc/dub/issues/4267): a deleted link is served from the process, re-armed by "
            "each hit."
        ),
        tempting="Least recently used with `update age on get` is an option of the cache library, and keeps the hit ratio up.",
        right_way=(
            "Entries die a fixed time after they were fetched, whatever hits them, and replicas hear of edits: a read of the "
            "shared layer per key and S, and a channel in Redis."
        ),
        knobs={"staleness_s": "0.6"},
        mix="edits",
        swaps={
            f"{ASSEMBLY}:LocalCache": f"{SHARED_FLAWS}:RearmingLocalCache",
            f"{REDIS}:RedisInvalidations.listen": f"{FLAWS}:hear_nothing",
        },
        flagged_by=STALENESS,
    ),
    Exhibit(
        name="unversioned_fill",
        design=DESIGN,
        title="A reader that puts the old value back",
        wrong=(
            "An edit deletes the key, then writes the row; a fill is a plain SET. Who opens the link in between reads the old "
            "row and puts it back, and there it stays for the whole life of the entry."
        ),
        seen_in=(
            "Cache-aside with set and delete. Memcache got leases for what a late SET does: [Scaling Memcache at "
            "Facebook](https://www.usenix.org/conference/nsdi13/technical-sessions/presentation/nishtala)."
        ),
        tempting=(
            "Delete the key, and the next reader fetches the new value: each step is right, and each is tested alone. "
            "Deleting after the write only makes the gap smaller."
        ),
        right_way=(
            "Every row has a version, an invalidation leaves it behind as a marker, and a fill below it is refused: a script "
            "instead of a SET, and a small key per edit."
        ),
        knobs={"staleness_s": "0.3", "cache_ttl_s": "60"},
        schedules=(str(OWN_SCHEDULES / "one_slow_writer.toml"),),
        seed=4,
        seconds=5.0,
        mix="edits",
        swaps={
            f"{REDIS}:_FILL": f"{FLAWS}:PLAIN_FILL",
            f"{REDIS}:_INVALIDATE": f"{FLAWS}:PLAIN_DELETE",
            f"{SHORTENER}:Shortener._settle": f"{FLAWS}:settle_nothing",
        },
        flagged_by=STALENESS,
    ),
    Exhibit(
        name="expiry_in_the_query",
        design=DESIGN,
        title="An expiry that only the query knows",
        wrong=(
            "`WHERE expires_at > now` leaves out what has expired, and the redirect believes what it found. From a cache it "
            "is found as long as the entry lives, and the link leads on after its end."
        ),
        seen_in="What becomes of a right query once a cache is put in front of it; no product is meant.",
        tempting="The database does it already, and it was right until the day of the cache.",
        right_way="The expiry is part of what is cached, and every visit compares it with the clock: a comparison of two numbers.",
        knobs={"cache_ttl_s": "60"},
        swaps={
            "designs.url_shortener.backends.sqlite:SqliteLinkStore.get": f"{FLAWS}:get_unless_expired",
            f"{SHORTENER}:outcome": f"{FLAWS}:outcome_of_what_was_found",
        },
        flagged_by=EXPIRIES,
    ),
    Exhibit(
        name="overshot_cap",
        design=DESIGN,
        title="A visit cap that is read, then counted",
        wrong="A link for five visits: everybody who reads the count before the others have written theirs is let in.",
        seen_in=(
            "shlink 5.1's cap overshoots; [visit limits not enforced](https://github.com/shlinkio/shlink/issues/2647), of "
            "which we do not know the cause."
        ),
        tempting="Counting belongs to the analytics, and those are asynchronous; reading a number before the redirect is cheap.",
        right_way="One conditional UPDATE takes the visit. Only capped links pay for it: a write, and no local cache.",
        schedules=("slow_store",),
        swaps={f"{SHORTENER}:Shortener.visit": f"{FLAWS}:count_then_redirect"},
        seed=2,
        rate_per_s=350.0,
        flagged_by=CAPS,
    ),
    Exhibit(
        name="click_lost_on_kill",
        design=DESIGN,
        title="Clicks acknowledged before they are counted",
        wrong="The worker tells the queue that a batch is done, then counts it. Killed in between, nobody counts it any more.",
        seen_in=(
            "Celery's [default](https://docs.celeryq.dev/en/stable/userguide/tasks.html): a task is acknowledged in advance, "
            "just before it is executed, unless it has acks_late."
        ),
        tempting="A batch that is acknowledged first can't come twice, and so the counting needs no memory of what it has counted.",
        right_way=(
            "Count, then acknowledge, and remember the ids of the batches in the transaction that counts: a row per batch, "
            "kept for days."
        ),
        schedules=(str(OWN_SCHEDULES / "worker_dies_at_work.toml"),),
        swaps={"designs.url_shortener.worker:ClickWorker": f"{FLAWS}:AckBeforeWriteWorker"},
        seed=12,
        seconds=11.5,
        rate_per_s=350.0,
        flagged_by=CLICKS,
    ),
    Exhibit(
        name="click_counted_twice",
        design=DESIGN,
        title="Clicks that are counted as often as they come",
        wrong=(
            "At least once, and the counter adds whatever comes: the id of a batch is made where it arrives. An answer of the "
            "queue gets lost, the replica sends the batch again, and its clicks are counted twice."
        ),
        seen_in="kutt 3.2 and spoo count clicks at least once.",
        tempting="The queue delivers once as long as nothing breaks, and what breaks is rare. So is the audit that finds it.",
        right_way="The id is made where the batch is made, once for all tries, and the counts remember it: a row per batch.",
        schedules=(str(OWN_SCHEDULES / "lost_answers.toml"),),
        swaps={"designs.url_shortener.click_worker:decode_batch": f"{FLAWS}:batch_under_a_new_id"},
        seed=4,
        rate_per_s=350.0,
        flagged_by=CLICKS,
    ),
    Exhibit(
        name="fire_and_forget",
        design=DESIGN,
        title="Clicks that are gone without a word",
        wrong="A batch of clicks that can't be sent is dropped, and counts as sent: no figure says that anything is missing.",
        seen_in="Every `try: send() except: pass` around analytics; no product is meant.",
        tempting="A redirect must not fail because of its click, and so the error is caught. Counting it was for later.",
        right_way=(
            "A batch is held and sent again under its id, up to a bound; what is dropped there is counted. Memory, and a counter."
        ),
        schedules=("redis_down",),
        swaps={f"{ASSEMBLY}:to_queue": f"{FLAWS}:send_and_forget"},
        flagged_by=CLICKS,
    ),
)
