"""Panels that the dashboard of every design has: what its processes ask of servers, and what they do without.

`chosen` is the selector of the design's processes.
"""

from __future__ import annotations

from workbench.ops_grafana import Panel, Query, State

WELL = (State(0, "well", "green"), State(1, "without it", "red"))
ON = (State(0, "off", "green"), State(1, "on", "orange"))
BREAKER = (State(0, "closed", "green"), State(1, "half-open", "orange"), State(2, "open", "red"))


def per_second(metric: str, selector: str, by: str = "") -> str:
    """How often a second a counter rises, of the chosen processes together."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{selector}}}[$__rate_interval]))"


def calls(chosen: str) -> Panel:
    return Panel(
        "Calls",
        "Calls of ports by technology and verb.",
        [Query(per_second("sd_backend_calls_total", chosen, "backend, op") + " > 0", "{{backend}} {{op}}")],
        unit="ops",
    )


def p99_of_calls(chosen: str, *, says: str, worry_at: float | None = None) -> Panel:
    """Of each verb, but for those that wait for work by design."""
    return Panel(
        "p99 of calls",
        says,
        [
            Query(
                "histogram_quantile(0.99, sum by (le, backend, op) "
                f'(rate(sd_backend_call_duration_seconds_bucket{{{chosen},op!="receive"}}[$__rate_interval]))) >= 0',
                "{{backend}} {{op}}",
            )
        ],
        unit="s",
        worry_at=worry_at,
    )


def failed_calls(chosen: str) -> Panel:
    return Panel(
        "Failed calls",
        "Calls that ended in an error or too late. Empty while none does.",
        [Query(per_second("sd_backend_calls_total", f'{chosen},outcome="error"', "backend, op") + " > 0", "{{backend}} {{op}}")],
        unit="ops",
    )


def breakers(chosen: str, says: str) -> Panel:
    return Panel(
        "Breakers",
        says,
        [Query(f"max by (process, breaker) (sd_breaker_state{{{chosen}}})", "{{process}}: {{breaker}}")],
        kind="state-timeline",
        states=BREAKER,
        worry_at=1,
    )


def done_without(chosen: str, *, height: int = 8) -> Panel:
    return Panel(
        "What is done without",
        "Servers that a process does without, from use and from probes. /readyz of the process says which uses fail.",
        [Query(f"max by (process, dependency) (sd_degraded{{{chosen}}})", "{{process}}: {{dependency}}")],
        kind="state-timeline",
        states=WELL,
        worry_at=1,
        height=height,
    )


def faults_in_force(chosen: str, *, height: int = 8) -> Panel:
    return Panel(
        "Which faults are in force",
        "Faults that were made on purpose, by process. Empty where no process was started to be broken.",
        [Query(f"max by (process, fault) (sd_fault_active{{{chosen}}})", "{{process}}: {{fault}}")],
        kind="state-timeline",
        states=ON,
        worry_at=1,
        height=height,
    )


def spans(chosen: str) -> Panel:
    return Panel(
        "Spans",
        "Spans of traces: sent, failed to be sent, dropped for lack of room. With traces=0 there are none.",
        [Query(per_second("sd_spans_total", chosen, "outcome"), "{{outcome}}")],
        unit="ops",
    )


def event_loop_lag(chosen: str, legend: str, *, width: int = 8) -> Panel:
    return Panel(
        "Event loop lag",
        "How late a timer comes at worst: whatever else waits, waits as long. Worry above 50 ms; something blocks the loop.",
        [Query(f"sd_event_loop_lag_seconds{{{chosen}}}", legend)],
        unit="s",
        worry_at=0.05,
        width=width,
    )


def overload_refused(chosen: str, legend: str, *, width: int = 8) -> Panel:
    return Panel(
        "Refused because too many were under way",
        "Requests turned away at once with 503. Worry when it lasts: more is asked than the processes can do.",
        [Query(f"rate(sd_overload_refused_total{{{chosen}}}[$__rate_interval])", legend)],
        unit="reqps",
        width=width,
    )
