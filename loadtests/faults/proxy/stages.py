"""Each toxic as a stage that bytes pass: pure, over plain data, with the time as an argument.

    offer(at_s, item) -> [ (due_s, item), (due_s, item), ... ] -> take(now_s)

An item is bytes, or how the stream ends. A stage stamps each item on arrival with the time when it is due, so that delays do not
add up however late the stage is asked; due times never go back, so items never overtake one another. Nothing follows an end.
The semantics are Toxiproxy's (the `toxics` folder of its source), with two differences: `timeout` counts from when the toxic came
upon the connection, as its README says, and `reset_peer` resets connections that were open before it came, too.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Generic, Literal, TypeAlias, TypeVar

from loadtests.faults.proxy.toxics import (
    Attributes,
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)

# eof: one side has finished, the other may go on. close: both are closed once what was due is written. reset: both are reset.
Ending = Literal["eof", "close", "reset"]
Item: TypeAlias = bytes | Ending

# A narrow line passes small pieces rather than much at once and then nothing: what it can send in so long, but no crumbs.
PIECE_S = 0.02
MIN_PIECE = 64  # bytes
ITEM_OVERHEAD = 200  # bytes an item takes in memory beside its own, so that a queue of crumbs is bounded too

A = TypeVar("A", bound=Attributes)


class Stage(Generic[A]):
    """Passes everything on at once; a queue of (due, arrived, item), in seconds."""

    closes_when_removed = False  # because bytes are gone that will be missed

    def __init__(self, toxic: A, now_s: float, rng: random.Random) -> None:
        self.toxic = toxic
        self.queue: deque[tuple[float, float, Item]] = deque()
        self.held = 0  # bytes of memory, about
        self._since_s = now_s
        self._rng = rng
        self._last_due_s = -math.inf

    def offer(self, at_s: float, item: Item) -> None:
        self._queue(at_s, at_s, item)

    def take(self, now_s: float) -> list[tuple[float, Item]]:
        """What is due by now, in order, with the time it was due."""
        due: list[tuple[float, Item]] = []
        while self.queue and self.queue[0][0] <= now_s:
            due_s, _, item = self.queue.popleft()
            self.held -= len(item) + ITEM_OVERHEAD
            due.append((due_s, item))
        return due

    @property
    def next_due_s(self) -> float:
        """When something is due next; infinite for never."""
        return self.queue[0][0] if self.queue else math.inf

    def inherit(self, predecessor: Stage[A]) -> None:
        """Go on where the same toxic stood with other attributes: its queue, each item as of when it arrived."""
        for _, arrived_s, item in predecessor.queue:
            self.offer(arrived_s, item)

    def _queue(self, due_s: float, arrived_s: float, item: Item) -> None:
        self._last_due_s = max(self._last_due_s, due_s)
        self.queue.append((self._last_due_s, arrived_s, item))
        self.held += len(item) + ITEM_OVERHEAD


class LatencyStage(Stage[Latency]):
    def offer(self, at_s: float, item: Item) -> None:
        delay_ms = 0.0  # of an end: it follows the last byte
        if isinstance(item, bytes):
            delay_ms = self.toxic.latency + self.toxic.jitter * self._rng.uniform(-1, 1)
        self._queue(at_s + max(0.0, delay_ms) / 1e3, at_s, item)


class BandwidthStage(Stage[Bandwidth]):
    """A line that sends one byte after another: a piece is due when its last byte is through."""

    def offer(self, at_s: float, item: Item) -> None:
        bytes_per_s = self.toxic.rate * 1e3
        if not isinstance(item, bytes):
            self._queue(at_s, at_s, item)
        elif not bytes_per_s:
            self._queue(math.inf, at_s, item)
        else:
            for piece in _pieces(item, max(MIN_PIECE, int(bytes_per_s * PIECE_S))):
                start_s = max(at_s, self._since_s, self._last_due_s)
                self._queue(start_s + len(piece) / bytes_per_s, at_s, piece)


class SlowCloseStage(Stage[SlowClose]):
    def offer(self, at_s: float, item: Item) -> None:
        self._queue(at_s if isinstance(item, bytes) else at_s + self.toxic.delay / 1e3, at_s, item)


class TimeoutStage(Stage[Timeout]):
    closes_when_removed = True

    def __init__(self, toxic: Timeout, now_s: float, rng: random.Random) -> None:
        super().__init__(toxic, now_s, rng)
        if toxic.timeout:
            self._queue(now_s + toxic.timeout / 1e3, now_s, "close")

    def offer(self, at_s: float, item: Item) -> None:
        if not isinstance(item, bytes):
            self.queue.clear()
            self._last_due_s = at_s
            self._queue(at_s, at_s, item)

    def inherit(self, predecessor: Stage[Timeout]) -> None:
        """Nothing: what it held was its own deadline."""


class ResetPeerStage(Stage[ResetPeer]):
    _struck = False

    def offer(self, at_s: float, item: Item) -> None:
        if not self._struck:
            self._struck = True
            self._queue(at_s + self.toxic.timeout / 1e3, at_s, "reset")


class SlicerStage(Stage[Slicer]):
    def offer(self, at_s: float, item: Item) -> None:
        if not isinstance(item, bytes):
            self._queue(at_s, at_s, item)
            return
        start = 0
        while start < len(item):
            size = self._rng.randint(
                self.toxic.average_size - self.toxic.size_variation, self.toxic.average_size + self.toxic.size_variation
            )
            self._queue(max(at_s, self._last_due_s + self.toxic.delay / 1e6), at_s, item[start : start + size])
            start += size


class LimitDataStage(Stage[LimitData]):
    _passed = 0
    _closed = False

    def offer(self, at_s: float, item: Item) -> None:
        if self._closed:
            return
        if not isinstance(item, bytes):
            self._queue(at_s, at_s, item)
            return
        passing = item[: max(0, self.toxic.bytes - self._passed)]
        self._passed += len(passing)
        if passing:
            self._queue(at_s, at_s, passing)
        if self._passed >= self.toxic.bytes:
            self._closed = True
            self._queue(at_s, at_s, "close")

    def inherit(self, predecessor: Stage[LimitData]) -> None:
        assert isinstance(predecessor, LimitDataStage)
        self._passed = predecessor._passed
        super().inherit(predecessor)  # its end, if it has come to that: bytes pass at once


def make_stage(attributes: Attributes, now_s: float, rng: random.Random) -> Stage[Attributes]:
    """The stage of a toxic that comes upon a connection now. `rng` draws jitter and slices."""
    return _STAGES[type(attributes)](attributes, now_s, rng)


# Each stage is keyed by its own attributes, which the type of a dict cannot say.
_STAGES: dict[type[Attributes], type[Stage[Attributes]]] = {
    Latency: LatencyStage,  # type: ignore[dict-item]
    Bandwidth: BandwidthStage,  # type: ignore[dict-item]
    SlowClose: SlowCloseStage,  # type: ignore[dict-item]
    Timeout: TimeoutStage,  # type: ignore[dict-item]
    ResetPeer: ResetPeerStage,  # type: ignore[dict-item]
    Slicer: SlicerStage,  # type: ignore[dict-item]
    LimitData: LimitDataStage,  # type: ignore[dict-item]
}


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
