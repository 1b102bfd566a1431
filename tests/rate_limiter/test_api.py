"""The API as its callers see it: verdicts, refusals, and what it does with what can't be meant."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from designs.building_blocks.problem_details import MEDIA_TYPE
from designs.rate_limiter.api import BATCH_AT_ONCE
from designs.rate_limiter.app import BODY_LIMIT_BYTES
from designs.rate_limiter.limiter import Limiter, Verdict
from designs.rate_limiter.schemas import MAX_BATCH, MAX_ENTRIES
from tests.rate_limiter.service import CALLER, OPERATOR, TestReplica, knobs, rule, running_replica
from tests.scenes import Clock

Scene = Callable[[TestReplica, Clock], Awaitable[None]]


def play(scene: Scene, folder: Path, *rules: dict[str, Any], **turned: Any) -> None:
    """The scene with a replica in memory, whose clock stands still until it is moved."""

    async def run() -> None:
        clock = Clock()
        async with running_replica(knobs(**turned), folder, clock, rules=rules) as replica:
            await scene(replica, clock)

    asyncio.run(run())


def problem(answer: httpx2.Response, status: int, kind: str) -> dict[str, Any]:
    """The document of a refusal that has to be of this kind."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"].endswith(kind), document
    return document


# -- check ------------------------------------------------------------------------------------------------------------------------


