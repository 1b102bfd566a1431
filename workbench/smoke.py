"""`designs smoke`: is the stack that runs the one that was meant? Each check is one line, through the ports that are published.

A check answers with what it found, or raises `NotSo`. They run in order, and each has an end: what comes about by and by is asked
for again until then.
"""

from __future__ import annotations

import secrets
import time
from functools import partial

import httpx2

from workbench import smoke_rate_limiter, smoke_url_shortener
from workbench.compose import Stack, StackRefused, held_by, published
from workbench.smoke_check import Check, NotSo, Running, expect, soon
from workbench.terminal import say

PROCESSES = smoke_url_shortener.PROCESSES + smoke_rate_limiter.PROCESSES


def smoke_command() -> int:
    """0 when every check found what it should, else 1. Raises `StackRefused` where no stack is up."""
    running = running_stack(Stack(profiles=("*",)))
    checks = {**CHECKS, **(WATCHED if "prometheus" in running.addresses else {})}
    began_s = time.monotonic()
    bad = [name for name, check in checks.items() if not tried(name, check, running)]
    verdict = f"not so: {', '.join(bad)}" if bad else "all is well"
    say(f"{len(checks)} checks in {time.monotonic() - began_s:.1f} s, {verdict}")
    return 1 if bad else 0


def running_stack(stack: Stack) -> Running:
    there = {each["Service"]: held_by([each]) for each in stack.containers() if each["State"] == "running"}
    missing = [name for name in PROCESSES if name not in there]
    if missing:
        raise StackRefused(f"the stack is not up ({', '.join(missing)} does not run): start it with make up")
    ports = [each for each in published(stack.services()) if each.port in there.get(each.service, ())]
    return Running(
        {each.service: each.address for each in ports if each.speaks != "grpc"},
        {each.service: each.address for each in ports if each.speaks == "grpc"},
        *(stack.secret(name) for name in ("api_key", "admin_key", "grpc_key", "grafana_password")),
    )


def tried(name: str, check: Check, running: Running) -> bool:
    try:
        found, well = check(running), True
    except NotSo as error:
        found, well = str(error), False
    except Exception as error:  # nobody there, no JSON, another shape: the reason is for whoever reads the line
        found, well = f"{type(error).__name__}: {error}", False
    say(f"{'ok  ' if well else 'FAIL'}  {name:<28} {found}")
    return well


def ready(running: Running) -> str:
    for process in PROCESSES:
        with running.http(process) as http:
            soon(process, lambda: http.get("/readyz").json()["status"], lambda status: status == "ready")
    return ", ".join(PROCESSES)


def metrics_of_all(running: Running) -> str:
    wanted = {"click-worker": "sd_clicks_applied_total"} | dict.fromkeys(smoke_rate_limiter.PROCESSES, "sd_limiter_decisions_total")
    for process in PROCESSES:
        with running.http(process) as http:
            page = http.get("/metrics").text
        for name in ("sd_build_info", wanted.get(process, "http_request_duration_seconds_count")):
            if f"\n{name}" not in page:
                raise NotSo(f"{process} has no {name}")
    return ", ".join(PROCESSES)


def targets_up(running: Running) -> str:
    def seen(http: httpx2.Client) -> dict[str, str]:
        targets = http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["instance"]: target["health"] for target in targets}

    with running.http("prometheus") as http:
        health = soon("targets", lambda: seen(http), lambda found: {*found.values()} == {"up"} and len(found) >= len(PROCESSES))
        groups = http.get("/api/v1/rules").json()["data"]["groups"]
        if not groups:
            raise NotSo("Prometheus has no rules")
    return f"{', '.join(sorted(health))}; {len(groups)} groups of rules"


def dashboards_there(running: Running) -> str:
    with running.http("grafana") as http:
        http.auth = ("admin", running.grafana_password)
        found = soon("dashboards", lambda: http.get("/api/search", params={"type": "dash-db"}).json(), lambda seen: len(seen) > 1)
        sources = {source["uid"] for source in http.get("/api/datasources").json()}
    expect("data sources", {"prometheus", "jaeger"} - sources, set())
    return ", ".join(sorted(dashboard["title"] for dashboard in found))


def trace_found(running: Running) -> str:
    """A request that says it is sampled is; its spans must come out at the other end, those of the servers it waits for too."""
    visit, check = secrets.token_hex(16), secrets.token_hex(16)
    with running.http("url-shortener-1") as http:
        http.get(f"/{secrets.token_hex(4)}", headers=sampled(visit))
    with running.http("rate-limiter-1", running.api_key) as http:
        http.post("/v1/check", json=smoke_rate_limiter.body_of(smoke_rate_limiter.someone()), headers=sampled(check))
    with running.http("jaeger") as http:
        found = [soon(f"spans of {trace}", partial(spans_of, http, trace), lambda seen: seen >= 2) for trace in (visit, check)]
    return f"{found[0]} spans of a visit, {found[1]} of a check"


def spans_of(http: httpx2.Client, trace: str) -> int:
    return sum(len(each["spans"]) for each in http.get(f"/api/traces/{trace}").json().get("data") or [])


def sampled(trace: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}


CHECKS: dict[str, Check] = {
    "ready": ready,
    **smoke_url_shortener.CHECKS,
    **smoke_rate_limiter.CHECKS,
    "metrics of all processes": metrics_of_all,
}
WATCHED: dict[str, Check] = {
    "Prometheus scrapes": targets_up,
    "Grafana has dashboards": dashboards_there,
    "a trace arrives": trace_found,
}
