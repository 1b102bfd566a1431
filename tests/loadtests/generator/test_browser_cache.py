"""What a browser may keep of an answer, and for how long."""

from __future__ import annotations

import math

import pytest

from loadtests.generator.browser_cache import BrowserCache, fresh_for_s


def response(*fields: str, status: int = 301) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Whatever", *fields, "", ""]).encode()


@pytest.mark.parametrize(
    ("fields", "status", "fresh_s"),
    [
        (["Cache-Control: public, max-age=86400"], 301, 86_400),
        (["cache-control:max-age=60"], 302, 60),
        (['Cache-Control: Private, Max-Age="60"'], 302, 60),
        (["Cache-Control: private", "Cache-Control: max-age=60"], 200, 60),
        (["Cache-Control: max-age=60", "Age: 20"], 301, 40),
        (["Cache-Control: max-age=60", "Age: 90"], 301, 0),
        (["Cache-Control: s-maxage=600, max-age=60"], 301, 60),
        (["Cache-Control: s-maxage=600"], 302, 0),
        (["Cache-Control: no-store"], 301, 0),
        (["Cache-Control: no-cache, max-age=60"], 301, 0),
        (["Cache-Control: max-age=60, no-store"], 301, 0),
        (["Cache-Control: max-age=soon"], 301, 0),
        (["Cache-Control: max-age=-1"], 301, 0),
        (["Cache-Control: max-age=60", "Vary: *"], 301, 0),
        (["Expires: Thu, 01 Jan 2026 00:01:00 GMT", "Date: Thu, 01 Jan 2026 00:00:00 GMT"], 302, 60),
        (["Expires: 0", "Date: Thu, 01 Jan 2026 00:00:00 GMT"], 301, 0),
        (["Cache-Control: max-age=5", "Expires: Thu, 01 Jan 2026 00:01:00 GMT", "Date: Thu, 01 Jan 2026 00:00:00 GMT"], 302, 5),
        (["Expires: Thu, 01 Jan 2026 00:01:00 GMT"], 302, 0),
        ([], 301, math.inf),
        ([], 308, math.inf),
        ([], 302, 0),
        ([], 307, 0),
        ([], 200, 0),
    ],
)
def test_an_answer_is_kept_as_long_as_its_server_allows(fields: list[str], status: int, fresh_s: float) -> None:
    assert fresh_for_s(response(*fields, status=status)) == fresh_s


@pytest.mark.parametrize("nothing", [b"", b"\r\n\r\n", b"HTTP/1.1", b"HTTP/1.1 abc\r\n\r\n", b"\xff\xfe"])
def test_what_is_no_answer_is_not_kept(nothing: bytes) -> None:
    assert fresh_for_s(nothing) == 0


def test_the_body_says_nothing_about_keeping() -> None:
    assert fresh_for_s(response("Content-Length: 30", status=302) + b"\r\ncache-control: max-age=60\r\n") == 0


def test_a_browser_knows_what_it_was_told_until_it_is_stale_and_tells_no_other() -> None:
    browsers = BrowserCache()
    browsers.keep(1, "link", response("Cache-Control: max-age=60"), received_s=100.0)

    assert browsers.knows(1, "link", 159.9)
    assert not browsers.knows(1, "link", 160.0)
    assert not browsers.knows(2, "link", 100.0)
    assert not browsers.knows(1, "other", 100.0)


def test_a_newer_answer_that_must_not_be_kept_ends_what_was_kept() -> None:
    browsers = BrowserCache()
    browsers.keep(1, "link", response("Cache-Control: max-age=60"), received_s=100.0)
    browsers.keep(1, "link", response("Cache-Control: no-store"), received_s=101.0)

    assert not browsers.knows(1, "link", 102.0)
