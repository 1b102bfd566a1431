"""In front of a real application: who is refused never reaches it, who is let in is told where it stands, and slots come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from structlog.testing import capture_logs

from designs.building_blocks.client_address import parse_proxies
from designs.rate_limiter.middleware import RateLimit
from designs.rate_limiter.principals import principals_of
from tests.rate_limiter.edge import Call, Store, client_of, limiter_of
from tests.virtual_time import now_s, run

PER_IP = """
- {name: per-ip, match: {ip: "*"}, quota: 2, per: 10s}
"""
TWO_RULES = """
- {name: per-ip, match: {ip: "*"}, quota: 100, per: 1s}
- {name: per-route, match: {ip: "*", route: "*"}, quota: 2, per: 10s}
"""
SLOTS = """
- {name: per-ip, match: {ip: "*"}, quota: 10, per: 10s, algorithm: fixed_window}
- {name: exports, match: {route: /export}, slots: 1, lease: 3s}
"""
ONE_ROUTE = """
- {name: item, match: {route: "/items/{id}"}, quota: 1, per: 1m}
"""
OPEN_SLOTS = """
- {name: exports, match: {route: /export}, slots: 2, lease: 3s, on_store_down: open}
- {name: fewer, match: {route: /export}, slots: 1, lease: 3s, on_store_down: open, mode: shadow}
"""
TIERS = """
- {name: per-ip, match: {ip: "*"}, quota: 4, per: 1m, algorithm: fixed_window, tiers: {pro: {quota: 8}}}
"""
QUEUE = """
- {name: even, match: {ip: "*"}, quota: 1, per: 1s, burst: 5, algorithm: leaky_queue}
"""


class Api:
    """The application behind: counts who comes, and works until it is told to go on."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.begun, self.go = asyncio.Semaphore(0), asyncio.Event()
        app = self.app = FastAPI()

        @app.get("/items/{id}")
        async def item(id: str) -> str:
            self.calls.append((id, now_s()))
            return id

        @app.get("/export")
        async def export() -> str:
            self.begun.release()
            await self.go.wait()
            return "exported"

        @app.get("/bug")
        async def bug() -> str:
            raise RuntimeError("a bug")

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            async def parts() -> AsyncIterator[bytes]:
                yield b"one"
                await self.go.wait()
                yield b"two"

            return StreamingResponse(parts())

        @app.get("/healthz")
        async def health() -> str:
            return "well"

        @app.websocket("/live")
        async def live(socket: WebSocket) -> None:
            await socket.accept()
            self.begun.release()
            await socket.receive_text()


def scene(test: Any) -> None:
    run(test())


def test_it_refuses_with_a_problem_and_the_application_never_hears_of_it() -> None:
    async def test() -> None:
        limiter, _ = limiter_of(PER_IP)
        api = Api()
        async with client_of(RateLimit(api.app, limiter, "api")) as client:
            allowed = [await client.get(f"/items/{n}") for n in range(2)]
            assert [each.headers["ratelimit"] for each in allowed] == ['"per-ip";r=1;t=5', '"per-ip";r=0;t=10']
            assert allowed[0].headers["ratelimit-policy"] == '"per-ip";q=2;w=10'
            refused = await client.get("/items/3")
            assert refused.status_code == 429
            assert refused.headers["content-type"] == "application/problem+json"
            assert (refused.headers["retry-after"], refused.headers["cache-control"]) == ("5", "no-store")
            assert refused.headers["ratelimit"] == '"per-ip";r=0;t=5'
            assert [name for name, _ in refused.headers.multi_items()].count("retry-after") == 1
            assert refused.json()["violated-policies"] == ["per-ip"]
            assert [name for name, _ in api.calls] == ["0", "1"]
            await asyncio.sleep(5)
            assert (await client.get("/items/4")).status_code == 200, "a wait as long as told is enough"

    scene(test)


