"""The ASGI application of one replica: routes, error documents, middleware, and the hot path in front of the routes."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp

from designs.building_blocks.body_limit import BodyLimit
from designs.building_blocks.concurrency_limit import ConcurrencyLimit
from designs.building_blocks.metric_families import observe_refused
from designs.building_blocks.service_application import routed, traced
from designs.building_blocks.telemetry import Telemetry, Timing, traces_for
from designs.rate_limiter import api
from designs.rate_limiter.assembly import assemble
from designs.rate_limiter.check_path import CheckPath
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.load_shedder import LoadShedder, by_key
from designs.rate_limiter.operations import operations
from designs.rate_limiter.replica import running
from designs.rate_limiter.settings import VERSION, LimiterSettings

BODY_LIMIT_BYTES = 256 * 1024
MAX_UNDER_WAY = 1_000  # the server's own limit lies above


def create_app(knobs: LimiterKnobs, settings: LimiterSettings, clock_us: Callable[[], int] | None = None) -> ASGIApp:
    """The ASGI application of one replica; it connects when its lifespan starts. Raises ValueError for what it can't do without."""
    traces = traces_for("rate_limiter", settings.process_name, knobs.traces, settings.traces_endpoint)
    telemetry = Telemetry("rate_limiter", VERSION, metrics=knobs.metrics == "on", traces=traces)
    replica = assemble(knobs, settings, telemetry, clock_us)
    app = routed(
        replica,
        running,
        (operations, api.api, api.admin),
        api.PROBLEMS,
        title="Rate limiter",
        version=VERSION,
        description="Says whether a request may pass, by the rules of a file. Errors are RFC 9457 problem documents.",
    )
    timing = Timing(CheckPath(app, replica), telemetry.http_seconds)
    limited = BodyLimit(timing, BODY_LIMIT_BYTES)
    served: ConcurrencyLimit | LoadShedder
    if knobs.shed == "priority":
        served = LoadShedder(limited, by_key(settings.priorities_by_key().get), MAX_UNDER_WAY)
        replica.shedder = served.shedder
    else:
        served = ConcurrencyLimit(limited, MAX_UNDER_WAY)
    observe_refused(telemetry, lambda: served.refused)
    return traced(served, telemetry, replica.close)
