"""The workload end to end against a tiny shortener: a right one is valid, and every flaw is caught by the check it belongs to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtests.completion import json_body
from loadtests.generator.arrivals import make_plan
from loadtests.generator.open_loop import LoadGenerator
from loadtests.history.operation import HistoryItem, Observation, Operation, Struck
from loadtests.history.recorded import Header, read_history, write_history
from loadtests.result import SafetyCheck
from loadtests.url_shortener import workload as module
from loadtests.url_shortener.mixes import MIXES
from loadtests.url_shortener.requests import VISITORS, location, unknown_code
from loadtests.url_shortener.workload import JUDGE, UrlShortenerWorkload
from loadtests.workload import NOT_SENT, Exchange, Mix, SeedingFailed, Target, Workload
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

RETURNING = replace(MIXES["returning"], keys=5, clients=4, rate_per_s=600.0)
JOURNEYS = replace(
    MIXES["journeys"], keys=20, rate_per_s=400.0, then={"create": ("open_new", 0.05), "open_new": ("stats_new", 0.05)}
)
A_DAY = "public, max-age=86400"


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shortener that loses clicks is waited for in vain; the tests need not wait as long as a run would."""
    monkeypatch.setattr(module, "DRAIN_S", 0.2)
    monkeypatch.setattr(module, "STALENESS_ALLOWANCE_S", 0.05)


async def load(
    target: Target, mix: Mix, rounds: int = 1, duration_s: float = 0.25, *, keep: bool = False
) -> tuple[UrlShortenerWorkload, list[Exchange]]:
    workload = UrlShortenerWorkload(keep=keep)
    await workload.seed(target, mix, SEED)
    generator = LoadGenerator(target.urls)
    exchanges: list[Exchange] = []
    try:
        for number in range(rounds):
            plan = make_plan(mix, mix.rate_per_s, duration_s, SEED, number)
            answered = await generator.replay(
                plan, lambda exchange, before: workload.encode(target, exchange, before), len(exchanges)
            )
            workload.observe(target, answered)
            exchanges += answered
    finally:
        await generator.close()
    return workload, exchanges


def encoded(workload: UrlShortenerWorkload, target: Target, op: str, serial: int) -> tuple[int, bytes]:
    request = workload.encode(target, Exchange(op, 0, serial, 0.0, 0.0, 0.0, 0.0, 0, b""), None)
    assert request is not None
    return request


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


EVERYTHING = replace(MIXES["everything"], keys=40, rate_per_s=800.0)
WITHOUT_ENDS = replace(EVERYTHING, ratios={**EVERYTHING.ratios, "brief": 0.0})  # whose end takes a second to see


def kept(flaw: Flaw = "", replicas: int = 2) -> tuple[Sequence[SafetyCheck], Header, list[HistoryItem]]:
    async def main() -> tuple[Sequence[SafetyCheck], Header, list[HistoryItem]]:
        async with running(TinyShortener(flaw), replicas) as target:
            mix = EVERYTHING if flaw in ("", "forgets ends") else WITHOUT_ENDS
            workload, _ = await load(target, mix, duration_s=0.5, keep=True)
            checks = await workload.check(target)
            return (checks, *workload.recorded(target))

    return run(main())  # type: ignore[no-any-return]


def test_a_right_shortener_that_is_asked_for_everything_is_valid_and_so_is_its_history_alone(tmp_path: Path) -> None:
    checks, header, items = kept()
    assert set(verdicts(checks).values()) == {"valid"}, checks
    assert len(checks) == 10
    assert JUDGE(header, items) == checks
    write_history(tmp_path / "history.jsonl", header, items)
    assert JUDGE(*read_history(tmp_path / "history.jsonl")) == checks
    asked = {item.f for item in items if isinstance(item, Operation)}
    assert asked == {"create", "edit", "delete", "visit", "guess", "stats", "tally", "look"}
    looked = {(item.key, item.node) for item in items if isinstance(item, Operation) and item.f == "look"}
    assert {(code, "replica-2") for code, _ in looked} | {(code, "replica-1") for code, _ in looked} == looked, "each is asked"
    assert API_KEY not in (tmp_path / "history.jsonl").read_text()


@pytest.mark.parametrize(
    ("flaw", "caught_by"),
    [
        ("hides what it missed", "a new link is found at once"),
        ("gives an alias twice", "an alias is given to one link only"),
        ("counts visits late", "no link is opened more often than its cap"),
        ("forgets ends", "no link is opened after its expiry, and none refused before it"),
        ("forgets keys", "an Idempotency-Key stands for one link"),
        ("brings back", "no acknowledged link is lost"),
        ("cuts hashes", "no two links share a code"),
    ],
)
def test_what_is_asked_for_with_everything_shows_each_of_these_flaws(flaw: Flaw, caught_by: str) -> None:
    checks, header, items = kept(flaw)
    [check] = [check for check in checks if check.name == caught_by]
    assert check.verdict == "invalid"
    assert 1 <= len(check.witness) <= 6
    assert JUDGE(header, items) == checks


