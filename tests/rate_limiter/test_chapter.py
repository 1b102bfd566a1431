"""What the chapter shows works as it stands there: its rule file is one, its answer is what is sent, its program runs."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx2
import orjson
import pytest

from designs.rate_limiter.algorithms import ALGORITHMS
from designs.rate_limiter.backends.memory import MemoryLimitStore
from designs.rate_limiter.headers import headers_of, problem_of, status_of
from designs.rate_limiter.limiter import Limiter, Request, Verdict
from designs.rate_limiter.limits import Limit, State
from designs.rate_limiter.rule_file import parse_rules
from loadtests.manifest import REPOSITORY

FOLDER = REPOSITORY / "designs" / "rate_limiter"
CHAPTER = (FOLDER / "README.md").read_text()


def blocks(language: str, marked: str = "") -> list[str]:
    """Code blocks of this language ("": of none) that contain `marked`."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", CHAPTER, re.MULTILINE | re.DOTALL)
    return [text for tag, text in found if tag == language and marked in text]


def test_the_rules_it_shows_are_a_rule_file() -> None:
    [text] = blocks("yaml")
    rules = {rule.name: rule for rule in parse_rules(text).domains["demo"].rules}
    example = {rule.name: rule for rule in parse_rules((FOLDER / "rules.example.yaml").read_text()).domains["demo"].rules}
    assert rules.keys() <= example.keys()
    assert rules["per-user"] == example["per-user"]
    assert rules["checkout"].on_store_down == "closed"
    assert rules["per-tenant"].limit_for("pro") == example["per-tenant"].limit_for("pro")


def test_the_refusal_it_shows_is_what_the_41st_request_at_once_gets() -> None:
    [text] = blocks("", "HTTP/1.1 429")
    head, _, body = text.partition("\n\n")
    status_line, *fields = head.splitlines()
    rules = parse_rules((FOLDER / "rules.example.yaml").read_text())
    limiter = Limiter(MemoryLimitStore(lambda: 1_000_000), MemoryLimitStore(lambda: 1_000_000), lambda: rules)
    request = Request("demo", {"user": "u1", "route": "/items/{id}"})

    async def asked() -> list[Verdict]:
        return [await limiter.check(request) for _ in range(41)]

    verdicts = asyncio.run(asked())
    assert [verdict.allowed for verdict in verdicts] == [True] * 40 + [False]
    sent = {name.decode(): value.decode() for name, value in headers_of(verdicts[-1], "current")}
    shown = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    assert shown == {**sent, "content-type": "application/problem+json"}
    assert status_line.split()[1] == str(status_of(verdicts[-1]))
    document: dict[str, Any] = problem_of(verdicts[-1]).document()
    begun = orjson.loads(body.strip().removesuffix(", ...}") + "}")
    assert begun == {name: document[name] for name in begun}
    assert len(begun) == 5


def test_the_application_it_shows_refuses_the_eleventh_request_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_790_000_000_000_000_000)
    [text] = blocks("python", "RateLimit")
    names: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), names)

    async def asked() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(names["app"], client=("192.0.2.1", 4711))
        async with httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
            return [await client.get("/search/tea") for _ in range(11)]

    answers = asyncio.run(asked())
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert all("ratelimit" in answer.headers for answer in answers)


def test_the_client_it_shows_sends_until_it_is_told_when_to_come_back() -> None:
    [text] = blocks("python", "LimiterClient")
    names: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), names)
    rules = parse_rules((FOLDER / "rules.example.yaml").read_text())
    store = MemoryLimitStore(lambda: 1_000_000)
    limiter = Limiter(store, store, lambda: rules)  # has the verbs of the client

    async def sent() -> list[str]:
        return [await names["send_letter"](limiter, "u1") for _ in range(41)]

    assert asyncio.run(sent()) == ["sent"] * 40 + ["not now, in 50000 us"]


def test_the_gcra_it_draws_is_the_gcra_there_is() -> None:
    [text] = blocks("", "T = 100 ms")
    drawn = re.findall(r"^  t=(\d+) +(admitted, TAT = (\d+)|refused)", text, re.MULTILINE)
    assert len(drawn) == 5
    limit = Limit("gcra", 10, 1_000_000, 3)
    state: State = ()
    for at_ms, said, tat_ms in drawn:
        after = ALGORITHMS["gcra"].take(limit, state, int(at_ms) * 1_000, 1)
        assert (after is not None) == said.startswith("admitted")
        if after is not None:
            assert after == (int(tat_ms) * 1_000,)
            state = after
