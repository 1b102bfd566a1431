"""What a process is doing without: one `Dependency` per server, true at any moment, without anybody having to ask the server.

What is known of a server comes from its use, and each kind of use is a signal with a name:

    hear    the last outcome of a use that comes and goes, such as sending a batch of clicks
    watch   a state that is looked at when it matters, such as that of a circuit breaker

The server counts as degraded while any signal is bad. A change is told once, with how long the last state lasted. Where nobody
uses the server nobody would notice that it is back, so `keep_watch` looks by itself: rarely while all is well, often while not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

# A bad outcome is believed this long; after that a good probe outweighs it.
BELIEVED_S = 1.0
LOOK_EVERY_S = 1.0
LOOK_AGAIN_S = 0.25

# Name of the server, whether it is degraded now, seconds that the state before lasted, and the bad signals.
Tell = Callable[[str, bool, float, Sequence[str]], None]


class Dependency:
    """One server. For one event loop; `clock()` is in seconds and never goes back."""

    def __init__(self, name: str, clock: Callable[[], float], tell: Tell = lambda *_: None) -> None:
        self.name = name
        self._clock = clock
        self._tell = tell
        self._failed_at_s: dict[str, float] = {}
        self._watched: dict[str, Callable[[], bool]] = {}
        self._degraded = False
        self._since_s = clock()

    def watch(self, signal: str, is_well: Callable[[], bool]) -> None:
        """From now on `is_well()` is asked whenever the state matters; it must be quick and may not raise."""
        self._watched[signal] = is_well

    def hear(self, signal: str, well: bool) -> None:
        """The outcome of a use. Costs a look at an empty dict while all is well."""
        if not well:
            self._failed_at_s[signal] = self._clock()
        elif self._failed_at_s:
            self._failed_at_s.pop(signal, None)
        else:
            return
        self.bad_signals()

    def probed(self, well: bool) -> None:
        """The outcome of a look at the server itself. A good one forgives what failed a while ago and was not tried since."""
        if well:
            believed_from_s = self._clock() - BELIEVED_S
            self._failed_at_s = {signal: at_s for signal, at_s in self._failed_at_s.items() if at_s > believed_from_s}
        self.hear("probe", well)
        self.bad_signals()

    def bad_signals(self) -> list[str]:
        """Which uses of the server fail now; none when it is well. Tells of a change."""
        bad = [*self._failed_at_s, *(signal for signal, is_well in self._watched.items() if not is_well())]
        if bool(bad) != self._degraded:
            now_s = self._clock()
            self._degraded = bool(bad)
            lasted_s, self._since_s = now_s - self._since_s, now_s
            self._tell(self.name, self._degraded, lasted_s, bad)
        return bad

    @property
    def degraded(self) -> bool:
        return bool(self.bad_signals())


async def keep_watch(
    dependency: Dependency, probe: Callable[[], Awaitable[None]], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Look at the server until cancelled. `probe` has a deadline of its own and reports to the dependency; it does not raise."""
    while True:
        await probe()
        await sleep(LOOK_AGAIN_S if dependency.degraded else LOOK_EVERY_S)
