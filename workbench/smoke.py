"""`designs smoke`: is the stack that runs the one that was meant? Each check is one line, through the ports that are published.

A check answers with what it found, or raises `NotSo`. They run in order, and each has an end: what comes about by and by is asked
for again until then. Links of an earlier run are in nobody's way; the dead letters of one would be.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from workbench.compose import Stack, StackRefused, held_by, published
from workbench.terminal import say

CLICKS = 60
REQUEST_S = 10.0
SOON_S = 30.0  # by then whatever was accepted is counted, and whoever watches has seen it
SETTLED_S = 1.0  # without a change
PAUSE_S = 0.25
TOPICS = ("url_shortener.clicks", "url_shortener.clicks.dead")
KEYSPACE = "url_shortener"
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"}
PROCESSES = ("url-shortener-1", "url-shortener-2", "click-worker")


class NotSo(Exception):
    """A check found something else than it should. The message says what."""


@dataclass(frozen=True, slots=True)
class Running:
    """The stack that is up: service -> host:port, and the keys."""

    addresses: dict[str, str]
    api_key: str
    admin_key: str
    grafana_password: str

    def http(self, service: str, key: str = "") -> httpx2.Client:
        """A client of the service; `NotSo` where it does not run."""
        if service not in self.addresses:
            raise NotSo(f"{service} does not run")
        headers = BROWSER | ({"Authorization": f"Bearer {key}"} if key else {})
        return httpx2.Client(base_url=f"http://{self.addresses[service]}", headers=headers, timeout=REQUEST_S, trust_env=False)


Check = Callable[[Running], str]


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
    addresses = {each.service: each.address for each in published(stack.services()) if each.port in there.get(each.service, ())}
    return Running(addresses, stack.secret("api_key"), stack.secret("admin_key"), stack.secret("grafana_password"))


def tried(name: str, check: Check, running: Running) -> bool:
    try:
        found, well = check(running), True
    except NotSo as error:
        found, well = str(error), False
    except Exception as error:  # nobody there, no JSON, another shape: the reason is for whoever reads the line
        found, well = f"{type(error).__name__}: {error}", False
    say(f"{'ok  ' if well else 'FAIL'}  {name:<28} {found}")
    return well


def soon(what: str, look: Callable[[], Any], right: Callable[[Any], bool]) -> Any:
    """What `look` sees once it is right, within `SOON_S`; else `NotSo` with what it saw last."""
    end_s = time.monotonic() + SOON_S
    while True:
        try:
            seen = look()
        except httpx2.HTTPError as error:
            seen = error
        else:
            if right(seen):
                return seen
        if time.monotonic() > end_s:
            raise NotSo(f"{what}: not within {SOON_S:g} s, last {seen!r}")
        time.sleep(PAUSE_S)


def expect(what: str, seen: Any, wanted: Any) -> None:
    if seen != wanted:
        raise NotSo(f"{what}: {seen!r} instead of {wanted!r}")


def ready(running: Running) -> str:
    for process in PROCESSES:
        with running.http(process) as http:
            soon(process, lambda: http.get("/readyz").json()["status"], lambda status: status == "ready")
    return ", ".join(PROCESSES)


def refused_without_a_key(running: Running) -> str:
    with running.http("url-shortener-1") as http:
        answer = http.post("/api/v1/links", json={"url": "https://example.org/"})
        expect("a create without a key", answer.status_code, 401)
        expect("an operator's route without a key", http.get("/api/v1/admin/dead-letters").status_code, 403)
    return "401, and 403 for the operator's route"


def made_here_followed_there(running: Running) -> str:
    url = f"https://example.org/smoke/{secrets.token_hex(8)}"
    with running.http("url-shortener-1", running.api_key) as one, running.http("url-shortener-2") as other:
        code = created(one, url)["code"]
        answer = other.get(f"/{code}")
        expect("the other replica's redirect", (answer.status_code, answer.headers.get("location")), (302, url))
        expect("an unknown code", other.get(f"/{secrets.token_hex(4)}").status_code, 404)
    return f"/{code} made by one replica, followed at the other"


def alias_taken(running: Running) -> str:
    alias = f"smoke-{secrets.token_hex(6)}"
    with running.http("url-shortener-1", running.api_key) as one, running.http("url-shortener-2", running.api_key) as other:
        created(one, "https://example.org/first", alias=alias)
        answer = other.post("/api/v1/links", json={"url": "https://example.org/second", "alias": alias})
        expect("the alias again", answer.status_code, 409)
    return "409 from the other replica"


def edited_and_deleted(running: Running) -> str:
    with running.http("url-shortener-1", running.api_key) as one, running.http("url-shortener-2") as other:
        code = created(one, "https://example.org/before")["code"]
        expect("before the edit", other.get(f"/{code}").headers.get("location"), "https://example.org/before")
        after = "https://example.org/after"
        expect("the edit", one.patch(f"/api/v1/links/{code}", json={"url": after}).status_code, 200)
        soon("the edit", lambda: other.get(f"/{code}").headers.get("location"), lambda seen: seen == after)
        expect("the deletion", one.delete(f"/api/v1/links/{code}").status_code, 204)
        soon("the deletion", lambda: other.get(f"/{code}").status_code, lambda seen: seen == 404)
    return "both seen at the other replica"


def clicks_counted(running: Running) -> str:
    """Through Kafka and the worker into Cassandra: not one less, and not one more a while later."""
    began_s = time.monotonic()
    with running.http("url-shortener-1", running.api_key) as one, running.http("url-shortener-2") as other:
        code = created(one, "https://example.org/clicks")["code"]
        for number in range(CLICKS):
            expect("a redirect", (one, other)[number % 2].get(f"/{code}").status_code, 302)
        statistics = f"/api/v1/links/{code}/stats"
        soon("clicks", lambda: one.get(statistics).json()["clicks"], lambda seen: seen >= CLICKS)
        took_s = time.monotonic() - began_s
        time.sleep(SETTLED_S)
        expect("clicks", one.get(statistics).json()["clicks"], CLICKS)
    return f"{CLICKS} of {CLICKS}, {took_s:.1f} s after the first"


def no_dead_letters(running: Running) -> str:
    with running.http("url-shortener-1", running.admin_key) as http:
        expect("dead letters", http.get("/api/v1/admin/dead-letters").json(), [])
    return "0"


def metrics_of_all(running: Running) -> str:
    wanted = {"click-worker": "sd_clicks_applied_total"}
    for process in PROCESSES:
        with running.http(process) as http:
            page = http.get("/metrics").text
        for name in ("sd_build_info", wanted.get(process, "http_request_duration_seconds_count")):
            if f"\n{name}" not in page:
                raise NotSo(f"{process} has no {name}")
    return ", ".join(PROCESSES)


def topics_exist(running: Running) -> str:
    from aiokafka import AIOKafkaConsumer

    async def topics() -> set[str]:
        async with asyncio.timeout(REQUEST_S):
            consumer = AIOKafkaConsumer(bootstrap_servers=running.addresses["kafka"])
            try:
                await consumer.start()
                return set(await consumer.topics())
            finally:
                await consumer.stop()

    there = asyncio.run(topics())
    expect("missing topics", sorted({*TOPICS} - there), [])
    return ", ".join(sorted(topic for topic in there if topic.startswith(f"{KEYSPACE}.")))


def keyspace_exists(running: Running) -> str:
    from cassandra.cluster import Cluster

    host, port = running.addresses["cassandra"].split(":")
    cluster = Cluster([host], port=int(port), connect_timeout=REQUEST_S, protocol_version=5)
    try:
        cluster.connect()
        tables = cluster.metadata.keyspaces[KEYSPACE].tables if KEYSPACE in cluster.metadata.keyspaces else {}
    finally:
        cluster.shutdown()
    if not tables:
        raise NotSo(f"there is no keyspace {KEYSPACE}, or it is empty")
    return f"{KEYSPACE}: {', '.join(sorted(tables))}"


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
    """A request that says it is sampled is; its span must come out at the other end."""
    trace = secrets.token_hex(16)
    with running.http("url-shortener-1") as http:
        http.get(f"/{secrets.token_hex(4)}", headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"})
    with running.http("jaeger") as http:
        found = soon("the trace", lambda: http.get(f"/api/traces/{trace}").json().get("data") or [], bool)
    return f"{trace}, {sum(len(each['spans']) for each in found)} span(s)"


def created(http: httpx2.Client, url: str, **more: str) -> dict[str, Any]:
    answer = http.post("/api/v1/links", json={"url": url, **more})
    expect("a create", answer.status_code, 201)
    link: dict[str, Any] = answer.json()
    return link


CHECKS: dict[str, Check] = {
    "ready": ready,
    "a write needs a key": refused_without_a_key,
    "made here, followed there": made_here_followed_there,
    "an alias is taken once": alias_taken,
    "edit and deletion are seen": edited_and_deleted,
    "clicks are counted exactly": clicks_counted,
    "no dead letters": no_dead_letters,
    "metrics of all processes": metrics_of_all,
    "topics in Kafka": topics_exist,
    "keyspace in Cassandra": keyspace_exists,
}
WATCHED: dict[str, Check] = {
    "Prometheus scrapes": targets_up,
    "Grafana has dashboards": dashboards_there,
    "a trace arrives": trace_found,
}
