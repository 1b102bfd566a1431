"""What a design offers to the workbench, with as little in it as will do."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from designs.building_blocks.knobs import Knobs
from designs.building_blocks.processes import ProcessSpec

SERVER = Path(__file__).parent / "server.py"
API_KEY = "toy-key"


class ToyKnobs(Knobs):
    mood: Literal["calm", "broken"] = Field(default="calm", description="calm: answers. broken: ends at its start.")
    store: Literal["memory", "redis"] = Field(default="memory", description="redis: wants a Redis beside it.")


class TracedToyKnobs(ToyKnobs):
    """Wants a collector beside it."""


class ServedToyKnobs(ToyKnobs):
    """Wants the servers that are given."""

    servers: Literal["kafka", "cassandra", "both"] = Field(default="both", description="which")


KNOBS = ToyKnobs


def needs(knobs: ToyKnobs) -> frozenset[str]:
    wanted = {"redis": knobs.store == "redis", "traces": isinstance(knobs, TracedToyKnobs)}
    if isinstance(knobs, ServedToyKnobs):
        wanted |= {server: knobs.servers in (server, "both") for server in ("kafka", "cassandra")}
    return frozenset(server for server, needed in wanted.items() if needed)


def processes(
    knobs: ToyKnobs,
    *,
    data_dir: Path,
    ports: Callable[[], int],
    servers: Mapping[str, str],
    replicas: int,
    env: Mapping[str, str],
) -> list[ProcessSpec]:
    (data_dir / "api_key").write_text(API_KEY + "\n")
    specs = []
    for number in range(1, replicas + 1):
        url = f"http://127.0.0.1:{ports()}"
        specs.append(
            ProcessSpec(
                name=f"replica-{number}",
                role="service",
                argv=(sys.executable, "-I", "-S", str(SERVER), url.rsplit(":", 1)[1]),
                env={
                    **env,
                    "TOY_MOOD": knobs.mood,
                    "TOY_REDIS": servers.get("REDIS_URL", ""),
                    **{f"TOY_{name}": servers[name] for name in ("NAMESPACE",) if name in servers},
                    **{name: servers[name] for name in ("KAFKA_BOOTSTRAP", "CASSANDRA_HOSTS") if name in servers},
                },
                url=url,
                ready_url=f"{url}/healthz",
                metrics_url=f"{url}/metrics",
            )
        )
    return specs
