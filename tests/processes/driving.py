"""What tests do to any design that runs as real processes: load it, read its metrics, wait for it.

Processes are started and killed from the main thread; load runs in a thread beside it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import httpx2

from loadtests.generator.open_loop import LoadGenerator, run
from loadtests.metrics_page import samples_of
from loadtests.plain_http import TRUSTS_NOBODY
from loadtests.workload import Exchange

PATIENCE_S = 30.0  # bounds what would otherwise hang; no test passes or fails by it on a machine that works
MAX_ROUNDS = 20_000
PAUSE_AFTER_ERRORS_S = 0.05


class Load:
    """Clients that send these requests in a cycle, each its next one when it has its answer, from `start` until `stop`.

    `limit` ends it sooner. A request without an answer within `timeout_s` has status 0. After an error the clients take a
    breath, or a dead replica would be asked ten thousand times a second.
    """

    def __init__(
        self,
        urls: Sequence[str],
        requests: Sequence[tuple[int, bytes]],
        *,
        clients: int = 4,
        timeout_s: float = PATIENCE_S,
        limit: int | None = None,
    ) -> None:
        self._urls, self._requests, self._clients = urls, requests, clients
        self._timeout_s, self._limit = timeout_s, limit
        self._rounds: list[list[Exchange]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: run(self._drive()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """No new requests; returns when those under way are answered."""
        self._over.set()
        self.wait()

    def wait(self) -> None:
        """Returns when the limit is reached, or it was told to stop, and everything is answered."""
        self._thread.join(2 * PATIENCE_S)
        assert not self._thread.is_alive(), f"only {self.answered} requests were answered in {2 * PATIENCE_S:g} s"

    @property
    def answered(self) -> int:
        """Requests that ended so far, by whole rounds through the cycle."""
        return sum(map(len, self._rounds))

    def exchanges(self) -> list[tuple[int, Exchange]]:
        """(index of the request, what came back), once it is over."""
        return [(exchange.serial % len(self._requests), exchange) for round_ in self._rounds for exchange in round_]

    async def _drive(self) -> None:
        generator = LoadGenerator(self._urls, connections_per_url=self._clients, timeout_s=self._timeout_s)
        left = self._limit if self._limit is not None else MAX_ROUNDS * len(self._requests)
        try:
            while left > 0 and len(self._rounds) < MAX_ROUNDS and not self._over.is_set():
                count = min(len(self._requests), left)
                exchanges = await generator.closed_loop(self._requests, self._clients, 2 * self._timeout_s, count)
                self._rounds.append(exchanges)
                left -= count
                if any(exchange.status == 0 for exchange in exchanges):
                    await asyncio.sleep(PAUSE_AFTER_ERRORS_S)
        finally:
            await generator.close()


def metric(url: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    page = httpx2.get(f"{url}/metrics", timeout=PATIENCE_S, verify=TRUSTS_NOBODY).text
    return sum(value for found, at, value in samples_of(page) if found == name and labels.items() <= dict(at).items())


def wait_until(so: Callable[[], bool], what: str, within_s: float = PATIENCE_S, poll_s: float = 0.01) -> None:
    """Wait for another process, bounded."""
    deadline_s = time.monotonic() + within_s
    while not so():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        time.sleep(poll_s)
