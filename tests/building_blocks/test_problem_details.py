from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Query

from designs.building_blocks.problem_details import MEDIA_TYPE, Problem, install


class OutOfPaper(Exception):
    """An error of some design."""


def printing_house() -> FastAPI:
    app = FastAPI()
    install(app, {OutOfPaper: lambda error: Problem(503, "out-of-paper", str(error), headers={"Retry-After": "60"})})

    @app.get("/problem")
    async def problem() -> None:
        raise Problem(409, "edition-exists", "this edition exists", headers={"X-Edition": "3"}, more={"edition": 3})

    @app.get("/paper")
    async def paper() -> None:
        raise OutOfPaper("no paper until noon")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout", headers={"X-Tea": "green"})

    @app.get("/surprise")
    async def surprise() -> None:
        raise RuntimeError("password=hunter2")

    @app.get("/copies")
    async def copies(count: Annotated[int, Query(ge=1)], size: Annotated[str, Query(max_length=2)] = "A4") -> int:
        return count

    @app.post("/print")
    async def print_it(pages: list[int]) -> int:
        return len(pages)

    return app


def ask(scene: Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]]) -> httpx2.Response:
    async def run() -> httpx2.Response:
        transport = httpx2.ASGITransport(printing_house(), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://press.example") as client:
            return await scene(client)

    answer = asyncio.run(run())
    assert answer.headers["content-type"] == MEDIA_TYPE == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert document["status"] == answer.status_code
    return answer


def test_a_problem_has_the_members_of_the_standard_and_its_own() -> None:
    answer = ask(lambda client: client.get("/problem"))
    assert answer.json() == {
        "type": "/problems/edition-exists",
        "title": "Conflict",
        "status": 409,
        "detail": "this edition exists",
        "edition": 3,
    }
    assert answer.headers["x-edition"] == "3"


def test_an_error_of_the_design_is_the_problem_it_was_mapped_to() -> None:
    answer = ask(lambda client: client.get("/paper"))
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["detail"]) == (503, "60", "no paper until noon")


@pytest.mark.parametrize(("method", "url", "status"), [("GET", "/nowhere", 404), ("PUT", "/problem", 405)])
def test_what_the_framework_refuses_is_a_problem_as_well(method: str, url: str, status: int) -> None:
    answer = ask(lambda client: client.request(method, url))
    assert answer.status_code == status
    assert ("allow" in answer.headers) is (status == 405)


def test_an_http_error_keeps_its_words_and_headers() -> None:
    answer = ask(lambda client: client.get("/teapot"))
    assert (answer.status_code, answer.json()["detail"], answer.headers["x-tea"]) == (418, "short and stout", "green")


def test_every_field_that_is_wrong_is_named_and_what_was_sent_is_not_echoed() -> None:
    answer = ask(lambda client: client.get("/copies", params={"count": 0, "size": "my-secret"}))
    assert answer.status_code == 422
    assert [error["where"] for error in answer.json()["errors"]] == ["query/count", "query/size"]
    assert "greater than or equal to 1" in answer.json()["detail"]
    assert "my-secret" not in answer.text


def test_of_many_errors_ten_are_named() -> None:
    answer = ask(lambda client: client.post("/print", json=["page"] * 1_000))
    assert len(answer.json()["errors"]) == 10
    assert len(answer.content) < 2_000


def test_an_error_nobody_thought_of_tells_nothing() -> None:
    answer = ask(lambda client: client.get("/surprise"))
    assert answer.status_code == 500
    assert "hunter2" not in answer.text


def test_a_problem_is_an_exception_with_its_detail_as_message() -> None:
    problem: Any = Problem(599, "odd", "an odd one")
    assert str(problem) == "an odd one"
    assert problem.document()["title"] == "Error"


def test_a_problem_that_somebody_else_has_defined_keeps_the_uri_it_has_there() -> None:
    assert Problem(409, "edition-exists", "").document()["type"] == "/problems/edition-exists"
    assert Problem(429, "https://example.org/problems#slow-down", "").document()["type"] == "https://example.org/problems#slow-down"
