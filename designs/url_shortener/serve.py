"""Start one process of the design: `python -m designs.url_shortener.serve service|worker --port N`.

Knobs come from `URL_SHORTENER_KNOB_*`, settings from `URL_SHORTENER_*`, `REDIS_URL`, `KAFKA_BOOTSTRAP`, `CASSANDRA_HOSTS`, or from
files of these names in lower case in the folder of secrets. One worker per port; the log goes to standard output as JSON lines,
without a line per request.
"""

from __future__ import annotations

import argparse
import gc
import os
import sqlite3
import sys
from collections.abc import Mapping

MAX_CONCURRENCY = 2_000
SHARED_NAMES = ("REDIS_URL", "KAFKA_BOOTSTRAP", "CASSANDRA_HOSTS")  # settings that all designs call by the same name


def main() -> int:
    parser = argparse.ArgumentParser(prog="designs.url_shortener.serve", description=__doc__)
    parser.add_argument("role", choices=["service", "worker"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= 65_535:  # uvloop would bind the port modulo 65,536
        parser.error(f"--port lies between 1 and 65535, not at {arguments.port}")
    hurry()

    import uvicorn
    from pydantic import ValidationError

    from designs.building_blocks.knobs import KnobError, knobs_from_environment
    from designs.building_blocks.logs import configure_logs
    from designs.building_blocks.settings import SecretUnreadable
    from designs.url_shortener.knobs import PREFIX, ShortenerKnobs
    from designs.url_shortener.settings import ShortenerSettings

    try:
        knobs = knobs_from_environment(ShortenerKnobs, PREFIX, os.environ)
        settings = ShortenerSettings.model_validate({})
        configure_logs(settings.log_level, "url_shortener", settings.process_name, trace_ids if knobs.traces > 0 else dict)
        if arguments.role == "worker":
            from designs.url_shortener.worker import create_worker_app as create
        else:
            from designs.url_shortener.app import create_app as create

        app = create(knobs, settings)
    except (KnobError, SecretUnreadable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = "_".join(map(str, first["loc"])).upper()
        name = field if field in SHARED_NAMES else f"URL_SHORTENER_{field}"
        print(f"error: setting {name}: {first['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, sqlite3.Error) as error:
        print(f"error: setting URL_SHORTENER_DATA_DIR: the folder can't be used: {error}", file=sys.stderr)
        return 2
    gc.enable()
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONCURRENCY,
        timeout_graceful_shutdown=5,
        lifespan="on",
    )
    return 0


def hurry() -> None:
    """Spare the imports what a server has no use for: a comparison starts this process dozens of times.

    Together a good part of the CPU time of a start: looking for garbage while modules load, which make none, and `rich`, which
    structlog imports wherever it is installed, to print tracebacks in colour. For this process alone, and before other imports.
    """
    gc.disable()
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python says "not installed"


def trace_ids() -> Mapping[str, str]:
    """The fields of the current trace, for a log line."""
    from designs.building_blocks.tracing import trace_ids

    return trace_ids()


if __name__ == "__main__":
    sys.exit(main())
