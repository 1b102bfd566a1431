"""The simulated limiter behind the service's HTTP interface, on the clock of this machine: what the load itself is tried on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from loadtests.rate_limiter.steps import PATHS, Question
from loadtests.workload import Target
from tests.loadtests.rate_limiter.simulated_limiter import WALL_S, SimulatedLimiter
from tests.loadtests.tiny_service import Request, listening

API_KEY = "tiny-key"
VERBS = {path: f for f, path in PATHS.items()}


@dataclass
class TinyLimiter:
    """As many addresses as asked for, one limiter. `asked` counts questions by path."""

    flaw: str = ""
    knobs: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    unauthorized: int = 0

    def __post_init__(self) -> None:
        self.limiter = SimulatedLimiter(1, self.flaw, knobs=self.knobs)

    def answer(self, path: str, body: bytes, authorization: str, replica: int) -> bytes:
        """The whole response but for its length."""
        if path == "/metrics":
            decided = sum(self.asked.values())
            return (
                b'HTTP/1.1 200 OK\r\n\r\n# TYPE sd_limiter_decisions_total counter\nsd_limiter_decisions_total{rule="r"} %d\n'
                % decided
            )
        if authorization != f"Bearer {API_KEY}":
            self.unauthorized += 1
            return b"HTTP/1.1 401 Unauthorized\r\n\r\n"
        self.limiter.now_s = time.time() - WALL_S
        self.asked[path] = self.asked.get(path, 0) + 1
        document = orjson.loads(body)
        batch = path == "/v1/check/batch"
        questions = [
            question(each, "check" if batch else VERBS[path], batch) for each in (document["items"] if batch else [document])
        ]
        return self.limiter._answer(replica, questions)[1]

    def respond(self, replica: int, request: Request) -> bytes:
        answered = self.answer(request.path, request.body, request.headers.get("authorization", ""), replica)
        status, _, rest = answered.partition(b"\r\n")
        fields, _, said = (b"\r\n" + rest).partition(b"\r\n\r\n")
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (status, fields, len(said), said)


def question(document: dict[str, Any], f: str, batched: bool = False) -> Question:
    """What a body asks for."""
    assert document["domain"] == "demo"
    return Question(
        f, document["descriptor"], document.get("tier", ""), document.get("cost", 1), document.get("token", ""), batched
    )


@asynccontextmanager
async def running(limiter: TinyLimiter, replicas: int = 1) -> AsyncIterator[Target]:
    """The limiter at two addresses at most, as a target of the measuring."""

    async with listening(limiter.respond, replicas) as urls:
        yield Target("tiny", {"algorithm": "gcra", **limiter.knobs}, urls, API_KEY, [f"{urls[0]}/metrics"], {})
