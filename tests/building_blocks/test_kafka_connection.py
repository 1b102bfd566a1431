"""What can be said without a broker: addresses are translated, and a connection is made once for all, and again after it failed."""

import asyncio

import pytest

from designs.building_blocks.kafka_connection import Brokers, KafkaFailed, Kept, as_kafka_failed, reach_brokers_at


def test_every_broker_is_found_at_the_one_address_whatever_it_advertises() -> None:
    from aiokafka.cluster import ClusterMetadata
    from aiokafka.protocol.metadata import MetadataResponse_v1

    cluster = ClusterMetadata()
    reach_brokers_at(cluster, "tunnel.example", 1234)
    cluster.update_metadata(MetadataResponse_v1([(7, "inside", 9092, "rack")], 7, []))
    broker = cluster.broker_metadata(7)
    assert (broker.nodeId, broker.host, broker.port, broker.rack) == (7, "tunnel.example", 1234, "rack")
    assert cluster.broker_metadata(8) is None


def test_a_connection_is_made_by_one_for_all_and_again_after_it_was_dropped() -> None:
    async def scene() -> None:
        made: list[int] = []
        ended: list[int] = []

        async def make() -> int:
            await asyncio.sleep(0)
            made.append(len(made))
            return made[-1]

        async def unmake(thing: int) -> None:
            ended.append(thing)

        kept = Kept(make, unmake)
        assert kept.made is None
        assert await asyncio.gather(kept.get(), kept.get(), kept.get()) == [0, 0, 0]
        kept.drop(0)
        assert await kept.get() == 1
        kept.drop(0)  # said twice, of one that is gone
        assert kept.made == 1
        await kept.close()
        assert ended == [0, 1]

    asyncio.run(scene())


def test_who_gives_up_waiting_for_a_connection_leaves_it_to_the_next() -> None:
    async def scene() -> None:
        may, calls = asyncio.Event(), 0

        async def make() -> str:
            nonlocal calls
            calls += 1
            await may.wait()
            return "there"

        async def unmake(thing: str) -> None:
            pass

        kept = Kept(make, unmake)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await kept.get()
        may.set()
        assert await kept.get() == "there"
        assert calls == 1
        await kept.close()

    asyncio.run(scene())


def test_a_connection_that_failed_is_tried_again_by_the_next_who_asks() -> None:
    async def scene() -> None:
        calls = 0

        async def make() -> str:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise OSError("nobody there")
            return "there"

        async def unmake(thing: str) -> None:
            pass

        kept = Kept(make, unmake)
        with pytest.raises(OSError, match="nobody"):
            await kept.get()
        assert await kept.get() == "there"
        await kept.close()

    asyncio.run(scene())


@pytest.mark.parametrize("maybe", [True, False])
def test_an_error_of_the_driver_says_what_was_asked_and_whether_it_may_have_happened(maybe: bool) -> None:
    from aiokafka.errors import NotEnoughReplicasError

    for error in (NotEnoughReplicasError(), TimeoutError(), ConnectionResetError()):
        with pytest.raises(KafkaFailed, match="did not answer") as failed, as_kafka_failed("answer", may_have_happened=maybe):
            raise error
        assert failed.value.may_have_happened is maybe
    with pytest.raises(ZeroDivisionError), as_kafka_failed("answer", may_have_happened=maybe):
        raise ZeroDivisionError


def test_where_nobody_listens_each_kind_of_client_says_so_and_leaves_nothing_behind() -> None:
    async def scene() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        brokers = Brokers(f"127.0.0.1:{port}")
        for make in (brokers.producer, brokers.consumer, brokers.admin):
            with pytest.raises(KafkaFailed), as_kafka_failed("answer", may_have_happened=False):
                await make()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scene())
