"""Health, metrics and knobs: the routes for operators and for the workbench."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from designs.building_blocks.knobs import knob_table
from designs.url_shortener.ports import StoreError
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
    """200 while redirects can be answered (`degraded` when without Redis), 503 without the store."""
    replica = replica_of(request)
    checks: dict[str, str] = {}
    try:
        await replica.store.get("readyz")
        checks["store"] = "up"
    except StoreError:
        checks["store"] = "down"
    if replica.ping_redis is not None:
        checks["redis"] = "up" if await replica.ping_redis() else "down"
        replica.telemetry.degraded.labels("redis").set(checks["redis"] == "down")
    status = "ready" if "down" not in checks.values() else "degraded" if checks["store"] == "up" else "down"
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
