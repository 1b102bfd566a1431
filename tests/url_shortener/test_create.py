"""One code, one link: whoever asks, however many at once, on whichever replica. And one link per Idempotency-Key."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from designs.url_shortener.backends.memory import MemoryLinkStore
from designs.url_shortener.codes import RandomCodes
from designs.url_shortener.ports import LinkStore, StoreError
from designs.url_shortener.shortener import Conflict, Created, NewLink, Shortener
from designs.url_shortener.urls import is_reserved
from tests.known_bad.url_shortener import CheckThenInsertStore, OverwritingClaimStore
from tests.url_shortener.replicas import (
    LONG_URL,
    OTHER,
    OWNER,
    PLAIN,
    Clock,
    TestReplica,
    failing,
    knobs,
    parts_of,
    running_replica,
)

pytestmark = pytest.mark.usefixtures("patient")

PATIENT = {"cache_deadline_ms": 5_000}  # a busy machine is no outage
# Knobs, and how many replicas share the stores.
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "memory": (PLAIN, 1),
    "sqlite": ({"cache": "none", "clicks": "off"}, 2),
    "aside": ({"cache": "aside", "clicks": "off"}, 2),
    "write-through": ({"cache": "write-through", "cache_layers": "redis", "clicks": "off"}, 2),
    "write-behind": ({"cache": "write-behind", "clicks": "off"}, 2),
}


@asynccontextmanager
async def replicas(variant: str, folder: Path, redis_url: str, **more: Any) -> AsyncIterator[list[TestReplica]]:
    turned, count = VARIANTS[variant]
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running_replica(knobs(**PATIENT | turned | more), folder, redis_url=redis_url, process_name=f"replica-{number}")
            )
            for number in range(count)
        ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_of_many_creates_of_one_alias_at_once_exactly_one_gets_201(variant: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with replicas(variant, tmp_path, redis_url) as some:
            asked = [
                some[number % len(some)].post(
                    {"url": f"{LONG_URL}/{number}", "alias": "big-sale"}, headers=OWNER if number % 3 else OTHER
                )
                for number in range(40)
            ]
            answers = await asyncio.gather(*asked)
            assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 39}
            winner = next(answer.json() for answer in answers if answer.status_code == 201)
            assert {await replica.target("big-sale") for replica in some} == {winner["url"]}
            assert {answer.json()["type"] for answer in answers if answer.status_code == 409} == {"/problems/alias-taken"}

    asyncio.run(scene())


@pytest.mark.parametrize("variant", ["memory", "sqlite", "write-behind"])
@pytest.mark.parametrize("ids", ["lease", "counter", "snowflake", "random", "hash"])
def test_creates_at_once_all_get_codes_of_their_own(variant: str, ids: str, tmp_path: Path, redis_url: str) -> None:
    if variant == "write-behind" and ids in ("random", "hash", "counter"):
        return  # refused by the knobs: see test_knobs

    async def scene() -> None:
        # Codes so short and leases so small that they meet, where a scheme lets them.
        async with replicas(variant, tmp_path, redis_url, ids=ids, code_length=4, lease_size=3) as some:
            made = await asyncio.gather(*(some[number % len(some)].create(f"{LONG_URL}/{number}") for number in range(60)))
            assert len({link["code"] for link in made}) == 60
            for link in made[::7]:
                assert {await replica.target(link["code"]) for replica in some} == {link["url"]}

    asyncio.run(scene())


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_alias_stays_taken_after_its_link_is_deleted(variant: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with replicas(variant, tmp_path, redis_url) as some:
            await some[0].create(alias="big-sale")
            assert (await some[-1].delete("big-sale")).status_code == 204
            for replica in some:
                assert (await replica.post({"url": LONG_URL, "alias": "big-sale"}, headers=OTHER)).status_code == 409
                assert await replica.target("big-sale") == 404

    asyncio.run(scene())


def test_the_same_url_from_the_same_owner_is_the_same_link_with_hashed_codes(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN, ids="hash"), tmp_path) as replica:
            answers = await asyncio.gather(*(replica.post({"url": "https://EXAMPLE.org/page"}) for _ in range(10)))
            assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 9}
            assert len({answer.json()["code"] for answer in answers}) == 1
            code = answers[0].json()["code"]
            # A link with limits, or of somebody else, is another link; and so is one after the first was switched off.
            others = [
                await replica.post({"url": LONG_URL}, headers=OTHER),
                await replica.post({"url": LONG_URL, "max_visits": 3}),
            ]
            await replica.patch(code, enabled=False)
            others.append(await replica.post({"url": LONG_URL}))
            assert [answer.status_code for answer in others] == [201, 201, 201]
            assert len({code, *(answer.json()["code"] for answer in others)}) == 4

    asyncio.run(scene())


def test_no_first_path_segment_of_any_route_can_be_a_code(tmp_path: Path) -> None:
    """Derived from the routes themselves, so that a new one cannot be forgotten."""

    async def scene() -> None:
        async with running_replica(knobs(**PLAIN), tmp_path) as replica:
            inner: Any = replica.app
            while not hasattr(inner, "openapi"):
                inner = inner._app
            paths = [*inner.openapi()["paths"], *(route.path for route in inner.routes if hasattr(route, "path"))]
            segments = {path.split("/")[1] for path in paths} - {""}
            words = {segment for segment in segments if "{" not in segment}
            assert {"api", "healthz", "readyz", "metrics", "knobs", "docs", "openapi.json"} <= words
            for word in words:
                assert is_reserved(word) or "." in word, word
                answer = await replica.post({"url": LONG_URL, "alias": word})
                assert answer.status_code == 422

    asyncio.run(scene())


# -- the same check for the design and for what is often written -------------------------------------------------------------


def shortener_on(store: LinkStore, clock: Clock | None = None) -> Shortener:
    return Shortener(knobs(**PLAIN, ids="random"), store, RandomCodes(7), clock_us=clock or Clock())


async def assert_an_alias_has_one_owner(store: LinkStore) -> None:
    shortener = shortener_on(store)
    answers = await asyncio.gather(*(shortener.create(f"owner-{number}", NewLink(LONG_URL, "big-sale")) for number in range(20)))
    assert sum(isinstance(answer, Created) for answer in answers) == 1
    assert answers.count(Conflict.ALIAS_TAKEN) == 19


async def assert_a_key_stands_for_one_link(store: LinkStore) -> None:
    shortener = shortener_on(store)
    answers = await asyncio.gather(*(shortener.create("alice", NewLink(LONG_URL), "key") for _ in range(20)))
    assert all(isinstance(answer, Created) for answer in answers)
    assert len({answer.link.code for answer in answers if isinstance(answer, Created)}) == 1
    assert await store.count() == 1


@pytest.mark.parametrize(
    ("check", "known_bad"),
    [
        (assert_an_alias_has_one_owner, CheckThenInsertStore),
        (assert_a_key_stands_for_one_link, OverwritingClaimStore),
    ],
    ids=["check, then insert", "overwrite the claim"],
)
def test_what_holds_for_the_reference_catches_the_usual_flaw(
    check: Callable[[LinkStore], Any], known_bad: Callable[[], LinkStore]
) -> None:
    asyncio.run(check(MemoryLinkStore()))
    with pytest.raises(AssertionError):
        asyncio.run(check(known_bad()))


# -- idempotency ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_repeat_with_the_same_key_gets_the_same_answer_on_any_replica(variant: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with replicas(variant, tmp_path, redis_url) as some:
            for body in ({"url": LONG_URL}, {"url": LONG_URL, "alias": "big-sale"}, {"url": LONG_URL, "max_visits": 3}):
                key = f"key-{sorted(body)}".replace(" ", "")
                first = await some[0].post(body, key=key)
                assert first.status_code == 201
                for replica in some:
                    again = await replica.post(body, key=key)
                    assert (again.status_code, again.content) == (201, first.content)
                    assert again.headers["location"] == first.headers["location"]
                another = await some[-1].post({**body, "url": "https://example.org/other"}, key=key)
                assert another.status_code == 409
                assert another.json()["type"] == "/problems/idempotency-key-reused"
                # Keys are an owner's own: nobody learns of another's.
                assert (await some[0].post({"url": LONG_URL}, headers=OTHER, key=key)).json()["code"] != first.json()["code"]

    asyncio.run(scene())


@pytest.mark.parametrize("variant", ["memory", "sqlite", "write-behind"])
@pytest.mark.parametrize("ids", ["lease", "random"])
def test_requests_with_one_key_at_once_make_one_link(variant: str, ids: str, tmp_path: Path, redis_url: str) -> None:
    if variant == "write-behind" and ids == "random":
        return

    async def scene() -> None:
        async with replicas(variant, tmp_path, redis_url, ids=ids) as some:
            answers = await asyncio.gather(
                *(some[number % len(some)].post({"url": LONG_URL}, key="retry-1") for number in range(30))
            )
            assert {answer.status_code for answer in answers} == {201}
            assert len({answer.content for answer in answers}) == 1
            assert len((await some[0].http.get("/api/v1/links", headers=OWNER)).json()["items"]) <= 1

    asyncio.run(scene())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", ["find_request", "claim_request", "insert_if_absent"])
@pytest.mark.parametrize("body", [{"url": LONG_URL}, {"url": LONG_URL, "alias": "big-sale"}], ids=["generated", "alias"])
def test_a_create_that_dies_between_any_two_steps_is_one_link_when_it_is_repeated(
    body: dict[str, str], verb: str, when: Any, tmp_path: Path
) -> None:
    async def scene() -> None:
        turned = knobs(cache="none", clicks="off", ids="random")
        async with running_replica(turned, tmp_path) as first, running_replica(turned, tmp_path) as second:
            with failing(first.parts.store, verb, StoreError("died", may_have_happened=True), when=when) as failed:
                assert (await first.post(body, key="key")).status_code == 503
                assert failed == [1]
            answers = [await replica.post(body, key="key") for replica in (second, first, second)]
            assert [answer.status_code for answer in answers] == [201] * 3
            assert len({answer.content for answer in answers}) == 1
            assert await second.parts.store.count() == 1

    asyncio.run(scene())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_repeat_changes_nothing_about_what_became_of_the_link_meanwhile(variant: str, tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        async with replicas(variant, tmp_path, redis_url) as some:
            first = await some[0].post({"url": LONG_URL}, key="key")
            code = first.json()["code"]
            for change in ({"url": "https://example.org/moved"}, {"enabled": False}):
                assert (await some[0].patch(code, **change)).status_code == 200
                now = await some[0].target(code)
                assert (await some[0].post({"url": LONG_URL}, key="key")).content == first.content
                assert await some[0].target(code) == now != LONG_URL
            assert (await some[0].delete(code)).status_code == 204
            assert (await some[0].post({"url": LONG_URL}, key="key")).content == first.content
            assert await some[0].target(code) == 404

    asyncio.run(scene())


def test_a_repeat_is_not_judged_by_rules_that_came_later(tmp_path: Path) -> None:
    async def scene() -> None:
        blocklist, clock = tmp_path / "hosts", Clock()
        blocklist.write_text("")
        body = {"url": LONG_URL, "expires_at": "2027-01-15T08:00:10Z"}
        async with running_replica(knobs(**PLAIN), tmp_path, clock, blocklist=blocklist) as replica:
            first = await replica.post(body, key="key")
            assert first.status_code == 201, first.text
            clock.pass_s(60)
            parts_of(replica.app).shortener._blocked_hosts = lambda: {"example.org"}
            assert (await replica.post(body, key="key")).content == first.content
            assert (await replica.post(body, key="another")).status_code == 422

    asyncio.run(scene())


@pytest.mark.parametrize("key", ["with space", "ümlaut", "x" * 129, "tab\there"])
def test_a_key_that_could_be_garbled_on_the_way_is_refused(key: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN), tmp_path) as replica:
            headers: Any = [*OWNER.items(), ("Idempotency-Key", key.encode())]
            answer = await replica.http.post("/api/v1/links", json={"url": LONG_URL}, headers=headers)
            assert answer.status_code == 422
            assert await replica.parts.store.count() == 0

    asyncio.run(scene())
