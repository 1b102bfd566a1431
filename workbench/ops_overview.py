"""The dashboard of all designs: what is wrong now, RED per service, USE per resource.

RED is rate, errors and duration (Tom Wilkie), USE is use, saturation and errors (Brendan Gregg). Every design has the metrics that
are asked for here.
"""

from __future__ import annotations

from workbench.ops_grafana import Panel, Query, Row, State, Variable, dashboard

CHOSEN = 'design=~"$design",process=~"$process"'
SERVED = f'{CHOSEN},route!="unmatched"'
PER_SERVICE = "{{design}} {{process}}"
WELL = (State(0, "well", "green"), State(1, "without it", "red"))
ON = (State(0, "off", "green"), State(1, "on", "orange"))
FIRING = (State(1, "firing", "red"),)
BREAKER = (State(0, "closed", "green"), State(1, "half-open", "orange"), State(2, "open", "red"))


def error_share(by: str) -> str:
    """Answers with 5xx among all, of what a route matched; 0 where none ever occurred."""
    every = f"sum by ({by}) (rate(http_request_duration_seconds_count{{{SERVED}}}[$__rate_interval]))"
    failed = f'sum by ({by}) (rate(http_request_duration_seconds_count{{{SERVED},status=~"5.."}}[$__rate_interval]))'
    return f"({failed} or 0 * {every}) / {every}"


def latency(quantile: float, selector: str, by: str = "") -> str:
    """A quantile of the duration of requests, in seconds, from the buckets of the chosen processes together."""
    labels = ", ".join(filter(None, ["le", by]))
    buckets = f"rate(http_request_duration_seconds_bucket{{{selector}}}[$__rate_interval])"
    return f"histogram_quantile({quantile}, sum by ({labels}) ({buckets}))"


NOW = Row(
    "Now",
    [
        Panel(
            "Processes up",
            "Targets that answered the last scrape. Worry when it is less than what was started.",
            [Query(f"sum(up{{{CHOSEN}}})", "up")],
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Processes down",
            "Targets that did not answer the last scrape.",
            [Query(f"count(up{{{CHOSEN}}} == 0) or vector(0)", "down")],
            kind="stat",
            width=4,
            height=4,
            worry_at=1,
        ),
        Panel(
            "Alerts firing",
            "Of every severity, those of the demonstration too. Which they are is told below.",
            [Query('count(ALERTS{alertstate="firing"}) or vector(0)', "firing")],
            kind="stat",
            width=4,
            height=4,
            worry_at=1,
        ),
        Panel(
            "Done without",
            "Pairs of a process and a server that it does without now.",
            [Query(f"sum(sd_degraded{{{CHOSEN}}})", "degraded")],
            kind="stat",
            width=4,
            height=4,
            worry_at=1,
        ),
        Panel(
            "Faults made on purpose",
            "Faults in force that somebody asked for. What else this page shows is then no surprise.",
            [Query(f"sum(sd_fault_active{{{CHOSEN}}}) or vector(0)", "faults")],
            kind="stat",
            width=4,
            height=4,
            worry_at=1,
        ),
        Panel(
            "Error budget burn",
            "How many times faster than evenly the budget of 0.1 % was spent in the last 5 minutes. Above 14.4 somebody is woken.",
            [Query('design:http_error_ratio:5m{design=~"$design"} / 0.001', "{{design}}")],
            kind="stat",
            width=4,
            height=4,
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
        Panel(
            "What is done without",
            "Servers that a process does without, from use and from probes. /readyz of the process says which uses fail.",
            [Query(f"max by (process, dependency) (sd_degraded{{{CHOSEN}}})", "{{process}}: {{dependency}}")],
            kind="state-timeline",
            states=WELL,
            worry_at=1,
            height=7,
        ),
        Panel(
            "Which faults are in force",
            "Faults that were made on purpose, by process. Empty where no process was started to be broken.",
            [Query(f"max by (process, fault) (sd_fault_active{{{CHOSEN}}})", "{{process}}: {{fault}}")],
            kind="state-timeline",
            states=ON,
            worry_at=1,
            height=7,
        ),
    ],
)

RED = Row(
    "RED: rate, errors and duration of each service",
    [
        Panel(
            "Rate",
            "Requests that a route matched. Worry when it falls while callers stay, or when replicas differ.",
            [
                Query(
                    f"sum by (design, process) (rate(http_request_duration_seconds_count{{{SERVED}}}[$__rate_interval]))",
                    PER_SERVICE,
                )
            ],
            unit="reqps",
        ),
        Panel(
            "Errors",
            "Share of answers with 5xx, 503 included. The line is the budget of 0.1 %; far above it a burn rate alert follows.",
            [Query(error_share("design, process"), PER_SERVICE)],
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
        Panel(
            "Event loop lag",
            "How late a timer comes at worst: whatever else waits, waits as long. Worry above 50 ms; something blocks the loop.",
            [Query(f"sd_event_loop_lag_seconds{{{CHOSEN}}}", PER_SERVICE)],
            unit="s",
            worry_at=0.05,
        ),
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
        Panel(
            "Refused because too many were under way",
            "Requests turned away at once with 503. Worry when it lasts: more is asked than the processes can do.",
            [Query(f"rate(sd_overload_refused_total{{{CHOSEN}}}[$__rate_interval])", PER_SERVICE)],
            unit="reqps",
        ),
        Panel(
            "Cache hit ratio",
            "Look-ups that no store had to answer. Worry when it falls: the store gets what the cache no longer holds back.",
            [
                Query(
                    f'sum by (design) (rate(sd_cache_requests_total{{{CHOSEN},result=~".+_hit"}}[$__rate_interval]))'
                    f" / sum by (design) (rate(sd_cache_requests_total{{{CHOSEN}}}[$__rate_interval]))",
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
        Panel(
            "Breakers",
            "An open breaker refuses calls at once, so that nobody waits for a server that is away.",
            [Query(f"max by (process, breaker) (sd_breaker_state{{{CHOSEN}}})", "{{process}}: {{breaker}}")],
            kind="state-timeline",
            states=BREAKER,
            worry_at=1,
        ),
        Panel(
            "Calls",
            "Calls of ports by the technology behind them.",
            [
                Query(
                    f"sum by (design, backend) (rate(sd_backend_calls_total{{{CHOSEN}}}[$__rate_interval]))",
                    "{{design}} {{backend}}",
                )
            ],
            unit="ops",
            width=12,
        ),
        Panel(
            "Failed calls",
            "Of these, those that ended in an error or too late. Worry at any that stay.",
            [
                Query(
                    f'sum by (design, backend) (rate(sd_backend_calls_total{{{CHOSEN},outcome="error"}}[$__rate_interval]))',
                    "{{design}} {{backend}}",
                )
            ],
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
        [NOW, RED, PROCESSES, SERVERS],
        [Variable("design", "sd_build_info"), Variable("process", 'sd_build_info{design=~"$design"}')],
    )
