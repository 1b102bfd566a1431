"""The Redis backends against a real server: the contracts they share with memory, and what is Redis's own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings

from designs.building_blocks.cache_layers import CacheUnavailable, Entry
from designs.building_blocks.dead_letter_queue import DeadLetterQueue
from designs.building_blocks.deadline import within
from designs.building_blocks.redis_connection import Client, connect
from designs.building_blocks.stampede import monotonic_us
from designs.url_shortener.backends import redis as redis_backend
from designs.url_shortener.backends.memory import MemoryClickQueue, MemoryVisitorCounter
from designs.url_shortener.backends.redis import (
    RedisInvalidations,
    RedisNumbers,
    RedisSharedCache,
    RedisVisitorCounter,
    decode_link,
    encode_link,
    link_key,
)
from designs.url_shortener.backends.redis_streams import RedisClickQueue, RedisDeadLetterQueue, RedisPendingLinks
from designs.url_shortener.ports import QueueError, QueueFull, StoreError
from tests.building_blocks import shared_cache_contract
from tests.building_blocks.dead_letter_contract import DEAD_LETTER_CONTRACT, Publish
from tests.building_blocks.shared_cache_contract import MARKER_TTL_MS, Layer
from tests.url_shortener import click_queue_contract
from tests.url_shortener.click_queue_contract import CLICK_QUEUE_CONTRACT, RECLAIM_MS, OpenQueue
from tests.url_shortener.link_store_contract import link
from tests.url_shortener.replicas import Wire, eventually
from tests.url_shortener.visitor_counter_contract import VISITOR_COUNTER_CONTRACT

TIMEOUT_S = 5.0
Scene = Callable[[Client], Awaitable[None]]


def play(url: str, scene: Scene) -> None:
    async def run() -> None:
        async with connect(url, TIMEOUT_S) as client:
            await scene(client)

    asyncio.run(run())


async def sleep_ms(ms: int) -> None:
    """Redis has a clock of its own, which nobody can move."""
    await asyncio.sleep(ms / 1000)


# -- the shared cache ----------------------------------------------------------------------------------------------------------


class Texts:
    """The shared contract speaks of strings; this layer holds links, so a string travels as the URL of one."""

    def __init__(self, links: RedisSharedCache) -> None:
        self._links = links
        self.invalidate, self.acquire, self.release = links.invalidate, links.acquire, links.release

    async def get(self, key: str) -> Entry[str] | None:
        entry = await self._links.get(key)
        if entry is None:
            return None
        return Entry(entry.version, None if entry.value is None else entry.value.url, entry.fresh_until_us, entry.cost_us)

    async def fill(self, key: str, entry: Entry[str]) -> bool:
        held = None if entry.value is None else link(key, url=entry.value)
        return await self._links.fill(key, Entry(entry.version, held, entry.fresh_until_us, entry.cost_us))


@pytest.mark.parametrize("check", shared_cache_contract.CHECKS, ids=lambda check: check.__name__)
def test_the_shared_cache_keeps_the_contract(check: Callable[[Layer], Awaitable[None]], redis_url: str) -> None:
    play(redis_url, lambda client: check(Layer(Texts(RedisSharedCache(client, MARKER_TTL_MS)), monotonic_us, sleep_ms)))


def test_every_entry_and_every_marker_of_the_shared_cache_has_an_end(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        cache = RedisSharedCache(client, MARKER_TTL_MS)
        await cache.fill("a", Entry(1, link("a"), monotonic_us() + 10**6))
        await cache.fill("b", Entry(0, None, monotonic_us() + 10**6))
        await cache.invalidate("c", 5)
        await cache.acquire("d", "token", 1_000)
        keys = await client.keys("*")
        assert len(keys) == 4
        assert all([await client.pttl(key) > 0 for key in keys])
        assert {key.split(b":")[0] for key in keys} == {b"{su}"}  # one slot of a cluster

    play(redis_url, scene)


def test_a_link_survives_its_journey_through_redis_with_every_field() -> None:
    whole = link(expires_at_us=2**53, max_visits=1, enabled=False, blocked=True, deleted=True, request_id="é\x00")
    assert decode_link(encode_link(whole)) == whole


def test_a_listener_hears_of_what_was_cached_and_not_of_what_is_new(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        heard: list[tuple[str, int] | None] = []

        async def listen() -> None:
            async for message in RedisInvalidations(client).listen():
                heard.append(message)

        async def stands() -> bool:
            return heard == [None]

        async def heard_all() -> bool:
            return len(heard) == 3

        listener = asyncio.create_task(listen())
        await eventually(stands)
        cache = RedisSharedCache(client, MARKER_TTL_MS)
        await cache.invalidate("new", 5)
        await cache.invalidate("abc", 6)  # leaves a marker, so the key is known from here on
        await cache.invalidate("abc", 7)
        await RedisInvalidations(client).publish("x-y_Z", 8)
        await eventually(heard_all)
        assert heard == [None, ("abc", 7), ("x-y_Z", 8)]
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

    play(redis_url, scene)


def test_a_subscription_that_breaks_says_so(redis_url: str) -> None:
    async def run() -> None:
        async with Wire(redis_url) as wire, connect(wire.url, TIMEOUT_S) as client:
            listening = aiter(RedisInvalidations(client).listen())
            assert await anext(listening) is None
            await wire.cut()
            with pytest.raises(CacheUnavailable):
                await anext(listening)

    asyncio.run(run())


# -- dead letters and the click queue ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("promise", DEAD_LETTER_CONTRACT)
def test_the_dead_letter_queue_keeps_the_promise(promise: str, redis_url: str) -> None:
    async def scene(client: Client) -> None:
        @asynccontextmanager
        async def open_queue(publish: Publish, capacity: int) -> AsyncIterator[DeadLetterQueue]:
            await client.flushdb()
            yield RedisDeadLetterQueue(client, publish, capacity)

        await DEAD_LETTER_CONTRACT[promise](open_queue)

    play(redis_url, scene)


@asynccontextmanager
async def memory_queue(bound: int) -> AsyncIterator[OpenQueue]:
    now_ms = 0.0

    async def advance(ms: int) -> None:
        nonlocal now_ms
        now_ms += ms

    yield OpenQueue(MemoryClickQueue(bound, RECLAIM_MS, lambda: now_ms), advance, None)


@pytest.mark.parametrize("promise", CLICK_QUEUE_CONTRACT)
def test_the_click_queue_in_memory_keeps_the_promise(promise: str) -> None:
    asyncio.run(CLICK_QUEUE_CONTRACT[promise](memory_queue))


@pytest.mark.parametrize("promise", CLICK_QUEUE_CONTRACT)
def test_the_click_queue_in_redis_keeps_the_promise(promise: str, redis_url: str) -> None:
    async def scene(client: Client) -> None:
        @asynccontextmanager
        async def redis_queue(bound: int) -> AsyncIterator[OpenQueue]:
            def another() -> RedisClickQueue:
                return RedisClickQueue(client, bound, RECLAIM_MS)

            yield OpenQueue(another(), sleep_ms, another)

        await CLICK_QUEUE_CONTRACT[promise](redis_queue)

    play(redis_url, scene)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=click_queue_contract.HISTORIES)
def test_redis_answers_every_history_of_batches_as_memory_does(history: Sequence[tuple[str, int]], redis_url: str) -> None:
    async def scene(client: Client) -> None:
        await client.flushdb()
        answers = await click_queue_contract.replayed(RedisClickQueue(client, bound=5), history)
        assert answers == await click_queue_contract.replayed(MemoryClickQueue(bound=5), history)

    play(redis_url, scene)


def test_a_batch_that_is_parked_is_never_in_both_places_nor_in_none(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        queue = RedisClickQueue(client)
        await queue.publish(b"poison")
        (delivery,) = await queue.receive("w", 1, 0)
        assert (await queue.depth())[0] + await queue.dead_letters.count() == 1
        await queue.park(delivery, "no batch")
        assert (await queue.depth())[0] + await queue.dead_letters.count() == 1
        await queue.park(delivery, "again, because its answer was lost")
        assert (await queue.depth())[0] + await queue.dead_letters.count() == 1

    play(redis_url, scene)


def test_a_queue_on_an_emptied_server_starts_anew(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        queue = RedisClickQueue(client)
        await queue.publish(b"one")
        assert len(await queue.receive("w", 1, 0)) == 1
        await client.flushdb()
        await queue.publish(b"two")
        assert [delivery.body for delivery in await queue.receive("w", 1, 0)] == [b"two"]

    play(redis_url, scene)


def test_the_age_of_the_oldest_batch_is_told_by_the_servers_clock(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        queue = RedisClickQueue(client)
        born_ms = int((await client.time())[0]) * 1000 - 60_000
        await client.xadd("{su}:clicks", {"b": b"old"}, id=f"{born_ms}-0")
        waiting, age_s = await queue.depth()
        assert waiting == 1
        assert 59 <= age_s <= 90

    play(redis_url, scene)


# -- visitors and numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("promise", VISITOR_COUNTER_CONTRACT)
def test_visitors_in_memory_keep_the_promise(promise: str) -> None:
    asyncio.run(VISITOR_COUNTER_CONTRACT[promise](MemoryVisitorCounter()))


@pytest.mark.parametrize("promise", VISITOR_COUNTER_CONTRACT)
def test_visitors_in_redis_keep_the_promise(promise: str, redis_url: str) -> None:
    play(redis_url, lambda client: VISITOR_COUNTER_CONTRACT[promise](RedisVisitorCounter(client)))


def test_visitors_are_kept_for_a_limited_time(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        await RedisVisitorCounter(client).add({("abc", "2026-03-01"): ["v"]})
        assert 0 < await client.ttl("{su}:visitors:abc:2026-03-01") <= 90 * 86_400

    play(redis_url, scene)


def test_ranges_of_the_counter_never_overlap(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        sizes = [1, 10, 3] * 10
        starts = await asyncio.gather(*(RedisNumbers(client).lease_range("links", size) for size in sizes))
        numbers = [number for start, size in zip(starts, sizes, strict=True) for number in range(start, start + size)]
        assert sorted(numbers) == list(range(sum(sizes)))

    play(redis_url, scene)


# -- links that wait for the store ---------------------------------------------------------------------------------------------


def test_a_pending_link_is_held_at_once_and_handed_out_until_it_is_stored(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        pending = RedisPendingLinks(client, 100, "w")
        assert await pending.holds("abcdefg") is None
        assert await pending.add(link())
        assert await pending.holds("abcdefg") == link()
        assert await client.pttl(link_key("abcdefg")) == -1  # no end, as long as the store does not have it
        for _ in range(2):
            waiting = await pending.receive(10, 0)
            assert [decode_link(each.body) for each in waiting] == [link()]
        await pending.stored(waiting, 60_000)
        assert [*await pending.receive(10, 0)] == []
        assert 0 < await client.pttl(link_key("abcdefg")) <= 60_000

    play(redis_url, scene)


def test_of_pending_links_with_one_code_one_is_taken_in(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        pending = RedisPendingLinks(client, 100, "w")
        rivals = [link(owner=f"o{number}") for number in range(20)]
        taken = await asyncio.gather(*(pending.add(rival) for rival in rivals))
        assert sum(taken) == 1
        assert await pending.holds("abcdefg") == rivals[taken.index(True)]
        assert pending.added == 1
        assert len(await pending.receive(100, 0)) == 1

    play(redis_url, scene)


def test_a_pending_link_replaces_that_there_was_none(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        cache = RedisSharedCache(client, MARKER_TTL_MS)
        await cache.fill("abcdefg", Entry(0, None, monotonic_us() + 60_000_000))
        assert await RedisPendingLinks(client, 100, "w").add(link())
        entry = await cache.get("abcdefg")
        assert entry is not None
        assert entry.value == link()

    play(redis_url, scene)


def test_at_its_bound_write_behind_refuses_and_takes_nothing_in(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        pending = RedisPendingLinks(client, 2, "w")
        assert [await pending.add(link("one")), await pending.add(link("two"))] == [True, True]
        with pytest.raises(QueueFull):
            await pending.add(link("three"))
        assert await pending.holds("three") is None

    play(redis_url, scene)


def test_what_a_killed_replica_had_in_hand_is_carried_by_its_successor(redis_url: str) -> None:
    async def scene(client: Client) -> None:
        killed = RedisPendingLinks(client, 100, "replica-1")
        await killed.add(link())
        assert len(await killed.receive(10, 0)) == 1
        assert [decode_link(each.body) for each in await RedisPendingLinks(client, 100, "replica-1").receive(10, 0)] == [link()]

    play(redis_url, scene)


# -- a server that is away -----------------------------------------------------------------------------------------------------

CACHE_VERBS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "get": lambda client: RedisSharedCache(client, 1).get("a"),
    "fill": lambda client: RedisSharedCache(client, 1).fill("a", Entry(1, link(), monotonic_us() + 10**9)),
    "invalidate": lambda client: RedisSharedCache(client, 1).invalidate("a", 1),
    "acquire": lambda client: RedisSharedCache(client, 1).acquire("a", "t", 1),
    "release": lambda client: RedisSharedCache(client, 1).release("a", "t"),
    "announce": lambda client: RedisInvalidations(client).publish("a", 1),
}
STORE_VERBS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "publish": lambda client: RedisClickQueue(client).publish(b""),
    "receive": lambda client: RedisClickQueue(client).receive("w", 1, 0),
    "depth": lambda client: RedisClickQueue(client).depth(),
    "count dead letters": lambda client: RedisClickQueue(client).dead_letters.count(),
    "list dead letters": lambda client: RedisClickQueue(client).dead_letters.list(1),
    "redrive": lambda client: RedisClickQueue(client).dead_letters.redrive(ids=["1"]),
    "pend": lambda client: RedisPendingLinks(client, 1, "w").add(link()),
    "hold": lambda client: RedisPendingLinks(client, 1, "w").holds("a"),
    "carry": lambda client: RedisPendingLinks(client, 1, "w").receive(1, 0),
    "add visitors": lambda client: RedisVisitorCounter(client).add({("a", "2026-03-01"): ["v"]}),
    "count visitors": lambda client: RedisVisitorCounter(client).count("a", ["2026-03-01"]),
    "lease": lambda client: RedisNumbers(client).lease_range("links", 1),
}


@pytest.mark.parametrize("verb", [*CACHE_VERBS, *STORE_VERBS])
def test_a_server_that_refuses_connections_did_nothing_and_one_that_is_silent_may_have(verb: str, redis_url: str) -> None:
    """A caller may repeat what is sure not to have happened; so the error has to know."""

    async def run() -> None:
        async with Wire(redis_url) as wire:
            async with connect(wire.url, 0.05) as client:
                wire.silent = True
                assert await may_have_happened(verb, client) is True
                wire.silent = False
            await wire.cut()
            async with connect(wire.url, 0.05) as client:
                assert await may_have_happened(verb, client) is False

    asyncio.run(run())


async def may_have_happened(verb: str, client: Client) -> bool:
    if verb in CACHE_VERBS:
        with pytest.raises(CacheUnavailable) as unavailable:
            await CACHE_VERBS[verb](client)
        return unavailable.value.maybe_done
    with pytest.raises(StoreError) as failed:
        await STORE_VERBS[verb](client)
    assert isinstance(failed.value, QueueError) or "visitors" in verb or verb == "lease"
    return failed.value.may_have_happened


class SlowWire(Wire):
    """Answers arrive late, whole and in order."""

    delay_s = 0.0

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()


def test_an_answer_that_comes_after_its_caller_has_left_is_never_taken_for_another_ones(redis_url: str) -> None:
    async def run() -> None:
        rng = random.Random(7)
        async with SlowWire(redis_url) as wire, connect(wire.url, TIMEOUT_S) as client:
            keys = [f"key {number}" for number in range(100)]
            await client.mset({key: key for key in keys})
            wire.delay_s = 0.005
            answers: list[tuple[str, bytes]] = []

            async def ask(key: str) -> None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(rng.uniform(0, 0.06)):
                        answers.append((key, await client.get(key)))

            for _ in range(4):
                await asyncio.gather(*map(ask, keys))
            assert 0 < len(answers) < 4 * len(keys), "some were in time and some were not, else this shows nothing"
            assert all(key.encode() == answer for key, answer in answers)
            wire.delay_s = 0
            # All connections are there again: what was left behind holds none of them.
            assert await asyncio.gather(*map(client.get, keys * 2)) == [key.encode() for key in keys * 2]

    asyncio.run(run())


def test_a_subscription_into_a_black_hole_breaks_by_itself(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_backend, "PING_EVERY_S", 0.02)

    async def run() -> None:
        async with Wire(redis_url) as wire, connect(wire.url, TIMEOUT_S) as client:
            listening = aiter(RedisInvalidations(client).listen())
            assert await anext(listening) is None
            news = asyncio.ensure_future(anext(listening))
            await asyncio.sleep(0.2)  # ten pings, each answered
            assert not news.done()
            wire.silent = True
            with pytest.raises(CacheUnavailable):
                await asyncio.wait_for(news, 10)

    asyncio.run(run())


def test_a_deadline_holds_however_many_wait_for_a_server_that_answers_nothing(redis_url: str) -> None:
    """The driver swallows a cancellation now and then, and would go on waiting for its own time-out."""

    async def run() -> None:
        async with Wire(redis_url) as wire, connect(wire.url, 60) as client:
            await asyncio.gather(*(client.get("a") for _ in range(20)))
            wire.silent = True

            async def ask() -> None:
                with suppress(TimeoutError):
                    async with within(0.05):
                        await client.get("a")

            waiting = [asyncio.create_task(ask()) for _ in range(400)]
            _, late = await asyncio.wait(waiting, timeout=10)
            await wire.cut()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert not late

    asyncio.run(run())


def test_a_connection_that_was_closed_before_a_command_was_written_is_an_outage_and_any_other_runtime_error_a_mistake() -> None:
    """uvloop's words for it; asyncio says nothing and drops what is written."""
    closed = RuntimeError("unable to perform operation on <TCPTransport closed=True reading=False>; the handler is closed")
    with pytest.raises(QueueError) as failed, redis_backend.as_store_error("publish", QueueError):
        raise closed
    assert failed.value.may_have_happened  # of several pieces the first may have gone
    with pytest.raises(CacheUnavailable), redis_backend._as_cache_error():
        raise closed
    with pytest.raises(RuntimeError, match="dictionary changed"), redis_backend._as_cache_error():
        raise RuntimeError("dictionary changed size during iteration")
