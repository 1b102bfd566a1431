"""A small ASGI application of the workbench as a process of its own, served as the designs' own services are.

No lifespan and no bounds: these answer the measuring and nobody else.
"""

from __future__ import annotations

import argparse

import uvicorn
from starlette.types import ASGIApp


def serve_on_port(app: ASGIApp, description: str | None) -> None:
    """The whole command `... --port N`, on the loopback, until the process is told to stop."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=parser.parse_args().port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        lifespan="off",
    )
