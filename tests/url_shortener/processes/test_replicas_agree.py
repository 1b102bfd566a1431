"""Two replicas as processes: what one of them was told, the other one knows, at once or within the staleness bound."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis

from tests.processes.driving import wait_until
from tests.url_shortener.processes.driving import Api, Visitors, running
from workbench.launch import RunningDesign

# Below the half second after which a replica subscribes again, so that a link that outlives its edit dies by its age alone.
STALENESS_S = 0.3
HOT_LINKS = 8


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replicas, and a client for each."""

    design: RunningDesign
    first: Api
    second: Api


@contextlib.contextmanager
def pair(cache_layers: str, staleness_s: float) -> Iterator[Pair]:
    with running(replicas=2, cache_layers=cache_layers, staleness_s=staleness_s, clicks="off") as design:
        one, two = design.urls
        with Api(one, design.api_key) as first, Api(two, design.api_key) as second:
            yield Pair(design, first, second)


@pytest.fixture(scope="module", params=["both", "process"])
def replicas(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with pair(request.param, STALENESS_S) as found:
        yield found


def layers(replicas: Pair) -> str:
    return str(replicas.design.knobs.model_dump()["cache_layers"])


def test_a_link_made_on_one_replica_resolves_on_the_other_at_once(replicas: Pair) -> None:
    for maker, visitor in [(replicas.first, replicas.second), (replicas.second, replicas.first)] * 10:
        made = maker.create("https://example.org/fresh")
        assert visitor.visit(made["code"]).headers["location"] == "https://example.org/fresh"


def test_a_miss_that_the_other_replica_remembers_does_not_hide_a_new_alias_for_longer_than_promised(replicas: Pair) -> None:
    # In a shared layer the create replaces "no such link" for everybody; in a process nobody else can.
    hidden_at_most_s = {"both": 0.0, "process": STALENESS_S}[layers(replicas)]
    for number in range(5):
        alias = f"launch-{layers(replicas)}-{number}"
        assert replicas.second.visit(alias).status_code == 404
        replicas.first.create("https://example.org/launch", alias)
        acknowledged_s = time.monotonic()
        last_miss_s = acknowledged_s
        while (asked_s := time.monotonic()) and replicas.second.visit(alias).status_code == 404:
            last_miss_s = asked_s
            assert last_miss_s - acknowledged_s <= hidden_at_most_s
        assert replicas.second.visit(alias).headers["location"] == "https://example.org/launch"


def test_no_replica_serves_a_deleted_or_edited_link_past_the_bound_not_even_a_hot_one_when_the_news_is_lost(replicas: Pair) -> None:
    makers = [replicas.first, replicas.second]
    old = {
        makers[number % 2].create(f"https://example.org/old/{number}")["code"]: f"https://example.org/old/{number}"
        for number in range(HOT_LINKS)
    }
    acknowledged_s: dict[str, float] = {}
    written_on: dict[str, int] = {}
    assert replicas.design.redis is not None
    with (
        redis.Redis.from_url(replicas.design.redis.url) as server,
        Visitors(replicas.design.urls, list(old)) as visitors,
    ):
        wait_until(lambda: visitors.answered >= 50 * HOT_LINKS, "every replica has the links in its memory")
        server.client_kill_filter(_type="pubsub")  # from here on nobody hears of an edit on the other replica
        for number, code in enumerate(old):
            writer = number // 2 % 2
            if number % 2:
                assert makers[writer].delete(code).status_code == 204
            else:
                assert makers[writer].edit(code, url="https://example.org/new").status_code == 200
            acknowledged_s[code], written_on[code] = time.monotonic(), writer
        end_s = max(acknowledged_s.values()) + 2 * STALENESS_S
        wait_until(lambda: time.monotonic() > end_s, "the bound is over, with visitors all the time")

    # By when a visit was *asked*: the answer was sent later still, so no allowance for the way is needed.
    late: dict[bool, list[float]] = {True: [0.0], False: [0.0]}
    after_the_bound = set()
    for seen in visitors.seen:
        age_s = seen.sent_s - acknowledged_s[seen.code]
        here = seen.replica == written_on[seen.code]
        if seen.location == old[seen.code]:
            late[here].append(age_s)
        else:
            assert (seen.status, seen.location) in [(404, ""), (302, "https://example.org/new")]
        if age_s > STALENESS_S:
            after_the_bound.add((seen.code, seen.replica))
    assert max(late[True]) <= 0, "the replica that wrote serves the old link no more"
    assert max(late[False]) <= STALENESS_S
    assert max(late[False]) > 0, "the old link was served after its edit: the bound was put to the test"
    assert len(after_the_bound) == 2 * HOT_LINKS


@pytest.mark.parametrize("cache_layers", ["both", "process"])
def test_an_edit_is_announced_so_that_hardly_anybody_waits_for_the_bound(cache_layers: str) -> None:
    with pair(cache_layers, staleness_s=60) as replicas:
        made = replicas.first.create("https://example.org/before")
        assert replicas.second.visit(made["code"]).headers["location"] == "https://example.org/before"
        replicas.first.edit(made["code"], url="https://example.org/after")
        wait_until(
            lambda: replicas.second.visit(made["code"]).headers["location"] == "https://example.org/after",
            "the other replica has heard of the edit",
        )
