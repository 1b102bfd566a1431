"""What can be turned in the URL shortener, and what each turn trades. THE declaration: everything else reads it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from designs.building_blocks.knobs import Knobs
from designs.building_blocks.observability import MetricsKnob, TracesKnob

PREFIX = "URL_SHORTENER_KNOB_"


class ShortenerKnobs(Knobs):
    """The knobs of one running URL shortener. Every process of it (replicas, click worker) runs with the same ones."""

    ids: Literal["lease", "counter", "snowflake", "random", "hash"] = Field(
        default="lease",
        description=(
            "Where codes come from. lease: numbers leased in ranges from the store, scattered by a keyed permutation; no round "
            "trip per link, a crash leaves a gap. counter: one Redis INCR per link; no gaps, a round trip each. snowflake: no "
            "coordination after start, but 11 characters and a clock that must not go back. random: nothing shared, "
            "collisions grow with the table. hash: the same owner and URL give the same code, at one read per create."
        ),
    )
    code_length: int = Field(
        default=7,
        ge=4,
        le=10,
        examples=[6, 7, 8],
        description=(
            "Characters of a generated code (base62; snowflake always uses 11). Shorter is easier to type and to guess: at a "
            "billion links a blind guess hits 1.8 % of 6-character codes, 0.03 % of 7."
        ),
    )
    lease_size: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        examples=[1, 100, 1000, 10_000],
        description="Numbers per lease: larger means fewer writes to the counter, and a larger gap after a crash.",
    )
    store: Literal["sqlite", "memory", "cassandra"] = Field(
        default="sqlite",
        description=(
            "Who keeps the links. sqlite: on disk, synced before the acknowledgement, one machine. cassandra: on as many machines "
            "as you like, none of them special; each create pays for a round of Paxos, each read for a network. memory: no "
            "durability and one process only; the floor that shows what durability costs."
        ),
    )
    consistency: Literal["local_quorum", "one", "all"] = Field(
        default="local_quorum",
        description=(
            "How many copies answer before Cassandra does (store=cassandra). local_quorum: a majority, so that each read sees each "
            "acknowledged write while a minority is gone. one: the nearest copy; quicker, and an edit may be missed by the next "
            "read. all: every copy, and no answer while any is gone. With one copy all are the same."
        ),
    )
    speculative_ms: float = Field(
        default=0.0,
        ge=0,
        le=1_000,
        examples=[0, 5, 50],
        description=(
            "Ask a second Cassandra node when the first has not answered a read for so long (0: never). Cuts the tail that one "
            "slow node makes, at the price of more reads; with one node there is nobody else to ask."
        ),
    )
    cache: Literal["none", "aside", "write-through", "write-behind"] = Field(
        default="aside",
        description=(
            "none: every redirect reads the store. aside: filled by the first reader, dropped by writes. write-through: writes "
            "fill it too, so the first redirect hits. write-behind: a create is acknowledged once Redis has it and reaches the "
            "store later: fastest, and a power loss can take the last second of links."
        ),
    )
    cache_layers: Literal["process", "redis", "both"] = Field(
        default="both",
        description=(
            "process: no round trip, one copy per replica, edits seen after at most staleness_s. redis: one copy for all, a "
            "round trip per redirect. both: the process layer in front of the shared one."
        ),
    )
    cache_entries: int = Field(
        default=20_000,
        ge=1,
        le=1_000_000,
        examples=[1_000, 20_000, 100_000],
        description="Links the process layer holds: hit ratio against memory.",
    )
    cache_ttl_s: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        examples=[1, 60, 300],
        description="Life of an entry in the shared layer: longer spares the store, shorter bounds what a lost invalidation costs.",
    )
    cache_ttl_jitter: float = Field(
        default=0.1,
        ge=0,
        le=0.9,
        examples=[0, 0.1, 0.5],
        description="Entries live TTL x [1 - jitter, 1], so that they don't all die at once.",
    )
    staleness_s: float = Field(
        default=2.0,
        gt=0,
        le=60,
        examples=[0.5, 2, 10],
        description="The staleness bound S: no replica serves a link later than S after its edit or deletion was acknowledged.",
    )
    negative_ttl_s: float = Field(
        default=5.0,
        ge=0,
        le=60,
        examples=[0, 1, 5],
        description="How long 'no such link' is remembered (0: not at all). Spares the store a flood of unknown codes.",
    )
    stampede: Literal["none", "single-flight", "lease", "early-expiry"] = Field(
        default="single-flight",
        description=(
            "What happens when a hot entry dies. none: every waiting request reads the store. single-flight: one per process. "
            "lease: one in all, at a Redis round trip more. early-expiry: a random early reader renews it before it dies (XFetch); "
            "nobody waits, a few renew in vain."
        ),
    )
    on_cache_down: Literal["bypass", "refuse"] = Field(
        default="bypass",
        description=(
            "When Redis is slow or gone. bypass: read the store, within cache_deadline_ms and behind a breaker; available, and the "
            "store takes the whole load. refuse: 503 with Retry-After for what the process layer does not hold; the store is safe."
        ),
    )
    cache_deadline_ms: float = Field(
        default=50.0,
        gt=0,
        le=5_000,
        examples=[10, 50, 250],
        description="How long a redirect waits for the shared layer before it is counted as down.",
    )
    clicks: Literal["redis_streams", "kafka", "batched", "sync", "off"] = Field(
        default="redis_streams",
        description=(
            "How a click is counted. redis_streams: buffered, appended in batches to a stream, applied exactly once by a worker. "
            "kafka: the same by a log of several partitions, kept on more than one machine; more to run, and more to hold. "
            "batched: buffered and written to the click store by the service itself; no worker, and a kill loses the buffer. sync: "
            "written before the redirect answers; nothing is lost, every redirect pays. off: not counted."
        ),
    )
    click_flush_ms: float = Field(
        default=100.0,
        gt=0,
        le=10_000,
        examples=[10, 100, 1000],
        description="How long clicks gather before they leave: longer batches cost less, a killed replica loses more.",
    )
    click_buffer: int = Field(
        default=20_000,
        ge=1,
        le=1_000_000,
        examples=[1_000, 20_000],
        description="Clicks a replica holds while the queue is slow or gone; beyond it they are dropped and counted as dropped.",
    )
    redirect: Literal[302, 301, 307] = Field(
        default=302,
        description=(
            "301 lets every browser keep the answer: fewest requests, and edits, deletions and clicks are never seen again. 302, "
            "307: it comes back each time; 307 also keeps the method."
        ),
    )
    redirect_path: Literal["asgi", "fastapi"] = Field(
        default="asgi",
        description=(
            "Who answers the hot route. fastapi: like every other route. asgi: the same behaviour in a pure-ASGI path in front of "
            "the framework, at a fraction of the CPU, in code the framework no longer checks for you."
        ),
    )
    misses_per_minute: int = Field(
        default=600,
        ge=0,
        le=1_000_000,
        examples=[0, 60, 600],
        description=(
            "Unknown codes a client may ask for in a minute before it gets 429 (0: no limit). Low stops scanners, and hits many "
            "people behind one address."
        ),
    )
    metrics: MetricsKnob = "on"
    traces: TracesKnob = 0.0

    @model_validator(mode="after")
    def _refuse_the_impossible(self) -> ShortenerKnobs:
        if self.cache == "write-behind":
            if self.ids in ("random", "hash", "counter"):  # a counter in Redis steps back when Redis loses its last second
                raise ValueError(
                    f"cache=write-behind acknowledges before the store has seen the code, so ids={self.ids} could hand out "
                    "a code that is taken; use ids=lease or snowflake"
                )
            if self.cache_layers == "process":
                raise ValueError(
                    "cache=write-behind keeps new links in Redis until the store has them; use cache_layers=redis or both"
                )
        if self.stampede == "lease" and self.cache != "none" and self.cache_layers == "process":
            raise ValueError("stampede=lease needs a place all replicas share; use cache_layers=redis or both")
        return self

    @property
    def local_layer(self) -> bool:
        """Does each replica keep links in its own memory?"""
        return self.cache != "none" and self.cache_layers in ("process", "both")

    @property
    def shared_layer(self) -> bool:
        """Do the replicas share a cache in Redis?"""
        return self.cache != "none" and self.cache_layers in ("redis", "both")

    @property
    def needs_redis(self) -> bool:
        """Is there a reason to start Redis at all?

        The process layer listens there for invalidations; a click worker and the replicas share the unique visitors there.
        """
        return self.cache != "none" or self.ids == "counter" or self.queued_clicks

    @property
    def needs_cassandra(self) -> bool:
        return self.store == "cassandra"

    @property
    def needs_kafka(self) -> bool:
        return self.clicks == "kafka"

    @property
    def queued_clicks(self) -> bool:
        """Do clicks wait in a queue until a worker counts them?"""
        return self.clicks in ("redis_streams", "kafka")
