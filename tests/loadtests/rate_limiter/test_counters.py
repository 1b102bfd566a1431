"""Counted work: what clients were told, what replicas and Redis say, and what is beyond a quota."""

from __future__ import annotations

import pytest

from loadtests.history.operation import Operation
from loadtests.rate_limiter.counters import ToldClients, limiter_redis_counters, observations, service_counters, stored_bytes
from loadtests.rate_limiter.history import ask_of
from loadtests.rate_limiter.promises import promises
from tests.loadtests.rate_limiter.histories import Story

PAGE = """\
# TYPE sd_limiter_decisions_total counter
sd_limiter_decisions_total{domain="demo",rule="per-user",outcome="allowed"} 10
sd_limiter_decisions_total{domain="demo",rule="per-user",outcome="refused"} 3
# TYPE sd_limiter_lease_trips_total counter
sd_limiter_lease_trips_total 4
# TYPE sd_limiter_memory_shared_total counter
sd_limiter_memory_shared_total 2
# TYPE sd_spans_total counter
sd_spans_total{outcome="failed"} 6
# TYPE sd_breaker_opened_total counter
sd_breaker_opened_total{breaker="store"} 5
"""
INFO = (
    "used_memory:2000\r\nmem_clients_normal:300\r\nmem_aof_buffer:50\r\nused_memory_scripts:100\r\n"
    "total_net_input_bytes:70\r\ntotal_net_output_bytes:30\r\n"
    "cmdstat_evalsha:calls=12,usec=48,usec_per_call=4\r\ncmdstat_get:calls=12,usec=6,usec_per_call=0.5\r\n"
    "cmdstat_info:calls=5,usec=1,usec_per_call=1\r\n"
)


def test_the_counts_of_all_replicas_are_summed() -> None:
    counts = service_counters([PAGE, PAGE])
    assert (counts["decisions"], counts["lease_trips"], counts["shared_buckets"], counts["spans_dropped"]) == (26, 8, 4, 12)
    assert counts["leased_units"] == 0


def test_decisions_that_nobody_counted_are_not_none() -> None:
    assert "decisions" not in service_counters(["# TYPE sd_limiter_lease_trips_total counter\nsd_limiter_lease_trips_total 1\n"])


def test_redis_says_how_often_it_ran_scripts_and_what_they_cost() -> None:
    assert limiter_redis_counters(INFO) == {
        "redis_commands": 24,
        "redis_bytes": 100,
        "redis_scripts": 12,
        "redis_script_us": 48,
    }


def test_what_redis_holds_is_not_its_clients_nor_its_log() -> None:
    assert stored_bytes(INFO) == 1_550


def test_a_page_is_read_for_what_promises_depend_on() -> None:
    said = [(each.f, dict(each.value)) for each in observations("replica-1", 1.0, PAGE)]
    assert said == [("breaker", {"opened": 5}), ("memory", {"shared": 2})]


@pytest.mark.parametrize(("algorithm", "over"), [("gcra", 10), ("fixed_window", 10)])
def test_units_beyond_the_quota_of_a_period_are_counted_whatever_the_algorithm_promises(algorithm: str, over: int) -> None:
    story = Story({"algorithm": algorithm})
    for number in range(6):
        story.check(0.9 + number / 30, cost=5)
    story.check(5.0, cost=20)
    told, promised = ToldClients(), promises({"algorithm": algorithm})
    for item in story.items:
        assert isinstance(item, Operation)
        ask = ask_of(item)
        told.take(ask, promised.met(ask.descriptor), 100)
    assert told.counts == {"allowed": 7, "degraded": 0, "over_quota": over, "answer_bytes": 700}
