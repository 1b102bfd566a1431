"""A request counts for the template that the framework will route it to, and one that leads nowhere for "unmatched"."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute

from designs.building_blocks.telemetry import UNMATCHED
from designs.rate_limiter.route_templates import RouteTemplates, routes_of


async def answer(**_: Any) -> str:
    return "yes"


def api() -> FastAPI:
    inner, outer, inside, app = APIRouter(prefix="/in"), APIRouter(prefix="/v1"), FastAPI(), FastAPI()
    inner.add_api_route("/items/{id}", answer, methods=["GET"])
    inner.add_api_route("/items/{id:int}", answer, methods=["PUT"])
    inner.add_api_websocket_route("/live/{room}", answer)
    outer.mount("/files", PlainTextResponse("a folder of files"))
    outer.include_router(inner)
    inside.add_api_route("/orders/{id}", answer)
    inside.mount("/deeper/{part}", Starlette(routes=[Route("/end", PlainTextResponse("end"))]))
    app.include_router(outer, prefix="/api")
    app.mount("/tenants/{tenant}", inside)
    app.add_api_route("/items/special", answer)
    app.add_api_route("/items/{id}", answer)
    return app


API = api()
TEMPLATES = RouteTemplates(routes_of(API))


def template(path: str, method: str = "GET", type: str = "http", of: RouteTemplates = TEMPLATES, **more: Any) -> str:
    return of.template_of({"type": type, "path": path, "method": method, "root_path": "", "headers": [], **more})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/items/special", "/items/special"),
        ("/items/7", "/items/{id}"),
        ("/api/v1/in/items/7", "/api/v1/in/items/{id}"),
        ("/api/files/a/b.txt", "/api/files/{path}"),
        ("/tenants/acme/orders/7", "/tenants/{tenant}/orders/{id}"),
        ("/tenants/acme/deeper/x/end", "/tenants/{tenant}/deeper/{part}/end"),
        ("/tenants/acme/nothing", UNMATCHED),
        ("/tenants/acme/deeper/x/nothing", UNMATCHED),
        ("/items/7/more", UNMATCHED),
        ("/openapi.json", "/openapi.json"),
        ("/", UNMATCHED),
        ("", UNMATCHED),
    ],
)
def test_included_routers_and_mounts_give_their_whole_template(path: str, expected: str) -> None:
    assert template(path) == expected


def test_another_method_counts_for_the_route_that_refuses_it() -> None:
    assert template("/items/7", "DELETE") == "/items/{id}"
    assert template("/api/v1/in/items/7", "PUT") == "/api/v1/in/items/{id:int}", "a full match goes before one of another method"


def test_a_websocket_is_matched_with_websocket_routes() -> None:
    assert template("/api/v1/in/live/3", type="websocket") == "/api/v1/in/live/{room}"
    assert template("/api/v1/in/live/3") == UNMATCHED
    assert template("/items/7", type="websocket") == UNMATCHED


def test_a_path_that_a_converter_can_not_read_is_nobodys() -> None:
    assert template("/api/v1/in/items/" + "9" * 5_000, "PUT") == UNMATCHED


def test_routes_that_come_later_and_hosts_are_found() -> None:
    app = Starlette(routes=[Host("api.toy", Starlette(routes=[Route("/hello/{name}", PlainTextResponse(""))]))])
    found = RouteTemplates(routes_of(app))
    assert template("/hello/you", of=found, headers=[(b"host", b"api.toy")]) == "/hello/{name}"
    assert template("/late/7", of=found) == UNMATCHED
    app.routes.append(Route("/late/{id}", PlainTextResponse("")))
    app.routes.append(WebSocketRoute("/ws", answer))
    app.routes.append(Mount("/empty", routes=[]))
    assert template("/late/7", of=found) == "/late/{id}"
    assert template("/empty/x", of=found) == "/empty/{path}"


def test_the_root_path_is_no_part_of_the_template_and_what_has_no_routes_has_no_templates() -> None:
    assert template("/front/items/7", root_path="/front") == "/items/{id}"
    assert template("/items/7", of=RouteTemplates(routes_of(object()))) == UNMATCHED


paths = st.lists(st.sampled_from(["api", "v1", "in", "items", "7", "special", "tenants", "acme", "orders", "files", "", "x"])).map(
    lambda parts: "/" + "/".join(parts)
)


@given(path=paths, method=st.sampled_from(["GET", "PUT", "DELETE"]))
def test_what_is_unmatched_here_the_framework_answers_with_404_or_a_redirect_and_nothing_else_is(path: str, method: str) -> None:
    # With its host: to a client, a path that begins with // alone would name another one.
    status = TestClient(API).request(method, "http://testserver" + path, follow_redirects=False).status_code
    assert (template(path, method) == UNMATCHED) == (status in (404, 307))
