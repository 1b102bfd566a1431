"""How the trace of a visit goes on with its click: into the batch, through the queue, to whoever counts it, and into the log there.

Every function is for the edges, and hands back what it got where there is nothing to trace:

    replica   publish clicks   `traced_publish(send, ...)`   its traceparent travels in the batch, in the place of its requests'
    worker    count clicks     `traced_work(...)`            the `around` of the click worker
    batched   count clicks     `traced_count(send, ...)`     the replica counts them itself, so nothing travels
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import structlog

from designs.building_blocks.logs import ids_of
from designs.building_blocks.trace_attributes import of_batch
from designs.url_shortener.click_recorder import Send
from designs.url_shortener.clicks import ClickBatch
from designs.url_shortener.ports import ClickQueue, Delivery

if TYPE_CHECKING:
    from designs.building_blocks.tracing import Traces

DESTINATION = "clicks"

# Around some work on batches, by its name and the traceparents of the batches.
Around: TypeAlias = Callable[[str, Sequence[str]], AbstractContextManager[None]]

log = structlog.get_logger()


def traced_publish(send: Send, traces: Traces | None, system: str) -> Send:
    """`send` to a queue of this system, with a producer span. Each try has its own, and the one that arrives is continued."""
    if traces is None:
        return send
    attributes = of_batch(system, DESTINATION, "publish", "send")

    async def publish(batch: ClickBatch) -> None:
        with traces.publishing("publish clicks", batch.traces, attributes) as traceparent:
            await send(replace(batch, traces=[traceparent]) if traceparent else batch)

    return publish


def traced_count(send: Send, traces: Traces | None) -> Send:
    """`send` to the click store, with a span that continues the first visit's trace."""
    if traces is None:
        return send

    async def count(batch: ClickBatch) -> None:
        with traces.batch("count clicks", batch.traces):
            await send(batch)

    return count


def traced_work(traces: Traces | None, system: str) -> Around:
    """A consumer span around counting batches; what goes wrong in it is logged with the trace, and raised."""
    attributes = of_batch(system, DESTINATION, "count", "process")

    @contextlib.contextmanager
    def around(name: str, traceparents: Sequence[str]) -> Iterator[None]:
        with traces.batch(name, traceparents, attributes) if traces is not None else contextlib.nullcontext():
            try:
                yield
            except Exception as error:
                log.warning("clicks_not_counted", work=name, error=type(error).__name__)
                raise

    return around


class LoggedQueue:
    """The click queue of a worker, with a line in the log for what came again, was put off or given up.

    One line for all that came again together: while a store is down that is the same batches at each try.
    """

    def __init__(self, queue: ClickQueue) -> None:
        self._queue: Any = queue

    async def receive(self, consumer: str, limit: int, wait_ms: int) -> Sequence[Delivery]:
        deliveries: Sequence[Delivery] = await self._queue.receive(consumer, limit, wait_ms)
        again = [delivery for delivery in deliveries if delivery.deliveries > 1 or delivery.put_off]
        if again:
            most = max(max(delivery.deliveries, delivery.tries) for delivery in again)
            log.warning("click_batches_came_again", batches=len(again), most_deliveries=most, **_ids(again[0]))
        return deliveries

    async def park(self, delivery: Delivery, reason: str) -> None:
        await self._queue.park(delivery, reason)
        log.warning(
            "click_batch_dead_lettered", delivery=delivery.id, deliveries=delivery.deliveries, reason=reason, **_ids(delivery)
        )

    async def retry_later(self, delivery: Delivery) -> None:
        await self._queue.retry_later(delivery)
        log.warning("click_batch_put_off", delivery=delivery.id, deliveries=delivery.deliveries, **_ids(delivery))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def _ids(delivery: Delivery) -> dict[str, str]:
    """The log fields of the trace that came with a batch, even with one that can't be read otherwise."""
    try:
        traces = orjson.loads(delivery.body)["traces"]
        return ids_of(str(traces[0]))
    except (ValueError, LookupError, TypeError):
        return {}
