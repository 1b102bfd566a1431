"""The Locust journeys run in a process of their own, against a tiny shortener, and refuse what they must not load."""

from __future__ import annotations

import re
from functools import partial

import pytest

from loadtests.url_shortener.mixes import MIXES
from tests.loadtests.locust_engine.locust_process import locust as locust_of
from tests.loadtests.tiny_service import in_a_thread
from tests.loadtests.url_shortener.tiny_shortener import API_KEY, TinyShortener, running
from workbench.processes import free_port

locust = partial(locust_of, "url_shortener")


def test_visitors_and_programs_make_their_journeys_without_a_failure() -> None:
    shortener = TinyShortener()
    with in_a_thread(running(shortener)) as target:
        ended = locust(*("--host", target.urls[0], "-u", "12", "-r", "12", "-t", "2s", "--mix", "create"), DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in ("/[code]", "/[code] new", "/api/v1/links", "/api/v1/links/[code]/stats"):
        assert name in ended.stdout + ended.stderr
    assert sum(shortener.clicks.values()) > 0
    assert shortener.unauthorized == 0


def test_a_shape_brings_and_ends_the_users_by_itself() -> None:
    with in_a_thread(running(TinyShortener())) as target:
        options = ("--host", target.urls[0], "-u", "10", "-t", "3s", "--shape", "steps", "--mix", "redirects")
        ended = locust(*options, DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    updates = [int(users) for users in re.findall(r"Shape test updating to (\d+) users", ended.stdout + ended.stderr)]
    assert updates[0] == 2
    assert updates == sorted(updates)
    assert updates[-1] <= 10
    assert "ignored" not in ended.stdout + ended.stderr


def test_workers_share_the_links_that_their_master_made() -> None:
    """Links of its own for each worker would spread the load over more keys than the mix has."""
    shortener, port = TinyShortener(), str(free_port())
    with in_a_thread(running(shortener)) as target:
        options = ["--host", target.urls[0], "-u", "12", "-r", "12", "-t", "3s", "--mix", "hot", "--processes", "2"]
        options += ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port]
        ended = locust(*options, DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 workers connected" in ended.stdout + ended.stderr
    assert shortener.made == MIXES["hot"].keys
    assert sum(shortener.clicks.values()) > 0


def test_a_master_that_could_make_no_links_ends_and_its_workers_with_it() -> None:
    port = str(free_port())
    options = ["--host", "http://127.0.0.1:9", "-u", "2", "-t", "300s", "--processes", "1"]
    options += ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port]
    ended = locust(*options, DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 1
    assert "no links could be made" in ended.stdout + ended.stderr


def test_an_open_loop_asks_what_the_plan_says_and_follows_no_redirect_away() -> None:
    shortener = TinyShortener()
    with in_a_thread(running(shortener)) as target:
        options = ("--host", target.urls[0], "-t", "2s", "--open-loop", "--plan-rate", "200", "--mix", "mixed")
        ended = locust(*options, DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    planned, answered = re.search(r"200/s: (\d+) planned, (\d+) answered, 0 failed", ended.stdout).groups()  # type: ignore[union-attr]
    assert planned == answered
    for name in ("/[code]", "/[code] mistyped", "/api/v1/links", "/api/v1/links/[code]/stats"):
        assert name in ended.stdout + ended.stderr
    assert shortener.unauthorized == 0


def test_an_open_loop_refuses_a_mix_whose_steps_follow_others() -> None:
    dependent = next((mix.name for mix in MIXES.values() if mix.then or mix.clients), None)
    if dependent is None:
        pytest.skip("no mix has such steps")
    ended = locust("--host", "http://127.0.0.1:9", "--open-loop", "--mix", dependent, DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 1
    assert "steps that follow others" in ended.stdout + ended.stderr


def test_a_shortener_that_redirects_elsewhere_makes_the_run_fail() -> None:
    with in_a_thread(running(TinyShortener("lost link", visits=99))) as target:
        ended = locust(*("--host", target.urls[0], "-u", "4", "-r", "4", "-t", "1s", "--mix", "redirects"), DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 1
    assert "instead of a redirect" in ended.stdout + ended.stderr


def test_a_host_where_nobody_answers_is_refused_in_words() -> None:
    ended = locust("--host", "http://127.0.0.1:9", "-u", "1", "-t", "20s", DESIGNS_API_KEY=API_KEY)
    assert ended.returncode != 0
    assert "no links could be made" in ended.stdout + ended.stderr
