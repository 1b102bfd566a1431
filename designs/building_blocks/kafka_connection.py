"""Kafka as the designs reach it: where the brokers are, an error that says whether it may have happened, and connections that are
made when first used, thrown away when they fail, and made again by whoever comes next.

aiokafka (0.14) retries by itself, and in places for ever: an idempotent send, the search for a group's coordinator, `stop`. So
each call here has a deadline, and a connection that missed one is abandoned with what it still holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from designs.building_blocks.background_tasks import end

T = TypeVar("T")
CALL_S = 2.0
CONNECT_S = 10.0
GOODBYE_S = 2.0


class KafkaFailed(Exception):
    """Kafka could not do it. `may_have_happened` decides whether trying again can do it twice."""

    def __init__(self, sentence: str, *, may_have_happened: bool) -> None:
        super().__init__(sentence)
        self.may_have_happened = may_have_happened


@contextlib.contextmanager
def as_kafka_failed(what: str, *, may_have_happened: bool) -> Iterator[None]:
    """The driver's errors, and a deadline that passed, as `KafkaFailed`."""
    from aiokafka.errors import KafkaError

    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise KafkaFailed(f"Kafka did not {what} ({type(error).__name__})", may_have_happened=may_have_happened) from error


@dataclass(frozen=True, slots=True)
class Brokers:
    """Where to start (`host:port`, several with commas between them), and the one address for all of them, if there is one.

    A broker tells its clients the address that it advertises. Behind a tunnel or a proxy that address is of no use; with
    `at` the client knows better. It can only be right for a single broker.
    """

    bootstrap: str
    at: str | None = None
    request_timeout_ms: int = 3_000

    async def producer(self, **options: Any) -> Any:
        """A started `AIOKafkaProducer`."""
        from aiokafka import AIOKafkaProducer

        producer = AIOKafkaProducer(**self._where(), **options)
        self._redirect(producer.client)
        return await _started(producer, abandon_producer)

    async def consumer(self, **options: Any) -> Any:
        """A started `AIOKafkaConsumer`, subscribed to nothing. It never commits by itself and begins at the oldest record."""
        from aiokafka import AIOKafkaConsumer

        defaults = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "fetch_max_wait_ms": 100}
        consumer = AIOKafkaConsumer(**self._where() | defaults | options)
        self._redirect(consumer._client)
        return await _started(consumer, stop_consumer)

    async def admin(self) -> Any:
        """A started `AIOKafkaAdminClient`."""
        from aiokafka.admin import AIOKafkaAdminClient

        admin = AIOKafkaAdminClient(**self._where())
        self._redirect(admin._client)
        return await _started(admin, lambda admin: admin.close())

    def _where(self) -> dict[str, Any]:
        # What goes wrong is raised as an error here; without a handler the driver's own lines would go to stderr, many a second.
        logging.getLogger("aiokafka").addHandler(_SILENT)
        return {"bootstrap_servers": self.bootstrap, "request_timeout_ms": self.request_timeout_ms}

    def _redirect(self, client: Any) -> None:
        if self.at is not None:
            host, _, port = self.at.rpartition(":")
            reach_brokers_at(client.cluster, host, int(port))


def reach_brokers_at(cluster: Any, host: str, port: int) -> None:
    """Let this metadata (`aiokafka.cluster.ClusterMetadata`) answer the one address for every broker that it knows.

    A client looks a broker up here each time it connects, and nowhere else.
    """
    advertised = cluster.broker_metadata

    def translated(broker_id: Any) -> Any:
        broker = advertised(broker_id)
        return broker and broker._replace(host=host, port=port)

    cluster.broker_metadata = translated


async def abandon_producer(producer: Any) -> None:
    """Stop it without waiting for a broker: `stop` alone would, for as long as there are unsent batches."""
    from aiokafka.errors import ProducerClosed

    sending = producer._sender.sender_task
    if sending is not None:
        await end([sending])
    unsent = producer._message_accumulator
    # A batch that is to be sent again is in the first only, and the driver takes it out of the second when it fails.
    unsent._pending_batches.update(batch for batches in unsent._batches.values() for batch in batches)
    batches = [*unsent._pending_batches]
    unsent.fail_all(ProducerClosed())
    for batch in batches:
        if batch._drain_waiter.done():
            batch._drain_waiter.exception()  # nobody waits for it; looked at, it is not reported as forgotten
    await producer.stop()


async def stop_consumer(consumer: Any) -> None:
    """Stop it and leave its group; when no broker answers within `GOODBYE_S`, without a goodbye."""
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait([stopping], timeout=GOODBYE_S)
    if stopping.done():
        stopping.result()
        return
    coordinator = consumer._coordinator
    tasks = [getattr(coordinator, name, None) for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")]
    await end([stopping, *(task for task in tasks if task is not None and not task.done())])
    if consumer._fetcher is not None:
        await consumer._fetcher.close()
    await consumer._client.close()


class Kept(Generic[T]):
    """A connection for all who need it: made by one task when first asked for, and again after it was dropped.

    Those who wait may give up, and the task goes on: a driver that is cancelled while it connects leaves sockets behind.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], unmake: Callable[[T], Awaitable[None]]) -> None:
        self._make, self._unmake = make, unmake
        self._making: asyncio.Task[T] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def made(self) -> T | None:
        """The connection, when there is one."""
        task = self._making
        return task.result() if task is not None and _succeeded(task) else None

    async def get(self) -> T:
        """The connection. Raises what making it raised."""
        if self._making is None or (self._making.done() and not _succeeded(self._making)):
            self._making = asyncio.create_task(_awaited(self._make))
            self._making.add_done_callback(_succeeded)  # so that an error nobody waits for is not reported as forgotten
        return await asyncio.shield(self._making)

    def drop(self, thing: T) -> None:
        """This one is of no use any more. Returns at once; it is ended in the background."""
        if self.made is thing:
            self._making = None
            ending = asyncio.create_task(_awaited(lambda: self._unmake(thing)))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        making = self._making
        if making is not None and not making.done():
            await asyncio.wait([making], timeout=CONNECT_S)
            await end([making])  # type: ignore[list-item]  # it only cancels and waits
        if (thing := self.made) is not None:
            self.drop(thing)
        if self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)


async def _started(thing: Any, stop: Callable[[Any], Awaitable[None]]) -> Any:
    try:
        async with asyncio.timeout(CONNECT_S):
            await thing.start()
    except BaseException:
        await stop(thing)
        raise
    return thing


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


_SILENT = logging.NullHandler()
