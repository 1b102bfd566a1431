"""Count-min sketch: the use of any number of keys in fixed memory, never too low and sometimes too high.

    DEPTH rows of WIDTH counters; a key has one counter in each row, and its use is the smallest of them

                 hash 1   | 0 | 7 | 0 | 2 |      key "a" is in counters 1, 3, 0: at most min(7, 3, 9) = 3 were its own
                 hash 2   | 1 | 0 | 5 | 3 |
                 hash 3   | 9 | 0 | 0 | 1 |

Cormode and Muthukrishnan, "An Improved Data Stream Summary", 2005. With e = 2.72 the use is too high by more than e x N / WIDTH, N
being the use of all keys together, for at most e^-DEPTH (1.8 %) of the keys. Raising only what is below the new value (conservative
update, Estan and Varghese, 2002) makes that less. Two of them, for this window and the one before, make a sliding window without a
state per key: nobody is ever let in who would have been refused, and in a crowd some are refused for others.
"""

from __future__ import annotations

import hashlib
from array import array

from designs.rate_limiter import sliding_window
from designs.rate_limiter.limits import Limit, State

WIDTH, DEPTH = 1024, 4
CELLS = WIDTH * DEPTH


def cells_of(item: str) -> tuple[int, ...]:
    """The counters of a key, one a row, by 32 bits of its BLAKE2b hash each."""
    digest = hashlib.blake2b(item.encode(), digest_size=4 * DEPTH).digest()
    return tuple(
        row * WIDTH + int.from_bytes(digest[4 * row : 4 * row + 4], "little") % WIDTH  # rows lie one behind the other
        for row in range(DEPTH)
    )


class CountMinSketch:
    """The keys of one rule, in two slots. All keys have the same limit; memory is 2 x CELLS counters of 32 bits."""

    def __init__(self) -> None:
        self._start_us = 0
        self._used, self._before = _zeros(), _zeros()

    def state(self, limit: Limit, item: str, now_us: int) -> State:
        """What `sliding_window` would keep of this key, at most too high. Changes nothing."""
        cells = cells_of(item)
        used, before = (min(slot[cell] for cell in cells) for slot in (self._used, self._before))
        return sliding_window.state_at(limit, (self._start_us, used, before), now_us)

    def keep(self, limit: Limit, item: str, state: State) -> None:
        """Take in the state that `sliding_window.take` made of the one before; a new window begins with the first that is kept."""
        start_us, used, _ = state
        if start_us > self._start_us:
            self._before = self._used if self._start_us >= start_us - limit.period_us else _zeros()
            self._used = _zeros()
            self._start_us = start_us
        for cell in cells_of(item):
            self._used[cell] = max(self._used[cell], used)


def _zeros() -> array[int]:
    return array("L", bytes(CELLS * array("L").itemsize))
