"""The dashboard of all designs: what is wrong now, RED per service, USE per resource.

RED is rate, errors and duration (Tom Wilkie), USE is use, saturation and errors (Brendan Gregg). Every design has the metrics that
are asked for here, as far as it has what they are about: a cache, a queue, limits.
"""

from __future__ import annotations

from workbench.ops_grafana import Panel, Query, Row, State, Variable, dashboard
from workbench.ops_queries import error_share, latency, per_second, refused_share
from workbench.ops_server_panels import breakers, done_without, event_loop_lag, faults_in_force, overload_refused

CHOSEN = 'design=~"$design",process=~"$process"'
SERVED = f'{CHOSEN},route!="unmatched"'
FAILED = f'{CHOSEN},outcome="error"'
HITS = f'{CHOSEN},result=~".+_hit"'
PER_SERVICE = "{{design}} {{process}}"
FIRING = (State(1, "firing", "red"),)


def stat(title: str, says: str, query: Query, *, worry_at: float | None = 1, decimals: int | None = None) -> Panel:
    """One number, as it is now."""
    return Panel(title, says, [query], kind="stat", width=4, height=4, worry_at=worry_at, decimals=decimals)


NOW = Row(
    "Now",
    [
        stat(
            "Processes up",
            "Targets that answered the last scrape. Worry when it is less than what was started.",
            Query(f"sum(up{{{CHOSEN}}})", "up"),
            worry_at=None,
        ),
        stat(
            "Processes down",
            "Targets that did not answer the last scrape.",
            Query(f"count(up{{{CHOSEN}}} == 0) or vector(0)", "down"),
        ),
        stat(
            "Alerts firing",
            "Of every severity, those of the demonstration too. Which they are is told below.",
            Query('count(ALERTS{alertstate="firing"}) or vector(0)', "firing"),
        ),
        stat(
            "Done without",
            "Pairs of a process and a server that it does without now.",
            Query(f"sum(sd_degraded{{{CHOSEN}}})", "degraded"),
        ),
        stat(
            "Faults made on purpose",
            "Faults in force that somebody asked for. What else this page shows is then no surprise.",
            Query(f"sum(sd_fault_active{{{CHOSEN}}}) or vector(0)", "faults"),
        ),
        stat(
            "Error budget burn",
            "How many times faster than evenly the budget of 0.1 % was spent in the last 5 minutes. Above 14.4 somebody is woken.",
            Query('design:http_error_ratio:5m{design=~"$design"} / 0.001', "{{design}}"),
            worry_at=14.4,
            decimals=1,
        ),
        Panel(
            "Which alerts fire",
            "Empty while none does. ops/README.md says of each what to do.",
            [Query('max by (alertname, severity) (ALERTS{alertstate="firing"})', "{{alertname}} ({{severity}})")],
            kind="state-timeline",
            states=FIRING,
            worry_at=1,
            height=7,
        ),
        done_without(CHOSEN, height=7),
        faults_in_force(CHOSEN, height=7),
    ],
)

RED = Row(
    "RED: rate, errors and duration of each service",
    [
        Panel(
            "Rate",
            "Requests that a route matched. Worry when it falls while callers stay, or when replicas differ.",
            [Query(per_second("http_request_duration_seconds_count", SERVED, "design, process"), PER_SERVICE)],
            unit="reqps",
        ),
        Panel(
            "Errors",
            "Share of answers with 5xx, 503 included. The line is the budget of 0.1 %; far above it a burn rate alert follows.",
            [Query(error_share(SERVED, "design, process"), PER_SERVICE)],
            unit="percentunit",
            worry_at=0.001,
        ),
        Panel(
            "Duration",
            "Half of the requests took less than p50, one in a hundred more than p99. Worry when p99 leaves p50 behind.",
            [
                Query(latency(0.5, SERVED, "design"), "{{design}} p50"),
                Query(latency(0.99, SERVED, "design"), "{{design}} p99", exemplars=True),
            ],
            unit="s",
        ),
    ],
)

