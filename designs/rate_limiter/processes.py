"""Which processes the rate limiter consists of: one service per replica, and nothing beside them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from designs.building_blocks.knobs import Knobs, knobs_to_environment
from designs.building_blocks.processes import ProcessSpec, secret, server_process
from designs.rate_limiter.knobs import PREFIX, LimiterKnobs
from designs.rate_limiter.settings import EXAMPLE_RULES

KNOBS = LimiterKnobs


def needs(knobs: Knobs) -> frozenset[str]:
    """The servers these knobs need."""
    assert isinstance(knobs, LimiterKnobs)
    wanted = {"redis": knobs.needs_redis, "traces": knobs.traces > 0}
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
    """The processes to start. Makes the secrets of this data folder, and its rule file, the first time.

    The rules are a copy of the example, so that whoever tries the design can edit them while it runs.
    """
    assert isinstance(knobs, LimiterKnobs)
    shared = {
        "RATE_LIMITER_RULES": str(rules_of(data_dir)),
        **env,
        **knobs_to_environment(knobs, PREFIX),
        "RATE_LIMITER_DATA_DIR": str(data_dir),
        "RATE_LIMITER_API_KEYS": f"demo:{secret(data_dir, 'api_key')}",
        "RATE_LIMITER_ADMIN_KEY": secret(data_dir, "admin_key"),
        "RATE_LIMITER_PK_KEY": secret(data_dir, "pk_key"),
        **({"REDIS_URL": servers["REDIS_URL"]} if "REDIS_URL" in servers else {}),
    }
    return [_replica(f"replica-{number}", ports, shared) for number in range(1, replicas + 1)]


def _replica(name: str, ports: Callable[[], int], shared: Mapping[str, str]) -> ProcessSpec:
    port = ports()
    env = {**shared, "RATE_LIMITER_PROCESS_NAME": name}
    if not _speaks_grpc():
        return server_process("designs.rate_limiter.serve", "service", name, port, env)
    grpc_port = ports()
    spec = server_process("designs.rate_limiter.serve", "service", name, port, {**env, "RATE_LIMITER_GRPC_PORT": str(grpc_port)})
    return replace(spec, other_urls=(f"grpc://127.0.0.1:{grpc_port}",))


def rules_of(data_dir: Path) -> Path:
    """The rule file of this data folder."""
    path = data_dir / "rules.yaml"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(EXAMPLE_RULES.read_text("utf-8"), "utf-8")
    return path


def _speaks_grpc() -> bool:
    """Whether the extra system-designs[grpc] is installed. Envoy's service is started where it is."""
    return all(importlib.util.find_spec(module) is not None for module in ("grpc", "envoy"))
