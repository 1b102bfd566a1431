"""The workload end to end against a tiny limiter: a right one is not flagged, a flaw is, and the file tells the same as the run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.generator.arrivals import make_plan
from loadtests.generator.open_loop import LoadGenerator
from loadtests.history.operation import HistoryItem, Observation, Operation, Struck
from loadtests.history.recorded import Header, read_history, write_history
from loadtests.rate_limiter.mixes import MIXES
from loadtests.rate_limiter.promises import NOTHING_USED, SLOTS, TOLD
from loadtests.rate_limiter.workload import JUDGE, RateLimiterWorkload
from loadtests.result import SafetyCheck
from loadtests.workload import NO_ANSWER, Exchange, Mix, SeedingFailed, Target, Workload
from tests.loadtests.rate_limiter.tiny_limiter import API_KEY, TinyLimiter, running

SEED = 11
MIXED = replace(MIXES["mixed"], rate_per_s=200.0, ratios={**MIXES["mixed"].ratios, "batch": 0.1})
PATHS = {"check", "check/batch", "peek", "refund", "acquire", "renew", "release"}


async def loaded(
    target: Target, mix: Mix, *, keep: bool = False, seconds: float = 0.5
) -> tuple[RateLimiterWorkload, list[Exchange]]:
    workload = RateLimiterWorkload(keep=keep)
    await workload.seed(target, mix, SEED)
    generator = LoadGenerator(target.urls)
    try:
        plan = make_plan(mix, mix.rate_per_s, seconds, SEED)
        exchanges = await generator.replay(plan, lambda exchange, before: workload.encode(target, exchange, before))
        workload.observe(target, exchanges)
    finally:
        await generator.close()
    return workload, exchanges


def kept(flaw: str = "", mix: Mix = MIXED) -> tuple[Sequence[SafetyCheck], Header, list[HistoryItem], TinyLimiter]:
    async def main() -> tuple[Sequence[SafetyCheck], Header, list[HistoryItem], TinyLimiter]:
        tiny = TinyLimiter(flaw)
        async with running(tiny, replicas=2) as target:
            workload, _ = await loaded(target, mix, keep=True)
            checks = await workload.check(target)
            return (checks, *workload.recorded(target), tiny)

    return asyncio.run(main())


def test_it_is_a_workload() -> None:
    workload: Workload = RateLimiterWorkload()
    assert workload.card("algorithm", "gcra", "fixed_window")[0] == "allowed"
    assert workload.card("no such knob", "", "") == workload.card("", "", "")


def test_a_right_limiter_that_is_asked_for_everything_is_valid_and_so_is_its_history_alone(tmp_path: Path) -> None:
    checks, header, items, tiny = kept()
    assert {check.name: check.verdict for check in checks if check.verdict != "valid"} == {}, checks
    assert len(checks) == 9
    assert JUDGE(header, items) == checks
    write_history(tmp_path / "history.jsonl", header, items)
    assert JUDGE(*read_history(tmp_path / "history.jsonl")) == checks
    assert {path.removeprefix("/v1/") for path in tiny.asked} == PATHS
    assert tiny.unauthorized == 0
    assert API_KEY not in (tmp_path / "history.jsonl").read_text()


def test_all_slots_are_taken_once_more_when_every_lease_has_run_out() -> None:
    checks, _, items, _ = kept(mix=replace(MIXES["slots"], keys=3))
    last = max(item.ended_s for item in items if isinstance(item, Operation) and item.f == "acquire" and "q" not in _token(item))
    again = [item for item in items if isinstance(item, Operation) and item.f == "acquire" and "q" in _token(item)]
    assert len(again) == 9
    assert min(item.invoked_s for item in again) > last + 1.0
    [slots] = [check for check in checks if check.name == SLOTS]
    assert slots.verdict == "valid"


def _token(item: Operation) -> str:
    return str(item.value["token"])[11:]


@pytest.mark.parametrize(
    ("flaw", "caught_by"),
    [("refuses with 200", TOLD), ("debits what it refuses", NOTHING_USED)],
)
def test_a_flawed_limiter_is_caught(flaw: str, caught_by: str) -> None:
    checks, header, items, _ = kept(flaw, replace(MIXES["mixed"], rate_per_s=200.0, ratios={"check_three": 0.5, "drain": 0.5}))
    assert next(check.verdict for check in checks if check.name == caught_by) == "invalid"
    assert JUDGE(header, items) == checks


def test_two_seedings_never_ask_for_the_same_users() -> None:
    async def main() -> None:
        async with running(TinyLimiter()) as target:
            workload = RateLimiterWorkload()
            asked = []
            for _ in range(2):
                await workload.seed(target, MIXES["checks"], SEED)
                exchange = Exchange("check", 3, 0, 0.0, 0.0, 0.0, 0.0, NO_ANSWER, b"")
                asked.append(workload.encode(target, exchange, None))
                await asyncio.sleep(0.002)  # the name is the time
            assert asked[0] != asked[1]

    asyncio.run(main())


def test_a_service_with_other_rules_is_found_out_before_the_load() -> None:
    async def main() -> None:
        async with running(TinyLimiter("leaves a rule out")) as target:
            with pytest.raises(SeedingFailed, match=r"where the load expects.*rules\.example\.yaml"):
                await RateLimiterWorkload().seed(target, MIXES["checks"], SEED)
        with pytest.raises(SeedingFailed, match="can't say what its limits are"):
            await RateLimiterWorkload().seed(target, MIXES["checks"], SEED)

    asyncio.run(main())


def test_what_clients_were_told_is_counted() -> None:
    async def main() -> None:
        async with running(TinyLimiter()) as target:
            workload, exchanges = await loaded(target, replace(MIXES["hot"], rate_per_s=400.0))
            counts = await workload.counters(target)
            assert counts["allowed"] + counts["refused"] == len(exchanges)
            assert counts["allowed"] >= 40
            assert counts["over_quota"] == counts["allowed"] - 20, "a burst of forty where twenty a second are the quota"
            assert counts["decisions"] == len(exchanges) + 3, "and three looks before"
            assert counts["answer_bytes"] == sum(len(exchange.response) for exchange in exchanges)
            assert "redis_commands" not in counts

    asyncio.run(main())


def test_faults_and_observations_become_part_of_the_history_on_its_own_clock() -> None:
    async def main() -> None:
        async with running(TinyLimiter()) as target:
            workload = RateLimiterWorkload(keep=True)
            began_s = time.monotonic()
            await workload.seed(target, MIXES["checks"], SEED)
            now_s = time.monotonic()
            workload.strike(target, Struck("kill", "replica-1", now_s, now_s + 1.0, "named", {"x": 1.0}, "killed"))
            workload.read_page(target, "replica-1", now_s, 'sd_breaker_opened_total{breaker="store"} 2.0\n')
            header, items = workload.recorded(target)
            assert header.nodes == ("replica-1",)
            [struck] = [item for item in items if isinstance(item, Struck)]
            assert 0 <= struck.began_s <= now_s - began_s
            said = [(item.f, item.value) for item in items if isinstance(item, Observation)]
            assert said == [("breaker", {"opened": 2}), ("memory", {"shared": 0})]

    asyncio.run(main())


def test_a_history_is_kept_only_when_it_is_wanted() -> None:
    async def main() -> None:
        async with running(TinyLimiter()) as target:
            workload, _ = await loaded(target, MIXES["checks"], seconds=0.05)
            with pytest.raises(RuntimeError, match="keep=True"):
                workload.recorded(target)

    asyncio.run(main())


@pytest.mark.parametrize(("store", "deadline_s"), [("redis", 0.05), ("local_lease", 0.05), ("memory", None), ("sqlite", None)])
def test_an_answer_may_take_the_deadline_longer_where_redis_counts(store: str, deadline_s: float | None) -> None:
    target = Target("x", {"store": store, "deadline_ms": 50.0}, ["http://127.0.0.1:1"], "", [], {})
    assert RateLimiterWorkload().deadline_s(target) == deadline_s
