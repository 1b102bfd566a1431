"""Each flaw of the rate limiter in the small: with its part exchanged a promise is broken that holds with the right one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from designs.rate_limiter import limiter, rules, store_parts
from designs.rate_limiter.backends import redis
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.backends.redis_scripts import give_back_script, take_script
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.limits import AlgorithmName, Limit, Slots
from designs.rate_limiter.ports import Demand, SlotDemand, StoreError
from designs.rate_limiter.settings import LimiterSettings
from tests import virtual_time
from tests.scenes import failing
from tests.workbench.museum.exchanged import SCENES, exchange, redis_client, shown, shows
from workbench.museum.exhibit import Exhibit, chosen

HOUR_US = 3_600_000_000


@pytest.fixture(autouse=True)
def scripts_made_anew() -> Iterator[None]:
    yield
    forget_the_scripts()


def forget_the_scripts() -> None:
    """A script is put together once, and here of parts that change."""
    for script in (take_script, give_back_script):
        script.cache_clear()


@pytest.mark.parametrize("name", shown("rate_limiter"))
def test_a_promise_that_holds_is_broken_by_the_exchanged_part(
    name: str, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (exhibit,) = chosen([name])
    forget_the_scripts()
    assert asyncio.run(held(name, exhibit, tmp_path, redis_url))
    exchange(exhibit, monkeypatch)
    forget_the_scripts()
    assert not asyncio.run(held(name, exhibit, tmp_path, redis_url))


async def held(name: str, exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    return await SCENES[name](exhibit, folder, redis_url)


def demand(
    quota: int, cost: int = 1, *, algorithm: AlgorithmName = "gcra", rule: str = "rule", period_us: int = HOUR_US, who: str = "u"
) -> Demand:
    """Of a limit so slow that nothing comes back while a test runs."""
    return Demand(f"{{api}}:{algorithm}1:{rule}", who, Limit(algorithm, quota, period_us, quota), cost)


@asynccontextmanager
async def redis_store(redis_url: str) -> AsyncIterator[redis.RedisLimitStore]:
    async with redis_client(redis_url) as client:
        yield redis.RedisLimitStore(client)


# -- counts ----------------------------------------------------------------------------------------------------------------------


@shows("check_then_increment")
async def many_at_once_get_no_more_than_there_is(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        taken = await asyncio.gather(*(store.take([demand(5)]) for _ in range(20)))
    return sum(each.allowed for each in taken) == 5


@shows("debit_on_refusal")
async def no_refusal_makes_the_wait_longer(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        taken = [await store.take([demand(5)]) for _ in range(20)]
    assert [each.allowed for each in taken] == [True] * 5 + [False] * 15
    return (taken[-1].decisions[0].retry_after_us or 0) <= HOUR_US // 5


@shows("loop_over_limits")
async def a_limit_that_would_have_passed_is_not_debited(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        both = [demand(5, rule="large"), demand(1, rule="small")]
        assert [(await store.take(both)).allowed for _ in range(3)] == [True, False, False]
        return (await store.peek(both)).decisions[0].remaining == 4


@shows("cost_left_out")
async def two_of_eight_are_more_than_ten(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        return [(await store.take([demand(10, cost=8)])).allowed for _ in range(2)] == [True, False]


@shows("stamps_as_members")
async def five_units_are_five(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        taken = [await store.take([demand(10, cost=5, algorithm="sliding_log")]) for _ in range(3)]
        # What was given back is there again, and the log of the exhibit can do that too.
        await store.give_back([demand(10, cost=5, algorithm="sliding_log")])
        assert (await store.take([demand(10, cost=5, algorithm="sliding_log")])).allowed
    return [each.allowed for each in taken] == [True, True, False]


@shows("one_bucket_for_all")
async def two_users_have_two_counts(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    per_user = rules.Rule("per-user", {"user": "*"}, Limit("gcra", 5, HOUR_US, 5))
    known = rules.RuleSet({"api": rules.Domain("api", [per_user])}, "1")
    [one], [other] = [rules.applied(known, "api", {"user": user}, "", 1) for user in ("a", "b")]
    return one.demand.key != other.demand.key


@shows("whole_seconds")
async def time_passes_within_a_second(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        text = take_script((("gcra", "read"),), client_time=False)
        times = [(await store._run("take", text, ["key"], [1, 1]))[1] for _ in range(3)]
    return any(now_us % 1_000_000 for now_us in times)


@shows("each_by_its_own_clock")
async def a_replica_that_is_fast_lets_nobody_in(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    settings = LimiterSettings(redis_url=redis_url, data_dir=folder)  # type: ignore[arg-type]
    nobody: Any = None  # what is opened for Redis needs nothing of the other parts
    clocks: list[Callable[[], int]] = [lambda: time.time_ns() // 1000, lambda: time.time_ns() // 1000 + HOUR_US]
    async with redis_client(redis_url):
        turned = LimiterKnobs(deadline_ms=5_000)
        stores = [store_parts.StoreParts._opened(nobody, turned, settings, clock, clock) for clock in clocks]
        try:
            return [(await store.take([demand(5, cost=5)])).allowed for store in stores] == [True, False]
        finally:
            for store in stores:
                await store.close()


@shows("slots_without_lease")
async def a_slot_comes_back_when_its_lease_is_over(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        [slot] = [SlotDemand("{api}:concurrency1:jobs", "u", Slots(1, 1_000))]
        assert (await store.acquire([slot], "of one who dies")).allowed
        for _ in range(100):
            if (await store.acquire([slot], "of another")).allowed:
                return True
            await asyncio.sleep(0.005)
        return False


# -- keys ------------------------------------------------------------------------------------------------------------------------


@shows("immortal_key")
async def every_key_has_an_end_whoever_dies_in_between(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        with failing(store._redis, "pexpireat", ConnectionError("its process is gone")), contextlib.suppress(StoreError):
            await store.take([demand(5, algorithm="fixed_window")])
        keys = await store._redis.keys()
        assert keys
        return all([await store._redis.pttl(key) > 0 for key in keys])


@shows("rearmed_expiry")
async def a_refusal_does_not_put_off_the_end(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        assert (await store.take([demand(1, algorithm="fixed_window")])).allowed
        [key] = await store._redis.keys()
        await store._redis.pexpire(key, 50_000)
        assert not (await store.take([demand(1, algorithm="fixed_window")])).allowed
        return await store._redis.pttl(key) <= 50_000


@shows("life_of_zero")
async def what_is_used_is_kept(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    """Until all is back, which is after less than a second: tried thrice, for a machine that is busy for so long."""
    async with redis_store(redis_url) as store:
        kept = []
        for who in ("a", "b", "c"):
            await store.take([demand(1, period_us=990_000, who=who)])
            kept.append(await store._redis.exists(demand(1, who=who).key))
    return any(kept)


@shows("forgetful_memory")
async def a_crowd_makes_nobody_be_forgotten(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    store = store_parts.MemoryLimitStore(lambda: HOUR_US, 64)
    assert (await store.take([demand(5, cost=5)])).allowed
    for number in range(100):
        await store.take([demand(5, who=f"made up {number}")])
    return not (await store.take([demand(5)])).allowed


# -- a store that is away ----------------------------------------------------------------------------------------------------------


@shows("evalsha_alone")
async def a_redis_that_has_forgotten_its_scripts_is_told_again(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        await store.take([demand(5)])
        await store._redis.script_flush()
        try:
            return (await store.take([demand(5)])).allowed
        except StoreError:
            return False


@shows("error_as_the_answer")
async def without_the_store_there_is_a_verdict(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    per_user = rules.Rule("per-user", {"user": "*"}, Limit("gcra", 5, HOUR_US, 5))
    known = rules.RuleSet({"api": rules.Domain("api", [per_user])}, "1")
    store = MemoryLimitStore(lambda: HOUR_US)
    with failing(store, "take", StoreError("it is away", may_have_happened=False)):
        asked = limiter.Limiter(store, MemoryLimitStore(lambda: HOUR_US), lambda: known)
        try:
            return (await asked.check(limiter.Request("api", {"user": "u"}))).degraded
        except StoreError:
            return False


@shows("no_deadline")
async def a_store_that_says_nothing_is_given_up(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    class Silent:
        async def take(self) -> None:
            await asyncio.Event().wait()

    async def given_up() -> bool:
        patience = store_parts.Patience("Redis", 0.03, None, lambda error: True)
        guarded = patience.guard(Silent(), ["take"], lambda said, maybe: StoreError(said, may_have_happened=maybe))
        try:
            await guarded.take()
        except StoreError:
            return True
        return False

    try:
        return await asyncio.to_thread(lambda: virtual_time.run(given_up()))
    except virtual_time.Deadlock:
        return False


@shows("blocking_client")
async def others_have_their_turn_while_one_waits_for_the_store(exhibit: Exhibit, folder: Path, redis_url: str) -> bool:
    async with redis_store(redis_url) as store:
        taking = asyncio.create_task(store.take([demand(5)]))
        await asyncio.sleep(0)  # its first turn, in which no answer of another process can have come
        others_came_before = not taking.done()
        assert (await taking).allowed
    return others_came_before
