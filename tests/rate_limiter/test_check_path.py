"""The path in front of the framework answers as the framework does, and leaves to it what is not plainly right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.types import ASGIApp

from designs.rate_limiter.check_path import CheckPath, asked
from designs.rate_limiter.limiter import Limiter
from designs.rate_limiter.schemas import MAX_COST, Check
from tests.rate_limiter.service import CALLER, TestReplica, knobs, rule, running_replica
from tests.scenes import Clock

RULES = [rule("per-user", burst=3), rule("orders", {"order": "*"}, on_store_down="closed"), rule("trial", mode="shadow")]


@asynccontextmanager
async def replica_in(folder: Path, *, through: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TestReplica]:
    """A replica whose checks go through the path in front, or all through the framework."""
    with monkeypatch.context() as patched:
        if through == "framework":
            patched.setattr("designs.rate_limiter.app.CheckPath", lambda app, _: app)
        async with running_replica(knobs(), folder, Clock(), rules=RULES) as replica:
            yield replica


def raw(answer: httpx2.Response) -> tuple[int, dict[str, str], bytes]:
    return answer.status_code, dict(answer.headers), answer.content


BODIES: list[Any] = [
    {"descriptor": {"user": "u1"}},
    {"descriptor": {"user": "u1", "order": "ö \u20ac"}, "tier": "pro", "cost": 2},
    {"descriptor": {"user": "u1"}},
    {"descriptor": {"user": "u1"}, "cost": 4},
    {"descriptor": {"nobody": "x"}},
    {"descriptor": {"user": "u1"}, "cost": "1"},
    {"descriptor": {"user": "u1"}, "cost": True},
    {"descriptor": {"user": "u1"}, "cost": 1.0},
    {"descriptor": {"user": "u1"}, "cost": 0},
    {"descriptor": {"user": "u1"}, "cost": 1 << 70},
    {"descriptor": {"user": "u1\n"}},
    {"descriptor": {"user": "u" * 513}},
    {"descriptor": {}},
    {"descriptor": {"user": "u1"}, "tier": None},
    {"descriptor": {"user": "u1"}, "domain": "nowhere"},
    {"descriptor": {"user": "u1"}, "extra": 1},
]
HEADERS = [
    CALLER,
    {"Authorization": CALLER["Authorization"].replace("Bearer", "bearer")},
    {"Authorization": "Bearer nobody"},
    {},
    CALLER | {"Content-Type": "text/plain"},
    CALLER | {"Content-Type": "application/json; charset=utf-8"},
]


def test_both_give_the_same_answers_to_the_same_requests_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(through: str) -> list[tuple[int, dict[str, str], bytes]]:
        async with replica_in(tmp_path, through=through, monkeypatch=monkeypatch) as replica:
            told = [await replica.check(**{"descriptor": None, **body}) for body in BODIES]
            content = orjson.dumps({"domain": "api", "descriptor": {"user": "u2"}})
            for headers in HEADERS:
                headers = {"Content-Type": "application/json", **headers}
                told.append(await replica.http.post("/v1/check", content=content, headers=headers))
            for method in ("GET", "PUT", "OPTIONS"):
                told.append(await replica.http.request(method, "/v1/check", headers=CALLER))
            told.append(await replica.http.post("/v1/check/", json={}, headers=CALLER))
            return [raw(answer) for answer in told]

    in_front, framework = asyncio.run(answers("path")), asyncio.run(answers("framework"))
    assert in_front == framework
    assert {status for status, _, _ in in_front} >= {200, 401, 404, 405, 422, 429}


@pytest.mark.parametrize("through", ["path", "framework"])
def test_both_are_timed_under_the_route_of_the_document(through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with replica_in(tmp_path, through=through, monkeypatch=monkeypatch) as replica:
            await replica.check({"user": "u1"})
            metrics = await replica.metrics()
            assert metrics['http_request_duration_seconds_count{method="POST",route="/v1/check",status="200"}'] == 1

    asyncio.run(scene())


@pytest.mark.parametrize("through", ["path", "framework"])
def test_what_nobody_foresaw_is_an_answer_that_tells_nothing(through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    async def scene() -> None:
        async with replica_in(tmp_path, through=through, monkeypatch=monkeypatch) as replica:
            monkeypatch.setattr(Limiter, "check", broken)
            transport = httpx2.ASGITransport(replica.app, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://limiter.example", headers=CALLER) as http:
                answer = await http.post("/v1/check", json={"domain": "api", "descriptor": {"user": "u1"}})
            assert answer.status_code == 500
            assert answer.json()["type"] == "/problems/internal-error"
            assert "hunter2" not in answer.text

    asyncio.run(scene())


def test_a_well_formed_check_does_not_reach_the_framework_and_what_is_sent_in_pieces_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []

    class Framework:
        """The framework, and who came to it."""

        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                reached.append(scope["path"])
            await self._app(scope, receive, send)

    async def scene() -> None:
        monkeypatch.setattr("designs.rate_limiter.app.CheckPath", lambda app, have: CheckPath(Framework(app), have))
        async with running_replica(knobs(), tmp_path, rules=RULES) as replica:
            assert (await replica.check({"user": "u1"})).status_code == 200
            assert reached == []

            async def pieces() -> AsyncIterator[bytes]:
                yield b'{"domain": "api", '
                yield b'"descriptor": {"user": "u2"}}'

            headers = {**CALLER, "Content-Type": "application/json"}
            answer = await replica.http.post("/v1/check", content=pieces(), headers=headers)
            assert (answer.status_code, reached) == (200, []), "the limit of bodies has put it together"
            assert (await replica.check({"user": ""})).status_code == 422
            assert reached == ["/v1/check"]

    asyncio.run(scene())


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([MAX_COST, MAX_COST + 1, 1.0, 1.5]),
    st.text(max_size=3),
    st.sampled_from(["u" * 64, "u" * 65, "u" * 512, "u" * 513, "a\n", "\x85", "a\u00a0b", "\U0001f600"]),
)
descriptors = st.one_of(scalars, st.dictionaries(st.one_of(st.text(max_size=3), st.just("k" * 65)), scalars, max_size=18))
bodies = st.fixed_dictionaries(
    {}, optional={"domain": scalars, "descriptor": descriptors, "tier": scalars, "cost": scalars, "more": scalars}
)


@example({"domain": "", "descriptor": {"user": "u"}})
@example({"domain": "é", "descriptor": {"user": "u"}})
@example({"domain": "d" * 65, "descriptor": {"user": "u"}})
@given(st.one_of(bodies, bodies.map(lambda body: {"domain": "api", "descriptor": {"user": "u"}, **body}), scalars))
def test_what_the_path_takes_the_framework_would_take_for_the_same(body: Any) -> None:
    request = asked(orjson.dumps(body))
    if request is None:
        return
    taken = Check.model_validate(body)
    assert taken.request(taken.cost) == request


def accepted(make: Callable[[], object]) -> bool:
    try:
        make()
    except ValidationError:
        return False
    return True


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.text(max_size=4), max_size=3), st.text(max_size=3))
def test_of_text_and_whole_numbers_the_path_takes_all_that_the_framework_takes(descriptor: dict[str, str], tier: str) -> None:
    body = {"domain": "api", "descriptor": descriptor, "tier": tier, "cost": 2}
    assert (asked(orjson.dumps(body)) is not None) == accepted(lambda: Check.model_validate(body))


@given(st.binary(max_size=60))
def test_any_bytes_are_left_to_the_framework_without_an_error(body: bytes) -> None:
    assert asked(body) is None
