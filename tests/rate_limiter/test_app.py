"""Every turn of every knob is a service that works; rules change while it runs; and it says what it does without."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc

from designs.building_blocks.fault_hooks import write_fault_file
from designs.building_blocks.knobs import KnobError, knob_table
from designs.rate_limiter import app as app_module
from designs.rate_limiter.app import create_app
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.limiter import Request
from designs.rate_limiter.rule_file import BadRules
from designs.rate_limiter.store_parts import AT_ONCE, DECISION_MS
from tests.rate_limiter.service import CALLER, OPERATOR, TestReplica, knobs, rule, rule_text, running_replica, settings
from tests.scenes import Clock, Wire, eventually
from workbench.processes import free_port

HOUR_US = 3_600_000_000


def turns() -> Iterator[dict[str, Any]]:
    """Each choice and each example of each knob, the others as they are by default."""
    for row in knob_table(LimiterKnobs):
        for choice in row.choices:
            if row.name != "deadline_ms":  # which a busy machine may not keep; see below
                yield {row.name: choice}
    yield {"store": "local_lease", "lease_size": 3, "clock": "client"}
    yield {"store": "sqlite", "algorithm": "sketch", "headers": "draft-06"}


@pytest.mark.parametrize("turn", [*turns()], ids=lambda turn: " ".join(f"{name}={value}" for name, value in turn.items()))
def test_every_turn_of_a_knob_is_a_service_that_admits_a_quota_and_no_more(
    turn: dict[str, Any], tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designs.building_blocks.tracing.STOP_WITHIN_S", 0.01)  # nobody takes the spans

    async def scene() -> None:
        # A deadline that a busy machine keeps: that one was not is for other tests.
        turned = knobs(**{"store": "redis", "deadline_ms": 5_000, **turn})
        slow = {"quota": 5, "per": "300d"}  # nothing comes back meanwhile, and no window ends
        rules = [rule("per-user", **slow), rule("exports", {"tenant": "*"}, slots=2, lease="1h")]
        nobody = "http://127.0.0.1:1/v1/traces"
        async with running_replica(turned, tmp_path, rules=rules, redis_url=redis_url, traces_endpoint=nobody) as replica:
            assert (await replica.http.get("/readyz")).json()["status"] == "ready"
            assert sorted(await replica.statuses({"user": "u1"}, 7)) == [200] * 5 + [429] * 2
            assert (await replica.check({"user": "u2"})).status_code == 200
            slots = [(await replica.ask("acquire", {"tenant": "t"}, token=token)).status_code for token in "abc"]
            assert slots == [200, 200, 429]
            assert not (await replica.check({"user": "u1"})).json()["degraded"]
            metrics = await replica.metrics()
            assert metrics['sd_limiter_decisions_total{domain="api",outcome="refused",rule="per-user"}'] == 3
            assert (await replica.http.get("/readyz")).json()["status"] == "ready"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        ({"store": "memory", "clock": "client"}, "clock=client is about Redis"),
        ({"store": "local_lease", "algorithm": "sketch"}, "a sketch has no key to lease for"),
        ({"store": "local_lease", "algorithm": "leaky_queue"}, "a delay is one request's, not a block's"),
        ({"deadline_ms": 0}, "greater than 0"),
    ],
)
def test_knobs_that_contradict_each_other_are_refused_with_what_would_be_right(turn: dict[str, Any], says: str) -> None:
    with pytest.raises(KnobError, match=says):
        knobs(**turn)


def test_what_a_process_cannot_do_without_it_says_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(ValueError, match="store=redis needs Redis; set REDIS_URL, or choose store=memory or sqlite"):
        create_app(knobs(store="redis"), settings(tmp_path))
    with pytest.raises(ValueError, match="traces=1 has nowhere to send its spans; set RATE_LIMITER_TRACES_ENDPOINT"):
        create_app(knobs(traces=1), settings(tmp_path))
    with pytest.raises(BadRules, match="can't be read"):
        create_app(knobs(), settings(tmp_path, rules=tmp_path / "none.yaml"))
    (tmp_path / "rules.yaml").write_text(rule_text([rule("a", algorithm="sketch")]))
    with pytest.raises(BadRules, match="store=local_lease can't lease units of sketch"):
        create_app(knobs(store="local_lease"), settings(tmp_path, rules=tmp_path / "rules.yaml"))


# -- rules that change ------------------------------------------------------------------------------------------------------------


def test_rules_change_while_requests_come_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = Clock()
        async with running_replica(knobs(), tmp_path, clock, rules=[rule("per-user", burst=2)]) as replica:
            look = replica.parts.rule_file.look
            assert await replica.statuses({"user": "u1"}, 3) == [200, 200, 429]
            replica.put_rules([rule("per-user", burst=5)])
            await look()
            assert await replica.statuses({"user": "u1"}, 4) == [200, 200, 200, 429], "of the larger burst two are taken already"
            clock.pass_s(1)
            assert await replica.statuses({"user": "u1"}, 2) == [200, 429]
            assert await replica.statuses({"user": "u2"}, 6) == [200] * 5 + [429]
            replica.put_text("domains: [")
            await look()
            assert await replica.statuses({"user": "u3"}, 6) == [200] * 5 + [429]
            replica.put_rules([rule("per-user")], mode="off")
            await look()
            assert await replica.statuses({"user": "u1"}, 9) == [200] * 9, "the kill switch"
            replica.put_rules([rule("per-user")], mode="shadow")
            await look()
            answers = [await replica.check({"user": "u4"}) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200] * 3
            assert [answer.json()["limits"][0]["allowed"] for answer in answers] == [True, False, False]
            assert all("ratelimit" not in answer.headers for answer in answers)
            metrics = await replica.metrics()
            assert metrics['sd_limiter_rule_reloads_total{outcome="loaded"}'] == 3
            assert metrics['sd_limiter_rule_reloads_total{outcome="refused"}'] == 1
            assert metrics['sd_limiter_decisions_total{domain="api",outcome="shadow_refused",rule="per-user"}'] == 2
            rules = (await replica.http.get("/v1/rules", headers=OPERATOR)).json()
            assert (rules["mode"], rules["reloads"]) == ("shadow", {"loaded": 3, "refused": 1})

    asyncio.run(scene())


def test_a_running_replica_looks_for_new_rules_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("designs.rate_limiter.rule_file.LOOK_EVERY_S", 0.01)

    async def scene() -> None:
        async with running_replica(knobs(), tmp_path, rules=[rule("a")]) as replica:
            replica.put_rules([], mode="off")

            async def taken_up() -> bool:
                return replica.parts.limiter.rules.mode == "off"

            await eventually(taken_up)

    asyncio.run(scene())


# -- without the store ------------------------------------------------------------------------------------------------------------

POLICIES = [
    rule("is-local", {"user": "*"}, per="1d", burst=2),
    rule("is-open", {"search": "*"}, on_store_down="open"),
    rule("is-closed", {"order": "*"}, on_store_down="closed"),
    rule("exports", {"tenant": "*"}, slots=1, lease="1h"),
    rule("plain", {"known": "*"}, quota=1_000_000, per="1m"),
]


async def each_policy_answers(replica: TestReplica) -> None:
    """What is said while the store says nothing."""
    local = [await replica.check({"user": "u1"}) for _ in range(3)]
    assert [answer.status_code for answer in local] == [200, 200, 429], "each replica keeps the limit on its own"
    opened = [await replica.check({"search": "s"}) for _ in range(5)]
    assert [answer.status_code for answer in opened] == [200] * 5
    closed = await replica.check({"order": "o"})
    assert closed.status_code == 503
    assert closed.json()["type"].endswith("#temporary-reduced-capacity")
    assert (closed.headers["retry-after"], closed.headers["cache-control"]) == ("1", "no-store")
    assert all(answer.json()["degraded"] for answer in [*local, *opened, closed])
    assert all(limit["degraded"] for answer in [*local, *opened, closed] for limit in answer.json()["limits"])
    slots = [(await replica.ask("acquire", {"tenant": "t"}, token=token)).status_code for token in "ab"]
    assert slots == [200, 429]
    batch = await replica.batch({"descriptor": {"search": "s"}}, {"descriptor": {"order": "o"}})
    assert [item["status"] for item in batch.json()["items"]] == [200, 503]
    for verb, more in (("refund", {}), ("reset", {})):
        refused = await replica.ask(verb, {"user": "u1"}, OPERATOR if verb == "reset" else CALLER, **more)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert isinstance(refused.json()["may_have_happened"], bool)


async def is_degraded(replica: TestReplica, dependency: str = "redis") -> bool:
    """And whether every place says the same of it. It is ready all the same."""
    ready = await replica.http.get("/readyz")
    assert ready.status_code == 200
    degraded = ready.json()["status"] == "degraded"
    assert ready.json()["checks"][dependency].startswith("down: ") == degraded
    return degraded


@pytest.mark.parametrize("breaker", ["on", "off"])
@pytest.mark.parametrize("fault", ["cut", "silent"])
def test_without_redis_each_rule_answers_as_it_was_told_and_with_it_as_before(
    fault: str, breaker: str, tmp_path: Path, redis_url: str
) -> None:
    async def scene() -> None:
        turned = knobs(store="redis", breaker=breaker, deadline_ms=5_000 if fault == "cut" else 100)
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, rules=POLICIES, redis_url=wire.url) as replica:

            async def asks_the_store() -> bool:
                return not (await replica.check({"known": "k"})).json()["degraded"]

            await eventually(asks_the_store)
            if fault == "cut":
                await wire.cut()
            else:
                wire.silent = True
            await each_policy_answers(replica)
            assert await is_degraded(replica)
            metrics = await replica.metrics()
            assert metrics['sd_degraded{dependency="redis"}'] == 1
            assert metrics['sd_limiter_degraded_total{domain="api",policy="open",rule="is-open"}'] == 6
            assert metrics['sd_limiter_degraded_total{domain="api",policy="closed",rule="is-closed"}'] == 2
            if breaker == "on":
                assert metrics['sd_breaker_state{breaker="store"}'] >= 1
                assert metrics['sd_breaker_opened_total{breaker="store"}'] >= 1
            else:
                assert not any(sample.startswith("sd_breaker") for sample in metrics)
            wire.silent = False
            if fault == "cut":
                await wire.mend()

            async def is_back() -> bool:
                return not await is_degraded(replica)

            await eventually(is_back)  # by the watch alone: nobody asks for a decision meanwhile

            await eventually(asks_the_store)

    asyncio.run(scene())


def test_leased_units_are_spent_without_redis_and_then_each_rule_answers_as_it_was_told(tmp_path: Path, redis_url: str) -> None:
    rules = [rule("orders", {"order": "*"}, quota=50, per="1d", on_store_down="closed")]

    async def scene() -> None:
        turned = knobs(store="local_lease", lease_size=5, lease_ms=60_000, deadline_ms=5_000)
        async with Wire(redis_url) as wire, running_replica(turned, tmp_path, rules=rules, redis_url=wire.url) as replica:
            for _ in range(2):  # a key that comes again gets a block
                answer = await replica.check({"order": "o"})
                assert (answer.status_code, answer.json()["degraded"]) == (200, False)
            assert (await replica.metrics())["sd_limiter_leased_units_total"] == 5
            await wire.cut()
            assert await replica.statuses({"order": "o"}, 6) == [200] * 4 + [503] * 2

    asyncio.run(scene())


def test_a_replica_that_starts_before_redis_does_without_it_and_takes_it_up(tmp_path: Path, redis_url: str) -> None:
    async def scene() -> None:
        wire = Wire(redis_url)
        await wire.mend()
        await wire.cut()
        async with running_replica(knobs(store="redis"), tmp_path, rules=POLICIES, redis_url=wire.url) as replica:
            assert await is_degraded(replica)
            assert (await replica.check({"order": "o"})).status_code == 503
            async with wire:

                async def is_back() -> bool:
                    return not await is_degraded(replica) and (await replica.check({"order": "o"})).status_code != 503

                await eventually(is_back)

    asyncio.run(scene())


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_store_that_is_slower_than_the_deadline_is_done_without(store: str, tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    write_fault_file(faults)

    async def scene() -> None:
        turned = knobs(store=store, deadline_ms=200)
        async with running_replica(turned, tmp_path, rules=POLICIES, fault_file=faults) as replica:
            assert (await replica.check({"order": "o"})).status_code == 200
            write_fault_file(faults, store_delay_us=HOUR_US)
            await each_policy_answers(replica)
            assert (await replica.metrics())['sd_fault_active{fault="slow_store"}'] == 1
            assert (await replica.metrics())['sd_degraded{dependency="store"}'] == 1
            write_fault_file(faults, store_delay_us=0)

            async def is_back() -> bool:
                return not (await replica.check({"search": "s"})).json()["degraded"]

            await eventually(is_back)

    asyncio.run(scene())


def test_a_crowd_that_a_store_has_no_room_for_is_no_failure_of_the_store(tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    write_fault_file(faults, store_delay_us=HOUR_US)

    async def scene() -> None:
        turned = knobs(store="memory", deadline_ms=2_000)
        room = AT_ONCE + int(2_000 / DECISION_MS)
        rules = [rule("orders", {"order": "*"}, on_store_down="closed")]
        async with running_replica(turned, tmp_path, rules=rules, fault_file=faults) as replica:
            store = replica.parts.limiter
            asked = [asyncio.create_task(store.check(Request("api", {"order": f"o{n}"}))) for n in range(room + 10)]
            done, waiting = await asyncio.wait(asked, timeout=0.2)
            assert len(done) == 10, "those do not wait"
            assert all(task.result().unavailable for task in done)
            assert not await is_degraded(replica, "store")
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(scene())


def test_a_clock_that_is_an_hour_off_changes_no_decision_of_redis(tmp_path: Path, redis_url: str) -> None:
    rules = [rule("hourly", quota=3, per="1h")]
    files = [tmp_path / "right", tmp_path / "wrong"]
    write_fault_file(files[0])
    write_fault_file(files[1], clock_offset_us=HOUR_US)

    async def scene() -> None:
        turned = knobs(store="redis", deadline_ms=5_000)
        async with (
            running_replica(turned, tmp_path, rules=rules, redis_url=redis_url, fault_file=files[0]) as right,
            running_replica(turned, tmp_path, rules=rules, redis_url=redis_url, fault_file=files[1]) as wrong,
        ):
            statuses = [(await replica.check({"user": "u"})).status_code for replica in (right, wrong, right, wrong)]
            assert statuses == [200, 200, 200, 429]

    asyncio.run(scene())


# -- overload ---------------------------------------------------------------------------------------------------------------------


def test_more_requests_than_there_is_room_for_are_refused_early_and_operators_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "MAX_UNDER_WAY", 1)
    faults = tmp_path / "faults"
    write_fault_file(faults, store_delay_us=HOUR_US)

    async def scene() -> None:
        async with running_replica(knobs(deadline_ms=1_000), tmp_path, rules=[rule("a")], fault_file=faults) as replica:
            asked = [replica.check({"user": "u"}) for _ in range(3)]
            *answers, ready = await asyncio.gather(*asked, replica.http.get("/readyz"))
            assert [answer.status_code for answer in answers] == [200, 503, 503]
            assert answers[1].headers["retry-after"] == "1"
            assert ready.status_code == 200
            assert (await replica.metrics())["sd_overload_refused_total"] == 2

    asyncio.run(scene())


def test_with_priorities_a_fifth_of_the_room_is_for_critical_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "MAX_UNDER_WAY", 2)
    faults = tmp_path / "faults"
    write_fault_file(faults, store_delay_us=HOUR_US)
    keys = {name: f"key-of-{name}-0123456789" for name in ("plain", "vital")}

    async def scene() -> None:
        more = {"api_keys": ",".join(f"{name}:{key}" for name, key in keys.items()), "priorities": "vital:critical"}
        turned = knobs(shed="priority", deadline_ms=5_000)
        async with running_replica(turned, tmp_path, rules=[rule("a")], fault_file=faults, **more) as replica:

            def ask(name: str) -> asyncio.Task[Any]:
                headers = {"Authorization": f"Bearer {keys[name]}"}
                return asyncio.create_task(replica.ask("check", {"user": "u"}, headers))

            async def are_under_way(number: int) -> None:
                async def so_many() -> bool:
                    return replica.parts.shedder is not None and replica.parts.shedder.under_way == number

                await eventually(so_many)

            waiting = [ask("plain")]
            await are_under_way(1)
            assert (await ask("plain")).status_code == 503
            waiting.append(ask("vital"))
            await are_under_way(2)
            assert (await replica.metrics())['sd_limiter_shed_total{priority="normal"}'] == 1
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(scene())


# -- the other door ---------------------------------------------------------------------------------------------------------------


def test_envoys_door_is_open_as_long_as_the_replica_and_counts_by_the_same_limits(tmp_path: Path) -> None:
    port = free_port()

    async def scene() -> None:
        wanted = rls_pb2.RateLimitRequest(domain="api")
        wanted.descriptors.add().entries.add(key="user", value="u1")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = rls_pb2_grpc.RateLimitServiceStub(channel)
            once = [rule("per-user", per="1d")]
            async with running_replica(knobs(), tmp_path, rules=once, grpc_port=port, grpc_key="of-the-proxy") as replica:
                key = (("authorization", "Bearer of-the-proxy"),)
                assert (await replica.check({"user": "u1"})).status_code == 200
                answer = await stub.ShouldRateLimit(wanted, metadata=key, wait_for_ready=True)
                assert answer.overall_code == rls_pb2.RateLimitResponse.OVER_LIMIT
                assert "ratelimit" in {header.key for header in answer.response_headers_to_add}
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.ShouldRateLimit(wanted)
                assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
                assert (await replica.metrics())['sd_limiter_envoy_calls_total{code="OVER_LIMIT"}'] == 1
            with pytest.raises(grpc.aio.AioRpcError) as gone:
                await stub.ShouldRateLimit(wanted, metadata=key)
            assert gone.value.code() == grpc.StatusCode.UNAVAILABLE

    asyncio.run(scene())
