"""The links of a design to its servers, with a proxy in the way of each, so that any of them can be spoilt alone.

    replica-1     -> redis@replica-1    -> Redis
    click-worker  -> redis@click-worker -> Redis

One process holds all proxies of a design. Who only looks at a server, such as a count of its commands, asks it directly.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from designs.building_blocks.processes import ProcessSpec
from loadtests.faults.proxy.client import ProxyControl
from workbench.processes import Supervisor, free_port

ANY_PORT = "127.0.0.1:0"
REDIS_PORT = 6379


def start_proxy(log_dir: Path, *, seed: int, cpus: Iterable[int] | None = None) -> tuple[Supervisor, ProxyControl]:
    """A process without proxies yet; the seed draws which connections suffer. Raises `ProcessFailed`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = (sys.executable, "-m", "loadtests.faults.proxy", "--control-port", str(port), "--seed", str(seed))
    supervisor = Supervisor(log_dir, cpus=cpus)
    supervisor.start_all([ProcessSpec("proxy", "proxy", argv, url=url, ready_url=f"{url}/version")])
    return supervisor, ProxyControl(url)


def through_proxy(spec: ProcessSpec, control: ProxyControl) -> ProcessSpec:
    """The process with its Redis, where it has one, behind a new proxy `redis@<process>`."""
    url = spec.env.get("REDIS_URL")
    if url is None:
        return spec
    server = urlsplit(url)
    address = control.create(f"redis@{spec.name}", ANY_PORT, f"{server.hostname}:{server.port or REDIS_PORT}")
    return replace(spec, env={**spec.env, "REDIS_URL": at_address(url, address)})


def at_address(url: str, address: str) -> str:
    """The URL with another host:port; user, password and database stay.

    >>> at_address("redis://:secret@127.0.0.1:6379/0", "127.0.0.1:20001")
    'redis://:secret@127.0.0.1:20001/0'
    """
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{address}").geturl()
