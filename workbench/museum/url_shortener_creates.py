"""Exhibits of the URL shortener: codes that are handed out twice, and creates that promise too much."""

from __future__ import annotations

from loadtests.url_shortener.promises import ALIASES, KEPT, REPEATS, UNIQUE
from workbench.museum.exhibit import Exhibit

DESIGN = "url_shortener"
FLAWS = "workbench.museum.url_shortener_flaws"
SHARED_FLAWS = "workbench.museum.building_block_flaws"
ASSEMBLY = "designs.url_shortener.assembly"
STORES = "designs.url_shortener.store_parts"
SHORTENER = "designs.url_shortener.shortener"
REDIS = "designs.url_shortener.backends.redis"

CREATES: tuple[Exhibit, ...] = (
    Exhibit(
        name="hash_prefix",
        design=DESIGN,
        title="The first seven digits of a hash",
        wrong=(
            "The code is `base62(md5(url))[:7]`, and a code that is taken is believed to be the same URL's: the second owner "
            "is handed a link that leads to somebody else's page."
        ),
        seen_in=(
            "[System Design Primer, "
            "Pastebin](https://github.com/donnemartin/system-design-primer/blob/master/solutions/system_design/pastebin/README.md) "
            "takes the first seven digits, of another text; answers that hash the URL itself add that equal codes mean equal "
            "URLs."
        ),
        tempting=(
            "No counter, no coordination, and the same URL gets the same code for free. 62^7 looks large, but pairs meet at "
            "its square root, and the leading digits are not even evenly used: six million codes had 43 colliding pairs where "
            "chance has 5."
        ),
        right_way=(
            "Insert-if-absent decides who has a code; a taken code is compared with the whole URL, and another one is tried. "
            "That costs a look at the row that is in the way, and only when there is one."
        ),
        knobs={"ids": "hash"},
        swaps={
            f"{ASSEMBLY}:code_source": f"{FLAWS}:md5_prefix_codes",
            f"{SHORTENER}:_same_plain_link": f"{FLAWS}:same_code_means_same_url",
        },
        flagged_by=UNIQUE,
    ),
    Exhibit(
        name="non_atomic_counter",
        design=DESIGN,
        title="A counter that is read, then written",
        wrong=(
            "A create reads the counter, adds one and writes it back. Two that read before either writes own the same number, "
            "and the later link replaces the earlier, since a number from the counter is believed to be new."
        ),
        seen_in="[YOURLS 1.10](https://github.com/YOURLS/YOURLS) counts without one atomic step.",
        tempting=(
            "GET, add, SET is how one would do it in a single thread, and each of the three is atomic. The gap is as long as "
            "the way to the server, so nobody sees it on one machine."
        ),
        right_way="One command that reads and writes (INCRBY). It is cheaper, too: one round trip instead of two.",
        knobs={"ids": "counter"},
        schedules=("redis_latency",),
        swaps={
            f"{REDIS}:RedisNumbers.lease_range": f"{FLAWS}:read_then_write",
            f"{STORES}:SqliteLinkStore": f"{FLAWS}:BlindLinkStore",
            f"{SHORTENER}:Shortener._insert": f"{FLAWS}:trust_the_generator",
        },
        flagged_by=UNIQUE,
    ),
    Exhibit(
        name="counter_that_went_back",
        design=DESIGN,
        title="A counter that came back empty",
        wrong=(
            "The counter in Redis is right, atomic and fast; the table believes it and looks at nothing. Redis is lost and "
            "starts again from 0, and new links replace the oldest ones."
        ),
        seen_in="Any counter in a store that can lose its last second or fail over to an older copy; no product is meant.",
        tempting="INCR never answers a number twice, so the check in the table looks like waste: a read per create for nothing.",
        right_way=(
            "Insert-if-absent, whatever made the code, and a generator that jumps ahead when it is refused. The check costs "
            "nothing beside the write that it is part of."
        ),
        knobs={"ids": "counter"},
        schedules=("redis_wipe",),
        swaps={
            f"{STORES}:SqliteLinkStore": f"{FLAWS}:BlindLinkStore",
            f"{SHORTENER}:Shortener._insert": f"{FLAWS}:trust_the_generator",
        },
        flagged_by=UNIQUE,
    ),
    Exhibit(
        name="trusted_clock",
        design=DESIGN,
        title="Ids from a clock that is believed",
        wrong=(
            "Ids are made of seconds, worker and a sequence that starts anew each second, without a look at whether the clock "
            "went back. After a step it makes the ids of a second for the second time."
        ),
        seen_in="Ids made from a time stamp and a sequence, without a memory of the last one; no product is meant.",
        tempting=(
            "Clocks go forward on every machine one has tried it on. NTP steps them, virtual machines are moved, and hosts reboot."
        ),
        right_way=(
            "Remember the last time used; a clock that is behind it is waited for, or the create is refused. Creates may wait."
        ),
        knobs={"ids": "snowflake"},
        schedules=("clock_skew",),
        swaps={
            "designs.url_shortener.codes:Snowflake": f"{SHARED_FLAWS}:UncheckedSecondsSnowflake",
            f"{STORES}:SqliteLinkStore": f"{FLAWS}:BlindLinkStore",
            f"{SHORTENER}:Shortener._insert": f"{FLAWS}:trust_the_generator",
        },
        seconds=6.0,
        flagged_by=UNIQUE,
    ),
    Exhibit(
        name="check_then_insert",
        design=DESIGN,
        title="An alias that is looked up, then taken",
        wrong="Two ask for one alias, both look, both find it free, both insert, and both are told 201. One of them owns nothing.",
        seen_in=(
            "kutt 3.2, dub and spoo check, then insert; shlink had [the same slug "
            "twice](https://github.com/shlinkio/shlink/issues/661)."
        ),
        tempting=(
            "It reads like the sentence in the requirement: if the alias is free, take it. It even holds, as long as one asks "
            "at a time."
        ),
        right_way=(
            "One conditional write: insert unless there is such a row, and the number of rows says who won. One statement "
            "instead of two."
        ),
        schedules=("slow_store",),
        swaps={
            f"{STORES}:SqliteLinkStore": f"{FLAWS}:BlindLinkStore",
            f"{SHORTENER}:Shortener._insert": f"{FLAWS}:check_then_insert",
        },
        seed=2,
        flagged_by=ALIASES,
    ),
    Exhibit(
        name="overwritten_claim",
        design=DESIGN,
        title="One Idempotency-Key, two links",
        wrong=(
            "A request with a key asks whether the key was used, and then notes it. A client that sends it twice at once, "
            "because the first was slow, gets two links: the later note overwrites the earlier."
        ),
        seen_in="A table of keys that is read first and written last; no product is meant.",
        tempting=(
            "Retries come after a time-out, one after the other, and then it works. The one that matters comes while the "
            "first is under way."
        ),
        right_way=(
            "The key is claimed by insert-if-absent, together with the code, before anything is made: one small write per create."
        ),
        schedules=("slow_store",),
        swaps={f"{STORES}:SqliteLinkStore": f"{FLAWS}:OverwritingClaimStore"},
        seed=2,
        rate_per_s=350.0,
        flagged_by=REPEATS,
    ),
    Exhibit(
        name="ack_before_store",
        design=DESIGN,
        title="201 before the store has it",
        wrong=(
            "A create is acknowledged once it is in the cache, and a task writes what gathers to the store every half second. "
            "The process is killed, and acknowledged links are gone as soon as the cache forgets them."
        ),
        seen_in="Write-behind in the memory of the process: answers that take the write out of the request; no product is meant.",
        tempting="The write is the slow part of a create. Off the path, the median falls to what the cache takes.",
        right_way=(
            "Acknowledge what is on the disk, or in a queue that survives the process and is emptied into the store "
            "(cache=write-behind). The disk's sync is what a create costs; group commit shares it."
        ),
        knobs={"cache": "write-through", "cache_ttl_s": "1"},
        schedules=("replica_kill_loop",),
        swaps={f"{SHORTENER}:Shortener._insert": f"{FLAWS}:acknowledge_first"},
        seed=2,
        seconds=6.0,
        rate_per_s=350.0,
        flagged_by=KEPT,
    ),
)
