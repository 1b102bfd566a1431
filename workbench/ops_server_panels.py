"""Panels that the dashboard of every design has: what its processes ask of servers, and what they do without.

`chosen` is the selector of the design's processes.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.ops_grafana import Panel, Query, State
from workbench.ops_queries import per_second

WELL = (State(0, "well", "green"), State(1, "without it", "red"))
ON = (State(0, "off", "green"), State(1, "on", "orange"))
BREAKER = (State(0, "closed", "green"), State(1, "half-open", "orange"), State(2, "open", "red"))


def calls(chosen: str) -> Panel:
    return Panel(
        "Calls",
        "Calls of ports by technology and verb.",
        [Query(per_second("sd_backend_calls_total", chosen, "backend, op") + " > 0", "{{backend}} {{op}}")],
        unit="ops",
    )


def p99_of_calls(chosen: str, *, says: str, worry_at: float | None = None) -> Panel:
    """Of each verb, but for those that wait for work by design."""
    durations = per_second("sd_backend_call_duration_seconds_bucket", f'{chosen},op!="receive"', "le, backend, op")
    return Panel(
        "p99 of calls",
        says,
        [Query(f"histogram_quantile(0.99, {durations}) >= 0", "{{backend}} {{op}}")],
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
    return timeline("Breakers", says, "sd_breaker_state", chosen, "breaker", BREAKER)


def done_without(chosen: str, *, height: int = 8) -> Panel:
    says = "Servers that a process does without, from use and from probes. /readyz of the process says which uses fail."
    return timeline("What is done without", says, "sd_degraded", chosen, "dependency", WELL, height=height)


def faults_in_force(chosen: str, *, height: int = 8) -> Panel:
    says = "Faults that were made on purpose, by process. Empty where no process was started to be broken."
    return timeline("Which faults are in force", says, "sd_fault_active", chosen, "fault", ON, height=height)


def timeline(title: str, says: str, metric: str, chosen: str, label: str, states: Sequence[State], *, height: int = 8) -> Panel:
    """A line for each process and value of `label`, coloured by the state that the metric's number stands for."""
    query = Query(f"max by (process, {label}) ({metric}{{{chosen}}})", f"{{{{process}}}}: {{{{{label}}}}}")
    return Panel(title, says, [query], kind="state-timeline", states=states, worry_at=1, height=height)


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
