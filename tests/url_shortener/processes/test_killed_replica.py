"""Replicas are killed and stopped: what was acknowledged is there afterwards, and no code is handed out twice."""

from __future__ import annotations

import os
import random
import signal

import pytest
import redis

from tests.processes.driving import Load, wait_until
from tests.url_shortener.processes.driving import (
    BULK_LINKS,
    Api,
    BulkAnswers,
    Visitors,
    bulk_answers,
    bulk_request,
    database,
    running,
    stored_clicks,
    stored_links,
)
from workbench.launch import RunningDesign

SEED = 20_260_118
BULKS_BEFORE, BULKS_AFTER = 20, 20
COUNTER = "{su}:number:links"
VISITED = 400  # of the links that were made: the rest is compared in the store


@pytest.mark.parametrize("ids", ["lease", "counter", "snowflake"])
def test_a_killed_replica_loses_no_acknowledged_link_and_no_code_is_ever_given_twice(ids: str) -> None:
    rng = random.Random(f"{SEED} {ids}")
    with running(replicas=2, ids=ids, lease_size=250, clicks="off") as design:
        with creating(design) as load:
            kill_after = rng.randrange(BULKS_BEFORE, 2 * BULKS_BEFORE)
            wait_until(lambda: load.answered >= kill_after, "both replicas create links", poll_s=0.001)
            design.supervisor.kill("replica-1")
            design.supervisor.restart("replica-1")
            asked = load.answered
            wait_until(lambda: load.answered >= asked + BULKS_AFTER, "both replicas create links again")
        answers = bulk_answers(load)
        assert answers.unanswered > 0, "the replica was killed with creates under way"
        assert answers.problems == []
        assert_kept_and_unique(design, answers)


def test_a_counter_restored_from_an_old_copy_gives_no_code_twice() -> None:
    with running(replicas=2, ids="counter", clicks="off") as design:
        assert design.redis is not None
        with creating(design, limit=BULKS_BEFORE) as load:
            load.wait()
        before = bulk_answers(load)
        with redis.Redis.from_url(design.redis.url) as server:
            # A number that was drawn for a link that came to nothing is lost.
            assert len(before.acknowledged) <= int(server.get(COUNTER)) <= len(before.acknowledged) + before.turned_away
            server.set(COUNTER, len(before.acknowledged) // 4)
        with creating(design, limit=BULKS_AFTER) as load:
            load.wait()
        after = bulk_answers(load)
        assert (after.problems, after.unanswered) == ([], 0)
        assert_kept_and_unique(design, BulkAnswers(before.acknowledged + after.acknowledged, [], 0))


@pytest.mark.parametrize("clicks", ["redis_streams", "batched"])
def test_a_replica_that_is_asked_to_stop_hands_over_every_click_it_holds(clicks: str) -> None:
    visits = 1_000
    with running(clicks=clicks, click_flush_ms=10_000) as design, Api(design.urls[0], design.api_key) as api:
        links = api.create_many([f"https://example.org/{number}" for number in range(10)])
        with Visitors(design.urls, list(links), limit=visits) as visitors:
            visitors.wait()
        assert [seen.status for seen in visitors.seen] == [302] * visits
        assert api.metric("sd_clicks_buffered") == visits
        assert stored_clicks(design.data_dir) == {}

        [service] = design.pids_by_role()["service"]
        os.kill(service, signal.SIGTERM)
        wait_until(lambda: "service" not in design.pids_by_role(), "the replica ends")
        wait_until(lambda: sum(stored_clicks(design.data_dir).values()) >= visits, "the clicks are counted")
        assert stored_clicks(design.data_dir) == dict.fromkeys(links, visits // len(links))


def test_a_write_behind_link_that_only_redis_has_outlives_its_replica_and_reaches_the_store() -> None:
    with running(cache="write-behind", clicks="off") as design, Api(design.urls[0], design.api_key) as api:
        api.create("https://example.org/first")  # leases the numbers of the codes to come
        with database(design.data_dir / "links.db") as db:
            db.execute("BEGIN IMMEDIATE")  # nobody else can write: what is acknowledged now is in Redis alone
            links: dict[str, str] = {}
            for bulk in range(3):
                links |= api.create_many([f"https://example.org/{bulk}/{number}" for number in range(BULK_LINKS)])
            design.supervisor.kill("replica-1")
        assert not stored_links(design.data_dir).keys() & links.keys()

        design.supervisor.restart("replica-1")
        assert_resolve(design, links)
        wait_until(lambda: links.items() <= stored_links(design.data_dir).items(), "the links reach the store")
        assert api.metric("sd_write_behind_conflicts_total") == 0
        assert_resolve(design, links)


def creating(design: RunningDesign, limit: int | None = None) -> Load:
    """Clients that create links on both replicas at once, a hundred with each request."""
    bulks = [[f"https://example.org/{bulk}/{number}" for number in range(BULK_LINKS)] for bulk in range(2)]
    requests = [(replica, bulk_request(url, design.api_key, links)) for links in bulks for replica, url in enumerate(design.urls)]
    return Load(design.urls, requests, limit=limit)


def assert_kept_and_unique(design: RunningDesign, answers: BulkAnswers) -> None:
    links = dict(answers.acknowledged)
    assert len(links) == len(answers.acknowledged), "a code was given twice"
    assert len(links) >= BULK_LINKS * (BULKS_BEFORE + BULKS_AFTER) // 8, "enough to say something"
    assert links.items() <= stored_links(design.data_dir).items()
    assert_resolve(design, links)


def assert_resolve(design: RunningDesign, links: dict[str, str]) -> None:
    """So many links, early ones and late ones, lead where they were said to, on every replica."""
    visited = random.Random(SEED).sample(list(links), min(VISITED, len(links)))
    with Visitors(design.urls, visited, clients=8, limit=len(visited) * len(design.urls)) as visitors:
        visitors.wait()
    assert {(seen.replica, seen.code) for seen in visitors.seen} == {(n, code) for code in visited for n in range(len(design.urls))}
    assert [seen for seen in visitors.seen if (seen.status, seen.location) != (302, links[seen.code])] == []
