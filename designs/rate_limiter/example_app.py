"""A small API with limits, as a team would put them in front of its own: nothing in a route knows of them.

    uvicorn --factory designs.rate_limiter.example_app:standalone       limits of this process, rules of rules.example.yaml
    LIMITER_URL=http://127.0.0.1:8000 LIMITER_KEY=... uvicorn ...       the same, counted by the service

    for n in $(seq 50); do curl -so /dev/null -w '%{http_code} ' -H 'Authorization: Bearer demo-key-of-the-shop' \\
        http://127.0.0.1:8000/items/$n; done                            # 40 pass, the rest is told when to come back
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import ASGIApp, Scope

from designs.building_blocks.client_address import NOBODY, TrustedProxies
from designs.building_blocks.steady_clock import steady_clock
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.client import LimiterClient
from designs.rate_limiter.limiter import Limiter
from designs.rate_limiter.load_shedder import LoadShedder, Priority, by_key
from designs.rate_limiter.middleware import RateLimit
from designs.rate_limiter.principals import principals_of
from designs.rate_limiter.rule_file import parse_rules
from designs.rate_limiter.verdicts import Counter

DOMAIN = "demo"
CAPACITY = 200
DEMO_KEY = "demo-key-of-the-shop"
OWNERS = {hashlib.sha256(DEMO_KEY.encode()).digest(): "shop"}
TIERS = {"shop": "pro"}  # what a tenant pays for is ours to know, and not a request's to say
CLASSES: Mapping[bytes, Priority] = dict.fromkeys(OWNERS, "high")


def create_app(
    limiter: Counter, proxies: TrustedProxies = NOBODY, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic
) -> ASGIApp:
    """The API behind its limits, behind its load shedder: who is shed costs no round trip."""
    app = FastAPI(title="A shop")

    @app.get("/items/{id}")
    async def item(id: int) -> dict[str, int]:
        return {"id": id}

    @app.get("/search")
    async def search(q: str = "") -> dict[str, list[str]]:
        return {"found": [q]}

    @app.post("/login")
    async def login() -> dict[str, bool]:
        return {"welcome": True}

    @app.post("/checkout")
    async def checkout() -> dict[str, bool]:
        return {"ordered": True}

    @app.get("/exports/{name}")
    async def export(name: str, seconds: float = 1.0) -> dict[str, str]:
        await asyncio.sleep(min(max(seconds, 0.0), 10.0))
        return {"exported": name}

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    def describe(scope: Scope) -> dict[str, str]:
        who = principals_of(scope, proxies, OWNERS.get)
        return {**who, "tenant": who["user"]} if "user" in who else who

    def tier(scope: Scope) -> str:
        return TIERS.get(principals_of(scope, proxies, OWNERS.get).get("user", ""), "")

    limited = RateLimit(
        app,
        limiter,
        DOMAIN,
        describe=describe,
        tier=tier,
        cost=lambda _, template: 5 if template == "/search" else 1,
        slots=["/exports/{name}"],
    )
    return LoadShedder(limited, by_key(CLASSES.get), capacity, clock=clock)


def standalone() -> ASGIApp:
    """The app of the lines above, by its environment."""
    url, key = os.environ.get("LIMITER_URL"), os.environ.get("LIMITER_KEY", "")
    if url:
        return create_app(LimiterClient(url, SecretStr(key)))
    rules = parse_rules(Path(__file__).with_name("rules.example.yaml").read_text())
    store = MemoryLimitStore(steady_clock())
    return create_app(Limiter(store, store, lambda: rules))  # memory is never away, so nothing falls back
