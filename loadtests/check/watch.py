"""Looks at every process of a running design a few times a second, and keeps what changed.

Promises. A look never waits longer than `ANSWER_WITHIN_S`: a process that has not answered by then is "gone", whether it is dead,
stopped or stuck. Processes are looked at side by side, none waits for another. A look costs each of them two requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx2

from loadtests.check.record import NodeState
from loadtests.plain_http import TRUSTS_NOBODY

EVERY_S = 0.2
ANSWER_WITHIN_S = 0.75
Breaker = Literal["", "closed", "half-open", "open"]
BREAKERS: dict[float, Breaker] = {0: "closed", 1: "half-open", 2: "open"}

State = Literal["ready", "degraded", "down", "gone"]


@dataclass(frozen=True, slots=True)
class Node:
    """A process to look at. `name` as in histories and schedules, such as "replica-1"."""

    name: str
    ready_url: str
    metrics_url: str


@dataclass(frozen=True, slots=True)
class Look:
    """What a process said of itself. `at_s`: when it had answered; of one that is gone, when it was asked.

    `opened`: how often its breakers have opened since it started, 0 where it has none.
    """

    at_s: float
    node: str
    state: State
    breaker: Breaker = ""
    opened: int = 0


def is_well(look: Look) -> bool:
    """Ready, and nothing done without."""
    return look.state == "ready" and look.breaker in ("", "closed")


Page = Callable[[str, float, str], None]  # (node, when it was read, text of its metrics page)


class Watch:
    """The looks at some processes in the order of time, and the latest of each. `on_page` is given every metrics page."""

    def __init__(
        self, nodes: Sequence[Node], on_page: Page = lambda node, at_s, text: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.looks: list[Look] = []
        self.latest: dict[str, Look] = {}
        self.nodes = nodes
        self._looked = asyncio.Event()
        self._on_page = on_page
        self._clock = clock

    @contextlib.asynccontextmanager
    async def looking(self, every_s: float = EVERY_S) -> AsyncIterator[None]:
        """Look every `every_s` until the block is left. A mistake of `on_page` is raised then."""
        async with httpx2.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False, verify=TRUSTS_NOBODY) as client:
            tasks = [asyncio.create_task(self._keep_looking(client, node, every_s)) for node in self.nodes]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ended:
            if isinstance(end, Exception):
                raise end

    async def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Wait, look by look, until it holds; False when it does not within that time. Only while `looking`."""
        try:
            async with asyncio.timeout(within_s):
                while not holds():
                    self._looked.clear()
                    await self._looked.wait()
        except TimeoutError:
            return holds()
        return True

    async def _keep_looking(self, client: httpx2.AsyncClient, node: Node, every_s: float) -> None:
        while True:
            asked_s = self._clock()
            self.latest[node.name] = look = await self._look(client, node)
            self.looks.append(look)
            self._looked.set()
            await asyncio.sleep(max(0.0, asked_s + every_s - self._clock()))

    async def _look(self, client: httpx2.AsyncClient, node: Node) -> Look:
        asked_s = self._clock()
        ready, metrics = await asyncio.gather(_answer(client, node.ready_url), _answer(client, node.metrics_url))
        if ready is None or metrics is None:
            return Look(asked_s, node.name, "gone")
        at_s, text = self._clock(), metrics.text
        self._on_page(node.name, at_s, text)
        open_or_not = values_of(text, "sd_breaker_state")
        state = state_said(ready.status_code, ready.text)
        if state == "ready" and any(values_of(text, "sd_degraded")):
            state = "degraded"
        breaker = BREAKERS.get(max(open_or_not, default=-1.0), "")
        return Look(at_s, node.name, state, breaker, int(sum(values_of(text, "sd_breaker_opened_total"))))


async def _answer(client: httpx2.AsyncClient, url: str) -> httpx2.Response | None:
    """None where there is none in time."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await client.get(url)
    # AttributeError: uvloop's transport of a connection that was closed as soon as it stood has no socket, and httpx asks it.
    except (httpx2.HTTPError, TimeoutError, AttributeError):
        return None


def state_said(status: int, body: str) -> State:
    """What an answer of /readyz says: 200 is ready, unless its `status` says degraded; anything else is down."""
    if status != 200:
        return "down"
    try:
        said = json.loads(body)
    except ValueError:
        return "ready"
    return "degraded" if isinstance(said, dict) and said.get("status") == "degraded" else "ready"


def values_of(metrics_text: str, name: str) -> list[float]:
    """The values of all samples of one metric, whatever their labels. A whole page is not parsed for three figures."""
    return [
        float(line.rsplit(" ", 1)[1])
        for line in metrics_text.splitlines()
        if line.startswith(name) and line[len(name) : len(name) + 1] in (" ", "{")
    ]


def changes(looks: Iterable[Look], began_s: float) -> list[NodeState]:
    """A row for each change of a process, by time; what was seen before the load began stands at 0."""
    last: dict[str, tuple[State, str]] = {}
    rows = []
    for look in sorted(looks, key=lambda look: look.at_s):
        if last.get(look.node) != (look.state, look.breaker):
            last[look.node] = (look.state, look.breaker)
            at_s = max(0.0, round(look.at_s - began_s, 3))
            rows.append(NodeState(at_s=at_s, node=look.node, state=look.state, breaker=look.breaker))
    return rows
