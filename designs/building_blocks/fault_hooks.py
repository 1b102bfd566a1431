"""Two faults that can't be done to a process from outside: a clock that is wrong, and a store that is slow.

Whoever breaks a design on purpose writes to a small file; the process maps it into its memory, and so it sees each change at its
next look, without a system call. Two native signed 64-bit integers (both sides are on one machine):

    0   clock_offset_us   added to each reading of the wall clock
    8   store_delay_us    waited before each verb of a store

Without such a file, which is normal life, nothing is wrapped and nothing costs anything.
"""

from __future__ import annotations

import asyncio
import functools
import mmap
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

CLOCK_OFFSET, STORE_DELAY = 0, 1
WORDS, BYTES = 2, 16


class FaultHooks:
    """The reading side, in the process that is to suffer."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @classmethod
    def open(cls, path: Path) -> FaultHooks:
        """Raises ValueError for what is no fault file."""
        return cls(_mapped(path))

    def active(self) -> dict[str, bool]:
        """Which faults are in force now, by the names that schedules of faults have for them."""
        return {"clock_offset": self._words[CLOCK_OFFSET] != 0, "slow_store": self._words[STORE_DELAY] > 0}

    def clock_us(self, clock_us: Callable[[], int]) -> Callable[[], int]:
        """The clock, as wrong as the file says at each reading. For wall clocks: a monotonic one has no hands to move."""
        words = self._words
        return lambda: clock_us() + words[CLOCK_OFFSET]

    def slowed(self, port: object, verbs: Iterable[str]) -> Any:
        """The port with a wait before each of these awaited verbs. It is used by its own protocol."""
        return _SlowPort(port, self._words, verbs)


class _SlowPort:
    def __init__(self, port: object, words: memoryview, verbs: Iterable[str]) -> None:
        self._port = port
        for verb in verbs:
            setattr(self, verb, _slow(getattr(port, verb), words))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _slow(verb: Callable[..., Awaitable[Any]], words: memoryview) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(verb)
    async def slow(*args: Any, **kwargs: Any) -> Any:
        if words[STORE_DELAY] > 0:
            await asyncio.sleep(words[STORE_DELAY] / 1e6)
        return await verb(*args, **kwargs)

    return slow


def write_fault_file(path: Path, *, clock_offset_us: int | None = None, store_delay_us: int | None = None) -> None:
    """Set what is given and leave the rest; a new file has both at 0, and whoever has it open sees it at once."""
    if not path.exists():
        path.write_bytes(bytes(BYTES))
    words = _mapped(path)
    if clock_offset_us is not None:
        words[CLOCK_OFFSET] = clock_offset_us
    if store_delay_us is not None:
        words[STORE_DELAY] = store_delay_us


def _mapped(path: Path) -> memoryview:
    """The file as integers. Each is read and written whole, so that no reader sees half a change."""
    try:
        with path.open("r+b") as file:
            mapping = mmap.mmap(file.fileno(), BYTES)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no fault file: {error}") from None
    words = memoryview(mapping).cast("q")
    assert len(words) == WORDS
    return words
