"""Which processes the URL shortener consists of: one service per replica, and a click worker where clicks are queued."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from designs.building_blocks.knobs import KnobError, Knobs, knobs_to_environment
from designs.building_blocks.processes import ProcessSpec, secret, server_process
from designs.url_shortener.knobs import PREFIX, ShortenerKnobs

KNOBS = ShortenerKnobs


def needs(knobs: Knobs) -> frozenset[str]:
    """The servers these knobs need."""
    assert isinstance(knobs, ShortenerKnobs)
    wanted = {
        "redis": knobs.needs_redis,
        "kafka": knobs.needs_kafka,
        "cassandra": knobs.needs_cassandra,
        "traces": knobs.traces > 0,
    }
    return frozenset(server for server, needed in wanted.items() if needed)


def processes(
    knobs: Knobs,
    *,
    data_dir: Path,
    ports: Callable[[], int],
    servers: Mapping[str, str],
    replicas: int,
    env: Mapping[str, str],
) -> list[ProcessSpec]:
    """The processes to start. Makes the secrets of this data folder the first time."""
    assert isinstance(knobs, ShortenerKnobs)
    if knobs.store == "memory" and replicas > 1:
        raise KnobError("store=memory keeps links inside one process; use store=sqlite for several replicas")
    shared = {
        **env,
        **knobs_to_environment(knobs, PREFIX),
        "URL_SHORTENER_DATA_DIR": str(data_dir),
        "URL_SHORTENER_API_KEYS": f"demo:{secret(data_dir, 'api_key')}",
        "URL_SHORTENER_ADMIN_KEY": secret(data_dir, "admin_key"),
        "URL_SHORTENER_CODE_KEY": secret(data_dir, "code_key"),
        **{name: servers[name] for name in ("REDIS_URL", "KAFKA_BOOTSTRAP", "CASSANDRA_HOSTS") if name in servers},
        **({"URL_SHORTENER_NAMESPACE": servers["NAMESPACE"]} if "NAMESPACE" in servers else {}),
    }
    own_ports = [ports() for _ in range(replicas)]
    # One public address for all replicas, so that the same link has the same short URL whoever made it.
    shared["URL_SHORTENER_PUBLIC_URL"] = f"http://127.0.0.1:{own_ports[0]}"
    specs = [_process("service", f"replica-{number}", port, shared) for number, port in enumerate(own_ports, start=1)]
    if knobs.queued_clicks and knobs.store != "memory":
        specs.append(_process("worker", "click-worker", ports(), shared))
    return specs


def _process(role: Literal["service", "worker"], name: str, port: int, shared: Mapping[str, str]) -> ProcessSpec:
    return server_process("designs.url_shortener.serve", role, name, port, {**shared, "URL_SHORTENER_PROCESS_NAME": name})
