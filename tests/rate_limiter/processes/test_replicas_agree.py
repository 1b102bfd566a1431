"""Several replicas keep one limit, over HTTP and whoever is asked: exactly, where the store is shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.driving import Load, wait_until
from tests.rate_limiter.processes.driving import Api, check_request, running
from tests.rate_limiter.service import rule
from workbench.launch import RunningDesign

QUOTA, ASKED = 150, 400
UNBOUNDED_MS = 5_000  # no deadline is missed: which policy answers then is another test's
# Nothing comes back while the test runs, and no window ends.
BUCKET = {"quota": 1, "per": "1d", "burst": QUOTA}
WINDOW = {"quota": QUOTA, "per": "300d"}
LIMITS = {"gcra": BUCKET, "token_bucket": BUCKET, "fixed_window": WINDOW, "sliding_log": WINDOW}


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def design(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDesign]:
    """Two replicas, and a rule of each algorithm, named after it, for the route of that name."""
    rules = [rule(name, {"user": "*", "route": name}, algorithm=name, **limit) for name, limit in LIMITS.items()]
    folder = tmp_path_factory.mktemp(request.param)
    with running(folder, rules, replicas=2, store=request.param, deadline_ms=UNBOUNDED_MS) as started:
        yield started


@pytest.mark.parametrize("algorithm", LIMITS)
def test_two_replicas_admit_exactly_the_limit_between_them(algorithm: str, design: RunningDesign) -> None:
    descriptor = {"user": "u1", "route": algorithm}
    requests = [(index, check_request(url, design.api_key, descriptor)) for index, url in enumerate(design.urls)]
    with Load(design.urls, requests, clients=8, limit=ASKED) as load:
        load.wait()
    answers = Counter(exchange.status for _, exchange in load.exchanges())
    assert answers == {200: QUOTA, 429: ASKED - QUOTA}
    with Api(design) as one, Api(design, 1) as other:
        totals = [
            sum(api.metric("sd_limiter_decisions_total", rule=algorithm, outcome=outcome) for api in (one, other))
            for outcome in ("allowed", "refused")
        ]
        assert totals == [QUOTA, ASKED - QUOTA]


def test_replicas_that_lease_admit_no_more_than_a_block_each_beyond_the_limit(tmp_path: Path) -> None:
    rules = [rule("per-user", **BUCKET)]
    with running(
        tmp_path, rules, replicas=2, store="local_lease", lease_size=10, lease_ms=60_000, deadline_ms=UNBOUNDED_MS
    ) as design:
        requests = [(index, check_request(url, design.api_key, {"user": "u1"})) for index, url in enumerate(design.urls)]
        with Load(design.urls, requests, clients=8, limit=ASKED) as load:
            load.wait()
        admitted = sum(exchange.status == 200 for _, exchange in load.exchanges())
        # Each unit spent was taken from Redis, which gives no more than there are; what ends unspent is lost.
        assert QUOTA - 2 * 10 <= admitted <= QUOTA
        with Api(design) as one, Api(design, 1) as other:
            trips = sum(api.metric("sd_limiter_lease_trips_total") for api in (one, other))
            assert trips < ASKED / 2, "most were decided without a round trip"


def test_a_slot_that_was_taken_at_one_replica_is_given_back_at_the_other(tmp_path: Path) -> None:
    rules = [rule("exports", {"tenant": "*"}, slots=1, lease="1h")]
    with (
        running(tmp_path, rules, replicas=2, store="redis", deadline_ms=UNBOUNDED_MS) as design,
        Api(design) as one,
        Api(design, 1) as other,
    ):
        assert one.ask("acquire", {"tenant": "t"}, token="a").status_code == 200
        assert other.ask("acquire", {"tenant": "t"}, token="b").status_code == 429
        assert other.ask("renew", {"tenant": "t"}, token="a").json() == {"held": True}
        assert other.ask("release", {"tenant": "t"}, token="a").json() == {"released": True}
        assert one.ask("acquire", {"tenant": "t"}, token="b").status_code == 200


def test_a_replica_that_was_killed_and_started_again_gives_no_quota_anew(tmp_path: Path) -> None:
    rules = [rule("per-user", quota=10, per="300d")]
    with running(tmp_path, rules, store="redis", deadline_ms=UNBOUNDED_MS) as design:
        with Api(design) as api:
            assert [api.check({"user": "u1"}).status_code for _ in range(6)] == [200] * 6
            design.supervisor.kill("replica-1")
            design.supervisor.restart("replica-1")
        with Api(design) as api:
            assert [api.check({"user": "u1"}).status_code for _ in range(6)] == [200] * 4 + [429] * 2


def test_rules_that_change_are_taken_up_by_every_replica_without_a_restart(tmp_path: Path) -> None:
    rules = [rule("per-user", quota=1, per="300d")]
    with (
        running(tmp_path, rules, replicas=2, store="redis", deadline_ms=UNBOUNDED_MS) as design,
        Api(design) as one,
        Api(design, 1) as other,
    ):
        assert [api.check({"user": "u1"}).status_code for api in (one, other)] == [200, 429]
        path = tmp_path / "rules-of-the-test.yaml"
        put(path, "mode: off\ndomains: {api: {rules: none}}\n")
        for api in (one, other):
            wait_until(lambda api=api: api.metric("sd_limiter_rule_reloads_total", outcome="refused") == 1, "it is refused")
            assert api.check({"user": "u1"}).status_code == 429
        put(path, "mode: off\ndomains: {api: {rules: []}}\n")
        for api in (one, other):
            wait_until(lambda api=api: api.check({"user": "u1"}).status_code == 200, "everybody passes")
            assert api.metric("sd_limiter_rule_reloads_total", outcome="loaded") == 1


def put(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text, "utf-8")
    path.with_suffix(".new").replace(path)
