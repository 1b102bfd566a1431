import asyncio

import pytest

from designs.building_blocks.kafka_topics import Topic, TopicDiffers, ensure_topics
from tests.building_blocks.kafka_scene import own_topics


def test_a_topic_says_how_long_it_keeps_what_and_waits_for_two_copies_where_there_are_three() -> None:
    assert Topic("a", 4, retention_ms=1_000).config["retention.ms"] == "1000"
    compacted = Topic("a", 1, 3, cleanup="compact").config
    assert compacted["cleanup.policy"] == "compact"
    assert "retention.ms" not in compacted
    assert compacted["min.insync.replicas"] == "2"
    assert "min.insync.replicas" not in Topic("a", 1).config


def test_topics_are_made_once_by_whoever_comes_first_and_have_the_shape_that_was_asked_for(
    kafka_bootstrap: str, namespace: str
) -> None:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    async def scene() -> None:
        topics = [Topic(f"{namespace}.a", 3, retention_ms=86_400_000), Topic(f"{namespace}.b", 1, cleanup="compact")]
        async with own_topics(kafka_bootstrap, namespace) as brokers:
            await asyncio.gather(*(ensure_topics(brokers, topics) for _ in range(3)))
            await ensure_topics(brokers, topics)
            admin = await brokers.admin()
            try:
                (described,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topics[0].name)])
                _, _, _, name, entries = described.resources[0]
                config = {entry[0]: entry[1] for entry in entries}
                assert name == topics[0].name
                assert (config["cleanup.policy"], config["retention.ms"]) == ("delete", "86400000")
            finally:
                await admin.close()

    asyncio.run(scene())


def test_a_topic_of_another_shape_is_told_in_a_sentence_and_left_alone(kafka_bootstrap: str, namespace: str) -> None:
    async def scene() -> None:
        async with own_topics(kafka_bootstrap, namespace) as brokers:
            await ensure_topics(brokers, [Topic(f"{namespace}.a", 2)])
            with pytest.raises(TopicDiffers, match=r"has 2 partitions where this design needs 4") as differs:
                await ensure_topics(brokers, [Topic(f"{namespace}.a", 4)])
            assert differs.value.may_have_happened is False
            await ensure_topics(brokers, [Topic(f"{namespace}.a", 2)])

    asyncio.run(scene())
