"""What the chapter claims of its trade-offs, and the run behind each claim. THE list: the chapter's tables are made from it.

A claim says which way a choice goes and, where theory gives a reason, by how much at least; where nothing speaks for a size, it
bounds the cost. `designs claims rate_limiter` measures all of it again.
"""

from __future__ import annotations

from designs.building_blocks.claims import MET, SAFETY, VALID, Bench, Claim, Run, at_most, less, more, same

CPU = "cpu_us_per_request"
SCRIPTS = "redis_scripts"  # a round trip each
ALLOWED, OVER_QUOTA, ANSWER = "allowed", "over_quota", "answer_bytes"

# With more than two variants an interval needs eight blocks: below, no set of blocks is rare enough among the comparisons.
# Rounds of two seconds, so that each has one of the edges that the attacker saves up for.
EDGES = Run("algorithm", ("fixed_window", "sliding_window", "sliding_log", "gcra"), "edges", blocks=8, round_s=2.0)
STORES = Run("store", ("redis", "memory", "local_lease", "sqlite"), "hot", blocks=8)
HEADERS = Run("headers", ("none", "current"), "three", blocks=8)
LEASED = Bench("leases", about_s=10)
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
    Claim("Headers ask Redis nothing, with three limits either", HEADERS, "current", SCRIPTS, same(0.02)),
    Claim("Headers make an answer at least 10 % longer", HEADERS, "current", ANSWER, more(0.1)),
    Claim("Headers cost at most 10 % more CPU", HEADERS, "current", CPU, at_most(0.1)),
    Claim("With and without headers several limits pass together or not at all", HEADERS, "", SAFETY, VALID),
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
    Claim("Eight processes that race for one key get exactly its limit", LIMITERS, "", "8 processes racing on one key", MET),
    Claim("A greedy client gets from none of ours more than it promises", LIMITERS, "", "none of ours lets in more", MET),
)