PROCESSES = Row(
    "USE: what each process uses",
    [
        Panel(
            "CPU",
            "A process is one event loop, so 100 % of one core is all it can use. Worry above 80 %: queues begin to form.",
            [Query(f"rate(process_cpu_seconds_total{{{CHOSEN}}}[$__rate_interval])", PER_SERVICE)],
            unit="percentunit",
            worry_at=0.8,
        ),
        event_loop_lag(CHOSEN, PER_SERVICE),
        Panel(
            "Memory",
            "Resident memory. Caches and buffers have bounds, so it levels off. Worry when it grows under steady load.",
            [Query(f"process_resident_memory_bytes{{{CHOSEN}}}", PER_SERVICE)],
            unit="bytes",
        ),
        Panel(
            "Open files",
            "Share of the descriptors the process may have; sockets count. Worry when it only grows: connections are not closed.",
            [Query(f"process_open_fds{{{CHOSEN}}} / process_max_fds{{{CHOSEN}}}", PER_SERVICE)],
            unit="percentunit",
            worry_at=0.8,
        ),
        overload_refused(CHOSEN, PER_SERVICE),
        Panel(
            "Cache hit ratio",
            "Look-ups that no store had to answer. Worry when it falls: the store gets what the cache no longer holds back.",
            [
                Query(
                    f"{per_second('sd_cache_requests_total', HITS, 'design')} / "
                    f"{per_second('sd_cache_requests_total', CHOSEN, 'design')}",
                    "{{design}}",
                )
            ],
            unit="percentunit",
            max=1,
        ),
    ],
)

SERVERS = Row(
    "USE: queues and servers behind the processes",
    [
        Panel(
            "Queue depth",
            "Entries that wait. Depth alone is no alarm; see whether it shrinks. A queue named _dead holds what was given up.",
            [Query(f"max by (design, queue) (sd_queue_depth{{{CHOSEN}}})", "{{design}} {{queue}}")],
        ),
        Panel(
            "Age of the oldest entry",
            "How long the entry that waits longest has waited. Above a minute for a minute, somebody is woken.",
            [Query(f"max by (design, queue) (sd_queue_oldest_age_seconds{{{CHOSEN}}})", "{{design}} {{queue}}")],
            unit="s",
            worry_at=60,
        ),
        breakers(CHOSEN, "An open breaker refuses calls at once, so that nobody waits for a server that is away."),
        Panel(
            "Calls",
            "Calls of ports by the technology behind them.",
            [Query(per_second("sd_backend_calls_total", CHOSEN, "design, backend"), "{{design}} {{backend}}")],
            unit="ops",
            width=12,
        ),
        Panel(
            "Failed calls",
            "Of these, those that ended in an error or too late. Worry at any that stay.",
            [Query(per_second("sd_backend_calls_total", FAILED, "design, backend"), "{{design}} {{backend}}")],
            unit="ops",
            width=12,
        ),
    ],
)


LIMITS = Row(
    "Limits: what the rate limiter tells its callers",
    [
        Panel(
            "Refused by limits",
            "Share of the decisions of rules that refused, by domain. Worry when it jumps: a rule, a caller or an attack is new.",
            [Query(refused_share(CHOSEN, "design, domain"), "{{design}} {{domain}}")],
            unit="percentunit",
            max=1,
            width=12,
        ),
        Panel(
            "Decided without the store",
            "Decisions of the rules' on_store_down. open lets everybody pass, closed nobody, local keeps a limit in each process.",
            [Query(per_second("sd_limiter_degraded_total", CHOSEN, "design, policy"), "{{design}} {{policy}}")],
            unit="ops",
            width=12,
        ),
    ],
)


def overview() -> str:
    """The file `ops/grafana/dashboards/overview.json`."""
    return dashboard(
        "overview",
        "Overview",
        "All designs: what is wrong now, what callers get (RED), what is used up (USE).",
        [NOW, RED, PROCESSES, SERVERS, LIMITS],
        [Variable("design", "sd_build_info"), Variable("process", 'sd_build_info{design=~"$design"}')],
    )