def test_a_check_says_what_every_rule_said_in_body_and_fields(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        answer = await replica.check({"user": "u1", "tenant": "acme"}, cost=2)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["ratelimit-policy"] == '"per-user";q=5;w=5, "per-tenant";q=60;w=60'
        assert answer.headers["ratelimit"] == '"per-user";r=3;t=2, "per-tenant";r=58;t=2'
        assert "retry-after" not in answer.headers
        assert answer.json() == {
            "allowed": True,
            "degraded": False,
            "delay_us": 0,
            "limits": [
                said("per-user", 5, 3, 2_000_000),
                said("per-tenant", 60, 58, 2_000_000),
                said("trial", 1, 1, 0, allowed=False, retry_after_us=None, shadow=True),
            ],
        }

    per_tenant = rule("per-tenant", {"tenant": "*"}, quota=60, per="1m")
    play(scene, tmp_path, rule("per-user", burst=5), per_tenant, rule("trial", mode="shadow"))


def said(name: str, limit: int, remaining: int, reset_after_us: int, **more: Any) -> dict[str, Any]:
    plain = {"allowed": True, "retry_after_us": 0, "shadow": False, "degraded": False}
    return {"rule": name, "limit": limit, "remaining": remaining, "reset_after_us": reset_after_us, **plain, **more}


def test_a_refusal_is_a_problem_with_the_wait_and_the_same_limits_and_takes_nothing_of_any_rule(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, clock: Clock) -> None:
        both = {"user": "u1", "tenant": "acme"}
        assert await replica.statuses(both, 3) == [200, 429, 429]
        answer = await replica.check(both)
        document = problem(answer, 429, "#quota-exceeded")
        assert answer.headers["retry-after"] == "1"
        assert document["violated-policies"] == ["per-user"]
        assert [limit["remaining"] for limit in document["limits"]] == [0, 59], "what one refuses the other does not count"
        assert document["limits"][0]["retry_after_us"] == 1_000_000
        clock.pass_s(0.999999)
        assert (await replica.check(both)).status_code == 429
        clock.pass_s(0.000001)
        assert (await replica.check(both)).status_code == 200, "the wait it was told is the shortest there is"

    play(scene, tmp_path, rule("per-user"), rule("per-tenant", {"tenant": "*"}, quota=60, per="1m"))


def test_a_cost_that_can_never_pass_is_no_matter_of_waiting(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        answer = await replica.check({"user": "u1"}, cost=2)
        document = problem(answer, 422, "/cost-above-capacity")
        assert "retry-after" not in answer.headers
        assert document["limits"][0]["retry_after_us"] is None
        assert (await replica.check({"user": "u1"})).status_code == 200

    play(scene, tmp_path, rule("per-user"))


def test_who_no_rule_is_for_passes_and_is_counted_as_that(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        answer = await replica.check({"address": "192.0.2.1"})
        assert (answer.status_code, answer.json()["limits"]) == (200, [])
        assert "ratelimit" not in answer.headers
        assert (await replica.metrics())["sd_limiter_unmatched_total"] == 1

    play(scene, tmp_path, rule("per-user"))


def test_a_tier_chooses_the_limit_and_an_unknown_one_has_the_usual(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        assert await replica.statuses({"user": "pro"}, 4, tier="pro") == [200, 200, 200, 429]
        assert await replica.statuses({"user": "free"}, 2, tier="gold") == [200, 429]

    play(scene, tmp_path, rule("per-user", tiers={"pro": {"quota": 3}}))


def test_a_leaky_queue_says_how_long_to_wait_before_going_on(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        delays = [(await replica.check({"user": "u1"})).json()["delay_us"] for _ in range(3)]
        assert delays == [0, 1_000_000, 2_000_000]

    play(scene, tmp_path, rule("per-user", algorithm="leaky_queue", burst=3))


@pytest.mark.parametrize(
    ("style", "wanted"),
    [
        ("current", {"ratelimit-policy", "ratelimit"}),
        ("draft-06", {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"}),
        ("x-ratelimit", {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}),
        ("none", set()),
    ],
)
def test_the_knob_chooses_the_family_of_fields(style: str, wanted: set[str], tmp_path: Path) -> None:
    async def scene(replica: TestReplica, clock: Clock) -> None:
        allowed, refused = await replica.check({"user": "u1"}), await replica.check({"user": "u1"})
        for answer in (allowed, refused):
            assert {name for name in answer.headers if "ratelimit" in name} == wanted
        assert refused.headers["retry-after"] == "1"
        if style == "x-ratelimit":
            assert int(refused.headers["x-ratelimit-reset"]) == clock.now_us // 1_000_000 + 1

    play(scene, tmp_path, rule("per-user"), headers=style)


# -- batch, peek, refund, reset ---------------------------------------------------------------------------------------------------


def test_a_batch_answers_200_and_each_item_for_itself(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        answer = await replica.batch(
            {"descriptor": {"user": "u1"}},
            {"descriptor": {"user": "u1"}},
            {"descriptor": {"user": "u2"}, "cost": 5},
            {"descriptor": {"user": "u2"}},
            {"domain": "nowhere", "descriptor": {"user": "u3"}},
        )
        assert answer.status_code == 200
        items = answer.json()["items"]
        assert [item["status"] for item in items] == [200, 429, 422, 200, 404]
        assert items[0]["verdict"]["limits"][0]["remaining"] == 0
        assert items[1]["problem"]["violated-policies"] == ["per-user"]
        assert all(("verdict" in item) != ("problem" in item) for item in items)

    play(scene, tmp_path, rule("per-user"))


def test_a_batch_of_one_key_admits_exactly_the_limit(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        answer = await replica.batch(*[{"descriptor": {"user": "u1"}}] * MAX_BATCH)
        assert sum(item["status"] == 200 for item in answer.json()["items"]) == 37

    play(scene, tmp_path, rule("per-user", burst=37))


def test_of_a_batch_only_some_wait_for_the_store_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way = [0, 0]  # now, and at most

    async def slow(*_: object) -> Verdict:
        under_way[0] += 1
        under_way[1] = max(under_way)
        await asyncio.sleep(0)
        under_way[0] -= 1
        return Verdict(True)

    async def scene(replica: TestReplica, _: Clock) -> None:
        monkeypatch.setattr(Limiter, "check", slow)
        answer = await replica.batch(*[{"descriptor": {"user": "u1"}}] * MAX_BATCH)
        assert [item["status"] for item in answer.json()["items"]] == [200] * MAX_BATCH
        assert under_way == [0, BATCH_AT_ONCE]

    play(scene, tmp_path, rule("per-user"))


def test_a_peek_says_what_a_check_would_be_told_and_counts_nothing(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        for _ in range(3):
            answer = await replica.ask("peek", {"user": "u1"})
            assert (answer.status_code, answer.json()["allowed"]) == (200, True)
        assert await replica.statuses({"user": "u1"}, 1) == [200]
        answer = await replica.ask("peek", {"user": "u1"})
        assert (answer.status_code, answer.json()["allowed"]) == (200, False)
        assert answer.json()["limits"][0]["retry_after_us"] == 1_000_000
        assert (await replica.ask("peek", {"user": "u1"}, cost=0)).json()["allowed"]
        assert (await replica.metrics())['sd_limiter_decisions_total{domain="api",outcome="allowed",rule="per-user"}'] == 1

    play(scene, tmp_path, rule("per-user"))


def test_a_refund_gives_back_what_was_taken_and_never_more(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        assert (await replica.check({"user": "u1"}, cost=5)).status_code == 200
        assert (await replica.ask("refund", {"user": "u1"}, cost=3)).status_code == 204
        assert await replica.statuses({"user": "u1"}, 4) == [200, 200, 200, 429]
        for _ in range(2):
            assert (await replica.ask("refund", {"user": "u1"}, cost=100)).status_code == 204
        assert await replica.statuses({"user": "u1"}, 6) == [200] * 5 + [429]

    play(scene, tmp_path, rule("per-user", burst=5))


def test_a_reset_is_the_operators_and_forgets_what_was_used(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        assert await replica.statuses({"user": "u1"}, 2) == [200, 429]
        problem(await replica.ask("reset", {"user": "u1"}), 403, "/operators-only")
        assert await replica.statuses({"user": "u1"}, 1) == [429]
        assert (await replica.ask("reset", {"user": "u1"}, OPERATOR)).status_code == 204
        assert await replica.statuses({"user": "u1"}, 2) == [200, 429]

    play(scene, tmp_path, rule("per-user"))


def test_a_sketch_can_give_nothing_back_and_says_so(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        assert (await replica.check({"user": "u1"})).status_code == 200
        problem(await replica.ask("refund", {"user": "u1"}), 422, "/not-kept")
        problem(await replica.ask("reset", {"user": "u1"}, OPERATOR), 422, "/not-kept")

    play(scene, tmp_path, rule("per-user", algorithm="sketch"))


# -- slots ------------------------------------------------------------------------------------------------------------------------


def test_slots_are_acquired_renewed_and_released_by_their_token(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, clock: Clock) -> None:
        async def ask(verb: str, token: str) -> httpx2.Response:
            return await replica.ask(verb, {"tenant": "acme"}, token=token)

        answer = await ask("acquire", "a")
        assert (answer.status_code, answer.json()["limits"][0]["remaining"]) == (200, 1)
        assert answer.headers["ratelimit-policy"] == '"exports";q=2;qu="concurrent-requests"'
        assert (await ask("acquire", "b")).status_code == 200
        refused = await ask("acquire", "c")
        assert problem(refused, 429, "#quota-exceeded")["violated-policies"] == ["exports"]
        assert refused.headers["retry-after"] == "30", "until the first of them ends, unless it is renewed"
        assert (await ask("release", "a")).json() == {"released": True}
        assert (await ask("release", "a")).json() == {"released": False}
        assert (await ask("acquire", "c")).status_code == 200
        clock.pass_s(29)
        assert (await ask("renew", "b")).json() == {"held": True}
        clock.pass_s(1)
        problem(await ask("renew", "c"), 409, "/lease-lost")
        assert (await ask("acquire", "d")).status_code == 200
        assert (await ask("renew", "b")).status_code == 200

    play(scene, tmp_path, rule("exports", {"tenant": "*"}, slots=2, lease="30s"))


# -- the operator -----------------------------------------------------------------------------------------------------------------


def test_the_operator_sees_the_rules_in_force(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        problem(await replica.http.get("/v1/rules", headers=CALLER), 403, "/operators-only")
        document = (await replica.http.get("/v1/rules", headers=OPERATOR)).json()
        assert document["version"] == replica.parts.limiter.rules.version
        assert document["mode"] == "on"
        assert document["reloads"] == {"loaded": 0, "refused": 0}
        assert document["domains"] == {
            "api": {
                "mode": "on",
                "rules": [
                    {
                        "name": "per-user",
                        "match": {"user": "*"},
                        "algorithm": "gcra",
                        "quota": 1,
                        "period_us": 1_000_000,
                        "burst": 1,
                        "tiers": {"pro": {"algorithm": "gcra", "quota": 3, "period_us": 1_000_000, "burst": 3}},
                        "on_store_down": "closed",
                        "mode": "shadow",
                    },
                    {
                        "name": "exports",
                        "match": {"tenant": "*"},
                        "slots": 2,
                        "lease_us": 30_000_000,
                        "tiers": {},
                        "on_store_down": "local",
                        "mode": "on",
                    },
                ],
            }
        }

    first = rule("per-user", tiers={"pro": {"quota": 3}}, on_store_down="closed", mode="shadow")
    play(scene, tmp_path, first, rule("exports", {"tenant": "*"}, slots=2, lease="30s"))


def test_without_an_operators_key_nobody_is_the_operator(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_replica(knobs(), tmp_path, rules=[rule("a")], admin_key=None) as replica:
            for headers in (OPERATOR, {"Authorization": "Bearer "}, {}):
                problem(await replica.http.get("/v1/rules", headers=headers), 403, "/operators-only")

    asyncio.run(scene())


# -- what can't be meant ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer wrong-key", "Basic caller-key-0123456789", "Bearer é"])
@pytest.mark.parametrize("verb", ["check", "check/batch", "peek", "refund", "acquire", "renew", "release"])
def test_nobody_asks_without_a_key_of_ours(verb: str, authorization: str, tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        headers = [(b"authorization", authorization.encode("latin-1"))]
        answer = await replica.http.post(f"/v1/{verb}", json={}, headers=headers)
        problem(answer, 401, "/not-authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"

    play(scene, tmp_path, rule("per-user"))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"domain": "api"},
        {"domain": "api", "descriptor": {}},
        {"domain": "api", "descriptor": {"user": ""}},
        {"domain": "api", "descriptor": {"": "u1"}},
        {"domain": "api", "descriptor": {"user": "a\nb"}},
        {"domain": "api", "descriptor": {"user": "a\x7f"}},
        {"domain": "api", "descriptor": {"us\x00er": "a"}},
        {"domain": "api", "descriptor": {"user": "u" * 513}},
        {"domain": "api", "descriptor": {"u" * 65: "a"}},
        {"domain": "api", "descriptor": {f"k{n}": "v" for n in range(MAX_ENTRIES + 1)}},
        {"domain": "api", "descriptor": {"user": 5}},
        {"domain": "api", "descriptor": {"user": None}},
        {"domain": "api", "descriptor": [["user", "u1"]]},
        {"domain": "", "descriptor": {"user": "u1"}},
        {"domain": "a b", "descriptor": {"user": "u1"}},
        {"domain": "api", "descriptor": {"user": "u1"}, "cost": 0},
        {"domain": "api", "descriptor": {"user": "u1"}, "cost": -1},
        {"domain": "api", "descriptor": {"user": "u1"}, "cost": 1.5},
        {"domain": "api", "descriptor": {"user": "u1"}, "cost": 1 << 60},
        {"domain": "api", "descriptor": {"user": "u1"}, "cost": "many"},
        {"domain": "api", "descriptor": {"user": "u1"}, "tier": "t" * 65},
        {"domain": "api", "descriptor": {"user": "u1"}, "costs": 1},
    ],
)
def test_a_body_that_cannot_be_meant_is_refused_and_counts_nothing(body: dict[str, Any], tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        for verb in ("check", "refund"):
            answer = await replica.http.post(f"/v1/{verb}", json=body, headers=CALLER)
            assert problem(answer, 422, "/invalid-request")["errors"]
        assert replica.parts.limiter.totals.decisions.total() == replica.parts.limiter.totals.unmatched == 0

    play(scene, tmp_path, rule("per-user"))


@pytest.mark.parametrize(
    "content", [b"", b"[", b"null", b"5", b'"x"', b"\xff\xfe", b'{"domain": "api", "descriptor": {"user": "\\ud800"}}']
)
def test_what_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        headers = {**CALLER, "Content-Type": "application/json"}
        answer = await replica.http.post("/v1/check", content=content, headers=headers)
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == MEDIA_TYPE

    play(scene, tmp_path, rule("per-user"))


def test_a_domain_that_no_rule_file_has_is_not_found_by_any_verb(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        for verb in ("check", "peek", "refund", "acquire", "renew", "release"):
            more = {"token": "t"} if verb in ("acquire", "renew", "release") else {}
            document = problem(await replica.ask(verb, {"user": "u1"}, domain="nowhere", **more), 404, "/no-such-domain")
            assert "nowhere" in document["detail"]
        problem(await replica.ask("reset", {"user": "u1"}, OPERATOR, domain="nowhere"), 404, "/no-such-domain")

    play(scene, tmp_path, rule("per-user"))


@pytest.mark.parametrize("token", [None, "", "a b", "é", "t" * 129])
def test_a_token_is_visible_ascii_and_has_to_be_there(token: str | None, tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        more = {"token": token} if token is not None else {}
        for verb in ("acquire", "renew", "release"):
            problem(await replica.ask(verb, {"tenant": "acme"}, **more), 422, "/invalid-request")

    play(scene, tmp_path, rule("exports", {"tenant": "*"}, slots=2, lease="30s"))


def test_a_batch_has_one_item_at_least_and_a_hundred_at_most(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        problem(await replica.batch(), 422, "/invalid-request")
        problem(await replica.batch(*[{"descriptor": {"user": "u1"}}] * (MAX_BATCH + 1)), 422, "/invalid-request")
        assert replica.parts.limiter.totals.decisions.total() == 0

    play(scene, tmp_path, rule("per-user"))


def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        answer = await replica.http.post("/v1/check", content=b"x" * (BODY_LIMIT_BYTES + 1), headers=CALLER)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == MEDIA_TYPE

    play(scene, tmp_path, rule("per-user"))


def test_the_document_of_the_api_has_every_route_and_no_id_twice(tmp_path: Path) -> None:
    async def scene(replica: TestReplica, _: Clock) -> None:
        document = (await replica.http.get("/openapi.json")).json()
        verbs = {"check", "check/batch", "peek", "refund", "reset", "acquire", "renew", "release", "rules"}
        assert {f"/v1/{verb}" for verb in verbs} <= document["paths"].keys()
        ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
        assert len(ids) == len(set(ids))
        assert document["paths"]["/v1/check"]["post"]["responses"].keys() == {"200", "422", "429", "503"}

    play(scene, tmp_path, rule("per-user"))
