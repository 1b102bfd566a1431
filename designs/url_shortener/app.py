"""The ASGI application of one replica: routes, error documents, middleware, and the hot path in front of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp

from designs.building_blocks.behind_proxies import BehindProxies
from designs.building_blocks.body_limit import BodyLimit
from designs.building_blocks.concurrency_limit import ConcurrencyLimit
from designs.building_blocks.metric_families import observe_refused
from designs.building_blocks.service_application import routed, traced
from designs.building_blocks.telemetry import Telemetry, Timing, traces_for
from designs.url_shortener import api
from designs.url_shortener.assembly import assemble
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.operations import operations
from designs.url_shortener.redirects import RedirectPath
from designs.url_shortener.replica import running
from designs.url_shortener.settings import VERSION, ShortenerSettings

BODY_LIMIT_BYTES = 512 * 1024
MAX_UNDER_WAY = 1_000  # of the framework's requests, and as many redirects that wait; the server's own limit lies above both


def create_app(knobs: ShortenerKnobs, settings: ShortenerSettings, clock_us: Callable[[], int] | None = None) -> ASGIApp:
    """The ASGI application of one replica; it connects when its lifespan starts. Raises ValueError for what it can't do without."""
    traces = traces_for("url_shortener", settings.process_name, knobs.traces, settings.traces_endpoint)
    telemetry = Telemetry("url_shortener", VERSION, metrics=knobs.metrics == "on", traces=traces)
    replica = assemble(knobs, settings, telemetry, clock_us or (lambda: time.time_ns() // 1000))
    app = routed(
        replica,
        running,
        (operations, api.api, api.admin, api.public),
        api.PROBLEMS,
        title="URL shortener",
        version=VERSION,
        description="Short links with aliases, expiry, visit caps and click statistics. Errors are RFC 9457 problem documents.",
    )
    timing = Timing(app, telemetry.http_seconds)
    framework = ConcurrencyLimit(BodyLimit(timing, BODY_LIMIT_BYTES), MAX_UNDER_WAY)
    observe_refused(telemetry, lambda: framework.refused + replica.redirect.refused)
    served: ASGIApp = framework
    if knobs.redirect_path == "asgi":
        served = RedirectPath(framework, replica.redirect, telemetry.http_seconds)
    if settings.trusted_proxies:
        served = BehindProxies(served, settings.proxies())
    return traced(served, telemetry, replica.close)
