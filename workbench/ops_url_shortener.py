"""The dashboard of the URL shortener, in the order in which a request and its click pass through it."""

from __future__ import annotations

from workbench.ops_grafana import Panel, Query, Row, Variable, dashboard
from workbench.ops_queries import latency
from workbench.ops_queries import per_second as per_second_of
from workbench.ops_server_panels import breakers, calls, failed_calls, p99_of_calls, spans

CHOSEN = 'design="url_shortener",process=~"$process"'
REDIRECTS = f'{CHOSEN},method="GET",route="/{{code}}"'
CREATES = f'{CHOSEN},method="POST",route=~"/api/v1/links(/bulk)?"'


def per_second(metric: str, selector: str = CHOSEN, by: str = "") -> str:
    """How often a second a counter rises, of the chosen processes together."""
    return per_second_of(metric, selector, by)


VISITS = Row(
    "Redirects and creates",
    [
        Panel(
            "Redirects by status",
            "301 and 302 lead on, 404 and 410 are right answers too. Worry at 503 (no store) and at a flood of 404 (a scan).",
            [Query(per_second("http_request_duration_seconds_count", REDIRECTS, "status"), "{{status}}")],
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "Duration of redirects",
            "A dot is one traced request: follow it to its trace. Worry when p99 comes near the store's deadline (2 s).",
            [
                Query(latency(0.5, REDIRECTS), "p50"),
                Query(latency(0.95, REDIRECTS), "p95"),
                Query(latency(0.99, REDIRECTS), "p99", exemplars=True),
            ],
            unit="s",
        ),
        Panel(
            "Creates by status",
            "201 made a link, 409 found its alias taken, 4xx was refused. Worry at 503: no new number, or no store.",
            [Query(per_second("http_request_duration_seconds_count", CREATES, "status"), "{{status}}")],
            unit="reqps",
            stacked=True,
        ),
    ],
)

CACHE = Row(
    "Cache",
    [
        Panel(
            "Look-ups by who answered",
            "The process's own memory, Redis, the knowledge that there is no such link, or nobody (miss).",
            [Query(per_second("sd_cache_requests_total", by="result"), "{{result}}")],
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Loads from the store",
            "Loads fill the cache; waits shared another one's load. Worry when loads come near the rate of redirects.",
            [
                Query(per_second("sd_cache_loads_total"), "loads"),
                Query(per_second("sd_cache_waits_total"), "waits"),
                Query(per_second("sd_cache_refused_fills_total"), "fills that came too late"),
            ],
            unit="ops",
        ),
        Panel(
            "Without Redis, or without room",
            "Look-ups that did without the shared layer, and links the process layer had no room for.",
            [
                Query(per_second("sd_cache_unavailable_total"), "without the shared layer"),
                Query(per_second("sd_cache_evicted_total"), "evicted"),
            ],
            unit="ops",
        ),
    ],
)

CLICKS = Row(
    "Clicks: from the redirect to the count",
    [
        Panel(
            "Clicks at the replicas",
            "Accepted are on their way; dropped are lost for good, unsure may have arrived. Worry at any that are dropped.",
            [
                Query(per_second("sd_clicks_total", by="outcome"), "{{outcome}}"),
                Query(per_second("sd_clicks_dropped_total", by="reason"), "dropped: {{reason}}"),
            ],
            unit="ops",
        ),
        Panel(
            "Clicks at the worker",
            "Counted and given up. Over a while it counts what the replicas accept; worry when it stays below.",
            [
                Query(per_second("sd_clicks_applied_total"), "counted"),
                Query(per_second("sd_clicks_dead_lettered_total"), "given up"),
            ],
            unit="ops",
        ),
        Panel(
            "Waiting in a replica",
            "Clicks not sent yet: what a kill of the process would lose. Bounded by the knob click_buffer.",
            [Query(f"sd_clicks_buffered{{{CHOSEN}}}", "{{process}}")],
        ),
        Panel(
            "Queue depth",
            "Batches in the queue, and those given up (clicks_dead) until somebody redrives them.",
            [Query(f"max by (queue) (sd_queue_depth{{{CHOSEN}}})", "{{queue}}")],
            width=6,
        ),
        Panel(
            "Age of the oldest batch",
            "How far the counts are behind the visits. Above a minute for a minute, somebody is woken.",
            [Query(f"max by (queue) (sd_queue_oldest_age_seconds{{{CHOSEN}}})", "{{queue}}")],
            unit="s",
            worry_at=60,
            width=6,
        ),
        Panel(
            "Lag by partition",
            "Records that no worker has finished; with clicks=kafka only. Worry when one partition grows alone: it is stuck.",
            [Query(f"max by (queue, partition) (sd_queue_lag{{{CHOSEN}}})", "{{queue}} {{partition}}")],
            width=6,
        ),
        Panel(
            "Batches",
            "Put into the queue, counted, come again after being counted (harmless), given up, and rounds that failed.",
            [
                Query(per_second("sd_queue_messages_total"), "sent"),
                Query(per_second("sd_click_batches_applied_total"), "counted"),
                Query(per_second("sd_click_batches_repeated_total"), "come again"),
                Query(per_second("sd_click_batches_dead_lettered_total"), "given up"),
                Query(per_second("sd_click_worker_failures_total"), "rounds that failed"),
            ],
            unit="ops",
            width=6,
        ),
    ],
)

SERVERS = Row(
    "Store, cache and queue as the processes see them",
    [
        calls(CHOSEN),
        p99_of_calls(
            CHOSEN,
            says="Calls that wait for work by design (receive) are left out. Worry when a verb comes near its deadline.",
        ),
        failed_calls(CHOSEN),
        breakers(
            CHOSEN,
            "shared_cache guards the cache, redis_redirects what a redirect asks of Redis, redis_requests what the API asks.",
        ),
        Panel(
            "Write-behind",
            "Links carried to the store after they were acknowledged; with cache=write-behind only. Worry at any conflict: that "
            "acknowledged link is not the one that is stored.",
            [
                Query(per_second("sd_write_behind_stored_total"), "stored"),
                Query(per_second("sd_write_behind_conflicts_total"), "conflicts"),
            ],
            unit="ops",
        ),
        spans(CHOSEN),
    ],
)


def url_shortener() -> str:
    """The file `ops/grafana/dashboards/url_shortener.json`."""
    return dashboard(
        "url_shortener",
        "URL shortener",
        "What becomes of a request and of its click.",
        [VISITS, CACHE, CLICKS, SERVERS],
        [Variable("process", 'sd_build_info{design="url_shortener"}')],
    )
