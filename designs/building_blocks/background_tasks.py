"""Tasks that run as long as their process: how one survives what nobody foresaw, and how to be rid of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable

CANCEL_AGAIN_S = 0.1
START_AGAIN_S = 1.0


async def kept_running(
    start: Callable[[], Awaitable[None]],
    tell: Callable[[Exception], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run `start()`, which is to run for ever, and start it again a second after any error. Returns when it returns.

    An error that comes out of it is a mistake of ours or of a driver, and `tell` is told of each. Without a second start the
    process would go on without this part of it, and look healthy.
    """
    while True:
        try:
            return await start()
        except Exception as error:
            tell(error)
        await sleep(START_AGAIN_S)


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


@contextlib.asynccontextmanager
async def beside_the_requests(
    starts: Iterable[Callable[[], Awaitable[None]]], tell: Callable[[Exception], None]
) -> AsyncIterator[None]:
    """The tasks of a service while it serves, from the moment it is put together to the last request."""
    # What was made so far lives as long as the process: without this, each full collection would walk all of it.
    gc.collect()
    gc.freeze()
    tasks = [asyncio.create_task(kept_running(start, tell)) for start in starts]
    try:
        yield
    finally:
        await end(tasks)
