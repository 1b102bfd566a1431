"""Limits on a real Redis: the contract, the answers of the reference, and what only Redis can break."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from redis.crc import key_slot

from designs.building_blocks.redis_connection import Client, connect
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.backends.redis import RedisLimitStore
from designs.rate_limiter.limits import ALGORITHM_NAMES, WITH_BURST, AlgorithmName, Limit
from designs.rate_limiter.ports import Demand, StoreError
from designs.rate_limiter.rules import bucket_of
from tests.rate_limiter import racer
from tests.rate_limiter.limit_store_contract import (
    EITHER_WAY,
    FORWARD,
    LIMIT_STORE_CONTRACT,
    Step,
    StoreClock,
    demand,
    one_of_each,
    replayed,
    slot,
)
from workbench.embedded_redis import EmbeddedRedis

HOUR_US = 3_600 * 1_000_000
TIMEOUT_S = 5.0
Scene = Callable[[RedisLimitStore, Client], Awaitable[None]]
Ask = Callable[[], Awaitable[Any]]


def play(url: str, scene: Scene) -> None:
    """The store has a client of its own, so that what it sends can be told from what the test asks."""

    async def run() -> None:
        async with connect(url, TIMEOUT_S) as client, connect(url, TIMEOUT_S) as aside:
            await scene(RedisLimitStore(client), aside)

    asyncio.run(run())


@pytest.mark.parametrize("promise", LIMIT_STORE_CONTRACT)
def test_redis_keeps_the_promise(promise: str, redis_url: str) -> None:
    async def run() -> None:
        clock = StoreClock()
        async with connect(redis_url, TIMEOUT_S) as client:
            await LIMIT_STORE_CONTRACT[promise](RedisLimitStore(client, clock), clock)

    asyncio.run(run())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(EITHER_WAY | FORWARD)
def test_redis_answers_every_history_as_memory_does_to_the_last_microsecond(redis_url: str, history: Sequence[Step]) -> None:
    async def run() -> None:
        clock, model_clock = StoreClock(), StoreClock()
        async with connect(redis_url, TIMEOUT_S) as client:
            await client.flushdb()
            answers = await replayed(RedisLimitStore(client, clock), clock, history)
        assert answers == await replayed(MemoryLimitStore(model_clock), model_clock, history)

    asyncio.run(run())


# -- round trips and keys ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def commands(aside: Client) -> AsyncIterator[list[str]]:
    """What clients send in here, as Redis logs it. What a script does inside it logs as well, for a client without an address."""
    before = await aside.config_get("slowlog-*")
    await aside.config_set("slowlog-max-len", 10_000)
    await aside.config_set("slowlog-log-slower-than", 0)
    await aside.slowlog_reset()
    sent: list[str] = []
    try:
        yield sent
        entries = await aside.slowlog_get(10_000)
        theirs = [entry for entry in reversed(entries) if not entry["client_address"].startswith(b"?")]
        sent += [entry["command"].split()[0].decode().upper() for entry in theirs]
        sent[:] = [command for command in sent if command not in ("CONFIG", "SLOWLOG", "CLIENT", "HELLO", "SELECT")]
    finally:
        for name, value in before.items():
            await aside.config_set(name, value)


@pytest.mark.parametrize("limits", [1, 3, len(ALGORITHM_NAMES)])
def test_a_decision_is_one_command_however_many_limits_there_are(limits: int, redis_url: str) -> None:
    async def scene(store: RedisLimitStore, aside: Client) -> None:
        demands = one_of_each()[:limits]
        await store.take(demands)  # Redis has never seen the script
        await store.peek(demands)
        async with commands(aside) as sent:
            for _ in range(10):  # admitted and refused
                await store.take(demands)
            await store.peek(demands)
        assert sent == ["EVALSHA"] * 11

    play(redis_url, scene)


def test_the_other_verbs_are_one_command_each(redis_url: str) -> None:
    async def scene(store: RedisLimitStore, aside: Client) -> None:
        three, slots = [demand("gcra"), demand("sliding_log"), demand("fixed_window")], [slot("t1"), slot("t2")]

        async def all_of_them() -> None:
            await store.take(three)
            await store.give_back(three)
            await store.reset(three)
            await store.acquire(slots, "a")
            await store.renew(slots, "a")
            await store.release(slots, "a")

        await all_of_them()
        async with commands(aside) as sent:
            await all_of_them()
        assert sent == ["EVALSHA", "EVALSHA", "UNLINK", "EVALSHA", "EVALSHA", "EVALSHA"]

    play(redis_url, scene)


def test_a_server_that_forgot_the_scripts_is_told_them_again_and_counts_once(redis_url: str) -> None:
    """As after a restart or a failover. A raw EVALSHA would fail from then on."""

    async def scene(store: RedisLimitStore, aside: Client) -> None:
        left = []
        for _ in range(3):
            left.append((await store.take([demand("gcra")])).decisions[0].remaining)
            await aside.script_flush()
        assert left == [4, 3, 2]

    play(redis_url, scene)


def test_all_keys_of_one_call_are_in_one_slot_of_a_cluster(redis_url: str) -> None:
    async def scene(store: RedisLimitStore, aside: Client) -> None:
        await store.take([*one_of_each(), *one_of_each(item="somebody else")])
        await store.acquire([slot("t1"), slot("t2", rule="other")], "a")
        keys = await aside.keys("*")
        assert len(keys) == 2 * len(ALGORITHM_NAMES) - 1 + 2  # a sketch is one key for everybody
        assert len({key_slot(key) for key in keys}) == 1

    play(redis_url, scene)


def test_a_rule_that_changes_its_algorithm_never_meets_a_key_of_another_type(redis_url: str) -> None:
    async def scene(store: RedisLimitStore, aside: Client) -> None:
        for _ in range(2):
            for name in ALGORITHM_NAMES:
                rule = Demand(bucket_of("api", name, "per-user"), "u1", Limit(name, 5, HOUR_US, 5))
                assert (await store.take([rule])).allowed

    play(redis_url, scene)


RATES = [(1_000, 1_000_000), (10, 1_000_000), (1, 1_000_000), (7, 60_000_000), (1, 10_000_000_000), (5, 10_000_000_000)]


@pytest.mark.parametrize(("quota", "period_us"), RATES)
@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_a_key_ends_by_itself_and_not_before_it_is_as_new(
    algorithm: AlgorithmName, quota: int, period_us: int, redis_url: str
) -> None:
    """From a millisecond to three hours a unit, all by the server's clock, so nothing is allowed for."""

    async def scene(store: RedisLimitStore, aside: Client) -> None:
        limit = Limit(algorithm, quota, period_us, quota if algorithm not in WITH_BURST else 3)
        one = Demand(bucket_of("api", algorithm, "rule"), "u1", limit)
        (key,) = [f"{one.bucket}:{period_us}" if algorithm == "sketch" else one.key]
        for cost in (1, limit.burst, 1):
            before_us = await redis_now_us(aside)
            decision = (await store.take([replace(one, cost=cost)])).decisions[0]
            ends_ms = await end_of(aside, key)
            after_us = await redis_now_us(aside)
            assert ends_ms != -1, "a key that never ends refuses for ever, or fills the server"
            if ends_ms == -2:
                assert after_us >= before_us + decision.reset_after_us, "gone, and not as new"
            elif decision.allowed:
                assert ends_ms * 1_000 >= before_us + decision.reset_after_us
                assert ends_ms * 1_000 <= after_us + 2 * (limit.gap_us * limit.burst + period_us) + 3_000

    play(redis_url, scene)


