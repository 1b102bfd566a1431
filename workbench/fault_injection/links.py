"""The links of a design to its servers, with a proxy in the way of each, so that any of them can be spoilt alone.

    replica-1     -> redis@replica-1     -> Redis
    replica-1     -> cassandra@replica-1 -> Cassandra
    click-worker  -> kafka@click-worker  -> Kafka

One process holds all proxies of a design. Who only looks at a server, such as a count of its commands, asks it directly.

Kafka and Cassandra tell their clients where else they are to be found, and a client that follows goes around the proxy. One
broker is reached at the proxy all the same, by `<DESIGN>_KAFKA_BROKERS_AT`; one Cassandra node is known to its driver by the
address it was found at. So links can be spoilt where there is one of each; with more, no design is started to be broken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from designs.building_blocks.processes import ProcessSpec
from designs.building_blocks.settings import parse_addresses
from loadtests.faults.proxy.client import ProxyControl
from workbench.given_servers import KINDS
from workbench.processes import Supervisor, free_port

ANY_PORT = "127.0.0.1:0"
REDIS_PORT = 6379


class SeveralServers(ValueError):
    """A design can't be broken on purpose while it uses several servers of one kind. The message says what would be right."""


def start_proxy(log_dir: Path, *, seed: int, cpus: Iterable[int] | None = None) -> tuple[Supervisor, ProxyControl]:
    """A process without proxies yet; the seed draws which connections suffer. Raises `ProcessFailed`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = (sys.executable, "-m", "loadtests.faults.proxy", "--control-port", str(port), "--seed", str(seed))
    supervisor = Supervisor(log_dir, cpus=cpus)
    supervisor.start_all([ProcessSpec("proxy", "proxy", argv, url=url, ready_url=f"{url}/version")])
    return supervisor, ProxyControl(url)


def through_proxy(spec: ProcessSpec, control: ProxyControl, prefix: str) -> ProcessSpec:
    """The process with each server it has behind a new proxy `<server>@<process>`; `prefix` is that of its design's settings.

    Raises `SeveralServers`.
    """
    env = dict(spec.env)
    if url := env.get("REDIS_URL"):
        server = urlsplit(url)
        address = control.create(f"redis@{spec.name}", ANY_PORT, f"{server.hostname}:{server.port or REDIS_PORT}")
        env["REDIS_URL"] = at_address(url, address)
    for name, kind in KINDS.items():
        if hosts := env.get(kind.setting):
            if len(parse_addresses(hosts)) > 1:
                raise SeveralServers(
                    f"{kind.setting} names several servers, and clients find these around any proxy: name one to break a design"
                )
            env[kind.setting] = address = control.create(f"{name}@{spec.name}", ANY_PORT, hosts.strip())
            if name == "kafka":
                env[f"{prefix}KAFKA_BROKERS_AT"] = address
    return replace(spec, env=env)


def at_address(url: str, address: str) -> str:
    """The URL with another host:port; user, password and database stay.

    >>> at_address("redis://:secret@127.0.0.1:6379/0", "127.0.0.1:20001")
    'redis://:secret@127.0.0.1:20001/0'
    """
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{address}").geturl()
