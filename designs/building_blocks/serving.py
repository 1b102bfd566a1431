"""How a design's process starts: words on the command line, one sentence for what it can't start with, and the server.

Exit code 2 says that knobs, settings or files are wrong, so that starting again will not help. Nothing is imported here that costs
time: `hurry` is to be called before the rest of the process is.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MAX_CONCURRENCY = 2_000
SHARED_NAMES = ("REDIS_URL", "KAFKA_BOOTSTRAP", "CASSANDRA_HOSTS")  # settings that all designs call by the same name


def serve(prog: str, description: str | None, prefix: str, roles: Sequence[str], create: Callable[[str], ASGIApp]) -> int:
    """`<prog> <role> --port N`: what `create(role)` makes, until the process is told to stop. Returns the exit code.

    `prefix` is that of the design's settings, such as `URL_SHORTENER_`.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("role", choices=roles)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= 65_535:  # uvloop would bind the port modulo 65,536
        parser.error(f"--port lies between 1 and 65535, not at {arguments.port}")
    hurry()
    try:
        app = create(arguments.role)
    except Exception as error:
        sentence = complaint(error, prefix)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    gc.enable()
    listen(app, arguments.host, arguments.port)
    return 0


def hurry() -> None:
    """Spare the imports what a server has no use for: a comparison starts this process dozens of times.

    Together a good part of the CPU time of a start: looking for garbage while modules load, which make none, and `rich`, which
    structlog imports wherever it is installed, to print tracebacks in colour. For this process alone, and before other imports.
    """
    gc.disable()
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python says "not installed"


def complaint(error: Exception, prefix: str) -> str | None:
    """One sentence for an error that whoever set this process up can put right; None for one that is ours."""
    from pydantic import ValidationError

    from designs.building_blocks.settings import SecretUnreadable

    if isinstance(error, ValidationError):
        first = error.errors(include_input=False)[0]
        field = "_".join(map(str, first["loc"])).upper()
        name = field if field in SHARED_NAMES else f"{prefix}{field}"
        return f"setting {name}: {first['msg'].removeprefix('Value error, ')}"
    if isinstance(error, ValueError | SecretUnreadable):  # KnobError is a ValueError
        return str(error)
    if isinstance(error, OSError | sqlite3.Error):
        return f"setting {prefix}DATA_DIR: the folder can't be used: {error}"
    return None


def listen(app: Any, host: str, port: int) -> None:
    """One worker per port; without a line per request, and without a word about the server."""
    import uvicorn

    uvicorn.run(
        app,
        host=host,
        port=port,
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


def trace_ids() -> Mapping[str, str]:
    """The fields of the current trace, for a log line."""
    from designs.building_blocks.tracing import trace_ids

    return trace_ids()
