"""The topics a design needs, as data, and their creation where they are missing.

Auto-creation by the broker would make them with the broker's defaults, one partition and a week of retention, for any name that
somebody mistypes. Here the design states what it needs, and is told when a topic that exists has another shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from designs.building_blocks.kafka_connection import CONNECT_S, Brokers, KafkaFailed, as_kafka_failed

ALREADY_EXISTS = 36  # error codes of the protocol
DAY_MS = 86_400_000


class TopicDiffers(KafkaFailed):
    """A topic of this name exists and has another number of partitions."""


@dataclass(frozen=True, slots=True)
class Topic:
    """`cleanup` delete: records leave `retention_ms` after they were written, plus up to a day, which is how long a segment
    lives. compact: of each key the last record stays; the others leave at some time.
    """

    name: str
    partitions: int
    replication_factor: int = 1
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = 3 * DAY_MS

    @property
    def config(self) -> dict[str, str]:
        config = {"cleanup.policy": self.cleanup, "segment.ms": str(DAY_MS)}
        if self.cleanup == "delete":
            config["retention.ms"] = str(self.retention_ms)
        if self.replication_factor > 2:
            config["min.insync.replicas"] = "2"  # what acks=all waits for: with the default, 1, one copy would do
        return config


async def ensure_topics(brokers: Brokers, topics: Sequence[Topic]) -> None:
    """Create those that are missing; returns when each can be used. Raises `TopicDiffers`, and `KafkaFailed` for an outage.

    Several processes may do so at once: each topic is created by one of them.
    """
    from aiokafka.admin import NewTopic

    with as_kafka_failed("create the topics", may_have_happened=False):  # doing it again does nothing
        admin = await brokers.admin()
        try:
            async with asyncio.timeout(CONNECT_S):
                found = await _usable(admin)
                missing = [topic for topic in topics if topic.name not in found]
                if missing:
                    new = [NewTopic(t.name, t.partitions, t.replication_factor, topic_configs=t.config) for t in missing]
                    _check_created(await admin.create_topics(new))
                while any(topic.name not in found for topic in topics):
                    await asyncio.sleep(0.02)
                    found = await _usable(admin)
        finally:
            await admin.close()
    for topic in topics:
        if found[topic.name] != topic.partitions:
            raise TopicDiffers(
                f"topic {topic.name} has {found[topic.name]} partitions where this design needs {topic.partitions}; "
                "delete it, or choose another namespace",
                may_have_happened=False,
            )


async def _usable(admin: Any) -> dict[str, int]:
    """Partitions by topic, of those that have a leader for each."""
    # All topics: a question about one by its name would create it, on a broker that is set up so.
    described = await admin.describe_topics()
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["error_code"] == 0 and all(partition["leader"] >= 0 for partition in topic["partitions"])
    }


def _check_created(response: Any) -> None:
    for name, code, *message in response.topic_errors:
        if code not in (0, ALREADY_EXISTS):
            said = next((str(part) for part in message if part), f"error {code}")
            raise KafkaFailed(f"Kafka did not create topic {name}: {said}", may_have_happened=False)
