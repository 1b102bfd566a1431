"""Health, metrics and knobs: the routes for operators and for the workbench."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from designs.building_blocks.knobs import knob_table
from designs.url_shortener.guards import READS
from designs.url_shortener.replica import Replica

operations = APIRouter(tags=["operations"])


def replica_of(request: Request) -> Replica:
    found: Replica = request.app.state.services
    return found


@operations.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "alive"}


@operations.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """200 while redirects can be answered (`degraded` when something is done without), 503 when the store can't be read.

    Asks all servers once, for `PROBE_WITHIN_S` at most, and says what `sd_degraded` says: `checks` names what fails of each.
    """
    replica = replica_of(request)
    await asyncio.gather(*(probe() for probe in replica.probes.values()))
    failing = {name: server.bad_signals() for name, server in replica.dependencies.items()}
    status = "down" if READS in failing["store"] else "degraded" if any(failing.values()) else "ready"
    checks = {name: "down: " + ", ".join(signals) if signals else "up" for name, signals in failing.items()}
    return JSONResponse({"status": status, "checks": checks}, 503 if status == "down" else 200)


@operations.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus exposition."""
    body, content_type = replica_of(request).telemetry.exposition(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})


@operations.get("/knobs")
async def knobs(request: Request) -> JSONResponse:
    """What can be turned, and how it is turned here."""
    turned = replica_of(request).knobs
    now, rows = turned.model_dump(), knob_table(type(turned))
    return JSONResponse(
        {row.name: {"value": now[row.name], "choices": row.choices, "description": row.description} for row in rows}
    )
