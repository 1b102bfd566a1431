"""The dashboard of the rate limiter: what callers get, what rules say, what is said without the store, what the store is asked."""

from __future__ import annotations

from designs.rate_limiter.knobs import LimiterKnobs
from workbench.ops_grafana import Panel, Query, Row, Variable, dashboard
from workbench.ops_queries import error_share, latency, per_second, refused_share
from workbench.ops_server_panels import (
    breakers,
    calls,
    done_without,
    event_loop_lag,
    failed_calls,
    faults_in_force,
    overload_refused,
    p99_of_calls,
    spans,
)

CHOSEN = 'design="rate_limiter",process=~"$process"'
ROUTES = f'{CHOSEN},route=~"/v1/.+"'
RULE = "{{domain}} {{rule}}"
DEADLINE_MS = LimiterKnobs().deadline_ms  # unless a deployment turns it

REQUESTS = Row(
    "What callers get, by route",
    [
        Panel(
            "Rate",
            "Requests over HTTP by route. A batch counts once, whatever is in it.",
            [Query(per_second("http_request_duration_seconds_count", ROUTES, "route"), "{{route}}")],
            unit="reqps",
            width=6,
        ),
        Panel(
            "Answers by status",
            "200 and 429 are right answers both. Worry at 503 (a closed rule without its store, or no room) and at 401.",
            [Query(per_second("http_request_duration_seconds_count", ROUTES, "status"), "{{status}}")],
            unit="reqps",
            stacked=True,
            width=6,
        ),
        Panel(
            "Errors",
            "Share of answers with 5xx. The line is the budget of 0.1 %; far above it a burn rate alert follows.",
            [Query(error_share(ROUTES, "route"), "{{route}}")],
            unit="percentunit",
            worry_at=0.001,
            width=6,
        ),
        Panel(
            "p99 of requests",
            f"A dot is one traced request: follow it to its trace. Worry above {DEADLINE_MS:g} ms, the wait for the store.",
            [Query(latency(0.99, ROUTES, "route"), "{{route}}", exemplars=True)],
            unit="s",
            worry_at=DEADLINE_MS / 1000,
            width=6,
        ),
        Panel(
            "Envoy's calls",
            "Worry at any but OK, OVER_LIMIT, TOO_MANY_RULES: there was no verdict, and unless told otherwise Envoy lets it pass.",
            [Query(per_second("sd_limiter_envoy_calls_total", CHOSEN, "code"), "{{code}}")],
            unit="reqps",
            stacked=True,
            width=12,
        ),
        Panel(
            "Requests that no rule applied to",
            "Nobody limits them. Worry when it is not 0 and every request should meet a rule: a descriptor or the rules are wrong.",
            [Query(per_second("sd_limiter_unmatched_total", CHOSEN), "unmatched")],
            unit="reqps",
            width=12,
        ),
    ],
)

DECISIONS = Row(
    "What rules say",
    [
        Panel(
            "Decisions by outcome",
            "A request meets several rules, and each of them decides.",
            [Query(per_second("sd_limiter_decisions_total", CHOSEN, "outcome"), "{{outcome}}")],
            unit="ops",
            stacked=True,
            width=6,
        ),
        Panel(
            "Decisions by rule",
            "How often each rule of each domain was asked.",
            [Query(per_second("sd_limiter_decisions_total", CHOSEN, "domain, rule"), RULE)],
            unit="ops",
            width=6,
        ),
        Panel(
            "Share refused",
            "Of the decisions of a rule. Worry when it jumps: a caller has changed, the rule is new, or somebody attacks.",
            [Query(refused_share(CHOSEN, "domain, rule"), RULE)],
            unit="percentunit",
            max=1,
            width=6,
        ),
        Panel(
            "Shadow refusals",
            "Whom rules in shadow mode would refuse. Empty where no such rule ever would; near 0, a rule can be switched on.",
            [Query(per_second("sd_limiter_decisions_total", f'{CHOSEN},outcome="shadow_refused"', "domain, rule"), RULE)],
            unit="ops",
            width=6,
        ),
    ],
)

WITHOUT = Row(
    "Without the store",
    [
        Panel(
            "Decisions without the store, by policy",
            "on_store_down decided, for want of an answer in time. open is a bypass while it lasts. Empty while none was made.",
            [Query(per_second("sd_limiter_degraded_total", CHOSEN, "policy"), "{{policy}}")],
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Decisions without the store, by rule",
            "Which rules they were of. Empty while none was made.",
            [Query(per_second("sd_limiter_degraded_total", CHOSEN, "domain, rule, policy"), f"{RULE}: {{{{policy}}}}")],
            unit="ops",
        ),
        Panel(
            "Keys in memory",
            "Counted in the processes: leases, and limits that are kept here while the store is away. Its bound is memory_keys.",
            [Query(f"sd_limiter_memory_keys{{{CHOSEN}}}", "{{process}}")],
        ),
        breakers(
            CHOSEN, "An open breaker asks the store nothing: each rule's on_store_down decides at once, without the deadline."
        ),
        done_without(CHOSEN),
        faults_in_force(CHOSEN),
    ],
)

STORE = Row(
    "The store as the replicas see it",
    [
        calls(CHOSEN),
        p99_of_calls(
            CHOSEN,
            says=f"Worry when take comes near the deadline of {DEADLINE_MS:g} ms: beyond it on_store_down decides.",
            worry_at=DEADLINE_MS / 1000,
        ),
        failed_calls(CHOSEN),
        Panel(
            "Leases",
            "Trips to Redis for units, and units taken; with store=local_lease only. Units per trip say what a lease saves.",
            [
                Query(per_second("sd_limiter_lease_trips_total", CHOSEN), "trips"),
                Query(per_second("sd_limiter_leased_units_total", CHOSEN), "units"),
            ],
            unit="ops",
        ),
        Panel(
            "Decisions in shared buckets",
            "Of keys that had no room in memory: somebody may be refused for another's use. Worry at any.",
            [Query(per_second("sd_limiter_memory_shared_total", CHOSEN), "shared")],
            unit="ops",
        ),
        spans(CHOSEN),
    ],
)

SELF = Row(
    "The service itself",
    [
        Panel(
            "Rule files",
            "New files in the last five minutes, by what became of them. Worry at refused: the rules in force are older ones.",
            [Query(f"sum by (outcome) (increase(sd_limiter_rule_reloads_total{{{CHOSEN}}}[5m]))", "{{outcome}}")],
            width=6,
        ),
        Panel(
            "Shed by priority",
            "Refused for want of room, the lowest class first; with shed=priority only. Worry at anything above low.",
            [Query(per_second("sd_limiter_shed_total", CHOSEN, "priority"), "{{priority}}")],
            unit="reqps",
            width=6,
        ),
        overload_refused(CHOSEN, "{{process}}", width=6),
        event_loop_lag(CHOSEN, "{{process}}", width=6),
    ],
)


def rate_limiter() -> str:
    """The file `ops/grafana/dashboards/rate_limiter.json`."""
    return dashboard(
        "rate_limiter",
        "Rate limiter",
        "What becomes of a check: by its rules, or without the store.",
        [REQUESTS, DECISIONS, WITHOUT, STORE, SELF],
        [Variable("process", 'sd_build_info{design="rate_limiter"}')],
    )
