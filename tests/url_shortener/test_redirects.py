"""What a visit is answered, on both redirect paths and with every kind of cache."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from designs.url_shortener.backends.memory import MemoryLinkStore
from designs.url_shortener.codes import RandomCodes
from designs.url_shortener.links import Redirect
from designs.url_shortener.ports import LinkStore
from designs.url_shortener.shortener import Created, NewLink, Shortener
from tests.known_bad.url_shortener import ReadCountThenRedirectStore
from tests.url_shortener.replicas import (
    BROWSER,
    LONG_URL,
    PLAIN,
    Clock,
    TestReplica,
    knobs,
    running_replica,
)

pytestmark = pytest.mark.usefixtures("patient")

PATHS = ["asgi", "fastapi"]
CACHES: dict[str, dict[str, Any]] = {
    "no cache": {"cache": "none", "clicks": "off"},
    "process": {"cache": "aside", "cache_layers": "process", "clicks": "off"},
    "redis": {"cache": "write-through", "cache_layers": "redis", "clicks": "off"},
    "both": {"cache": "aside", "cache_layers": "both", "clicks": "off"},
    "write-behind": {"cache": "write-behind", "cache_layers": "both", "clicks": "off"},
}
EXPIRES_AT, EXPIRES_AT_US = "2027-01-15T08:00:10Z", 1_800_000_010_000_000


@asynccontextmanager
async def replica_with(
    cache: str, path: str, folder: Path, redis_url: str, clock: Clock | None = None, **more: Any
) -> AsyncIterator[TestReplica]:
    # A machine that is busy with other things must not look like a Redis that is down.
    turned = knobs(**{"cache_deadline_ms": 5_000, **CACHES[cache], **more}, redirect_path=path)
    async with running_replica(turned, folder, clock, redis_url=redis_url) as replica:
        yield replica


def seen(answer: httpx2.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Everything a client can see of an answer."""
    return answer.status_code, answer.headers.raw, answer.content


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cache", CACHES)
def test_a_link_expires_exactly_at_its_time_also_when_it_is_hot(cache: str, path: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        clock = Clock()
        async with replica_with(cache, path, tmp_path, redis_url, clock) as replica:
            code = (await replica.create(expires_at=EXPIRES_AT))["code"]
            for now_us, answer in (
                (clock.now_us, LONG_URL),
                (EXPIRES_AT_US - 1, LONG_URL),
                (EXPIRES_AT_US, 410),
                (EXPIRES_AT_US + 1, 410),
            ):
                clock.now_us = now_us
                assert [await replica.target(code) for _ in range(3)] == [answer] * 3
            moved = await replica.patch(code, expires_at=None)
            assert moved.json()["expires_at"] is None
            assert await replica.target(code) == LONG_URL

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cache", CACHES)
def test_a_cap_admits_exactly_so_many_visitors_at_once_also_when_the_link_is_hot(
    cache: str, path: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        async with replica_with(cache, path, tmp_path, redis_url) as replica:
            code = (await replica.create(max_visits=7))["code"]
            # HEAD, the preview and the QR code look at a link and use nothing up.
            for looks in (
                await replica.visit(code, "HEAD"),
                await replica.http.get(f"/{code}+"),
                await replica.http.get(f"/{code}/qr"),
            ):
                assert looks.status_code in (200, 302)
            answers = await asyncio.gather(*(replica.visit(code) for _ in range(40)))
            assert Counter(answer.status_code for answer in answers) == {302: 7, 410: 33}
            for method in ("GET", "HEAD"):
                assert (await replica.visit(code, method)).status_code == 410
            await replica.patch(code, max_visits=8)
            assert [await replica.target(code) for _ in range(2)] == [LONG_URL, 410]

    asyncio.run(scene())


async def assert_a_cap_holds(store: LinkStore) -> None:
    shortener = Shortener(knobs(**PLAIN), store, RandomCodes(7), clock_us=Clock())
    made = await shortener.create("alice", NewLink(LONG_URL, max_visits=5))
    assert isinstance(made, Created)
    outcomes = await asyncio.gather(*(shortener.visit(made.link.code, counts=True) for _ in range(20)))
    assert sum(isinstance(outcome, Redirect) for outcome in outcomes) == 5


@pytest.mark.parametrize(("store", "flawed"), [(MemoryLinkStore, False), (ReadCountThenRedirectStore, True)])
def test_the_same_check_catches_a_cap_that_is_read_first_and_counted_later(store: Callable[[], LinkStore], flawed: bool) -> None:
    if flawed:
        with pytest.raises(AssertionError):
            asyncio.run(assert_a_cap_holds(store()))
    else:
        asyncio.run(assert_a_cap_holds(store()))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cache", CACHES)
def test_nobody_can_tell_missing_deleted_and_disabled_apart(cache: str, path: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with replica_with(cache, path, tmp_path, redis_url) as replica:
            deleted, disabled = [(await replica.create())["code"] for _ in range(2)]
            await replica.delete(deleted)
            await replica.patch(disabled, enabled=False)
            for suffix in ("", "+", "/qr"):
                answers = [await replica.http.get(f"/{code}{suffix}", headers=BROWSER) for code in (deleted, disabled, "never00")]
                assert answers[0].status_code == 404
                assert len({str(seen(answer)) for answer in answers}) == 1
            assert (await replica.patch(disabled, enabled=True)).status_code == 200
            assert await replica.target(disabled) == LONG_URL

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cache", CACHES)
def test_a_blocked_link_answers_451_until_the_block_is_lifted_and_its_owner_cannot_lift_it(
    cache: str, path: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        async with replica_with(cache, path, tmp_path, redis_url) as replica:
            code = (await replica.create())["code"]
            assert await replica.target(code) == LONG_URL
            assert (await replica.block(code)).json()["blocked"] is True
            assert await replica.target(code) == 451
            await replica.patch(code, enabled=True, url="https://example.org/innocent")
            assert await replica.target(code) == 451
            assert (await replica.patch(code, blocked=False)).status_code == 422
            await replica.block(code, blocked=False)
            assert await replica.target(code) == "https://example.org/innocent"
            assert (await replica.block("never00")).status_code == 404

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cache", ["no cache", "process", "both"])
def test_a_host_on_the_blocklist_is_blocked_at_once_for_links_that_exist_too(
    cache: str, path: str, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designs.url_shortener.blocklist.CHECK_EVERY_S", 0.0)  # look at the file each time, instead of waiting
    hosts = tmp_path / "hosts"
    hosts.write_text("")

    async def scene() -> None:
        turned = knobs(**CACHES[cache], redirect_path=path)
        async with running_replica(turned, tmp_path, redis_url=redis_url, blocklist=hosts) as replica:
            code = (await replica.create())["code"]
            other = (await replica.create("https://innocent.example/"))["code"]
            assert await replica.target(code) == LONG_URL
            hosts.write_text("example.org # phishing\n")
            assert [await replica.target(code), await replica.target(other)] == [451, "https://innocent.example/"]
            assert (await replica.post({"url": "https://www.example.org/x"})).json()["type"] == "/problems/bad-url"
            refused = await replica.patch(other, url="https://example.org/x")
            assert (refused.status_code, refused.json()["type"]) == (422, "/problems/bad-url")
            hosts.write_text("")
            assert await replica.target(code) == LONG_URL

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("status", "plain"), [(302, "no-store"), (307, "no-store"), (301, "public, max-age=86400")])
def test_only_a_permanent_redirect_without_an_end_may_be_kept_by_a_browser(
    status: int, plain: str, path: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        async with replica_with("process", path, tmp_path, redis_url, Clock(), redirect=status) as replica:
            kept = [(await replica.create(**more))["code"] for more in ({}, {"max_visits": 9}, {"expires_at": EXPIRES_AT})]
            for _ in range(2):  # from the store, then from the process
                answers = [await replica.visit(code) for code in kept]
                assert [answer.status_code for answer in answers] == [status] * 3
                assert [answer.headers["cache-control"] for answer in answers] == [plain, "no-store", "no-store"]
            missing = await replica.visit("never00")
            assert missing.headers["cache-control"] == "no-store"  # or a link made later would stay missing in a CDN

    asyncio.run(scene())


HARD_URLS = [
    "https://example.org/a?b=%0d%0aSet-Cookie:%20c",
    "https://bücher.example/ü?ü#ü",
    "https://example.org/\"<script>?q=''",
    "https://example.org/" + "a" * 2028,
    "http://[2001:db8::1]:8080/",
]


@pytest.mark.parametrize("path", PATHS)
def test_the_location_is_the_url_as_it_is_kept_and_one_header_line(path: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with replica_with("process", path, tmp_path, redis_url) as replica:
            for url in HARD_URLS:
                made = await replica.create(url)
                for _ in range(2):
                    answer = await replica.visit(made["code"])
                    location = dict(answer.headers.raw)[b"location"]
                    assert location == made["url"].encode("ascii")
                    assert b"\r" not in location
                    assert b"\n" not in location
                    assert answer.content == b""
                    assert answer.headers["content-length"] == "0"

    asyncio.run(scene())


def test_both_paths_answer_byte_for_byte_the_same(tmp_path: Path, redis_url: str) -> None:
    async def answers_of(path: str) -> list[tuple[str, str, Any]]:
        clock = Clock()
        heard = []
        async with replica_with("both", path, tmp_path / path, redis_url, clock) as replica:
            links: dict[str, dict[str, Any]] = {
                "plain": {},
                "hard-url": {"url": HARD_URLS[2]},
                "capped": {"max_visits": 2},
                "expiring": {"expires_at": EXPIRES_AT},
                "expired": {"expires_at": "2027-01-15T08:00:01Z"},
                "disabled": {},
                "deleted": {},
                "blocked": {},
            }
            for alias, more in links.items():
                await replica.create(**{"url": LONG_URL, "alias": alias, **more})
            clock.pass_s(2)
            await replica.patch("disabled", enabled=False)
            await replica.delete("deleted")
            await replica.block("blocked")
            codes = ["plain", "hard-url", "capped", "expiring", "expired", "disabled", "deleted", "blocked", "never00"]
            odd = [
                "ab",
                "a" * 33,
                "a" * 65,
                "login",
                "HEALTHZ",
                "un%20known",
                "%00%00%00",
                "caf%C3%A9",
                "plain/",
                "plain/x",
                "",
                "a.b.c",
            ]
            for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "BREW"):
                for code in codes + odd:
                    for _ in range(2):  # a first and a repeated visit take different ways
                        heard.append((method, code, seen(await replica.visit(code, method))))
        return heard

    async def scene() -> None:
        asgi, fastapi = [await answers_of(path) for path in PATHS]
        for one, other in zip(asgi, fastapi, strict=True):
            assert one == other

    asyncio.run(scene())


def test_the_preview_shows_the_url_as_text_and_lets_nothing_of_it_run(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN), tmp_path) as replica:
            made = await replica.create("https://example.org/?a=1&b='onmouseover='x`<script>alert(1)</script>")
            page = await replica.http.get(f"/{made['code']}+")
            assert page.headers["content-type"].startswith("text/html")
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert page.headers["x-content-type-options"] == "nosniff"
            assert "<script" not in page.text
            assert "a=1&amp;b=" in page.text
            assert "'onmouseover" not in page.text
            idn = await replica.create("https://раураl.example/")
            assert "https://xn--" in (await replica.http.get(f"/{idn['code']}+")).text

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("asked", "media_type", "starts"), [("", "image/svg+xml", b"<?xml"), ("?format=png", "image/png", b"\x89PNG")]
)
def test_the_qr_code_holds_the_short_link(asked: str, media_type: str, starts: bytes, tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN), tmp_path) as replica:
            code = (await replica.create())["code"]
            image = await replica.http.get(f"/{code}/qr{asked}")
            assert (image.status_code, image.headers["content-type"]) == (200, media_type)
            assert image.content.startswith(starts)
            assert (await replica.http.get(f"/{code}/qr?format=gif")).status_code == 422

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
def test_who_asks_for_many_unknown_codes_is_slowed_and_his_hits_and_neighbours_are_not(
    path: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        async with replica_with("process", path, tmp_path, redis_url, misses_per_minute=20) as replica:
            code = (await replica.create())["code"]
            assert await replica.target(code) == LONG_URL
            scanner, neighbour = replica.client_at("203.0.113.66"), replica.client_at("203.0.113.67")
            answers = [await scanner.get(f"/guess{number:02}") for number in range(40)]
            assert Counter(answer.status_code for answer in answers) == {404: 20, 429: 20}
            for slowed in (
                answers[-1],
                await scanner.get("/guess99+"),
                await scanner.get("/guess99/qr"),
                await scanner.head("/guess99"),
            ):
                assert slowed.status_code == 429
                assert 1 <= int(slowed.headers["retry-after"]) <= 4
            assert answers[-1].headers["content-type"] == "application/problem+json"
            assert (await scanner.get(f"/{code}")).status_code == 302
            assert (await neighbour.get("/guess00")).status_code == 404

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
def test_behind_a_trusted_proxy_each_visitor_has_misses_of_his_own(path: str, tmp_path: Path) -> None:
    async def scene() -> None:
        turned = knobs(clicks="off", cache="none", ids="lease", misses_per_minute=2, redirect_path=path)
        async with running_replica(turned, tmp_path, trusted_proxies="192.0.2.0/24") as replica:
            proxy = replica.client_at("192.0.2.1")

            async def guesses(visitor: str) -> list[int]:
                said = {"X-Forwarded-For": f"127.0.0.1, {visitor}"}
                return [(await proxy.get(f"/guess{number}", headers=said)).status_code for number in range(3)]

            assert await guesses("203.0.113.66") == [404, 404, 429]
            assert await guesses("203.0.113.67") == [404, 404, 429]
            stranger = replica.client_at("198.51.100.1")
            lies = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(3)]
            assert [(await stranger.get("/guess9", headers=lie)).status_code for lie in lies] == [404, 404, 429]

    asyncio.run(scene())


@pytest.mark.parametrize("path", PATHS)
def test_what_can_be_no_code_costs_the_store_nothing(path: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with replica_with("no cache", path, tmp_path, redis_url) as replica:
            reads = replica.parts.telemetry.registry
            for code in ("ab", "x" * 40, "login", "a%20b", "caf%C3%A9"):
                assert await replica.target(code) == 404
            assert reads.get_sample_value("sd_backend_calls_total", {"backend": "sqlite", "op": "get", "outcome": "ok"}) == 0

    asyncio.run(scene())
