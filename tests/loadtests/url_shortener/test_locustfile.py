"""The Locust journeys run in a process of their own, against a tiny shortener, and refuse what they must not load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import loadtests.url_shortener
from tests.loadtests.url_shortener.tiny_shortener import API_KEY, TinyShortener, in_a_thread

LOCUSTFILE = Path(loadtests.url_shortener.__file__).with_name("locustfile.py")
ROOT = LOCUSTFILE.parents[2]


def locust(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DESIGN")}
    return subprocess.run(argv, env=kept | environment, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_visitors_and_programs_make_their_journeys_without_a_failure() -> None:
    shortener = TinyShortener()
    with in_a_thread(shortener) as target:
        ended = locust(*("--host", target.urls[0], "-u", "12", "-r", "12", "-t", "2s", "--mix", "create"), DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in ("/[code]", "/[code] new", "/api/v1/links", "/api/v1/links/[code]/stats"):
        assert name in ended.stdout + ended.stderr
    assert sum(shortener.clicks.values()) > 0
    assert shortener.unauthorized == 0


def test_a_shortener_that_redirects_elsewhere_makes_the_run_fail() -> None:
    with in_a_thread(TinyShortener("lost link", visits=99)) as target:
        ended = locust(*("--host", target.urls[0], "-u", "4", "-r", "4", "-t", "1s", "--mix", "redirects"), DESIGNS_API_KEY=API_KEY)
    assert ended.returncode == 1
    assert "instead of a redirect" in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("options", "environment", "sentence"),
    [
        (("--host", "http://192.0.2.1"), {"DESIGNS_API_KEY": API_KEY}, "is not this machine"),
        (("--host", "http://127.0.0.1:9"), {}, "set DESIGNS_API_KEY"),
        (("--host", "http://127.0.0.1:9", "--mix", "storm"), {"DESIGNS_API_KEY": API_KEY}, "storm"),
        (("--host", "http://127.0.0.1:9"), {"DESIGNS_API_KEY": API_KEY, "DESIGNS_MIX": "storm"}, "there is no mix"),
        (("--host", "http://127.0.0.1:9"), {"DESIGNS_API_KEY": API_KEY}, "no links could be made"),
    ],
)
def test_what_must_not_or_cannot_be_loaded_is_refused_in_words(
    options: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    ended = locust(*options, "-u", "1", "-t", "1s", **environment)
    assert ended.returncode != 0
    assert sentence in ended.stdout + ended.stderr
