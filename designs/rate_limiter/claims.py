"""What the chapter claims of its trade-offs, and the run behind each claim. THE list: the chapter's tables are made from it.

A claim says which way a choice goes and, where theory gives a reason, by how much at least; where nothing speaks for a size, it
bounds the cost. `designs claims rate_limiter` measures all of it again.
"""

from __future__ import annotations

from designs.building_blocks.claims import MET, SAFETY, VALID, Bench, Claim, Run, at_most, less, more, same

CPU = "cpu_us_per_request"
P99 = "latency_p99_ms"
SCRIPTS = "redis_scripts"  # a round trip each
ALLOWED, OVER_QUOTA = "allowed", "over_quota"
ANSWER, FAILED = "answer_bytes", "failed_per_100"

# With more than two variants an interval needs eight blocks: below, no set of blocks is rare enough among the comparisons.
# Rounds of two seconds, so that each has one of the edges that the attacker saves up for.
EDGES = Run("algorithm", ("fixed_window", "sliding_window", "sliding_log", "gcra"), "edges", blocks=8, round_s=2.0)
STORES = Run("store", ("redis", "memory", "local_lease", "sqlite"), "hot", blocks=8)
LEASES = Run("lease_size", ("1", "10", "100"), "tenants", ("store=local_lease",), blocks=8)
HEADERS = Run("headers", ("none", "current"), "three", blocks=8)
# Knobs that bite only when something fails: each side in turn is struck alike, in rounds long enough to recover.
AWAY = Run("on_store_down", ("local", "open", "closed"), "hot", blocks=8, round_s=4.0, faults=("redis_black_hole",))
DEADLINE = Run("deadline_ms", ("30", "250"), "checks", blocks=8, round_s=4.0, faults=("redis_black_hole",))
LEASED = Bench("leases", about_s=10)
SILENT = Bench("black-hole", about_s=180)
LIMITERS = Bench("limiter", about_s=240)

CLAIMS = (
    Claim(
        "Around its edges a fixed window lets through what an exact log never does", EDGES, "sliding_log", OVER_QUOTA, less(0.95)
    ),
    Claim("The sliding counter takes at least four fifths of that away", EDGES, "sliding_window", OVER_QUOTA, less(0.8)),
    Claim("GCRA lets through as its burst says, here as much as the edge of a window", EDGES, "gcra", OVER_QUOTA, same(0.25)),
    Claim("Each algorithm keeps the bound that it has", EDGES, "", SAFETY, VALID),
    Claim("Counting in the replica's own memory costs at least 15 % less CPU than in Redis", STORES, "memory", CPU, less(0.15)),
    Claim("A lease spares a client that is refused at least a quarter of the trips", STORES, "local_lease", SCRIPTS, less(0.25)),
    Claim("It costs less CPU then", STORES, "local_lease", CPU, less()),
    Claim("It admits as many, within one in twenty", STORES, "local_lease", ALLOWED, same(0.05)),
    Claim("SQLite costs at most 50 % more CPU than Redis", STORES, "sqlite", CPU, at_most(0.5)),
    Claim("Every store keeps the limit", STORES, "", SAFETY, VALID),
    Claim("Leases of ten spare at least 70 % of the round trips", LEASES, "10", SCRIPTS, less(0.7)),
    Claim("Leases of a hundred spare at least 80 %", LEASES, "100", SCRIPTS, less(0.8)),
    Claim("Leases of ten cost at least 10 % less CPU in all", LEASES, "10", CPU, less(0.1)),
    Claim("Leases of a hundred cost at least 10 % less CPU in all", LEASES, "100", CPU, less(0.1)),
    Claim("At each size no more is admitted than the bound and the leases", LEASES, "", SAFETY, VALID),
    Claim("Headers ask Redis nothing, with three limits either", HEADERS, "current", SCRIPTS, same(0.02)),
    Claim("Headers make an answer at least 10 % longer", HEADERS, "current", ANSWER, more(0.1)),
    Claim("Headers cost at most 10 % more CPU", HEADERS, "current", CPU, at_most(0.1)),
    Claim("With and without headers several limits pass together or not at all", HEADERS, "", SAFETY, VALID),
    Claim("While Redis answers nothing, open lets in at least half as much again as local", AWAY, "open", ALLOWED, more(0.5)),
    Claim("Closed lets in less than local, and nothing but what Redis counts in between", AWAY, "closed", ALLOWED, less(0.3)),
    Claim("What closed refuses fails for whoever asked", AWAY, "closed", FAILED, more()),
    Claim("All three do as they say, and each answers in time", AWAY, "", SAFETY, VALID),
    Claim("While Redis answers nothing, eight times the deadline at least doubles the p99", DEADLINE, "250", P99, more(1.0)),
    Claim("With either deadline every decision is there in time", DEADLINE, "", SAFETY, VALID),
    Claim(
        "Without a breaker each decision waits for the deadline, and 99 of 100 for at most 10 ms more",
        SILENT,
        "",
        "with a deadline of 30 ms and the breaker off",
        MET,
    ),
    Claim("As much is true of a shorter deadline", SILENT, "", "with a deadline of 10 ms and the breaker off", MET),
    Claim("And of a longer one", SILENT, "", "with a deadline of 100 ms and the breaker off", MET),
    Claim(
        "And with the breaker, which spares the wait to nearly all", SILENT, "", "with a deadline of 30 ms and the breaker on", MET
    ),
    Claim(
        "Nothing gets through a lease beyond what replicas hold and time brings back", LEASED, "", "no lease lets more through", MET
    ),
    Claim("For four replicas, leases of ten spare three quarters of the trips", LEASED, "", "leases of ten spare", MET),
    Claim("Nobody is refused for a lease that is spent while it lasts", LEASED, "", "nobody is refused for a lease", MET),
    Claim("A lease of five times what is spent asks more often than none", LEASED, "", "a lease of five times that asks more", MET),
    Claim("A decision is one round trip, headers and three limits included", LIMITERS, "", "one round trip per decision", MET),
    Claim(
        "A decision by GCRA costs Redis at most what eight empty scripts cost",
        LIMITERS,
        "",
        "an allowed GCRA decision takes at most 7.8 times",
        MET,
    ),
    Claim("A client costs GCRA at most 72 bytes beside its key", LIMITERS, "", "a client costs GCRA at most 72 bytes", MET),
    Claim("A leaky queue costs no more than that", LIMITERS, "", "an allowed decision of leaky_queue", MET),
    Claim(
        "A fixed window costs at most nine empty scripts and 100 bytes", LIMITERS, "", "an allowed decision of fixed_window", MET
    ),
    Claim("A sliding window costs as much at most", LIMITERS, "", "an allowed decision of sliding_window", MET),
    Claim(
        "A leaky bucket, two numbers instead of one, half a script more", LIMITERS, "", "an allowed decision of leaky_bucket", MET
    ),
    Claim("And so does a token bucket", LIMITERS, "", "an allowed decision of token_bucket", MET),
    Claim(
        "A log of ten units costs at most twelve and a half and 300 bytes", LIMITERS, "", "an allowed decision of sliding_log", MET
    ),
    Claim(
        "A sketch costs up to thirty, for memory that does not grow with clients",
        LIMITERS,
        "",
        "an allowed decision of sketch",
        MET,
    ),
    Claim("Eight processes that race for one key get exactly its limit", LIMITERS, "", "8 processes racing on one key", MET),
    Claim("A greedy client gets from none of ours more than it promises", LIMITERS, "", "none of ours lets in more", MET),
)
