"""The workload end to end against a tiny shortener: a right one is valid, and every flaw is caught by the check it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from loadtests.arrivals import make_plan
from loadtests.open_loop import LoadGenerator
from loadtests.result import SafetyCheck
from loadtests.url_shortener import workload as module
from loadtests.url_shortener.mixes import MIXES
from loadtests.url_shortener.workload import (
    VISITORS,
    UrlShortenerWorkload,
    location,
    unknown_code,
)
from loadtests.workload import Exchange, Mix, SeedingFailed, Target, Workload
from tests.loadtests.url_shortener.tiny_shortener import API_KEY, Flaw, TinyShortener, running

SEED = 11
ALL_OPS = Mix(
    "all",
    "everybody at once",
    {"redirect": 0.6, "create": 0.2, "stats": 0.05, "unknown": 0.05, "scan": 0.05, "edit": 0.05},
    keys=40,
    zipf_s=1.0,
    rate_per_s=1_000.0,
)


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shortener that loses clicks is waited for in vain; the tests need not wait as long as a run would."""
    monkeypatch.setattr(module, "DRAIN_S", 0.2)
    monkeypatch.setattr(module, "STALENESS_ALLOWANCE_S", 0.05)


async def load(target: Target, mix: Mix, rounds: int = 1, duration_s: float = 0.25) -> tuple[UrlShortenerWorkload, list[Exchange]]:
    workload = UrlShortenerWorkload()
    await workload.seed(target, mix, SEED)
    generator = LoadGenerator(target.urls)
    exchanges: list[Exchange] = []
    try:
        for number in range(rounds):
            plan = make_plan(mix, mix.rate_per_s, duration_s, SEED, number)
            answered = await generator.replay(
                plan, lambda op, key, serial: workload.encode(target, op, key, serial), len(exchanges)
            )
            workload.observe(target, answered)
            exchanges += answered
    finally:
        await generator.close()
    return workload, exchanges


async def judged(flaw: Flaw = "", mix: Mix = ALL_OPS, replicas: int = 1, rounds: int = 1, **knobs: Any) -> Sequence[SafetyCheck]:
    async with running(TinyShortener(flaw), replicas, **knobs) as target:
        workload, _ = await load(target, mix, rounds)
        return await workload.check(target)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def verdicts(checks: Sequence[SafetyCheck]) -> dict[str, str]:
    return {check.name: check.verdict for check in checks}


def test_it_is_a_workload() -> None:
    workload: Workload = UrlShortenerWorkload()
    assert workload.card("cache", "none", "aside")[0] == "store_reads"
    assert workload.card("no such knob", "", "") == workload.card("", "", "")


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_right_shortener_is_valid_in_every_respect(replicas: int) -> None:
    checks = run(judged(replicas=replicas, rounds=2))
    assert set(verdicts(checks).values()) == {"valid"}, checks
    assert len(checks) == 5


@pytest.mark.parametrize(
    ("flaw", "caught_by"),
    [
        ("duplicate code", "no two links share a code"),
        ("lost link", "no acknowledged link is lost"),
        ("wrong target", "every redirect leads where its link was sent"),
        ("stale", "no answer is older than the staleness bound"),
        ("lost edit", "no acknowledged link is lost"),
        ("counts twice", "every click is counted once or declared lost"),
        ("hides clicks", "every click is counted once or declared lost"),
    ],
)
def test_a_flawed_shortener_is_caught(flaw: Flaw, caught_by: str) -> None:
    assert verdicts(run(judged(flaw)))[caught_by] == "invalid"


def test_a_declared_drop_is_no_flaw() -> None:
    checks = run(judged("loses a click"))
    assert set(verdicts(checks).values()) == {"valid"}, checks
    assert sum(check.counts.get("declared_drops", 0) for check in checks) == 1


def test_clicks_that_are_counted_although_they_are_off_are_caught() -> None:
    assert verdicts(run(judged(clicks="off")))["no click is counted"] == "invalid"


def test_without_statistics_clicks_are_unknown_unless_they_are_off() -> None:
    assert verdicts(run(judged("no statistics")))["every click is counted once or declared lost"] == "unknown"
    assert verdicts(run(judged("no statistics", clicks="off")))["no click is counted"] == "valid"


def test_another_redirect_status_than_the_knob_says_is_caught() -> None:
    assert verdicts(run(judged(redirect=301)))["every redirect leads where its link was sent"] == "invalid"


def test_a_mix_is_judged_by_the_invariants_it_can_show() -> None:
    names = set(verdicts(run(judged(mix=replace(MIXES["redirects"], keys=50)))))
    assert "no answer is older than the staleness bound" not in names
    assert "every click is counted once or declared lost" in names


