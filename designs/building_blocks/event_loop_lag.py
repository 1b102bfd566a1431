"""How late an asyncio process is for its own appointments: the run queue of a process whose work is done by one thread.

A task asks to be woken in a second and sees how much later that is. What made it wait, made every request wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 1.0
LOOKS_KEPT = 10  # so that whoever asks every ten seconds or more often misses none


class EventLoopLag:
    """Run `watch` beside the work, and read `worst_s`."""

    def __init__(self) -> None:
        self._looks: deque[float] = deque([0.0], maxlen=LOOKS_KEPT)

    @property
    def worst_s(self) -> float:
        """Seconds, of the last `LOOKS_KEPT` looks the longest."""
        return max(self._looks)

    async def watch(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Look until cancelled."""
        while True:
            due_s = clock() + LOOK_EVERY_S
            await sleep(LOOK_EVERY_S)
            self._looks.append(max(0.0, clock() - due_s))
