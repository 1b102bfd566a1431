"""A part of a real Kafka for one test, and a wire to it that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from designs.building_blocks.kafka_connection import Brokers
from tests.url_shortener.replicas import Wire


@asynccontextmanager
async def own_topics(bootstrap: str, namespace: str) -> AsyncIterator[Brokers]:
    """The brokers; whatever topics begin with the namespace are deleted at the end."""
    brokers = Brokers(bootstrap)
    try:
        yield brokers
    finally:
        admin = await brokers.admin()
        try:
            if mine := [name for name in await admin.list_topics() if name.startswith(namespace)]:
                await admin.delete_topics(mine)
        finally:
            await admin.close()


@asynccontextmanager
async def wire_to(bootstrap: str) -> AsyncIterator[tuple[Wire, str]]:
    """A relay, and the address that leads through it. It is made for Redis and knows nothing of what it carries."""
    async with Wire(f"redis://{bootstrap}/0") as wire:
        yield wire, wire.url.removeprefix("redis://").partition("/")[0]