def test_checking_counts_no_click() -> None:
    async def clicks_before_and_after() -> tuple[int, int]:
        shortener = TinyShortener()
        async with running(shortener) as target:
            workload, _ = await load(target, ALL_OPS)
            before = sum(shortener.clicks.values())
            await workload.check(target)
            return before, sum(shortener.clicks.values())

    before, after = run(clicks_before_and_after())
    assert before == after > 0


def test_without_any_load_the_verdict_is_unknown() -> None:
    async def main() -> Sequence[SafetyCheck]:
        async with running(TinyShortener()) as target:
            workload = UrlShortenerWorkload()
            await workload.seed(target, ALL_OPS, SEED)
            return await workload.check(target)

    assert verdicts(run(main()))["every redirect leads where its link was sent"] == "unknown"


def test_of_a_service_that_is_gone_nothing_more_can_be_said() -> None:
    async def main() -> Sequence[SafetyCheck]:
        async with running(TinyShortener()) as target:
            workload, _ = await load(target, ALL_OPS)
        return await workload.check(target)

    gone = verdicts(run(main()))
    assert gone["every click is counted once or declared lost"] == "unknown"
    assert gone["no acknowledged link is lost"] == "unknown"
    assert gone["every redirect leads where its link was sent"] == "valid"


def test_every_request_of_a_plan_gets_the_answer_it_asks_for() -> None:
    async def main() -> list[Exchange]:
        async with running(TinyShortener(), 2) as target:
            return (await load(target, ALL_OPS))[1]

    wanted = {"redirect": 302, "create": 201, "stats": 200, "unknown": 404, "scan": 404, "edit": 200}
    exchanges = run(main())
    assert {exchange.op for exchange in exchanges} == set(wanted)
    assert [e for e in exchanges if e.status != wanted[e.op]] == []


def test_replicas_and_visitors_take_turns_and_each_visitor_meets_each_replica() -> None:
    async def main() -> None:
        async with running(TinyShortener(), 2) as target:
            workload = UrlShortenerWorkload()
            await workload.seed(target, ALL_OPS, SEED)
            sent = [workload.encode(target, "redirect", 0, serial) for serial in range(2 * len(VISITORS))]
            assert [replica for replica, _ in sent[:4]] == [0, 1, 0, 1]
            assert len(set(sent)) == len(sent)
            for replica, request in sent:
                assert request.endswith(b"\r\n\r\n")
                assert f"Host: {target.urls[replica].removeprefix('http://')}\r\n".encode() in request
            assert any(b"bot" in request.lower() for _, request in sent)
            assert not any(API_KEY.encode() in request for _, request in sent)
            with pytest.raises(ValueError, match="no op"):
                workload.encode(target, "explode", 0, 0)

    run(main())


def test_two_variants_are_asked_the_same_except_for_their_own_codes() -> None:
    async def asked(shortener: TinyShortener) -> list[bytes]:
        async with running(shortener) as target:
            workload = UrlShortenerWorkload()
            await workload.seed(target, ALL_OPS, SEED)
            host = target.urls[0].removeprefix("http://").encode()
            return [workload.encode(target, "create", 0, n)[1].replace(host, b"") for n in range(5)]

    one, other = run(asked(TinyShortener())), run(asked(TinyShortener(made=1_000)))
    assert one == other
    assert len(set(one)) == 5


def test_a_service_that_refuses_the_seed_ends_the_run_with_its_answer() -> None:
    async def main() -> None:
        async with running(TinyShortener()) as target:
            with pytest.raises(SeedingFailed, match="401"):
                await UrlShortenerWorkload().seed(replace(target, api_key="wrong"), ALL_OPS, SEED)

    run(main())


def test_counters_only_rise() -> None:
    async def main() -> None:
        async with running(TinyShortener()) as target:
            workload, _ = await load(target, ALL_OPS)
            before = await workload.counters(target)
            again = await workload.counters(target)
            workload, _ = await load(target, ALL_OPS)
            after = await workload.counters(target)
            assert before == again
            assert all(after[name] >= before[name] for name in before)
            assert after["store_reads"] > before["store_reads"]

    run(main())


def test_an_unknown_code_looks_like_one_and_is_the_same_each_time() -> None:
    codes = [unknown_code(str(n), 7) for n in range(500)]
    assert codes == [unknown_code(str(n), 7) for n in range(500)]
    assert len(set(codes)) == 500
    assert all(len(code) == 7 and code.isascii() and code.isalnum() for code in codes)


@pytest.mark.parametrize(
    ("response", "wanted"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: https://a/b\r\nX: y\r\n\r\n", "https://a/b"),
        (b"HTTP/1.1 302 Found\r\nx: y\r\nlocation:https://a/B \r\n\r\n", "https://a/B"),
        (b"HTTP/1.1 404 Not Found\r\nX: y\r\n\r\nlocation: https://a/b\r\n", ""),
        (b"", ""),
    ],
)
def test_the_location_is_found_in_the_head_whatever_its_spelling(response: bytes, wanted: str) -> None:
    assert location(response) == wanted
