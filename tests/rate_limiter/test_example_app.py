"""The example is what it says: limits by the demo's rules, and no route that knows of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from designs.rate_limiter import example_app
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.limiter import Limiter
from designs.rate_limiter.rule_file import parse_rules
from tests.rate_limiter.edge import Store, client_of
from tests.virtual_time import now_s, now_us, run

SHOP = {"Authorization": f"Bearer {example_app.DEMO_KEY}"}
RULES = parse_rules(Path(example_app.__file__).with_name("rules.example.yaml").read_text())


def test_a_shop_may_what_its_rules_say_and_strangers_share_nothing_of_it() -> None:
    async def scene() -> None:
        store = Store()
        app = example_app.create_app(Limiter(store, MemoryLimitStore(now_us), lambda: RULES), clock=now_s)
        async with client_of(app) as client:
            items = [(await client.get(f"/items/{n}", headers=SHOP)).status_code for n in range(45)]
            assert items == [200] * 40 + [429] * 5
            assert store.asked == ["take"] * 45
            await asyncio.sleep(3)
            searches = [await client.get("/search?q=x", headers=SHOP) for _ in range(3)]
            assert [each.status_code for each in searches] == [200, 200, 429], "a search costs five"
            assert "per-user-daily" not in str(searches[0].headers), "a shadow is seen by nobody"
            logins = [(await client.post("/login")).status_code for _ in range(7)]
            assert logins == [200] * 5 + [429] * 2
            assert (await client.get("/items/1")).status_code == 200, "another route"
            assert (await client.get("/healthz")).headers.get("ratelimit") is None

    run(scene())


def test_exports_hold_their_slots_and_give_them_back() -> None:
    async def scene() -> None:
        store = Store()
        app = example_app.create_app(Limiter(store, MemoryLimitStore(now_us), lambda: RULES), clock=now_s)
        async with client_of(app) as client:
            asking = [client.get(f"/exports/{n}?seconds=5", headers=SHOP) for n in range(22)]
            assert sorted(each.status_code for each in await asyncio.gather(*asking)) == [200] * 20 + [429] * 2
            assert store.asked.count("release") == 20
            assert (await client.get("/exports/again", headers=SHOP)).status_code == 200

    run(scene())


def test_it_stands_alone_or_asks_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with client_of(example_app.standalone()) as client:
            assert (await client.get("/items/1", headers=SHOP)).headers["ratelimit-policy"].startswith('"per-user";q=40;w=2')
        monkeypatch.setenv("LIMITER_URL", "http://127.0.0.1:9")
        async with client_of(example_app.standalone()) as client:
            assert (await client.get("/items/1")).status_code == 200, "on_down=open: nobody is there"

    asyncio.run(scene())