def test_paths_of_one_template_share_their_limit_and_made_up_paths_share_one_too() -> None:
    async def test() -> None:
        limiter, store = limiter_of(TWO_RULES)
        async with client_of(RateLimit(Api().app, limiter, "api")) as client:
            assert [(await client.get(f"/items/{n}")).status_code for n in range(3)] == [200, 200, 429]
            assert [(await client.get(f"/guess/{n}")).status_code for n in range(3)] == [404, 404, 429]
            assert store.asked == ["take"] * 6, "two rules, one round trip each"

    scene(test)


def test_it_works_as_the_frameworks_own_middleware_too() -> None:
    async def test() -> None:
        limiter, _ = limiter_of(TWO_RULES)
        api = Api()
        api.app.add_middleware(RateLimit, limiter=limiter, domain="api")
        async with client_of(api.app) as client:
            assert [(await client.get(f"/items/{n}")).status_code for n in range(3)] == [200, 200, 429]
            assert (await client.get("/export/more")).headers["ratelimit"].count("per-route") == 1

    scene(test)


def test_an_applications_own_root_path_and_a_parent_that_mounts_it_change_no_template() -> None:
    async def test() -> None:
        limiter, _ = limiter_of(ONE_ROUTE)
        rooted = FastAPI()
        rooted.root_path = "/front"
        rooted.mount("/", Api().app)
        async with client_of(RateLimit(rooted, limiter, "api")) as client:
            assert [(await client.get(path)).status_code for path in ("/front/items/1", "/items/2")] == [200, 429]
        limiter, _ = limiter_of(ONE_ROUTE)
        parent = FastAPI()
        parent.mount("/part", RateLimit(Api().app, limiter, "api"))
        async with client_of(parent) as client:
            assert [(await client.get(f"/part/items/{n}")).status_code for n in (1, 2)] == [200, 429]

    scene(test)


def test_clients_are_told_apart_by_the_hop_that_a_trusted_proxy_names() -> None:
    async def test() -> None:
        limiter, _ = limiter_of(PER_IP)
        proxies = parse_proxies("10.0.0.0/8")
        app = RateLimit(Api().app, limiter, "api", describe=lambda scope: principals_of(scope, proxies))

        async def asked(by: str, says: str) -> int:
            async with client_of(app, (by, 1)) as client:
                return (await client.get("/items/1", headers={"X-Forwarded-For": says})).status_code

        assert [await asked("192.0.2.1", f"198.51.100.{n}") for n in range(3)] == [200, 200, 429], "a claim is no new client"
        assert [await asked("10.0.0.1", f"198.51.100.{n}, 203.0.113.9") for n in range(3)] == [200, 200, 429]
        assert await asked("10.0.0.2", "203.0.113.10") == 200
        v6 = [await asked("10.0.0.1", f"2001:db8:0:1::{n}") for n in range(3)]
        assert v6 == [200, 200, 429], "a /64 is one client"

    scene(test)


def test_tier_and_cost_are_the_applications_to_say() -> None:
    async def test() -> None:
        limiter, _ = limiter_of(TIERS)
        tier, cost = "", 3
        app = RateLimit(Api().app, limiter, "api", tier=lambda _: tier, cost=lambda _, template: cost if template != "/bug" else -1)
        async with client_of(app) as client:
            assert [(await client.get("/items/1")).status_code for _ in range(2)] == [200, 429]
            cost = 5
            never = await client.get("/items/1")
            assert (never.status_code, never.headers.get("retry-after")) == (422, None)
            tier = "pro"
            assert (await client.get("/items/1")).status_code == 200
            cost = 0
            assert (await client.get("/items/1")).status_code == 200, "what costs nothing passes"
            with pytest.raises(ValueError, match="give quota away"):
                await Call(app, "/bug").task

    scene(test)


def test_methods_that_callers_make_up_are_one() -> None:
    async def test() -> None:
        limiter, _ = limiter_of('- {name: per-method, match: {ip: "*", method: "*"}, quota: 1, per: 1m}')
        async with client_of(RateLimit(Api().app, limiter, "api")) as client:
            assert [(await client.request(f"MADE{n}", "/items/1")).status_code for n in range(2)] == [405, 429]
            assert (await client.get("/items/1")).status_code == 200

    scene(test)


