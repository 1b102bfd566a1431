"""Keep one expired hot entry from becoming a thousand identical loads (a cache stampede, or thundering herd).

With a load that takes `cost` and `rate` requests a second, a plain expiry costs about 1 + rate * cost loads: everybody who
comes while the first load runs starts one more. Three answers, from the cheapest to the strictest:

    jittered_ttl_us   entries written together do not expire together; does nothing for a single hot key
    refresh_early     each reader may renew before the expiry, the likelier the closer: a few loads, no coordination
    SingleFlight      callers of one process share one load: one load per process

One load for all processes takes a lease in a layer they share: `caching.LayeredCache` has it.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

# 1 - rng() is at least 2**-53, whose logarithm is -36.7: an entry with more life left than this many costs cannot be drawn.
_LONGEST_DRAW = 37


def monotonic_us() -> int:
    """Microseconds on a clock that never goes back. It means nothing outside this process."""
    return time.monotonic_ns() // 1000


def jittered_ttl_us(ttl_us: int, jitter: float, rng: Callable[[], float]) -> int:
    """A time to live, uniform in [ttl_us * (1 - jitter), ttl_us]: never longer than promised. `rng()` lies in [0, 1)."""
    return ttl_us - int(ttl_us * jitter * rng())


def refresh_early(now_us: int, fresh_until_us: int, cost_us: int, beta: float, rng: Callable[[], float]) -> bool:
    """Whether this reader should renew the entry now: XFetch, now - cost * beta * ln(rand) >= expiry.

    With t left until the expiry the answer is yes with probability exp(-t / (beta * cost)): 37 % when t is one cost away,
    always from the expiry on. Half a second of load renews earlier than a millisecond does; beta > 1 renews earlier still.
    Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.
    """
    left_us = fresh_until_us - now_us
    if left_us <= 0:
        return True
    spread_us = beta * cost_us
    # Nearly every read of a hot key ends here, without a random number and a logarithm.
    if left_us > _LONGEST_DRAW * spread_us:
        return False
    return -math.log(1.0 - rng()) * spread_us >= left_us


class _Flight(NamedTuple, Generic[T]):
    task: asyncio.Task[T]
    started_us: int


class SingleFlight(Generic[T]):
    """One running call per key in this process; who asks meanwhile gets its outcome, value or error.

    The call runs in a task of its own, so a caller that is cancelled takes nothing from the others, and a call whose callers
    all left runs to its end. A caller may be handed a value read up to `join_for_us` before it asked: an older flight is not
    joined but replaced. None joins whatever is in the air.
    """

    def __init__(self, clock_us: Callable[[], int] = monotonic_us, join_for_us: int | None = None) -> None:
        self._clock_us = clock_us
        self._join_for_us = join_for_us
        self._flights: dict[str, _Flight[T]] = {}
        # The event loop refers to a task only weakly, and a flight that was forgotten or replaced still has callers.
        self._airborne: set[asyncio.Task[T]] = set()

    def __len__(self) -> int:
        """Calls that have not ended, joinable or not."""
        return len(self._airborne)

    def __contains__(self, key: str) -> bool:
        """Whether `do(key, ...)` would now join a call instead of starting one."""
        flight = self._flights.get(key)
        if flight is None:
            return False
        return self._join_for_us is None or self._clock_us() - flight.started_us <= self._join_for_us

    async def do(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """The outcome of the running call for `key`, or of `call()` when there is none to join."""
        task = self._flights[key].task if key in self else self._start(key, call)
        # `wait` leaves the task alone when this caller is cancelled; awaiting the task would cancel it.
        await asyncio.wait((task,))
        return task.result()

    def forget(self, key: str) -> None:
        """Who asks from now on starts anew: what is in the air may have been read before the write that was just made."""
        self._flights.pop(key, None)

    def _start(self, key: str, call: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        async def fly() -> T:
            return await call()

        task = asyncio.create_task(fly())
        self._flights[key] = _Flight(task, self._clock_us())
        self._airborne.add(task)

        def landed(task: asyncio.Task[T]) -> None:
            self._airborne.discard(task)
            flight = self._flights.get(key)
            if flight is not None and flight.task is task:
                del self._flights[key]
            if not task.cancelled():
                task.exception()  # seen, so that a failed call whose callers all left is not reported as forgotten

        task.add_done_callback(landed)
        return task
