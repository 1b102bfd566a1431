"""What a power loss leaves of a Redis' append-only file: all but what it wrote in the second before.

With `appendfsync everysec` Redis answers first and syncs within a second, so a power loss may take what it acknowledged in its
last second, and no more. A killed process shows nothing of this: what it wrote is in the memory of the kernel, which lives on. So
the size of the file is noted while the server runs, and at a power loss the file is cut to the size it had a second before: all
that may be lost is lost, to within one note, and nothing that may not.

    appendonly.aof                              up to Redis 6
    appendonlydir/appendonly.aof.1.incr.aof     from Redis 7 on: the part that is appended to; base and manifest are synced at once
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

SYNC_PROMISE_S = 1.0
NOTE_EVERY_S = 0.02
NOTES_KEPT = 200  # four seconds

Sizes = Mapping[str, int]


class SizeHistory:
    """Sizes of files at times that rise, the newest `NOTES_KEPT` of them."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, Sizes]] = deque(maxlen=NOTES_KEPT)

    def note(self, at_s: float, sizes: Sizes) -> None:
        self._notes.append((at_s, sizes))

    def at(self, at_s: float) -> Sizes | None:
        """Sizes at the first note from then on, so that nothing older is ever missing; None when there is no such note."""
        return next((sizes for noted_s, sizes in self._notes if noted_s >= at_s), None)

    def clear(self) -> None:
        self._notes.clear()


class AppendOnlyFile:
    """The append-only file in a server's folder, watched by a thread between `watch` and `close`. For any thread.

    The server must not rewrite its file meanwhile (`auto-aof-rewrite-percentage 0`): a rewritten one has sizes of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history = SizeHistory()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self) -> None:
        """Call it before the server starts: what it writes from then on counts as new. Safe to call again."""
        self.note(time.monotonic())
        if self._thread is None:
            self._over.clear()
            self._thread = threading.Thread(target=self._watch, name="append-only-file", daemon=True)
            self._thread.start()

    def note(self, at_s: float) -> None:
        """The sizes as they are now are those of then (monotonic seconds)."""
        with self._lock:
            self._history.note(at_s, self._sizes())

    def close(self) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None

    def lose_unsynced(self, at_s: float) -> int:
        """Drop what was written in the second before `at_s` (monotonic); the server must be dead. Returns how many bytes."""
        with self._lock:
            now = self._sizes()
            kept = self._history.at(at_s - SYNC_PROMISE_S)
            if kept is None:  # nobody looked in that second
                kept = now
            lost = 0
            for name, size in now.items():
                left = min(size, kept.get(name, 0))
                if left < size:
                    os.truncate(self._folder / name, left)
                    lost += size - left
            self._history.clear()  # what is left was synced
            return lost

    def forget(self) -> None:
        """The files were deleted."""
        with self._lock:
            self._history.clear()

    def _watch(self) -> None:
        while not self._over.wait(NOTE_EVERY_S):
            self.note(time.monotonic())

    def _sizes(self) -> dict[str, int]:
        """Size by the name below the folder of each file that is appended to."""
        sizes = {}
        for file in [self._folder / "appendonly.aof", *self._folder.glob("appendonlydir/*.incr.aof")]:
            try:
                sizes[str(file.relative_to(self._folder))] = file.stat().st_size
            except FileNotFoundError:
                continue
        return sizes
