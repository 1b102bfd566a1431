"""Checks of the URL shortener in the stack: links at both replicas, clicks through Kafka into Cassandra.

Links of an earlier run are in nobody's way; the dead letters of one would be.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import httpx2

from workbench.smoke_check import REQUEST_S, Check, NotSo, Running, expect, soon

PROCESSES = ("url-shortener-1", "url-shortener-2", "click-worker")
CLICKS = 60
SETTLED_S = 1.0  # without a change
TOPICS = ("url_shortener.clicks", "url_shortener.clicks.dead")
KEYSPACE = "url_shortener"


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


def created(http: httpx2.Client, url: str, **more: str) -> dict[str, Any]:
    answer = http.post("/api/v1/links", json={"url": url, **more})
    expect("a create", answer.status_code, 201)
    link: dict[str, Any] = answer.json()
    return link


CHECKS: dict[str, Check] = {
    "a write needs a key": refused_without_a_key,
    "made here, followed there": made_here_followed_there,
    "an alias is taken once": alias_taken,
    "edit and deletion are seen": edited_and_deleted,
    "clicks are counted exactly": clicks_counted,
    "no dead letters": no_dead_letters,
    "topics in Kafka": topics_exist,
    "keyspace in Cassandra": keyspace_exists,
}
