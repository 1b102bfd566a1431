"""Redis, Kafka and Cassandra in containers of the tests' own, from the images that the compose stack's variable file names.

Each is reached at a port of 127.0.0.1 that is chosen before the start, since a Kafka broker tells its clients where it is. A
container ends with its `with` block, and its volumes with it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.server_versions import ServerFailed, version_once_it_answers
from workbench.processes import free_port

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

TAGS = Path(__file__).parents[1] / ".env"
ENGINE_ANSWERS_WITHIN_S = 2.0
READY_WITHIN_S = 120.0
START_ATTEMPTS = 3
ALIVE = ("created", "running")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to run one server: the key of its image, its port inside, its variables and its address for a port outside."""

    image_key: str
    port: int
    environment: Callable[[int], dict[str, str]]
    address: Callable[[int], str] = "127.0.0.1:{}".format


def kafka_environment(port: int) -> dict[str, str]:
    """One broker that is its own controller (KRaft). Clients outside come in at CLIENT; the broker finds itself at BROKER, since
    the outside address is nothing to it: with CLIENT alone, transactions fail with NotEnoughReplicas for ever.
    """
    only_one = (
        "OFFSETS_TOPIC_REPLICATION_FACTOR",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
        "TRANSACTION_STATE_LOG_MIN_ISR",
        "SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR",
        "SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR",
    )
    return {f"KAFKA_{name}": "1" for name in only_one} | {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "CLIENT://:9092,CONTROLLER://:9093,BROKER://:9094",
        "KAFKA_ADVERTISED_LISTENERS": f"CLIENT://127.0.0.1:{port},BROKER://localhost:9094",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,BROKER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
    }


def cassandra_environment(_port: int) -> dict[str, str]:
    """One node that waits for no neighbours. The image wants both sizes of the heap or neither."""
    no_neighbours = "-Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=100"
    return {"MAX_HEAP_SIZE": "512M", "HEAP_NEWSIZE": "128M", "JVM_EXTRA_OPTS": no_neighbours}


RECIPES = {
    "redis": Recipe("REDIS_IMAGE", 6379, lambda _port: {}, "redis://127.0.0.1:{}/0".format),
    "kafka": Recipe("KAFKA_IMAGE", 9092, kafka_environment),
    "cassandra": Recipe("CASSANDRA_IMAGE", 9042, cassandra_environment),
}


def image_of(name: str, tags: Path = TAGS) -> str:
    """The image of this server in a variable file: lines of KEY=value, `#` for comments."""
    key = RECIPES[name].image_key
    lines = tags.read_text().splitlines() if tags.exists() else []
    values = dict(line.strip().split("=", 1) for line in lines if "=" in line)
    if not (image := values.get(key, "").split("#")[0].strip().strip("\"'")):
        raise ServerFailed(f"{tags.name} has no line {key}=name:tag, so no container of {name} can be started")
    return image


@cache
def engine_answers() -> bool:
    """Is there a Docker engine, at DOCKER_HOST or where Docker's context says? Its client asks for a version when it is made.

    Asked in a process of its own: the client leaves sockets open when it fails, and no engine may hold the tests up.
    """
    program = f"from testcontainers.core.docker_client import DockerClient; DockerClient(timeout={ENGINE_ANSWERS_WITHIN_S})"
    try:
        return (
            subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=5 * ENGINE_ANSWERS_WITHIN_S).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


@contextmanager
def in_container(name: str, image: str, version_at: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """A server that answers: (address, version)."""
    container, port = _started(name, image)
    address = RECIPES[name].address(port)
    try:
        docker = container.get_wrapped_container()

        def is_starting() -> bool:
            docker.reload()
            return docker.status in ALIVE

        try:
            version = version_once_it_answers(version_at, address, READY_WITHIN_S, is_starting)
        except ServerFailed as error:
            log = docker.logs(tail=20).decode(errors="replace")
            raise ServerFailed(f"the container of {image} is {docker.status}: {error}; its log ends:\n{log}") from error
        yield address, version
    finally:
        container.stop()


def _started(name: str, image: str) -> tuple[DockerContainer, int]:
    """Someone may take the port before the engine does: then another one."""
    from docker.errors import DockerException
    from testcontainers.core.container import DockerContainer

    recipe = RECIPES[name]
    for attempt in range(1, START_ATTEMPTS + 1):
        port = free_port()
        container = DockerContainer(image).with_envs(**recipe.environment(port))
        ports: dict[str, Any] = container.ports
        ports[f"{recipe.port}/tcp"] = ("127.0.0.1", port)
        try:
            return container.start(), port
        except BaseException as error:
            container.stop()
            if not isinstance(error, DockerException):
                raise
            port_was_taken = "already allocated" in str(error) or "already in use" in str(error)
            if not port_was_taken or attempt == START_ATTEMPTS:
                raise ServerFailed(f"a container of {image} did not start: {error}") from error
    raise AssertionError("unreachable: the last attempt returns or raises")