def test_a_history_is_kept_only_when_it_is_wanted() -> None:
    async def main() -> None:
        async with running(TinyShortener()) as target:
            workload, _ = await load(target, ALL_OPS)
            with pytest.raises(RuntimeError, match="keep=True"):
                workload.recorded(target)

    run(main())


def test_faults_and_observations_become_part_of_the_history_on_its_own_clock() -> None:
    async def main() -> None:
        async with running(TinyShortener()) as target:
            workload = UrlShortenerWorkload(keep=True)
            began_s = time.monotonic()
            await workload.seed(target, ALL_OPS, SEED)
            now_s = time.monotonic()
            workload.strike(target, Struck("kill", "replica-1", now_s, now_s + 1.0, "named", {"x": 1.0}, "killed"))
            workload.note(target, Observation("losses", "replica-1", now_s, {"dropped": 3}))
            workload.read_page(target, "click-worker", now_s, "sd_clicks_dead_lettered_total 4.0\n")
            header, items = workload.recorded(target)
            assert header.nodes == ("replica-1",)
            [struck] = [item for item in items if isinstance(item, Struck)]
            assert (struck.schedule, struck.attributes, struck.detail) == ("named", {"x": 1.0}, "killed")
            assert 0 <= struck.began_s <= now_s - began_s
            assert struck.ended_s == pytest.approx(struck.began_s + 1.0)
            said = [item for item in items if isinstance(item, Observation) and item.at_s == struck.began_s]
            assert [(item.f, item.node, item.value) for item in said] == [
                ("losses", "replica-1", {"dropped": 3}),
                ("losses", "click-worker", {"dropped": 4, "unsure": 0}),
                ("cache", "click-worker", {"errors": 0}),
            ]

    run(main())


@pytest.mark.parametrize(
    ("knobs", "deadline_s"),
    [
        ({"cache": "aside", "cache_layers": "both"}, 0.05),
        ({"cache": "write-behind", "cache_layers": "redis"}, 0.05),
        ({"cache": "none", "cache_layers": "both"}, None),
        ({"cache": "aside", "cache_layers": "process"}, None),
    ],
)
def test_an_answer_may_take_the_caches_deadline_longer_where_there_is_a_shared_cache(
    knobs: dict[str, str], deadline_s: float | None
) -> None:
    target = Target("x", {**knobs, "cache_deadline_ms": 50.0}, ["http://127.0.0.1:1"], "", [], {})
    assert UrlShortenerWorkload().deadline_s(target) == deadline_s


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


@pytest.mark.parametrize(
    ("status", "cache_control", "remembered"),
    [
        (301, A_DAY, True),
        (301, "", True),
        (302, A_DAY, True),
        (302, "", False),
        (301, "no-store", False),
        (301, "max-age=0", False),
    ],
)
def test_a_returning_browser_asks_once_for_what_it_may_keep(status: int, cache_control: str, remembered: bool) -> None:
    async def main() -> None:
        shortener = TinyShortener(redirect=status, cache_control=cache_control)
        async with running(shortener, redirect=status) as target:
            workload, exchanges = await load(target, RETURNING, rounds=2)
            sent = [exchange for exchange in exchanges if exchange.status != NOT_SENT]
            asked = [(exchange.client, exchange.key) for exchange in sent]
            assert len(exchanges) > 100
            assert (len(set(asked)) == len(asked)) is remembered, "in both rounds together"
            assert (len(sent) == len(exchanges)) is not remembered
            assert {exchange.status for exchange in sent} == {status}
            assert {(exchange.client, exchange.key) for exchange in exchanges} == set(asked)

            counts = await workload.counters(target)
            assert counts["requests_sent"] == counts["clicks_counted"] == shortener.visits == len(sent)
            checks = await workload.check(target)
            assert set(verdicts(checks).values()) == {"valid"}, checks
            assert sum(check.counts.get("redirects", 0) for check in checks) == len(sent), "a visit nobody saw is no redirect"

    run(main())


def test_an_answer_that_goes_stale_is_asked_for_again() -> None:
    async def main() -> None:
        shortener = TinyShortener(redirect=301, cache_control="max-age=1")
        async with running(shortener, redirect=301) as target:
            workload, _ = await load(target, RETURNING)
            asked = [
                workload.encode(target, Exchange("redirect", 0, 0, due_s, 0.0, 0.0, 0.0, 0, b"", 0), None) for due_s in (0.0, 2.0)
            ]
            assert [request is None for request in asked] == [True, False]

    run(main())


def test_a_browser_forgets_with_the_next_seed_and_so_does_everything_else() -> None:
    async def main() -> None:
        async with running(TinyShortener("wrong target", redirect=301, cache_control=A_DAY), redirect=301) as target:
            workload, _ = await load(target, replace(ALL_OPS, clients=3))
            assert "invalid" in verdicts(await workload.check(target)).values()
        async with running(TinyShortener(redirect=301, cache_control=A_DAY), redirect=301) as target:
            await workload.seed(target, RETURNING, SEED)
            assert encoded(workload, target, "redirect", 0)
            assert (await workload.counters(target))["requests_sent"] == 0
            workload.observe(target, [])
            verdict = verdicts(await workload.check(target))
            assert verdict["every redirect leads where its link was sent"] == "unknown"
            assert verdict["no acknowledged link is lost"] == "valid"

    run(main())


