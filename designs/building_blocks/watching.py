"""What a process notices by itself and logs once: servers that fail and come back, and background tasks that failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from designs.building_blocks.deadline import within
from designs.building_blocks.dependencies import Dependency

PROBE_WITHIN_S = 0.5

log = structlog.get_logger()


def alarm(error: Exception) -> None:
    """A background task failed in a way that nobody foresaw."""
    log.error("background_task_failed", exc_info=error)


def dependency(name: str, clock: Callable[[], float] = time.monotonic) -> Dependency:
    """A server whose changes are logged: once each, not once per request."""

    def tell(server: str, degraded: bool, lasted_s: float, signals: Sequence[str]) -> None:
        if degraded:
            log.warning("degraded", server=server, signals=list(signals))
        else:
            log.warning("recovered", server=server, seconds=round(lasted_s, 3))

    return Dependency(name, clock, tell)


async def answers(redis: Any) -> bool:
    """Whether this client's server answers a ping in time."""
    try:
        async with within(PROBE_WITHIN_S):
            return bool(await redis.ping())
    except Exception:  # whatever is wrong with it, it is not there
        return False
