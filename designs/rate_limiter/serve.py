"""Start one replica of the design: `python -m designs.rate_limiter.serve service --port N`.

Knobs come from `RATE_LIMITER_KNOB_*`, settings from `RATE_LIMITER_*` and `REDIS_URL`, or from files of these names in lower case in
the folder of secrets. One worker per port; the log goes to standard output as JSON lines, without a line per request.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from designs.building_blocks.serving import serve, trace_ids

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def main() -> int:
    return serve("designs.rate_limiter.serve", __doc__, "RATE_LIMITER_", ["service"], create)


def create(_: str) -> ASGIApp:
    """Imports here: not before the process has read its command line, and the framework, which takes long, after the settings."""
    from designs.building_blocks.knobs import knobs_from_environment
    from designs.building_blocks.logs import configure_logs
    from designs.rate_limiter.knobs import PREFIX, LimiterKnobs
    from designs.rate_limiter.settings import LimiterSettings

    knobs = knobs_from_environment(LimiterKnobs, PREFIX, os.environ)
    settings = LimiterSettings.model_validate({})
    configure_logs(settings.log_level, "rate_limiter", settings.process_name, trace_ids if knobs.traces > 0 else dict)
    from designs.rate_limiter.app import create_app

    return create_app(knobs, settings)


if __name__ == "__main__":
    sys.exit(main())
