"""What the chapter claims of its trade-offs, and the run behind each claim. THE list: the chapter's tables are made from it.

A claim says which way a choice goes and, where theory or an earlier run gives a reason, by how much at least; where nothing
speaks for a size, it bounds the cost. `designs claims url_shortener` measures all of it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from designs.building_blocks.claims import MET, SAFETY, VALID, Bench, Claim, Run, at_most, less, more, same

CPU = "cpu_us_per_request"
SERVICE_CPU = "cpu_us_per_request_service"
P50 = "latency_p50_ms"
MEMORY = "rss_mb"
P99 = "latency_p99_ms"
FAILED, DROPPED = "failed_per_100", "clicks_dropped"
READS, WRITES, LOADS, COMMANDS = "store_reads", "store_writes", "cache_loads", "redis_commands"

# With five variants an interval needs eight blocks: below, no set of blocks is rare enough among four comparisons.
CACHE_VALUES = ("none", "aside", "write-through", "write-behind")
CACHES = {skew: Run("cache", CACHE_VALUES, f"zipf-{skew}", blocks=8) for skew in (0.8, 1.0, 1.2)}
LAYERS = Run("cache_layers", ("both", "process", "redis"), "redirects", blocks=8)
NEGATIVE = Run("negative_ttl_s", ("0", "5"), "unknown")
STAMPEDE = Run("stampede", ("none", "single-flight", "lease", "early-expiry"), "expiring", blocks=8)
IDS = Run("ids", ("lease", "counter", "snowflake", "random", "hash"), "create", blocks=8)
CLICKS = Run("clicks", ("sync", "batched", "redis_streams", "off"), "redirects", blocks=8)
STORES = Run("store", ("sqlite", "cassandra"), "create", rate_per_s=60.0, blocks=8)
QUEUES = Run("clicks", ("redis_streams", "kafka"), "hot", blocks=8)
STATUS = Run("redirect", ("302", "301"), "returning")
PATH = Run("redirect_path", ("fastapi", "asgi"), "redirects")
METRICS = Run("metrics", ("off", "on"), "redirects")
TRACES = Run("traces", ("0", "0.01", "1"), "redirects", blocks=8)
# Knobs that bite only when something fails: each side in turn is struck alike, in rounds long enough to recover.
SHARED_ONLY = ("cache_layers=redis",)
CACHE_DOWN = Run(
    "on_cache_down", ("bypass", "refuse"), "redirects", SHARED_ONLY, blocks=8, round_s=4.0, faults=("redis_black_hole",)
)
DEADLINE = Run("cache_deadline_ms", ("50", "250"), "redirects", SHARED_ONLY, blocks=8, round_s=4.0, faults=("redis_black_hole",))
BUFFER = Run("click_buffer", ("20000", "100"), "hot", blocks=8, round_s=4.0, faults=("redis_down",))
REDIRECT_COST = Bench("redirect", about_s=90)
GROWTH = Bench("growth", about_s=300)


def _cache_claims(skew: float) -> Iterator[Claim]:
    run, under = CACHES[skew], f"Under Zipf {skew}"
    yield Claim(f"{under}, cache-aside spares the store at least half of its reads", run, "aside", READS, less(0.5))
    yield Claim(f"{under}, write-through spares the store at least half of its reads", run, "write-through", READS, less(0.5))
    yield Claim(f"{under}, write-behind spares the store at least half of its reads", run, "write-behind", READS, less(0.5))
    yield Claim(f"{under}, cache-aside pays with commands to Redis", run, "aside", COMMANDS, more())
    yield Claim(f"{under}, all cache policies keep their promises", run, "", SAFETY, VALID)


CLAIMS = (
    *_cache_claims(0.8),
    Claim(
        "Where the store is near and popularity flat, cache-aside costs CPU instead of saving it", CACHES[0.8], "aside", CPU, more()
    ),
    *_cache_claims(1.0),
    *_cache_claims(1.2),
    Claim(
        "The process layer alone needs at least 30 % fewer Redis commands than both layers", LAYERS, "process", COMMANDS, less(0.3)
    ),
    Claim("The process layer alone costs less CPU than both layers", LAYERS, "process", CPU, less()),
    Claim("The process layer alone reads the store more often", LAYERS, "process", READS, more()),
    Claim("Redis alone needs at least 30 % more Redis commands than both layers", LAYERS, "redis", COMMANDS, more(0.3)),
    Claim("Redis alone costs at least 10 % more CPU than both layers", LAYERS, "redis", CPU, more(0.1)),
    Claim("All layers keep their promises", LAYERS, "", SAFETY, VALID),
    Claim("Remembering “no such link” spares the store at least 30 % of its reads", NEGATIVE, "5", READS, less(0.3)),
    Claim("Remembering “no such link” costs at least 10 % more Redis commands", NEGATIVE, "5", COMMANDS, more(0.1)),
    Claim("Remembering “no such link” costs at most 25 % more CPU", NEGATIVE, "5", CPU, at_most(0.25)),
    Claim("Remembering “no such link” breaks no promise", NEGATIVE, "", SAFETY, VALID),
    Claim("Single-flight loads a dead entry at least 20 % less often than no policy", STAMPEDE, "single-flight", LOADS, less(0.2)),
    Claim("A lease loads a dead entry at least 20 % less often than no policy", STAMPEDE, "lease", LOADS, less(0.2)),
    Claim("Early expiry renews in vain, but loads at most 50 % more often", STAMPEDE, "early-expiry", LOADS, at_most(0.5)),
    Claim("Before a quick store, single-flight costs at most 25 % more CPU", STAMPEDE, "single-flight", CPU, at_most(0.25)),
    Claim("All stampede policies keep their promises", STAMPEDE, "", SAFETY, VALID),
    Claim("A counter in Redis needs at least 10 % more Redis commands than leased ranges", IDS, "counter", COMMANDS, more(0.1)),
    Claim("A counter in Redis costs more CPU than leased ranges", IDS, "counter", CPU, more()),
    Claim("Snowflakes need as many Redis commands as leased ranges", IDS, "snowflake", COMMANDS, same()),
    Claim("Snowflakes cost at most 10 % more CPU than leased ranges", IDS, "snowflake", CPU, at_most(0.1)),
    Claim("Random codes cost at most 10 % more CPU than leased ranges", IDS, "random", CPU, at_most(0.1)),
    Claim("Hashed codes cost at most 10 % more CPU than leased ranges", IDS, "hash", CPU, at_most(0.1)),
    Claim("No scheme hands out a code twice or loses a link", IDS, "", SAFETY, VALID),
    Claim("A create waits at least 50 % longer for Cassandra than for SQLite", STORES, "cassandra", P50, more(0.5)),
    Claim("It costs at least twice the CPU, all processes together", STORES, "cassandra", CPU, more(1.0)),
    Claim("The service's own part of that is at least 20 % more", STORES, "cassandra", SERVICE_CPU, more(0.2)),
    Claim("A Cassandra needs at least three times the memory", STORES, "cassandra", MEMORY, more(2.0)),
    Claim("Both stores keep their promises", STORES, "", SAFETY, VALID),
    Claim("Clicks written in batches cost at least 30 % less CPU than clicks written first", CLICKS, "batched", CPU, less(0.3)),
    Claim("Queued clicks cost at least 30 % less CPU than clicks written first", CLICKS, "redis_streams", CPU, less(0.3)),
    Claim("Queued clicks need at least 90 % fewer writes to the store", CLICKS, "redis_streams", WRITES, less(0.9)),
    Claim("A visitor whose click is queued waits at least 30 % less", CLICKS, "redis_streams", P50, less(0.3)),
    Claim("A queue needs a worker process, and with it at least 50 % more memory", CLICKS, "redis_streams", MEMORY, more(0.5)),
    Claim("Not counting at all costs at least 30 % less CPU than clicks written first", CLICKS, "off", CPU, less(0.3)),
    Claim("In every pipeline a click is counted once or declared lost", CLICKS, "", SAFETY, VALID),
    Claim("A visitor whose click goes to Kafka waits at most 25 % longer", QUEUES, "kafka", P50, at_most(0.25)),
    Claim("Clicks through Kafka cost more CPU, all processes together", QUEUES, "kafka", CPU, more()),
    Claim("Clicks through Kafka need fewer Redis commands", QUEUES, "kafka", COMMANDS, less()),
    Claim("A Kafka needs at least twice the memory", QUEUES, "kafka", MEMORY, more(1.0)),
    Claim("In both queues a click is counted once or declared lost", QUEUES, "", SAFETY, VALID),
    Claim("After a 301, browsers that come back send at least 10 % fewer requests", STATUS, "301", "requests_sent", less(0.1)),
    Claim("After a 301, at least 10 % of the visits are never counted", STATUS, "301", "clicks_counted", less(0.1)),
    Claim("After a 301, a visit costs less CPU", STATUS, "301", CPU, less()),
    Claim("Both kinds of redirect keep their promises", STATUS, "", SAFETY, VALID),
    Claim("The pure-ASGI route costs at least 15 % less service CPU than FastAPI's", PATH, "asgi", SERVICE_CPU, less(0.15)),
    Claim("The pure-ASGI route costs at least 10 % less CPU in all", PATH, "asgi", CPU, less(0.1)),
    Claim("Both routes keep their promises", PATH, "", SAFETY, VALID),
    Claim("Metrics cost at most 10 % more CPU", METRICS, "on", CPU, at_most(0.1)),
    Claim("With and without metrics, all promises are kept", METRICS, "", SAFETY, VALID),
    Claim("Tracing one redirect in a hundred costs at most 15 % more CPU", TRACES, "0.01", CPU, at_most(0.15)),
    Claim("Tracing every redirect costs at least 5 % more CPU", TRACES, "1", CPU, more(0.05)),
    Claim("At every share of traces, all promises are kept", TRACES, "", SAFETY, VALID),
    Claim("While Redis answers nothing, refusing fails redirects that bypassing answers", CACHE_DOWN, "refuse", FAILED, more()),
    Claim("Refusing spares the store at least half of those reads", CACHE_DOWN, "refuse", READS, less(0.5)),
    Claim("Both ways of doing without Redis keep their promises", CACHE_DOWN, "", SAFETY, VALID),
    Claim("While Redis answers nothing, five times the deadline at least doubles the p99", DEADLINE, "250", P99, more(1.0)),
    Claim("With either deadline all promises are kept", DEADLINE, "", SAFETY, VALID),
    Claim("While Redis is gone, a buffer for 100 clicks drops what one for 20,000 holds", BUFFER, "100", DROPPED, more()),
    Claim("With either buffer every click is counted once or declared lost", BUFFER, "", SAFETY, VALID),
    Claim(
        "Alone, the pure-ASGI route serves three times the redirects of FastAPI's",
        REDIRECT_COST,
        "",
        "asgi serves at least 3 times",
        MET,
    ),
    Claim("It serves at least 80 % of what a bare ASGI app serves", REDIRECT_COST, "", "asgi serves at least 80 %", MET),
    Claim("There, queued clicks cost at most 10 % more CPU than none", REDIRECT_COST, "", "queued clicks cost at most 10 %", MET),
    Claim("There, batched clicks cost at most 10 % more CPU than none", REDIRECT_COST, "", "batched clicks cost at most 10 %", MET),
    Claim("With 100 times the links, a hot redirect costs at most 10 % more CPU", GROWTH, "", "a redirect, hot links", MET),
    Claim("With 100 times the links, one that reads the store does too", GROWTH, "", "a redirect, all links, no cache", MET),
    Claim("With a million links a service process stays under 150 MB", GROWTH, "", "a service process stays under", MET),
)
