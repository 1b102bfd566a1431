"""What the application of a replica has in every design: routes around what the replica consists of, and spans around all of it.

What comes between the two, the hot path and the bounds, is the design's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from designs.building_blocks.metric_families import observe_spans
from designs.building_blocks.operations import Operated
from designs.building_blocks.problem_details import install
from designs.building_blocks.telemetry import Telemetry

R = TypeVar("R", bound=Operated)


def routed(
    replica: R,
    running: Callable[[R], AbstractAsyncContextManager[None]],
    routers: Iterable[APIRouter],
    problems: Mapping[type[Exception], Any],
    *,
    title: str,
    version: str,
    description: str,
) -> FastAPI:
    """The framework's part. `running(replica)` is entered before the first request and left after the last.

    Routes find the replica as `app.state.services`; `problems` turns errors into documents, as `problem_details.install` says.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(replica):
            yield

    app = FastAPI(title=title, version=version, description=description, lifespan=lifespan)
    app.state.services = replica
    install(app, problems)
    for router in routers:
        app.include_router(router)
    return app


def traced(served: ASGIApp, telemetry: Telemetry, close: list[Callable[[], Any]]) -> ASGIApp:
    """A span around each request, where there are traces; `close` is lengthened by what sends the last of them off."""
    traces = telemetry.traces
    if traces is None:
        return served
    from designs.building_blocks.tracing import TracedRequests

    observe_spans(telemetry, traces.totals)
    close.append(lambda: asyncio.to_thread(traces.stop))
    return TracedRequests(served, traces)
