"""Append records to topics: idempotent (a retry of the driver writes once), acknowledged by all in-sync copies (acks=all).

Records with the same key go to the same partition and stay in order there; nothing orders two partitions. Where order matters
the key is the entity (the account, the document); where it does not, `None` spreads the load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from designs.building_blocks.deadline import within
from designs.building_blocks.kafka_connection import CALL_S, Brokers, KafkaFailed, Kept, abandon_producer, as_kafka_failed


class KafkaProducer:
    """Connects when first used, after `prepare()`. A send that was late may have happened, and its connection is thrown away.

    Thrown away, because the driver would go on to send it for as long as it takes: each later try of the caller would add a copy,
    and all would arrive together when the broker is back.
    """

    def __init__(self, brokers: Brokers, prepare: Callable[[], Awaitable[None]], *, call_s: float = CALL_S) -> None:
        self._brokers, self._prepare, self._call_s = brokers, prepare, call_s
        self._kept: Kept[Any] = Kept(self._connect, abandon_producer)

    async def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Mapping[str, bytes] | None = None
    ) -> int:
        """Append one record and return its offset once all in-sync copies have it. Raises `KafkaFailed`.

        `value=None` with a key is a tombstone. A W3C traceparent belongs into the headers.
        """
        from aiokafka.errors import MessageSizeTooLargeError

        producer: Any = None
        appended = False
        try:
            async with within(self._call_s):
                producer = await self._kept.get()
                sent = await producer.send(topic, value, key=key, headers=[*(headers or {}).items()])
                appended = True
                return int((await sent).offset)
        except KafkaFailed:
            raise
        except MessageSizeTooLargeError as error:
            raise KafkaFailed(f"a record of {len(value or b'')} bytes is too large for {topic}", may_have_happened=False) from error
        except (asyncio.CancelledError, Exception) as error:
            if producer is not None:
                self._kept.drop(producer)
            with as_kafka_failed(f"acknowledge a record of {topic}", may_have_happened=appended):
                raise error

    async def close(self) -> None:
        await self._kept.close()

    async def _connect(self) -> Any:
        with as_kafka_failed("accept a producer", may_have_happened=False):
            await self._prepare()
            return await self._brokers.producer(enable_idempotence=True, acks="all")
