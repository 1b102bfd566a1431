"""Health, metrics and knobs: the routes for operators and for the workbench, the same in every design."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from designs.building_blocks.dependencies import Dependency
from designs.building_blocks.knobs import Knobs, knob_table
from designs.building_blocks.telemetry import Telemetry


class Operated(Protocol):
    """What a service consists of, as far as these routes go; they find it as `app.state.services`."""

    @property
    def knobs(self) -> Knobs: ...
    @property
    def telemetry(self) -> Telemetry: ...
    @property
    def dependencies(self) -> Mapping[str, Dependency]: ...
    @property
    def probes(self) -> Mapping[str, Callable[[], Awaitable[None]]]: ...


def operations_router(is_down: Callable[[Mapping[str, list[str]]], bool]) -> APIRouter:
    """`is_down(failing)` says whether nothing can be answered, by what fails of each server; else something is done without."""
    operations = APIRouter(tags=["operations"])

    @operations.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @operations.get("/readyz")
    async def readyz(request: Request) -> JSONResponse:
        """200 while requests can be answered (`degraded` when something is done without), 503 when they can't.

        Asks all servers once, for `PROBE_WITHIN_S` at most, and says what `sd_degraded` says: `checks` names what fails of each.
        """
        operated = _operated(request)
        await asyncio.gather(*(probe() for probe in operated.probes.values()))
        failing = {name: server.bad_signals() for name, server in operated.dependencies.items()}
        status = "down" if is_down(failing) else "degraded" if any(failing.values()) else "ready"
        checks = {name: "down: " + ", ".join(signals) if signals else "up" for name, signals in failing.items()}
        return JSONResponse({"status": status, "checks": checks}, 503 if status == "down" else 200)

    @operations.get("/metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        """Prometheus exposition."""
        body, content_type = _operated(request).telemetry.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    @operations.get("/knobs")
    async def knobs(request: Request) -> JSONResponse:
        """What can be turned, and how it is turned here."""
        turned = _operated(request).knobs
        now, rows = turned.model_dump(), knob_table(type(turned))
        return JSONResponse(
            {row.name: {"value": now[row.name], "choices": row.choices, "description": row.description} for row in rows}
        )

    return operations


def _operated(request: Request) -> Operated:
    found: Operated = request.app.state.services
    return found
