"""Which processes a design consists of, as data.

A design answers with a list of these; whoever starts it (the workbench, a test) decides where, with which log and how long
to wait. The module starts nothing.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Role = Literal["service", "worker", "collector", "proxy"]


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to start.

    `name` is unique within the design (`replica-1`) and names its log. `env` is laid over the starter's own environment; it
    may hold secrets, so it is never printed, not even in a repr. `ready_url` answers 200 once the process can work; without
    one a process counts as ready as soon as it runs. `other_urls` are doors beside the one of HTTP, for people to know.
    """

    name: str
    role: Role
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str | None = None
    ready_url: str | None = None
    metrics_url: str | None = None
    other_urls: tuple[str, ...] = ()


def server_process(module: str, role: Literal["service", "worker"], name: str, port: int, env: Mapping[str, str]) -> ProcessSpec:
    """`python -m <module> <role> --port N`, whose `main` is `serving.serve`: with /readyz and /metrics, and an address for clients
    where it is a service.
    """
    url = f"http://127.0.0.1:{port}"
    return ProcessSpec(
        name=name,
        role=role,
        argv=(sys.executable, "-m", module, role, "--port", str(port)),
        env=env,
        url=url if role == "service" else None,
        ready_url=f"{url}/readyz",
        metrics_url=f"{url}/metrics",
    )


def secret(data_dir: Path, name: str) -> str:
    """The secret kept under this name in the data folder; made at random, and readable by its owner only."""
    path = data_dir / name
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text()
