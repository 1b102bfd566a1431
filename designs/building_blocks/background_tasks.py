"""Tasks that run as long as their process, and how to be rid of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

CANCEL_AGAIN_S = 0.1


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel the tasks until they have ended. Once is not enough: a driver may swallow a cancellation that comes while it connects,
    and a loop that goes on after that would keep the process from ending for ever.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)  # so that none is reported as forgotten
