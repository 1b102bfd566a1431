"""What would only wait is refused at once, and what is under way is finished."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from designs.building_blocks.concurrency_limit import ConcurrencyLimit


class Slow:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.go, self.begun = asyncio.Event(), asyncio.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.release()
        await self.go.wait()
        if scope["path"] == "/bug":
            raise RuntimeError("a bug")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def test_beyond_its_limit_it_says_try_again_and_what_is_under_way_is_answered() -> None:
    async def scene() -> None:
        slow = Slow()
        limited = ConcurrencyLimit(slow, 2)
        transport = httpx2.ASGITransport(limited, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://toy") as client:
            under_way = [asyncio.create_task(client.get(path)) for path in ("/one", "/bug")]
            for _ in under_way:
                await slow.begun.acquire()
            refused = await client.get("/three")
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["content-type"] == "application/problem+json"
            operators = asyncio.create_task(client.get("/readyz"))
            await slow.begun.acquire()
            slow.go.set()
            assert (await operators).status_code == 200, "who asks why it is overloaded gets an answer"
            assert [answer.status_code for answer in await asyncio.gather(*under_way)] == [200, 500]
            assert (await client.get("/four")).status_code == 200, "one that failed has left as well"
            assert limited.refused == 1

    asyncio.run(scene())
