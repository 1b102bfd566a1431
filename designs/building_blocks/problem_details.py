"""Errors as RFC 9457 problem documents, made in one place: what is wrong, what would be right, and that nothing was changed.

Routes raise `Problem`; so do the handlers below for what the framework finds (bad JSON, missing fields, unknown routes). The
`type` is a relative reference under /problems/ that names the problem, so that clients can tell problems apart without reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    413: "Too large",
    415: "Unsupported media type",
    422: "Not acceptable as it is",
    429: "Too many requests",
    451: "Unavailable for legal reasons",
    500: "Internal error",
    503: "Temporarily unavailable",
}


class Problem(Exception):
    """An answer of status >= 400. `name` becomes the type, `more` further members of the document.

    A name that is a URI, because somebody else has defined the problem, is the type as it is.
    """

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail = status, name, detail
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def document(self) -> dict[str, Any]:
        title = TITLES.get(self.status, "Error")
        kind = self.name if ":" in self.name else f"/problems/{self.name}"
        return {"type": kind, "title": title, "status": self.status, "detail": self.detail, **self.more}

    def body(self) -> bytes:
        return orjson.dumps(self.document())

    def response(self) -> Response:
        # 404, 410 and 451 may be cached by default (RFC 9110, 15.1): a link made later would stay missing in a CDN.
        headers = {"cache-control": "no-store", **self.headers}
        return Response(self.body(), self.status, headers, MEDIA_TYPE)


def install(app: FastAPI, problems_of: Mapping[type[Exception], Any]) -> None:
    """Turn errors into problem documents. `problems_of` maps error types of the design to functions error -> Problem."""

    async def answer_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    async def answer_framework(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        name = TITLES.get(error.status_code, "error").lower().replace(" ", "-")
        return Problem(error.status_code, name, str(error.detail), headers=error.headers).response()

    async def answer_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # The input itself is left out: it may hold what should not be echoed.
        errors = [{"where": "/".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()[:10]]
        detail = "; ".join(f"{one['where']}: {one['what']}" for one in errors[:3])
        return Problem(422, "invalid-request", detail, more={"errors": errors}).response()

    async def answer_unexpected(_: Request, error: Exception) -> Response:
        # What went wrong is for the log, which gets it as well: the server raises it again after this answer.
        return Problem(500, "internal-error", "something went wrong here; whether it took effect is not known").response()

    app.add_exception_handler(Exception, answer_unexpected)
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(HTTPException, answer_framework)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    for kind, make in problems_of.items():
        app.add_exception_handler(kind, _answering(make))


def _answering(make: Any) -> Any:
    async def answer(_: Request, error: Exception) -> Response:
        problem: Problem = make(error)
        return problem.response()

    return answer
