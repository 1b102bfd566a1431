"""The API: who may do what, what is too much, and that every refusal is a problem document that changed nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from designs.building_blocks.id_generation import ClockMovedBack, SequenceExhausted
from designs.url_shortener.app import BODY_LIMIT_BYTES
from designs.url_shortener.links import Link
from designs.url_shortener.schemas import decode_cursor, encode_cursor
from tests.url_shortener.replicas import (
    LONG_URL,
    OPERATOR,
    OTHER,
    OWNER,
    PLAIN,
    Clock,
    TestReplica,
    failing,
    knobs,
    running_replica,
)

pytestmark = pytest.mark.usefixtures("patient")

Scene = Callable[[TestReplica], Awaitable[None]]
LINKS = "/api/v1/links"


def play(folder: Path, scene: Scene, clock: Clock | None = None, **more: Any) -> None:
    async def run() -> None:
        async with running_replica(knobs(**PLAIN), folder, clock, **more) as replica:
            await scene(replica)

    asyncio.run(run())


def problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer with this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"].startswith("/problems/")
    assert document["title"]
    assert document["detail"]
    return document


def test_a_new_link_is_answered_with_where_it_is_and_everything_about_it(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        wanted = {"url": "HTTPS://Example.org", "alias": "Sale_2026-x", "expires_at": "2027-06-01T12:00:00+02:00", "max_visits": 3}
        answer = await replica.post(wanted)
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{LINKS}/Sale_2026-x"
        link = answer.json()
        assert link == {
            "code": "Sale_2026-x",
            "short_url": "https://sho.rt/Sale_2026-x",
            "url": "https://example.org/",
            "created_at": "2027-01-15T08:00:00Z",
            "expires_at": "2027-06-01T10:00:00Z",
            "max_visits": 3,
            "enabled": True,
            "blocked": False,
            "version": "1800000000000000",
        }
        assert (await replica.http.get(answer.headers["location"], headers=OWNER)).json() == link

    play(tmp_path, scene, Clock())


# What is refused, under which name, and a word that says what would be right.
REFUSED: dict[str, tuple[Any, str, str]] = {
    "no url": ({}, "invalid-request", "Field required"),
    "an unknown field": ({"url": LONG_URL, "aliass": "x"}, "invalid-request", "aliass"),
    "a url that is a number": ({"url": 5}, "invalid-request", "string"),
    "an empty url": ({"url": ""}, "invalid-request", "at least 1"),
    "a long url": ({"url": "https://example.org/" + "a" * 2029}, "invalid-request", "2048"),
    "a url that becomes too long": ({"url": "https://example.org/" + "ü" * 400}, "bad-url", "2048"),
    "a script": ({"url": "javascript:alert(1)"}, "bad-url", "http and https"),
    "data": ({"url": "data:text/html,x"}, "bad-url", "http and https"),
    "a user name": ({"url": "https://user@example.org/"}, "bad-url", "user name"),
    "a line break": ({"url": "https://example.org/\r\nx: y"}, "bad-url", "percent-encode"),
    "ourselves": ({"url": "https://SHO.RT./x"}, "bad-url", "loop"),
    "another shortener": ({"url": "https://bit.ly/x"}, "bad-url", "shortener"),
    "a lone surrogate": ('{"url": "https://example.org/\\ud800"}', "invalid-request", "unicode"),
    "a short alias": ({"url": LONG_URL, "alias": "ab"}, "bad-alias", "3 to 32"),
    "a long alias": ({"url": LONG_URL, "alias": "a" * 33}, "invalid-request", "32"),
    "an alias that is a path": ({"url": LONG_URL, "alias": "a/b"}, "bad-alias", "letters, digits"),
    "a reserved word": ({"url": LONG_URL, "alias": "Admin"}, "bad-alias", "reserved"),
    "an end in the past": ({"url": LONG_URL, "expires_at": "2027-01-15T08:00:00Z"}, "bad-limit", "past"),
    "an end beyond all calendars": ({"url": LONG_URL, "expires_at": "9999-12-31T23:59:59-12:00"}, "bad-limit", "9999"),
    "an end without a zone": ({"url": LONG_URL, "expires_at": "2027-06-01T12:00:00"}, "invalid-request", "timezone"),
    "an end that is none": ({"url": LONG_URL, "expires_at": "soon"}, "invalid-request", "datetime"),
    "no visits at all": ({"url": LONG_URL, "max_visits": 0}, "invalid-request", "greater than or equal to 1"),
    "too many visits": ({"url": LONG_URL, "max_visits": 10**9 + 1}, "invalid-request", "1000000000"),
    "a number that is none": ('{"url": "https://example.org/", "max_visits": NaN}', "invalid-request", "finite"),
    "a body that is no JSON": ("{", "invalid-request", "JSON"),
    "a body that is a list": ("[]", "invalid-request", "object"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_create_that_asks_for_what_cannot_be_is_refused_in_words(what: str, tmp_path: Path) -> None:
    body, name, says = REFUSED[what]

    async def scene(replica: TestReplica) -> None:
        content = body if isinstance(body, str) else None
        headers = OWNER | {"Content-Type": "application/json"}
        answer = await replica.http.post(LINKS, content=content, json=None if content else body, headers=headers)
        document = problem(answer, 422)
        assert document["type"] == f"/problems/{name}"
        assert says in str(document)
        assert "\\ud800" not in answer.text
        assert await replica.parts.store.count() == 0

    play(tmp_path, scene, Clock())


def test_a_body_nested_deeper_than_anybody_reads_is_refused(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        content = '{"url": ' + "[" * 5000 + "]" * 5000 + "}"
        answer = await replica.http.post(LINKS, content=content, headers=OWNER | {"Content-Type": "application/json"})
        # How deep a parser follows depends on the interpreter: what it can't read is 400, what is read and is no text is 422.
        problem(answer, 400 if answer.status_code == 400 else 422)

    play(tmp_path, scene)


def test_without_a_valid_key_nothing_is_done_and_how_to_send_one_is_said(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        code = (await replica.create())["code"]
        key = OWNER["Authorization"].partition(" ")[2]
        for sent in (
            "",
            "Bearer",
            "Bearer ",
            "Bearer wrong-key-0123456789",
            f"Basic {key}",
            key,
            f"Bearer {key} ",
            f"Bearer {key}x",
        ):
            headers = {"Authorization": sent} if sent else {}
            for method, url, body in (
                ("POST", LINKS, {"url": LONG_URL}),
                ("POST", f"{LINKS}/bulk", {"links": [{"url": LONG_URL}]}),
                ("GET", LINKS, None),
                ("GET", f"{LINKS}/{code}", None),
                ("PATCH", f"{LINKS}/{code}", {"enabled": False}),
                ("DELETE", f"{LINKS}/{code}", None),
                ("GET", f"{LINKS}/{code}/stats", None),
            ):
                answer = await replica.http.request(method, url, json=body, headers=headers)
                assert "Authorization: Bearer" in problem(answer, 401)["detail"]
                assert answer.headers["www-authenticate"] == "Bearer"
        assert await replica.parts.store.count() == 1
        assert await replica.target(code) == LONG_URL
        assert (await replica.http.get(LINKS, headers={"Authorization": f"bearer {key}"})).status_code == 200

    play(tmp_path, scene)


def test_other_peoples_links_look_as_if_they_did_not_exist(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        code = (await replica.create())["code"]
        for method, suffix, body in (
            ("GET", "", None),
            ("PATCH", "", {"enabled": False}),
            ("DELETE", "", None),
            ("GET", "/stats", None),
        ):
            answers = [
                await replica.http.request(method, f"{LINKS}/{asked}{suffix}", json=body, headers=OTHER)
                for asked in (code, "never00", "a.b", "x" * 33)
            ]
            problem(answers[0], 404)
            assert len({answer.content for answer in answers}) == 1
        assert (await replica.http.get(LINKS, headers=OTHER)).json()["items"] == []
        assert await replica.target(code) == LONG_URL

    play(tmp_path, scene)


@pytest.mark.parametrize("headers", [{}, OWNER, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}])
@pytest.mark.parametrize("admin_key", ["operator-key-012345678", None])
def test_only_the_operator_gets_in_and_without_an_operators_key_nobody(
    headers: dict[str, str], admin_key: str | None, tmp_path: Path
) -> None:
    async def scene(replica: TestReplica) -> None:
        code = (await replica.create())["code"]
        for sent in (headers, *([OPERATOR] if admin_key is None else [])):
            for method, url, body in (
                ("GET", "/api/v1/admin/dead-letters", None),
                ("POST", "/api/v1/admin/dead-letters/redrive", {}),
                ("PUT", f"/api/v1/admin/links/{code}/block", {"blocked": True}),
            ):
                problem(await replica.http.request(method, url, json=body, headers=sent), 403)
        assert await replica.target(code) == LONG_URL
        if admin_key is not None:
            assert (await replica.block(code)).status_code == 200

    play(tmp_path, scene, admin_key=admin_key)


def test_a_patch_changes_what_it_names_null_takes_a_limit_away_and_a_refused_one_changes_nothing(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        made = await replica.create(expires_at="2027-06-01T12:00:00Z", max_visits=3)
        code, shown = made["code"], dict(made)
        for change in (
            {"enabled": False},
            {"max_visits": None},
            {"expires_at": None, "url": "https://EXAMPLE.org/moved"},
            {"max_visits": 9, "expires_at": "2028-01-01T00:00:00Z", "enabled": True},
            {},
        ):
            after = (await replica.patch(code, **change)).json()
            shown |= change | ({"url": "https://example.org/moved"} if "url" in change else {})
            assert int(after["version"]) > int(shown["version"])
            shown["version"] = after["version"]
            assert after == shown
        for refused in (
            {"url": "javascript:alert(1)"},
            {"url": "https://sho.rt/x"},
            {"max_visits": 0},
            {"expires_at": "2020-01-01T00:00:00Z", "enabled": False},
            {"expires_at": "9999-12-31T23:59:59-12:00"},
            {"alias": "other"},
            {"code": "other"},
            {"blocked": False},
            {"deleted": True},
        ):
            problem(await replica.patch(code, **refused), 422)
            assert (await replica.http.get(f"{LINKS}/{code}", headers=OWNER)).json() == shown

    play(tmp_path, scene, Clock())


def test_deletion_is_final(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        code = (await replica.create())["code"]
        gone = await replica.delete(code)
        assert (gone.status_code, gone.content) == (204, b"")
        for answer in (
            await replica.delete(code),
            await replica.patch(code, enabled=True),
            await replica.block(code),
            await replica.http.get(f"{LINKS}/{code}", headers=OWNER),
        ):
            problem(answer, 404)
        assert (await replica.http.get(LINKS, headers=OWNER)).json()["items"] == []

    play(tmp_path, scene)


def test_pages_join_without_a_gap_while_links_are_made_and_deleted(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        made = [(await replica.create())["code"] for _ in range(11)]
        seen: list[str] = []
        cursor = ""
        while True:
            answer = await replica.http.get(LINKS, params={"limit": 4, "cursor": cursor}, headers=OWNER)
            page = answer.json()
            assert len(page["items"]) <= 4
            seen += [link["code"] for link in page["items"]]
            await replica.create("https://example.org/meanwhile")  # newer than what is being read
            if len(seen) == 4:
                await replica.delete(seen[-1])  # the very link the next page is asked after
            if page["next_cursor"] is None:
                break
            cursor = page["next_cursor"]
        assert len(seen) == len({*seen})
        assert {*seen} == {*made}

    play(tmp_path, scene)


@pytest.mark.parametrize("limit", [0, -1, 101, "many", 10**30])
def test_a_page_has_a_stated_size(limit: Any, tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        problem(await replica.http.get(LINKS, params={"limit": limit}, headers=OWNER), 422)

    play(tmp_path, scene)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!!",
        "a" * 129,
        "AAAA",
        base64.b64encode(b"-5.abc").decode(),
        base64.b64encode(b"9" * 40 + b".abc").decode(),
        "é",
        "\x00",
    ],
)
def test_a_cursor_that_is_not_ours_is_refused(cursor: str, store: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN | {"store": store}), tmp_path) as replica:
            problem(await replica.http.get(LINKS, params={"cursor": cursor}, headers=OWNER), 422)

    asyncio.run(scene())


@given(st.integers(0, 2**62), st.from_regex(r"[A-Za-z0-9_-]{3,32}", fullmatch=True))
def test_a_cursor_leads_back_to_its_link(created_at_us: int, code: str) -> None:
    link = Link(code, LONG_URL, "alice", created_at_us, 1)
    assert decode_cursor(encode_cursor(link)) == (created_at_us, code)


def test_a_bulk_makes_what_it_can_and_says_for_each_what_became_of_it(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        await replica.create(alias="taken")
        links = [{"url": LONG_URL}, {"url": "data:,x"}, {"url": LONG_URL, "alias": "taken"}, {"url": LONG_URL, "alias": "free-one"}]
        answer = await replica.http.post(f"{LINKS}/bulk", json={"links": links}, headers=OWNER)
        items = answer.json()["items"]
        assert (answer.status_code, [item["status"] for item in items]) == (200, [201, 422, 409, 201])
        assert [item.get("problem", {}).get("type") for item in items] == [None, "/problems/bad-url", "/problems/alias-taken", None]
        assert [item["link"]["code"] for item in items if "link" in item][1] == "free-one"
        assert await replica.parts.store.count() == 3

    play(tmp_path, scene)


def test_a_repeated_bulk_is_the_same_links(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        body = {"links": [{"url": f"{LONG_URL}/{number}"} for number in range(100)]}
        headers = OWNER | {"Idempotency-Key": "bulk-1"}
        first, again = [await replica.http.post(f"{LINKS}/bulk", json=body, headers=headers) for _ in range(2)]
        assert first.content == again.content
        assert len({item["link"]["code"] for item in first.json()["items"]}) == 100
        assert await replica.parts.store.count() == 100

    play(tmp_path, scene)


@pytest.mark.parametrize("count", [0, 101])
def test_a_bulk_of_none_or_of_too_many_is_refused_whole(count: int, tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        body = {"links": [{"url": LONG_URL}] * count}
        document = problem(await replica.http.post(f"{LINKS}/bulk", json=body, headers=OWNER), 422)
        assert "100" in document["detail"] or "at least 1" in document["detail"]
        assert await replica.parts.store.count() == 0

    play(tmp_path, scene)


def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        large = b'{"url": "' + b"a" * BODY_LIMIT_BYTES + b'"}'

        async def in_pieces() -> Any:
            for start in range(0, len(large), 65_536):
                yield large[start : start + 65_536]

        for content in (large, in_pieces()):
            answer = await replica.http.post(LINKS, content=content, headers=OWNER | {"Content-Type": "application/json"})
            assert str(BODY_LIMIT_BYTES) in problem(answer, 413)["detail"]

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api", 404),
        ("GET", "/a/b/c", 404),
        ("PUT", LINKS, 405),
        ("POST", "/abcdefg", 405),
        ("BREW", "/abcdefg", 405),
        ("GET", "/never00/qr", 404),
        ("GET", "/never00+", 404),
        ("GET", "/", 404),
    ],
)
def test_what_does_not_exist_is_a_problem_document_too(method: str, url: str, status: int, tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        answer = await replica.http.request(method, url)
        problem(answer, status)
        assert answer.headers["cache-control"] == "no-store"

    play(tmp_path, scene)


@pytest.mark.parametrize("days", [0, 91, "all"])
def test_stats_reach_back_ninety_days(days: Any, tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        code = (await replica.create())["code"]
        problem(await replica.http.get(f"{LINKS}/{code}/stats", params={"days": days}, headers=OWNER), 422)

    play(tmp_path, scene)


def test_the_openapi_document_states_limits_and_examples(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        document = (await replica.http.get("/openapi.json")).json()
        schemas = document["components"]["schemas"]
        for name in ("CreateLink", "EditLink"):
            assert schemas[name]["examples"]
        assert schemas["CreateLink"]["properties"]["url"]["maxLength"] == 2048
        assert schemas["BulkCreate"]["properties"]["links"]["maxItems"] == 100
        for example in schemas["CreateLink"]["examples"]:
            assert (await replica.post(example)).status_code == 201
        operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
        assert len(operations) == len({*operations})

    play(tmp_path, scene, Clock(1_780_000_000_000_000))


def test_the_operations_routes_answer_without_a_key(tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        assert (await replica.http.get("/healthz")).json() == {"status": "alive"}
        assert (await replica.http.get("/readyz")).json() == {"status": "ready", "checks": {"store": "up"}}
        turned = (await replica.http.get("/knobs")).json()
        assert turned["store"]["value"] == "memory"
        assert turned["store"]["choices"] == ["sqlite", "memory", "cassandra"]
        assert all(knob["description"] for knob in turned.values())

    play(tmp_path, scene)


_BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "alias", "max_visits", "links"]), inner),
    max_leaves=6,
)
_URLS = [LINKS, f"{LINKS}/bulk", f"{LINKS}/abc", "/api/v1/admin/links/abc/block", "/api/v1/admin/dead-letters/redrive"]
_REQUESTS = st.tuples(st.sampled_from(["POST", "PATCH", "PUT", "DELETE"]), st.sampled_from(_URLS), _BODIES)


@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(_REQUESTS, min_size=5, max_size=30))
def test_no_body_whatsoever_is_answered_with_an_internal_error(requests: list[tuple[str, str, Any]], tmp_path: Path) -> None:
    async def scene(replica: TestReplica) -> None:
        for method, url, body in requests:
            headers = OPERATOR if "admin" in url else OWNER
            answer = await replica.http.request(method, url, json=body, headers=headers)
            assert answer.status_code < 500
            if answer.status_code >= 400:
                problem(answer, answer.status_code)

    play(tmp_path, scene)


@pytest.mark.parametrize("error", [ClockMovedBack(9_000), SequenceExhausted("4,096 ids were made in this millisecond")])
def test_a_clock_that_went_back_or_stands_still_is_a_503_that_changed_nothing(error: Exception, tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(**PLAIN), tmp_path) as replica:
            with failing(replica.parts.store, "insert_if_absent", error):
                refused = await replica.post({"url": LONG_URL})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["may_have_happened"] is False

    asyncio.run(scene())
