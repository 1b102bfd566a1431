"""What the bench says to a limiter's process and what it answers: one JSON object a line, in turns, until stdin ends.

    {"do": "connect", "url": "redis://..."}
    {}
    {"do": "open", "how": "gcra", "limit": 20, "period_s": 86400}
    {}
    {"do": "decide", "prefix": "u", "keys": 50, "times": 2}
    {"allowed": 100, "refused": 0, "cpu_ns": 21000000, "wall_ns": 33000000}
    {"do": "greedy", "key": "g", "start_s": 1790000000.85, "seconds": 1.3, "most": 50000}
    {"asked": 9000, "admitted": [[sent_us, answered_us], ...]}

`decide` and `greedy` are about what was opened last. Whatever goes wrong is answered as {"error": "..."}. Nothing but the standard
library is imported here: the packages are those of the limiter.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

Decide: TypeAlias = Callable[[str], Awaitable[bool]]  # a key -> allowed?
Open: TypeAlias = Callable[[str, str, int, int], Awaitable[Decide]]  # (url, how, limit, period_s)

# Of every client alike. One connection: that of a process which asks one thing at a time.
CLIENT: dict[str, Any] = {"max_connections": 1, "socket_timeout": 5.0, "socket_connect_timeout": 5.0}


def serve(opened: Open) -> None:
    """Answer until stdin ends, so that no process outlives the bench."""
    asyncio.run(_serve(opened))


async def _serve(opened: Open) -> None:
    url, decide = "", None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {}
            if request["do"] == "connect":
                url = request["url"]
            elif request["do"] == "open":
                decide = await opened(url, request["how"], request["limit"], request["period_s"])
            elif decide is None:
                raise ValueError("nothing is open")
            elif request["do"] == "decide":
                answer = await _decided(decide, request["prefix"], request["keys"], request["times"])
            else:
                answer = await _greedy(decide, request["key"], request["start_s"], request["seconds"], request["most"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


async def _decided(decide: Decide, prefix: str, keys: int, times: int) -> dict[str, Any]:
    names = [f"{prefix}{number:06d}" for number in range(keys)]
    allowed = 0
    cpu_ns, wall_ns = time.process_time_ns(), time.perf_counter_ns()
    for _ in range(times):
        for name in names:
            if await decide(name):
                allowed += 1
    cpu_ns, wall_ns = time.process_time_ns() - cpu_ns, time.perf_counter_ns() - wall_ns
    return {"allowed": allowed, "refused": keys * times - allowed, "cpu_ns": cpu_ns, "wall_ns": wall_ns}


async def _greedy(decide: Decide, key: str, start_s: float, seconds: float, most: int) -> dict[str, Any]:
    """Ask again at once, whatever the answer."""
    await asyncio.sleep(max(0.0, start_s - time.time()))
    admitted, asked = [], 0
    end_ns = time.monotonic_ns() + int(seconds * 1e9)
    while asked < most and (sent_ns := time.monotonic_ns()) < end_ns:
        if await decide(key):
            admitted.append([sent_ns // 1000, -(-time.monotonic_ns() // 1000)])
        asked += 1
    return {"asked": asked, "admitted": admitted}
