"""Both engines against a server whose delay is known and which stalls once, each engine in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loadtests.analysis.statistics import percentile
from loadtests.generator.arrivals import make_plan
from loadtests.generator.open_loop import replay
from loadtests.workload import Exchange, Mix
from tests.loadtests.locust_engine import stalling_server
from tests.loadtests.locust_engine.stalling_server import DELAY_S, STALL_S

DURATION_S = 5.5
MIX = Mix(name="reads", who="readers", ratios={"get": 1.0}, keys=100, zipf_s=1.0, rate_per_s=200)
ROOT = Path(__file__).parents[3]
LOCUSTFILE = Path(__file__).with_name("stalled_locustfile.py")
TRIES = 3
DELAY_MS, STALL_MS = DELAY_S * 1e3, STALL_S * 1e3
FIGURES = re.compile(r"from the (intended start|actual send) +([\d.]+) ms +([\d.]+) ms +([\d.]+) ms +([\d.]+) ms")


@contextlib.contextmanager
def stalling_servers() -> Iterator[list[str]]:
    argv = [sys.executable, stalling_server.__file__, "3"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield [f"http://127.0.0.1:{int(server.stdout.readline())}" for _ in range(3)]


def locust(user: str, url: str, stats: Path, *options: str) -> tuple[str, list[float]]:
    """What a run of these users printed, and Locust's own response times in ms, rising. `stats`: where it writes them."""
    argv = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--host", url]
    argv += ["--json-file", str(stats), *options, user]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    buckets = [
        buckets for entry in json.loads(stats.with_suffix(".json").read_text()) for buckets in entry["response_times"].items()
    ]
    return ended.stdout, sorted(float(ms) for ms, times in buckets for _ in range(times))


def own_engine(url: str) -> list[float]:
    def encode(exchange: Exchange, before: Exchange | None) -> tuple[int, bytes]:
        return 0, b"GET /%d HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % exchange.key

    plan = make_plan(MIX, MIX.rate_per_s, DURATION_S, seed=1)
    return sorted(1e3 * (exchange.end_s - exchange.intended_s) for exchange in asyncio.run(replay(plan, encode, [url])))


def quantile(ordered: list[float], q: float) -> float:
    value = percentile(ordered, q)
    assert value is not None
    return value


@pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="Locust is not installed")
def test_both_engines_agree_on_a_known_delay_and_see_a_stall_that_waiting_users_hardly_meet(tmp_path: Path) -> None:
    for _ in range(TRIES):
        with stalling_servers() as urls, ThreadPoolExecutor() as pool:
            plan_run = pool.submit(locust, "Planned", urls[0], tmp_path / "planned")
            waiting_run = pool.submit(locust, "Waiting", urls[1], tmp_path / "waiting", "-u", "4", "-r", "4", "-t", "7s")
            own_ms = own_engine(urls[2])
            printed, planned_ms = plan_run.result()
            _, waiting_ms = waiting_run.result()
        if all(each and quantile(each, 0.5) <= DELAY_MS + 10 for each in (own_ms, planned_ms, waiting_ms)):
            break  # else a generator was late, and what a late one says counts nowhere

    planned = len(make_plan(MIX, MIX.rate_per_s, DURATION_S, seed=1))
    assert f"{planned} planned, {planned} answered, 0 failed, 0 without an end" in printed
    assert len(planned_ms) == len(own_ms) == planned

    table = {name: [float(figure) for figure in figures] for name, *figures in FIGURES.findall(printed)}
    p50_ms, _, p99_ms, _ = table["intended start"]
    sent_p50_ms, _, sent_p99_ms, _ = table["actual send"]
    for engine_p50_ms in (quantile(own_ms, 0.5), p50_ms, sent_p50_ms, quantile(waiting_ms, 0.5)):
        assert DELAY_MS - 0.1 <= engine_p50_ms <= DELAY_MS + 10
    assert p50_ms == pytest.approx(quantile(own_ms, 0.5), abs=8)

    # 1 % of the requests came in the first 55 ms of the stall, and waited for the rest of it; only 8 were sent into it.
    for engine_p99_ms in (quantile(own_ms, 0.99), p99_ms, quantile(planned_ms, 0.99)):
        assert engine_p99_ms > 0.7 * STALL_MS
    assert sent_p99_ms < 0.5 * STALL_MS
    # Each of the waiting users met it once: 4 answers of several hundred.
    assert waiting_ms[-1] > 0.7 * STALL_MS
    assert waiting_ms[int(0.99 * len(waiting_ms)) - 1] < 0.5 * STALL_MS
