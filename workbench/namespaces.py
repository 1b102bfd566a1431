"""The part of Kafka and Cassandra that belongs to one run: a name that starts its topics and groups, and is its keyspace.

Runs share the servers and no data. A name that nobody asked to keep is deleted with all that bears it, by a process of its own:

    python -m workbench.namespaces NAME          # with KAFKA_BOOTSTRAP and CASSANDRA_HOSTS

so that no driver's threads stay behind in a process that measures, and a server that hangs costs no more than the bound.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from designs.building_blocks.settings import parse_addresses

FILE = "namespace"
RANDOM_BYTES = 5
LONGEST_DESIGN = 24  # the whole name has to fit into the 48 characters of a keyspace, and those a design allows
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
DELETED_WITHIN_S = 30.0
ASKED_WITHIN_S = 10.0
GROUP_NOT_EMPTY = 68  # Kafka's error for a group whose member was killed and is not missed yet


def new_namespace(design: str) -> str:
    """A name that no other run has."""
    return f"{design[:LONGEST_DESIGN]}_{secrets.token_hex(RANDOM_BYTES)}"


def kept_namespace(data_dir: Path, design: str) -> str:
    """The name that belongs to this data folder; made the first time."""
    file = data_dir / FILE
    if not file.exists():
        file.write_text(new_namespace(design) + "\n")
    return file.read_text().strip()


def delete_namespace(name: str, servers: Mapping[str, str], within_s: float = DELETED_WITHIN_S) -> bool:
    """Delete all that bears the name, as far as that is possible within the time; whether it was. Never raises.

    `servers`: KAFKA_BOOTSTRAP and CASSANDRA_HOSTS, each where there is one.
    """
    env = {key: value for key, value in os.environ.items() if key not in ("KAFKA_BOOTSTRAP", "CASSANDRA_HOSTS")}
    argv = [sys.executable, "-m", "workbench.namespaces", name]
    try:
        deleting = subprocess.run(
            argv,
            env={**env, **servers},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=within_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return deleting.returncode == 0


async def delete_topics_and_groups(bootstrap: str, name: str) -> None:
    """Topics `<name>.*`, then the groups `<name>.*`. Raises what the driver raises.

    A group that still counts on a killed member is left: without topics it has nothing, and Kafka forgets it by itself.
    """
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.protocol.admin import DeleteGroupsRequest

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=round(ASKED_WITHIN_S * 1e3))
    await admin.start()
    try:
        topics = [topic for topic in await admin.list_topics() if topic.startswith(f"{name}.")]
        if topics:
            await admin.delete_topics(topics)
        for group in [group for group, *_ in await admin.list_consumer_groups() if group.startswith(f"{name}.")]:
            coordinator = await admin.find_coordinator(group)
            answer = await admin._send_request(DeleteGroupsRequest([group]), coordinator)  # the client has no verb for it
            refused = [code for _, code in answer.results if code not in (0, GROUP_NOT_EMPTY)]
            if refused:
                raise RuntimeError(f"Kafka refused to delete the group {group}: error {refused[0]}")
    finally:
        await admin.close()


def drop_keyspace(hosts: str, name: str) -> None:
    """The keyspace of this name and all its tables, if there is one. Raises what the driver raises."""
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import RoundRobinPolicy

    addresses = parse_addresses(hosts)
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=ASKED_WITHIN_S)
    cluster = Cluster(
        addresses,
        connect_timeout=ASKED_WITHIN_S,
        control_connection_timeout=ASKED_WITHIN_S,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        compression=False,
        schema_metadata_enabled=False,
    )
    try:
        cluster.connect().execute(f'DROP KEYSPACE IF EXISTS "{name}"')
    finally:
        cluster.shutdown()


def main() -> int:
    """0 when all of it is gone. What can be deleted is, whatever becomes of the rest."""
    name, failed = sys.argv[1], 0
    if not NAME.fullmatch(name):
        return 2
    try:
        if bootstrap := os.environ.get("KAFKA_BOOTSTRAP"):
            asyncio.run(delete_topics_and_groups(bootstrap, name))
    except Exception:
        failed = 1
    try:
        if hosts := os.environ.get("CASSANDRA_HOSTS"):
            drop_keyspace(hosts, name)
    except Exception:
        failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
