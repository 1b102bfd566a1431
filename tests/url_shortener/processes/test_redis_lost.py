"""Redis is killed, or falls silent: redirects go on, what Redis has to know of is refused, and nothing is lost unsaid."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.processes.driving import metric, wait_until
from tests.url_shortener.processes.driving import Api, Visitors, address_of, running, stored_clicks, stored_links
from workbench.embedded_redis import EmbeddedRedis
from workbench.launch import RunningDesign

LINKS = 20
DEADLINE_MS = 50
# Twenty deadlines: what a visitor may wait on a machine with better things to do, and still no time-out of a queue (5 s).
PATIENT_VISITOR_S = 20 * DEADLINE_MS / 1000


@pytest.mark.parametrize("cache_layers", ["both", "redis"])
def test_without_redis_redirects_and_creates_go_on_edits_are_refused_and_clicks_are_accounted_for(cache_layers: str) -> None:
    with (
        running(replicas=2, cache_layers=cache_layers, cache_deadline_ms=DEADLINE_MS, ids="lease") as design,
        Api(design.urls[0], design.api_key) as api,
        Api(design.urls[1], design.api_key) as other,
    ):
        redis_server = server_of(design)
        links = api.create_many([f"https://example.org/{number}" for number in range(LINKS)])
        code = next(iter(links))
        doomed = api.create("https://example.org/doomed")["code"]
        assert [replica.visit(doomed).status_code for replica in (api, other)] == [302, 302]
        with Visitors(design.urls, list(links), timeout_s=5.0) as visitors:
            wait_until(lambda: visitors.answered >= 10 * LINKS, "visitors come")
            # A 503 has not happened, or has: where visitors keep both replicas busy, Redis may be later than the deadline.
            wait_until(lambda: api.delete(doomed).status_code in (204, 404), "the doomed link is deleted")
            redis_server.kill()
            asked = visitors.answered
            wait_until(lambda: visitors.answered >= asked + 20 * LINKS, "visitors come while there is no Redis")

            for refused in (api.edit(code, url="https://example.org/changed"), other.delete(code)):
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) > 0
                assert refused.headers["content-type"] == "application/problem+json"
            assert api.owned(code).json()["url"] == links[code]
            made = {replica: replica.create("https://example.org/meanwhile")["code"] for replica in (api, other)}
            for replica in (api, other):
                for meanwhile in made.values():
                    assert replica.visit(meanwhile).headers["location"] == "https://example.org/meanwhile"
                assert replica.readiness() == "degraded"
            assert api.visit(doomed).status_code == 404
            served_deleted = 0  # Redis may have died with the news on its way; then it takes S
            while other.visit(doomed).status_code == 302:
                served_deleted += 1
            assert stored_links(design.data_dir)[code] == links[code]

            redis_server.restart()
            wait_until(lambda: api.edit(code, url=links[code]).status_code == 200, "edits work again")
            asked = visitors.answered
            wait_until(lambda: visitors.answered >= asked + 20 * LINKS, "visitors come when Redis is back")
            assert [replica.visit(doomed).status_code for replica in (api, other)] == [404, 404]

        for seen in visitors.seen:
            assert (seen.status, seen.location) == (302, links[seen.code]), "a known link was not served"
        answered = Counter(seen.code for seen in visitors.seen)
        wait_until(lambda: not any(metric(url, "sd_clicks_buffered") for url in design.urls), "the replicas have sent their clicks")
        wait_until(lambda: queue_is_empty(design), "the queue drains")
        accepted, unsure, dropped = (
            sum(metric(url, "sd_clicks_total", outcome=outcome) for url in design.urls)
            for outcome in ("accepted", "unsure", "dropped")
        )
        others = 2 + 4 + served_deleted  # of the doomed link, and of those made meanwhile
        assert accepted + unsure + dropped == answered.total() + others
        stored = stored_clicks(design.data_dir)
        assert accepted <= sum(stored.values()) <= accepted + unsure
        assert all(stored[code] <= clicks for code, clicks in answered.items())


@pytest.fixture
def silent_design() -> Iterator[RunningDesign]:
    """With no copy of links in the process: each redirect asks Redis. It can be heard again at the end, in order to stop."""
    with running(cache="aside", cache_layers="redis", cache_deadline_ms=DEADLINE_MS) as design:
        try:
            yield design
        finally:
            os.kill(pid_of(server_of(design)), signal.SIGCONT)


def test_a_redis_that_takes_everything_and_answers_nothing_costs_a_redirect_its_deadline_at_most(
    silent_design: RunningDesign,
) -> None:
    [url] = silent_design.urls
    redis_server = server_of(silent_design)
    with Api(url, silent_design.api_key) as api:
        links = api.create_many([f"https://example.org/{number}" for number in range(LINKS)])
        with Visitors([url], list(links), timeout_s=PATIENT_VISITOR_S) as visitors:
            wait_until(lambda: visitors.answered >= 10 * LINKS, "visitors come")
            wait_until(lambda: api.readiness() == "ready", "Redis counts as up, also where visitors keep it from answering in time")
            wait_until(lambda: api.metric("sd_breaker_state", breaker="shared_cache") == 0, "the breaker is closed")

            os.kill(pid_of(redis_server), signal.SIGSTOP)
            wait_until(lambda: api.metric("sd_breaker_state", breaker="shared_cache") == 2, "the breaker opens")
            assert api.readiness() == "degraded"
            assert api.http.get("/readyz").status_code == 200
            assert api.metric("sd_degraded", dependency="redis") == 1
            asked = visitors.answered
            wait_until(lambda: visitors.answered >= asked + 50 * LINKS, "visitors come while Redis is silent")
            refused = api.delete(next(iter(links)))
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0

            os.kill(pid_of(redis_server), signal.SIGCONT)
            wait_until(lambda: api.metric("sd_breaker_state", breaker="shared_cache") == 0, "the breaker closes")
            wait_until(lambda: api.readiness() == "ready", "Redis counts as up again")
            hits = api.metric("sd_cache_requests_total", result="shared_hit")
            wait_until(lambda: api.metric("sd_cache_requests_total", result="shared_hit") > hits, "links are found in Redis again")
        for seen in visitors.seen:
            assert (seen.status, seen.location) == (302, links[seen.code]), "not served, or later than patience lasts"
        wait_until(lambda: metric(url, "sd_clicks_buffered") == 0, "the replica has sent its clicks")
        wait_until(lambda: queue_is_empty(silent_design), "the queue drains")
        accepted, unsure, dropped = (
            api.metric("sd_clicks_total", outcome=outcome) for outcome in ("accepted", "unsure", "dropped")
        )
        assert accepted + unsure + dropped == len(visitors.seen)
        assert accepted <= sum(stored_clicks(silent_design.data_dir).values()) <= accepted + unsure


def server_of(design: RunningDesign) -> EmbeddedRedis:
    assert design.redis is not None
    return design.redis


def pid_of(server: EmbeddedRedis) -> int:
    assert server.pid is not None
    return server.pid


def queue_is_empty(design: RunningDesign) -> bool:
    return metric(address_of(design, "click-worker"), "sd_queue_depth", queue="clicks") == 0