def test_a_program_opens_the_link_it_made_and_reads_its_clicks() -> None:
    async def main() -> None:
        shortener = TinyShortener()
        async with running(shortener, 2) as target:
            workload, exchanges = await load(target, JOURNEYS)
            by_op = {op: [e for e in exchanges if e.op == op] for op in ("create", "open_new", "stats_new")}
            made = [json_body(exchange) for exchange in by_op["create"]]
            assert len(made) > 10
            assert [location(exchange.response) for exchange in by_op["open_new"]] == [link["url"] for link in made]
            read = [json_body(exchange) for exchange in by_op["stats_new"]]
            assert [(stats["code"], stats["clicks"]) for stats in read] == [(link["code"], 1) for link in made]
            checks = await workload.check(target)
            assert set(verdicts(checks).values()) == {"valid"}, checks

    run(main())


def test_a_link_that_its_maker_cannot_open_at_once_is_lost() -> None:
    checks = run(judged("slow to appear", JOURNEYS))
    assert verdicts(checks)["no acknowledged link is lost"] == "invalid"
    assert sum(check.counts.get("refused_under_load", 0) for check in checks) > 10


@pytest.mark.parametrize("status", [0, 401, 503])
def test_where_no_link_was_made_the_journey_ends(status: int) -> None:
    async def main() -> None:
        async with running(TinyShortener()) as target:
            workload = UrlShortenerWorkload()
            await workload.seed(target, JOURNEYS, SEED)
            made = Exchange("create", 0, 0, 0.0, 0.0, 0.0, 0.0, status, b"HTTP/1.1 %d No\r\n\r\n" % status)
            opened = Exchange("open_new", 0, 1, 0.0, 0.0, 0.0, 0.0, NOT_SENT, b"")
            assert workload.encode(target, opened, made) is None
            assert workload.encode(target, replace(opened, op="stats_new", serial=2), opened) is None

    run(main())


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
            sent = [encoded(workload, target, "redirect", serial) for serial in range(2 * len(VISITORS))]
            assert [replica for replica, _ in sent[:4]] == [0, 1, 0, 1]
            assert len(set(sent)) == len(sent)
            for replica, request in sent:
                assert request.endswith(b"\r\n\r\n")
                assert f"Host: {target.urls[replica].removeprefix('http://')}\r\n".encode() in request
            assert any(b"bot" in request.lower() for _, request in sent)
            assert not any(API_KEY.encode() in request for _, request in sent)
            with pytest.raises(ValueError, match="no op"):
                encoded(workload, target, "explode", 0)

    run(main())


def test_two_variants_are_asked_the_same_except_for_their_own_codes() -> None:
    async def asked(shortener: TinyShortener) -> list[bytes]:
        async with running(shortener) as target:
            workload = UrlShortenerWorkload()
            await workload.seed(target, ALL_OPS, SEED)
            host = target.urls[0].removeprefix("http://").encode()
            return [encoded(workload, target, "create", n)[1].replace(host, b"") for n in range(5)]

    one, other = run(asked(TinyShortener())), run(asked(TinyShortener(made=1_000)))
    assert one == other
    assert len(set(one)) == 5


def test_a_service_that_refuses_the_seed_ends_the_run_with_its_answer() -> None:
    async def main() -> None:
        async with running(TinyShortener()) as target:
            with pytest.raises(SeedingFailed, match="401"):
                await UrlShortenerWorkload().seed(replace(target, api_key="wrong"), ALL_OPS, SEED)

    run(main())


def test_a_store_that_has_only_just_started_is_asked_again_for_what_it_could_not_do() -> None:
    class Waking(TinyShortener):
        """Refuses every second link of a bulk request, `refusals` times."""

        def __init__(self, refusals: int) -> None:
            super().__init__()
            self.refusals = refusals

        def answer(self, *asked: Any) -> Any:
            status, document, location = super().answer(*asked)
            if isinstance(document, dict) and "items" in document and self.refusals:
                self.refusals -= 1
                document["items"][::2] = [{"status": 503, "problem": {}} for _ in document["items"][::2]]
            return status, document, location

    async def seeded(refusals: int) -> list[HistoryItem]:
        workload = UrlShortenerWorkload(keep=True)
        async with running(Waking(refusals)) as target:
            await workload.seed(target, ALL_OPS, SEED)
            assert encoded(workload, target, "redirect", 0)
            return workload.recorded(target)[1]

    outcomes = Counter(item.outcome for item in run(seeded(2)) if isinstance(item, Operation) and item.f == "create")
    assert outcomes["ok"] == ALL_OPS.keys
    assert outcomes["info"] > ALL_OPS.keys // 2, "those may be there too, and the history says so"
    with pytest.raises(SeedingFailed, match="503"):
        run(seeded(100))


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