LOOK = "return {redis.call('TIME'), redis.call('PTTL', KEYS[1]), redis.call('TIME')}"


async def end_of(client: Client, key: str) -> int:
    """When the key ends, in ms of the server's clock; -1 for never, -2 for gone. (Redis 7 would say so: PEXPIRETIME.)"""
    for _ in range(1_000):
        before, left_ms, after = await client.eval(LOOK, 1, key)
        ms_before, ms_after = [int(seconds) * 1_000 + int(us) // 1_000 for seconds, us in (before, after)]
        if left_ms < 0:
            return int(left_ms)
        if ms_before == ms_after:
            return ms_before + int(left_ms)
    raise AssertionError("no look at the clock fell into one millisecond")


async def redis_now_us(client: Client) -> int:
    seconds, microseconds = await client.time()
    return int(seconds) * 1_000_000 + int(microseconds)


def test_a_key_with_slots_ends_with_its_last_lease(redis_url: str) -> None:
    async def scene(store: RedisLimitStore, aside: Client) -> None:
        await store.acquire([slot()], "a")
        assert 0 < await aside.pttl(slot().key) <= 10_001
        await store.release([slot()], "a")
        assert await aside.exists(slot().key) == 0

    play(redis_url, scene)


def test_a_client_whose_clock_is_an_hour_off_changes_nothing(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that reads the time in this process is told a lie; Redis is not asked to believe it."""

    async def scene(store: RedisLimitStore, aside: Client) -> None:
        true_ns = time.time_ns
        for one in one_of_each(period_us=86_400 * 1_000_000):
            allowed = 0
            for turn in range(12):
                offset_ns = (-1, 0, 1)[turn % 3] * HOUR_US * 1_000
                monkeypatch.setattr(time, "time_ns", lambda offset_ns=offset_ns: true_ns() + offset_ns)
                monkeypatch.setattr(time, "time", lambda offset_ns=offset_ns: (true_ns() + offset_ns) / 1e9)
                allowed += (await store.take([one])).allowed
            assert allowed in (5, 10) if one.limit.algorithm in ("fixed_window",) else allowed == 5

    play(redis_url, scene)


def test_a_gcra_key_costs_72_bytes_and_its_name(redis_url: str) -> None:
    async def scene(store: RedisLimitStore, aside: Client) -> None:
        for length in (1, 10, 36, 64):
            one = demand("gcra", item="x" * length)
            await store.take([one])
            assert await aside.memory_usage(one.key) <= 72 + len(one.key)

    play(redis_url, scene)


def test_more_limits_than_fit_into_a_script_are_refused_before_anything_is_sent(redis_url: str) -> None:
    async def scene(store: RedisLimitStore, aside: Client) -> None:
        many = [demand("gcra", item=f"u{number}") for number in range(17)]
        with pytest.raises(ValueError, match="at most 16"):
            await store.take(many)
        assert await aside.dbsize() == 0
        assert (await store.take([demand("sliding_log", item=f"u{number}") for number in range(16)])).allowed

    play(redis_url, scene)


# -- several processes ---------------------------------------------------------------------------------------------------------


def test_eight_processes_that_race_for_a_key_are_admitted_the_limit_exactly(redis_url: str) -> None:
    total = racer.raced("redis", redis_url, "frozen", processes=8)
    assert total == dict.fromkeys([*ALGORITHM_NAMES, "slots"], racer.FROZEN_LIMIT)


def test_while_it_refills_four_processes_get_no_more_than_the_bound_with_nothing_allowed_for(redis_url: str) -> None:
    async def now_us() -> int:
        async with connect(redis_url, TIMEOUT_S) as client:
            return await redis_now_us(client)

    begins_us = asyncio.run(now_us())
    total = racer.raced("redis", redis_url, "live", processes=4)
    span_us = asyncio.run(now_us()) - begins_us
    assert (total["live"] - racer.LIVE.burst) * racer.LIVE.period_us <= span_us * racer.LIVE.quota
    assert total["live"] >= racer.LIVE.burst


# -- when Redis can't ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """One that a test may break."""
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


async def failed(ask: Ask) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await ask()
    return caught.value


REFUSALS: dict[str, tuple[Callable[[Client], Awaitable[Any]], Callable[[Client], Awaitable[Any]]]] = {
    "READONLY": (lambda client: client.replicaof("127.0.0.1", 1), lambda client: client.replicaof("NO", "ONE")),
    "OOM": (lambda client: client.config_set("maxmemory", 1), lambda client: client.config_set("maxmemory", 0)),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_server_that_refuses_to_write_has_counted_nothing(refusal: str, server: EmbeddedRedis) -> None:
    """A replica after a failover; a server that is full and does not evict. Each algorithm, alone and together."""

    async def scene(store: RedisLimitStore, aside: Client) -> None:
        breaks, mends = REFUSALS[refusal]
        each = one_of_each()
        await store.take(each)
        await store.acquire([slot()], "a")
        await breaks(aside)
        for one in each:
            assert not (await failed(partial(store.take, [one]))).may_have_happened
        assert not (await failed(lambda: store.take(each))).may_have_happened
        if refusal == "READONLY":  # a full server lets a script go on that has removed something first, as this one does
            assert not (await failed(lambda: store.acquire([slot()], "b"))).may_have_happened
        await mends(aside)
        looked = await store.peek([replace(one, cost=0) for one in each])
        assert [decision.remaining for decision in looked.decisions] == [4] * len(each)
        assert (await store.acquire([slot()], "a")).decisions[0].remaining == 1

    play(server.url, scene)


def test_a_server_that_is_gone_has_done_nothing_and_one_that_is_silent_may_have(server: EmbeddedRedis) -> None:
    async def scene() -> None:
        async with connect(server.url, 0.2) as client, connect(server.url, TIMEOUT_S) as aside:
            store = RedisLimitStore(client)
            await store.take([demand()])
            await aside.execute_command("CLIENT", "PAUSE", 60_000, "ALL")
            unheard: list[Ask] = [store.ping, partial(store.take, [demand()]), partial(store.acquire, [slot()], "a")]
            for ask in unheard:
                assert (await failed(ask)).may_have_happened
        server.kill()
        async with connect(server.url, 0.2) as client:
            store = RedisLimitStore(client)
            refused: list[Ask] = [
                partial(store.take, [demand()]),
                partial(store.renew, [slot()], "a"),
                partial(store.reset, [demand()]),
            ]
            for ask in refused:
                assert not (await failed(ask)).may_have_happened

    asyncio.run(scene())


def test_a_server_that_started_anew_counts_again(server: EmbeddedRedis) -> None:
    async def scene() -> None:
        async with connect(server.url, TIMEOUT_S) as client:
            store = RedisLimitStore(client)
            await store.take([demand()])
            server.kill()
            await failed(lambda: store.take([demand()]))
            server.start()
            assert (await store.take([demand()])).allowed

    asyncio.run(scene())
