"""A run's part of Kafka and Cassandra: its name, and that nothing of it is left while everybody else's is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from designs.building_blocks.settings import parse_addresses
from designs.url_shortener.settings import ShortenerSettings
from workbench.namespaces import NAME, delete_namespace, kept_namespace, new_namespace


def test_a_name_is_one_that_a_design_takes_and_no_two_are_alike() -> None:
    names = {new_namespace("a_design_with_a_name_longer_than_all") for _ in range(100)} | {new_namespace("url_shortener")}
    assert len(names) == 101
    for name in names:
        assert NAME.fullmatch(name)
        assert ShortenerSettings(namespace=name, code_key="k" * 32).namespace == name


def test_a_data_folder_keeps_its_name(tmp_path: Path) -> None:
    name = kept_namespace(tmp_path, "toy")
    assert kept_namespace(tmp_path, "toy") == name


def test_servers_that_are_gone_cost_no_error() -> None:
    assert not delete_namespace("toy_1", {"KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert not delete_namespace("Not a name; DROP", {})
    assert not delete_namespace("toy_1", {"KAFKA_BOOTSTRAP": "127.0.0.1:1"}, within_s=0.01), "and no more time than it may"


def test_all_that_bears_the_name_is_deleted_and_nothing_else(kafka_bootstrap: str, cassandra_hosts: str, namespace: str) -> None:
    neighbour = f"{namespace}2"
    servers = {"KAFKA_BOOTSTRAP": kafka_bootstrap, "CASSANDRA_HOSTS": cassandra_hosts}
    try:
        asyncio.run(_make_topics(kafka_bootstrap, [f"{namespace}.clicks", f"{namespace}.clicks.dead", f"{neighbour}.clicks"]))
        _keyspaces(cassandra_hosts, make=(namespace, neighbour))
        assert delete_namespace(namespace, servers)
        topics, groups = asyncio.run(_topics_and_groups(kafka_bootstrap))
        assert {topic for topic in topics if topic.startswith(namespace)} == {f"{neighbour}.clicks"}
        assert {group for group in groups if group.startswith(namespace)} == {f"{neighbour}.workers"}
        assert {name for name in _keyspaces(cassandra_hosts) if name.startswith(namespace)} == {neighbour}
        assert delete_namespace(namespace, servers), "again does nothing"
    finally:
        assert delete_namespace(neighbour, servers)


async def _make_topics(bootstrap: str, names: list[str]) -> None:
    """Each with a group `<namespace>.workers` that has read it."""
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    await admin.close()
    for name in names:
        consumer = AIOKafkaConsumer(name, bootstrap_servers=bootstrap, group_id=f"{name.partition('.')[0]}.workers")
        await consumer.start()
        await consumer.commit({TopicPartition(name, 0): 0})
        await consumer.stop()


async def _topics_and_groups(bootstrap: str) -> tuple[list[str], list[str]]:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return list(await admin.list_topics()), [group for group, *_ in await admin.list_consumer_groups()]
    finally:
        await admin.close()


def _keyspaces(hosts: str, make: tuple[str, ...] = ()) -> list[str]:
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import RoundRobinPolicy

    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy())
    with Cluster(parse_addresses(hosts), execution_profiles={EXEC_PROFILE_DEFAULT: profile}, compression=False) as cluster:
        session = cluster.connect()
        for name in make:
            session.execute(f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
        return [row.keyspace_name for row in session.execute("SELECT keyspace_name FROM system_schema.keyspaces")]
