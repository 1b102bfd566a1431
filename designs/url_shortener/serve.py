"""Start one process of the design: `python -m designs.url_shortener.serve service|worker --port N`.

Knobs come from `URL_SHORTENER_KNOB_*`, settings from `URL_SHORTENER_*`, `REDIS_URL`, `KAFKA_BOOTSTRAP`, `CASSANDRA_HOSTS`, or from
files of these names in lower case in the folder of secrets. One worker per port; the log goes to standard output as JSON lines,
without a line per request.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from designs.building_blocks.serving import serve, trace_ids

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def main() -> int:
    return serve("designs.url_shortener.serve", __doc__, "URL_SHORTENER_", ["service", "worker"], create)


def create(role: str) -> ASGIApp:
    """Imports here: not before the process has read its command line, and the framework, which takes long, after the settings."""
    from designs.building_blocks.knobs import knobs_from_environment
    from designs.building_blocks.logs import configure_logs
    from designs.url_shortener.knobs import PREFIX, ShortenerKnobs
    from designs.url_shortener.settings import ShortenerSettings

    knobs = knobs_from_environment(ShortenerKnobs, PREFIX, os.environ)
    settings = ShortenerSettings.model_validate({})
    configure_logs(settings.log_level, "url_shortener", settings.process_name, trace_ids if knobs.traces > 0 else dict)
    if role == "worker":
        from designs.url_shortener.worker import create_worker_app

        return create_worker_app(knobs, settings)
    from designs.url_shortener.app import create_app

    return create_app(knobs, settings)


if __name__ == "__main__":
    sys.exit(main())
