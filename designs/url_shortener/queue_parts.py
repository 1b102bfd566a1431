"""The click queue of a process, as the knob `clicks` chose it, and the server that it lives on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.settings import ShortenerSettings

if TYPE_CHECKING:
    from designs.building_blocks.redis_connection import Client

SERVER_OF = {"redis_streams": "redis", "kafka": "kafka"}
SERVER_NAMES = {"redis": "Redis", "kafka": "Kafka"}


def open_click_queue(knobs: ShortenerKnobs, settings: ShortenerSettings, client: Client) -> Any:
    """The queue (`ClickQueue`) behind the knob; `client` is the process's Redis. Raises ValueError for what it can't do without."""
    if knobs.clicks == "redis_streams":
        from designs.url_shortener.backends.redis_streams import RedisClickQueue

        return RedisClickQueue(client)
    if settings.kafka_bootstrap is None:
        raise ValueError("clicks=kafka needs Kafka; set KAFKA_BOOTSTRAP, or choose clicks=redis_streams")
    try:
        from designs.url_shortener.backends.kafka import KafkaClickQueue
    except ModuleNotFoundError as error:
        raise ValueError(f"clicks=kafka needs the extra system-designs[kafka]: {error}") from None
    return KafkaClickQueue(
        settings.kafka_bootstrap,
        settings.namespace,
        brokers_at=settings.kafka_brokers_at,
        replication_factor=settings.replication_factor,
    )
