"""Try again, a few times and not for long, and only where a second try cannot do the work twice.

Promises: at most `policy.attempts` calls; no call starts later than `policy.total_s` after the first; an
error that `is_safe` does not vouch for is raised at once. Use it in one layer only: three layers of three
tries make 27 calls.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` counts the first call; `total_s` limits the time up to the start of the last one.

    A call's own duration is its own business: give it a deadline.
    """

    attempts: int
    total_s: float
    base_s: float
    cap_s: float

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"there is at least one attempt, not {self.attempts}")
        if self.total_s < 0:
            raise ValueError(f"total_s is a duration from 0 up, not {self.total_s}")
        if not 0 <= self.base_s <= self.cap_s:
            raise ValueError(f"base_s lies between 0 and cap_s ({self.cap_s}), not at {self.base_s}")


def full_jitter_s(attempt: int, base_s: float, cap_s: float, rng: Callable[[], float]) -> float:
    """Seconds to wait after attempt `attempt`, from 0: uniform in [0, min(cap_s, base_s * 2**attempt)).

    "Full jitter" of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: spreading
    the waits over the whole interval, not only around its end, is what keeps those who failed together from
    coming back together. `rng()` is uniform in [0, 1).
    """
    # 2.0**1024 overflows; long before that the cap decides for any base that is not zero in effect.
    return rng() * min(cap_s, base_s * 2.0 ** min(attempt, 1000))


async def retry(
    call: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    is_safe: Callable[[Exception], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    rng: Callable[[], float] = random.random,
    on_retry: Callable[[int, float, Exception], None] | None = None,
) -> T:
    """The value of the first call that succeeds, or the last error.

    `is_safe(error)` is true where the work did not happen, or may happen twice without harm.
    `on_retry(attempt, wait_s, error)` is told before each wait which attempt, counted from 1, failed. A
    cancellation is never retried.
    """
    started_s = clock()
    attempt = 1
    while True:
        try:
            return await call()
        except Exception as error:
            if attempt >= policy.attempts or not is_safe(error):
                raise
            wait_s = full_jitter_s(attempt - 1, policy.base_s, policy.cap_s, rng)
            if clock() - started_s + wait_s > policy.total_s:
                raise
            if on_retry is not None:
                on_retry(attempt, wait_s, error)
            await sleep(wait_s)
            # A busy event loop wakes us late, and those who wait for the answer may have left by then.
            if clock() - started_s > policy.total_s:
                raise
        attempt += 1
