"""How late an asyncio process is for its own appointments: the run queue of a process whose work is done by one thread.

A task asks to be woken in a second and sees how much later that is. What made it wait, made every request wait. That is for those
who look at a process from outside; `LoopDelay` is for decisions inside it, as quick as the load they are about.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 1.0
LOOKS_KEPT = 10  # so that whoever asks every ten seconds or more often misses none
FORGOTTEN_S = 1.0


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


class LoopDelay:
    """How long a callback that is ready waits for its turn now. Each look sends one, unless one is on its way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_at_s: float | None = None
        self._seen_at_s = self._delay_s = 0.0

    def seconds(self) -> float:
        """The last wait, or that of the one on its way where that is longer already; 0 when the last is a second old."""
        now_s = self._clock()
        last_s = self._delay_s if now_s - self._seen_at_s <= FORGOTTEN_S else 0.0
        if self._sent_at_s is not None:
            return max(last_s, now_s - self._sent_at_s)
        self._sent_at_s = now_s
        asyncio.get_running_loop().call_soon(self._arrived)
        return last_s

    def _arrived(self) -> None:
        assert self._sent_at_s is not None
        self._seen_at_s = self._clock()
        self._delay_s = self._seen_at_s - self._sent_at_s
        self._sent_at_s = None
