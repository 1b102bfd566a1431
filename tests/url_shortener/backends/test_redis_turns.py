"""Calls of Redis take turns: who asks for many numbers at once waits for connections that are there, and is no outage."""

from __future__ import annotations

import asyncio

import pytest
import redis
from pydantic import SecretStr

from designs.building_blocks.telemetry import Telemetry
from designs.url_shortener.knobs import ShortenerKnobs
from designs.url_shortener.redis_parts import AT_ONCE, RedisParts
from designs.url_shortener.settings import ShortenerSettings

MANY = 1_000


@pytest.mark.usefixtures("patient")
def test_a_bulk_gets_all_its_numbers_over_a_few_connections_and_opens_no_breaker(redis_url: str) -> None:

    async def scene() -> tuple[list[int], int]:
        settings = ShortenerSettings(redis_url=SecretStr(redis_url), code_key=SecretStr("of no matter: nothing is encoded here"))
        parts = RedisParts(ShortenerKnobs(ids="counter"), settings, Telemetry("test", "1"))
        with redis.Redis.from_url(redis_url) as server:
            before = int(server.info("clients")["connected_clients"])
            numbers = await asyncio.gather(*(parts.lease(1) for _ in range(MANY)))
            opened = int(server.info("clients")["connected_clients"]) - before
        assert {breaker.state for breaker in parts.breakers.values()} == {"closed"}
        await parts.client.aclose()
        return numbers, opened

    numbers, opened = asyncio.run(scene())
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + MANY))
    assert opened <= AT_ONCE
