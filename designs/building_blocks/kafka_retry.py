"""Retry topics: a record that failed for a reason of its own is written to a topic of records that wait, and its partition goes on.

    header attempts   how often it was put off
    header due-ms     when it may be taken again, in Unix milliseconds of the process that put it off

One topic per delay. In such a topic records are due in the order in which they were written, so that it is enough to look at the
head: while that is not due, its partition is paused. Clocks that differ between machines shift the delay by as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ATTEMPTS, DUE_MS = "attempts", "due-ms"


def attempts_of(headers: Mapping[str, bytes]) -> int:
    """How often a record was put off; 0 for one that never was."""
    return _number(headers, ATTEMPTS)


def due_ms(headers: Mapping[str, bytes]) -> int:
    """When it may be taken, in Unix ms; 0 for at once."""
    return _number(headers, DUE_MS)


def put_off(headers: Mapping[str, bytes], delay_ms: int, now_ms: int) -> dict[str, bytes]:
    """The headers of a record that is put off once more; what else is in them (a traceparent) stays."""
    return {**headers, ATTEMPTS: b"%d" % (attempts_of(headers) + 1), DUE_MS: b"%d" % (now_ms + delay_ms)}


def delay_after(attempts: int, delays_ms: Sequence[int]) -> int:
    """How long a record waits that was put off `attempts` times before: the next of the delays, and the last one from then on."""
    return delays_ms[min(attempts, len(delays_ms) - 1)]


def delay_name(delay_ms: int) -> str:
    """A delay as part of a topic's name.

    >>> delay_name(10_000), delay_name(250)
    ('10s', '250ms')
    """
    return f"{delay_ms // 1000}s" if delay_ms % 1000 == 0 else f"{delay_ms}ms"


def _number(headers: Mapping[str, bytes], name: str) -> int:
    text = headers.get(name, b"")
    return int(text) if text.isdigit() else 0
