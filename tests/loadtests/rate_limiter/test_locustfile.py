"""The Locust users run in a process of their own, against a tiny limiter, and refuse what they must not load."""

from __future__ import annotations

import re
from functools import partial

from tests.loadtests.locust_engine.locust_process import locust as locust_of
from tests.loadtests.rate_limiter.tiny_limiter import API_KEY, TinyLimiter, running
from tests.loadtests.tiny_service import in_a_thread

locust = partial(locust_of, "rate_limiter")


def test_servers_ask_everything_and_a_refusal_is_no_failure() -> None:
    tiny = TinyLimiter()
    with in_a_thread(running(tiny)) as target:
        ended = locust("--host", target.urls[0], "-u", "8", "-r", "8", "-t", "4s", "--mix", "mixed", DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for path in ("/v1/check", "/v1/acquire", "/v1/release", "/v1/peek"):
        assert tiny.asked.get(path), path
        assert path in ended.stdout + ended.stderr
    assert tiny.unauthorized == 0


def test_an_open_loop_asks_what_the_plan_says() -> None:
    with in_a_thread(running(TinyLimiter())) as target:
        options = ("--host", target.urls[0], "-t", "2s", "--open-loop", "--plan-rate", "100", "--mix", "three")
        ended = locust(*options, DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    planned, answered = re.search(r"100/s: (\d+) planned, (\d+) answered, 0 failed", ended.stdout).groups()  # type: ignore[union-attr]
    assert planned == answered


def test_an_open_loop_refuses_a_mix_whose_steps_follow_others() -> None:
    ended = locust("--host", "http://127.0.0.1:9", "--open-loop", "--mix", "slots", DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 1
    assert "steps that follow others" in ended.stdout + ended.stderr


def test_a_limiter_that_fails_makes_the_run_fail() -> None:
    tiny = TinyLimiter()
    tiny.limiter.flaw = "says nothing"
    with in_a_thread(running(tiny)) as target:
        tiny.limiter._status = lambda verdict: 500  # type: ignore[method-assign]
        ended = locust("--host", target.urls[0], "-u", "2", "-r", "2", "-t", "1s", DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 1
    assert "500 for check" in ended.stdout + ended.stderr


def test_a_host_where_nobody_answers_is_refused_in_words() -> None:
    ended = locust("--host", "http://127.0.0.1:9", "-u", "1", "-t", "20s", DESIGNS_API_KEY=API_KEY)
    assert ended.returncode != 0
    assert "no limit could be asked for" in ended.stdout + ended.stderr
