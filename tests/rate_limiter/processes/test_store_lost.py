"""Redis is killed, or falls silent, while checks come: each policy answers, degraded, and the limit holds again once it is back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes.driving import Load, wait_until
from tests.rate_limiter.processes.driving import Api, body_of, check_request, running
from tests.rate_limiter.service import rule
from workbench.embedded_redis import EmbeddedRedis
from workbench.launch import RunningDesign

DEADLINE_MS = 100
# Twenty deadlines: what a caller may wait on a machine with better things to do, and less than a driver waits by itself (5 s).
PATIENT_S = 20 * DEADLINE_MS / 1000
RULES = [
    rule("is-local", {"user": "*"}, quota=5, per="300d"),
    rule("is-open", {"search": "*"}, quota=1, per="300d", on_store_down="open"),
    rule("is-closed", {"order": "*"}, quota=1_000_000, per="1m", on_store_down="closed"),
]


@contextmanager
def killed(server: EmbeddedRedis) -> Iterator[None]:
    server.kill()
    yield
    server.restart()


@contextmanager
def silent(server: EmbeddedRedis) -> Iterator[None]:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("breaker", ["on", "off"])
@pytest.mark.parametrize("fault", [killed, silent])
def test_while_redis_is_away_each_rule_answers_as_it_was_told_and_afterwards_as_before(
    fault: Callable[[EmbeddedRedis], Iterator[None]], breaker: str, tmp_path: Path
) -> None:
    with (
        running(tmp_path, RULES, replicas=2, store="redis", deadline_ms=DEADLINE_MS, breaker=breaker) as design,
        Api(design) as api,
        Api(design, 1) as other,
    ):
        assert design.redis is not None
        both = (api, other)
        wait_until(lambda: not any(degraded(each) for each in both), "decisions come from Redis")
        requests = [(index, check_request(url, design.api_key, {"order": "o"})) for index, url in enumerate(design.urls)]
        with Load(design.urls, requests, clients=2, timeout_s=PATIENT_S) as load:
            wait_until(lambda: load.answered >= 20, "orders come")
            with fault(design.redis):
                wait_until(lambda: all(each.readiness() == "degraded" for each in both), "both notice")
                wait_until(lambda: all(api_is_refused(each) for each in both), "closed refuses")
                for each in both:
                    statuses = [each.check({"user": "u1"}).status_code for _ in range(7)]
                    assert statuses == [200] * 5 + [429] * 2, "local: each replica keeps the limit on its own"
                    assert [each.check({"search": "s"}).status_code for _ in range(5)] == [200] * 5
                    assert each.check({"user": "u1"}).json()["degraded"]
                    assert each.metric("sd_degraded", dependency="redis") == 1
                    assert each.metric("sd_limiter_degraded_total", policy="closed") > 0
                    if breaker == "on":
                        assert each.metric("sd_breaker_opened_total", breaker="store") > 0
            wait_until(lambda: all(each.readiness() == "ready" for each in both), "Redis counts as up again")
            wait_until(lambda: not any(degraded(each) for each in both), "decisions come from Redis again")
        assert {exchange.status for _, exchange in load.exchanges()} == {200, 503}, "every order was answered, and in time"
        for _, exchange in load.exchanges():
            if exchange.status == 503:
                assert b"\r\nretry-after: 1\r\n" in exchange.response
                assert body_of(exchange.response)["degraded"]
            else:
                assert not body_of(exchange.response)["degraded"]


def degraded(api: Api) -> bool:
    answer = api.check({"order": "o"})
    return bool(answer.json()["degraded"])


def api_is_refused(api: Api) -> bool:
    return api.check({"order": "o"}).status_code == 503


def test_a_store_that_was_made_slow_is_done_without_until_it_is_quick_again(tmp_path: Path) -> None:
    from designs.building_blocks.fault_hooks import write_fault_file

    with running(tmp_path, RULES, faults=True, store="sqlite", deadline_ms=DEADLINE_MS) as design, Api(design) as api:
        file = design.fault_file("replica-1")
        wait_until(lambda: not degraded(api), "decisions come from the store")
        write_fault_file(file, store_delay_us=3_600_000_000)
        wait_until(lambda: api_is_refused(api), "closed refuses")
        assert api.readiness() == "degraded"
        assert api.metric("sd_fault_active", fault="slow_store") == 1
        write_fault_file(file, store_delay_us=0)
        wait_until(lambda: not degraded(api), "decisions come from the store again")


def test_a_design_that_starts_before_its_redis_is_ready_all_the_same(tmp_path: Path) -> None:
    with running(tmp_path, RULES, store="redis", deadline_ms=DEADLINE_MS) as design:
        assert design.redis is not None
        with killed(design.redis):
            stopped_and_started_again(design)
            with Api(design) as api:
                assert api.readiness() == "degraded"
                assert api.check({"search": "s"}).status_code == 200
                assert api.check({"order": "o"}).status_code == 503
        with Api(design) as api:
            wait_until(lambda: api.readiness() == "ready", "Redis is found")
            wait_until(lambda: not degraded(api), "decisions come from Redis")


def stopped_and_started_again(design: RunningDesign) -> None:
    design.supervisor.kill("replica-1")
    design.supervisor.restart("replica-1")