def test_probes_and_lifespan_pass_and_nobody_counts_them() -> None:
    async def test() -> None:
        limiter, store = limiter_of(PER_IP)
        app = RateLimit(Api().app, limiter, "api")
        async with client_of(app) as client:
            assert {(await client.get("/healthz")).status_code for _ in range(5)} == {200}
            assert store.asked == []
            assert [(await client.get("/metrics")).status_code for _ in range(3)] == [404, 404, 429], "this one has no metrics"
        types: list[str] = []

        async def behind(scope: Any, receive: Any, send: Any) -> None:
            types.append(scope["type"])

        await RateLimit(behind, limiter, "api")({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
        assert types == ["lifespan"]

    scene(test)


def test_a_stream_has_the_fields_on_its_head_before_its_end_is_known() -> None:
    async def test() -> None:
        limiter, _ = limiter_of(PER_IP)
        api = Api()
        call = Call(RateLimit(api.app, limiter, "api"), "/stream")
        await asyncio.sleep(1)
        assert call.headers[b"ratelimit"] == b'"per-ip";r=1;t=5'
        assert [message.get("body") for message in call.sent[1:]] == [b"one"]
        api.go.set()
        await call.task
        assert call.sent[-2]["body"] == b"two"

    scene(test)


def test_a_queue_lets_requests_through_evenly_and_refuses_whom_it_would_keep_too_long() -> None:
    async def test() -> None:
        limiter, store = limiter_of(QUEUE)
        api = Api()
        app = RateLimit(api.app, limiter, "api", max_delay_s=2.5)
        async with client_of(app) as client:
            answers = await asyncio.gather(*(client.get(f"/items/{n}") for n in range(4)))
            assert [each.status_code for each in answers] == [200, 200, 200, 429]
            assert [at_s for _, at_s in api.calls] == pytest.approx([0, 1, 2])
            assert answers[3].headers["retry-after"] == "1"
            assert store.asked.count("give_back") == 1
            assert (app.totals.delayed, app.totals.too_long) == (2, 1)
            assert (await client.get("/items/5")).status_code == 200
            assert api.calls[-1][1] == pytest.approx(3), "who was refused has left no gap"

    scene(test)


def test_no_more_wait_than_may() -> None:
    async def test() -> None:
        limiter, _ = limiter_of(QUEUE)
        app = RateLimit(Api().app, limiter, "api", max_waiting=1)
        async with client_of(app) as client:
            answers = await asyncio.gather(*(client.get(f"/items/{n}") for n in range(4)))
            assert sorted(each.status_code for each in answers) == [200, 200, 503, 503]
            given_up = Call(app, "/items/5")
            await asyncio.sleep(0.5)
            given_up.task.cancel()
            await asyncio.gather(given_up.task, return_exceptions=True)
            assert (await client.get("/items/6")).status_code == 200, "who waits no longer makes room"
            assert app.totals.delayed == 3

    scene(test)


def test_a_slot_is_held_while_the_work_runs_and_longer_than_a_lease() -> None:
    async def test() -> None:
        limiter, store = limiter_of(SLOTS)
        api = Api()
        app = RateLimit(api.app, limiter, "api", slots=["*"])
        async with client_of(app) as client:
            working = asyncio.create_task(client.get("/export"))
            await api.begun.acquire()
            await asyncio.sleep(20.5)
            assert store.asked.count("renew") == 20
            refused = await client.get("/export")
            assert refused.status_code == 429
            assert refused.headers["ratelimit-policy"] == '"exports";q=1;qu="concurrent-requests"'
            api.go.set()
            done = await working
            assert done.headers["ratelimit"].startswith('"per-ip";r=9'), "rate and slot in one answer"
            assert '"exports";r=0' in done.headers["ratelimit"]
            store.asked.clear()
            assert (await client.get("/export")).status_code == 200
            assert store.asked == ["take", "acquire", "release"]
            await asyncio.sleep(10)
            assert store.asked == ["take", "acquire", "release"], "nobody renews what was released"

    scene(test)


def test_whom_no_slot_was_free_for_gets_its_units_back() -> None:
    async def test() -> None:
        limiter, _ = limiter_of(SLOTS)
        api = Api()
        async with client_of(RateLimit(api.app, limiter, "api", slots=["*"])) as client:
            working = asyncio.create_task(client.get("/export"))
            await api.begun.acquire()
            assert {(await client.get("/export")).status_code for _ in range(20)} == {429}
            left = (await client.get("/items/1")).headers["ratelimit"]
            assert left.startswith('"per-ip";r=8'), "of ten, the export and this one took theirs"
            api.go.set()
            await working

    scene(test)


@pytest.mark.parametrize("how", ["exception", "cancelled", "disconnected"])
def test_a_slot_comes_back_whatever_becomes_of_the_request(how: str) -> None:
    async def test() -> None:
        limiter, store = limiter_of(SLOTS.replace("/export", '"*"'))
        api = Api()
        app = RateLimit(api.app, limiter, "api", slots=["*"])
        path = {"exception": "/bug", "cancelled": "/export", "disconnected": "/stream"}[how]
        call = Call(app, path)
        await asyncio.sleep(1.5)
        if how == "cancelled":
            call.task.cancel()
        if how == "disconnected":
            call.inbox.put_nowait({"type": "http.disconnect"})
        await asyncio.gather(call.task, return_exceptions=True)
        await asyncio.sleep(0)
        assert store.asked[-1] == "release"
        api.go.set()
        again = Call(app, path.replace("/bug", "/items/1"))
        await again.task
        assert again.sent[0]["status"] == 200

    scene(test)


def test_a_slot_comes_back_when_the_request_is_cancelled_while_it_is_being_acquired_or_released() -> None:
    class Slow(Store):
        async def acquire(self, demands: Any, token: str) -> Any:
            taken = await super().acquire(demands, token)
            await asyncio.sleep(1)
            return taken

        async def release(self, demands: Any, token: str) -> bool:
            await asyncio.sleep(1)
            return await super().release(demands, token)

    async def test() -> None:
        limiter, _ = limiter_of(SLOTS, Slow())
        api = Api()
        api.go.set()
        app = RateLimit(api.app, limiter, "api", slots=["*"])
        for cancelled_at_s in (0.5, 1.5):
            call = Call(app, "/export")
            await asyncio.sleep(cancelled_at_s)
            call.task.cancel()
            await asyncio.gather(call.task, return_exceptions=True)
            await asyncio.sleep(1.2)  # the lease that was taken at the beginning would run on
            again = Call(app, "/export")
            await again.task
            assert again.sent[0]["status"] == 200, f"cancelled after {cancelled_at_s} s"

    scene(test)


def test_work_goes_on_when_its_lease_is_lost_or_the_store_goes_away_and_both_are_counted() -> None:
    async def test() -> None:
        limiter, store = limiter_of(SLOTS)
        api = Api()
        app = RateLimit(api.app, limiter, "api", slots=["*"])
        call = Call(app, "/export")
        await api.begun.acquire()
        store.away = True
        await asyncio.sleep(4.5)
        store.away = False
        await asyncio.sleep(1)
        assert app.totals.lost_leases == 1
        store.away = True
        api.go.set()
        await call.task
        assert call.sent[0]["status"] == 200
        assert app.totals.not_given_back == 1

    scene(test)


def test_a_mistake_in_renewing_is_logged_and_the_answer_is_the_applications() -> None:
    class Broken(Store):
        async def renew(self, demands: Any, token: str) -> bool:
            raise RuntimeError("a mistake")

    async def test() -> None:
        limiter, store = limiter_of(SLOTS, Broken())
        api = Api()
        call = Call(RateLimit(api.app, limiter, "api", slots=["*"]), "/export")
        await api.begun.acquire()
        await asyncio.sleep(2)
        api.go.set()
        with capture_logs() as lines:
            await call.task
        assert [line["event"] for line in lines] == ["slots_not_renewed"]
        assert (call.sent[0]["status"], store.asked[-1]) == (200, "release")

    scene(test)


def test_a_slot_that_is_not_held_is_not_renewed() -> None:
    async def test() -> None:
        limiter, store = limiter_of(OPEN_SLOTS)
        api = Api()
        app = RateLimit(api.app, limiter, "api", slots=["*"])
        first, second = Call(app, "/export"), Call(app, "/export")
        await asyncio.sleep(2.5)
        assert store.asked.count("renew") == 8, "each its slot and its shadow"
        assert app.totals.lost_leases == 0, "a shadow that was full costs nobody the slot that counts"
        store.away = True
        third = Call(app, "/export")
        await asyncio.sleep(0.1)
        asked = len(store.asked)
        await asyncio.sleep(0.1)
        assert len(store.asked) == asked, "who passes without a store holds nothing to renew"
        store.away = False
        api.go.set()
        await asyncio.gather(first.task, second.task, third.task)

    scene(test)


def test_without_a_store_each_rule_decides_and_nothing_is_given_back_to_it() -> None:
    async def test() -> None:
        rules = SLOTS + '- {name: closed, match: {route: "/items/{id}"}, quota: 5, per: 1s, on_store_down: closed}\n'
        limiter, store = limiter_of(rules)
        store.away = True
        api = Api()
        app = RateLimit(api.app, limiter, "api", slots=["*"])
        async with client_of(app) as client:
            closed = await client.get("/items/1")
            assert (closed.status_code, closed.headers["retry-after"]) == (503, "1")
            assert closed.json()["degraded"]
            working = asyncio.create_task(client.get("/export"))
            await api.begun.acquire()
            assert (await client.get("/export")).status_code == 429, "each replica still keeps its own slots"
            assert "give_back" not in store.asked
            await asyncio.sleep(10)
            assert (await client.get("/export")).status_code == 429, "and renews them"
            assert app.totals.lost_leases == 0
            api.go.set()
            assert (await working).status_code == 200

    scene(test)


@pytest.mark.parametrize("server_can_answer", [True, False])
def test_a_websocket_counts_by_its_handshake_and_holds_its_slot_while_it_is_open(server_can_answer: bool) -> None:
    async def test() -> None:
        limiter, store = limiter_of(
            "- {name: live, match: {route: /live}, slots: 1, lease: 3s}\n- {name: a, match: {}, quota: 99, per: 1s}"
        )
        api = Api()
        app = RateLimit(api.app, limiter, "api", slots=["*"])
        extensions = ["websocket.http.response"] if server_can_answer else []
        first = Call(app, "/live", "websocket", extensions)
        await api.begun.acquire()
        assert first.sent[0]["type"] == "websocket.accept"
        assert b'"live";r=0' in first.headers[b"ratelimit"]
        await asyncio.sleep(10)
        second = Call(app, "/live", "websocket", extensions)
        await second.task
        if server_can_answer:
            assert [message["type"] for message in second.sent] == ["websocket.http.response.start", "websocket.http.response.body"]
            assert (second.sent[0]["status"], second.headers[b"content-type"]) == (429, b"application/problem+json")
        else:
            assert [(message["type"], message.get("code")) for message in second.sent] == [("websocket.close", 1008)]
        first.inbox.put_nowait({"type": "websocket.receive", "text": "done"})
        await first.task
        assert store.asked[-1] == "release"

    scene(test)


def test_a_request_that_no_rule_applies_to_passes_as_it_is() -> None:
    async def test() -> None:
        limiter, store = limiter_of('- {name: other, match: {user: "*"}, quota: 1, per: 1h}')
        app = RateLimit(Api().app, limiter, "api", slots=["*"])
        async with client_of(app) as client:
            answers = [await client.get("/items/1") for _ in range(3)]
            assert {each.status_code for each in answers} == {200}
            assert not any(name.startswith("ratelimit") for each in answers for name in each.headers)
            assert store.asked == []

    scene(test)
