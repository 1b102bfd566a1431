"""Make short codes and unique numbers: random, hashed, counted, leased, permuted, or from the clock.

Promises: every code is over `BASE62`; a random or hashed code is uniform over the whole code space; a
permuted number is a bijection of the number that went in; the numbers of one `RangeLease` or one `Snowflake`
never repeat while the counter or the clock behind it only moves forward.

None of this makes a code unique in a store. A counter can be restored from an old backup, a hash can collide,
a random code can be drawn twice, so the store's insert-if-absent decides, and a generator only makes the
second try rare.

Nothing here is safe across threads; one event loop owns each object.
"""

import asyncio
import hashlib
import math
import secrets
from collections.abc import Awaitable, Callable
from functools import partial

# ASCII order, so that codes of equal length sort like the numbers they stand for.
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUE = {symbol: value for value, symbol in enumerate(BASE62)}

_HASH_BITS = 256
_SPARE_BITS = 64


def encode_base62(number: int, length: int = 0) -> str:
    """`number` >= 0 in base 62, most significant symbol first, padded with "0" up to `length` symbols.

    A number that needs more symbols gets them: 61 padded to 3 symbols is "00z", 62**3 is "1000".
    """
    if number < 0:
        raise ValueError(f"base 62 is for numbers from 0 up, not {number}")
    symbols = []
    while number:
        number, value = divmod(number, 62)
        symbols.append(BASE62[value])
    return "".join(reversed(symbols)).rjust(max(length, 1), BASE62[0])


def decode_base62(code: str) -> int:
    """The number `code` stands for; ValueError when it is empty or holds a symbol outside `BASE62`."""
    if not code:
        raise ValueError("an empty code stands for no number")
    number = 0
    for symbol in code:
        value = _VALUE.get(symbol)
        if value is None:
            raise ValueError(f"{symbol!r} is not one of the 62 letters and digits")
        number = number * 62 + value
    return number


def random_code(length: int, randbelow: Callable[[int], int] = secrets.randbelow) -> str:
    """`length` symbols, all `62**length` codes equally likely if `randbelow(n)` is uniform over [0, n).

    One draw over the whole space; random bytes modulo 62 would favour the first 256 % 62 = 8 symbols.
    """
    return encode_base62(randbelow(_code_space(length)), length)


def hash_code(text: str, length: int, attempt: int = 0) -> str:
    """The same `length` symbols each time for the same text; the next `attempt` gives an unrelated code.

    SHA-256 (FIPS 180-4) of attempt and text, as an integer modulo `62**length`. At least 64 bits are left
    over, which holds the bias below 2**-64; that limits `length` to 32. Cutting the leading symbols off a
    base 62 digest instead is biased, because the digest's range ends in the middle of a leading symbol.
    """
    space = _code_space(length)
    if space.bit_length() + _SPARE_BITS > _HASH_BITS:
        raise ValueError(f"a hash of {_HASH_BITS} bits makes codes of at most 32 symbols, not {length}")
    # The salt has a fixed width: otherwise attempt 1 of "2x" could meet attempt 12 of "x".
    digest = hashlib.sha256(attempt.to_bytes(4, "big") + text.encode()).digest()
    return encode_base62(int.from_bytes(digest, "big") % space, length)


def _code_space(length: int) -> int:
    if length < 1:
        raise ValueError(f"a code has at least one symbol, not {length}")
    return int(62**length)


class KeyedPermutation:
    """A bijection of [0, size) that looks random to those without the key: hides a counter in its codes.

    A balanced Feistel network (Luby and Rackoff, 1988) over the smallest even number of bits that covers
    `size`; a result outside the range goes through again until it falls inside ("cycle walking": Black and
    Rogaway, 2002), fewer than four passes on average because the domain is less than four times `size`. Six
    rounds of keyed BLAKE2b (RFC 7693).

    It is a bijection for any size from 2 up, and a secret only while nobody can list most of the domain.
    """

    ROUNDS = 6

    def __init__(self, size: int, key: bytes) -> None:
        if size < 2:
            raise ValueError(f"there is nothing to permute among {size} numbers; the size is at least 2")
        if not 16 <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError(f"the key has 16 to {hashlib.blake2b.MAX_KEY_SIZE} bytes, not {len(key)}")
        self.size = size
        self._half_bits = ((size - 1).bit_length() + 1) // 2
        self._mask = (1 << self._half_bits) - 1
        self._half_bytes = (self._half_bits + 7) // 8
        if self._half_bytes > hashlib.blake2b.MAX_DIGEST_SIZE:
            raise ValueError("the size is beyond 1024 bits, the most one hash per round can mix")
        # Copying a state that has swallowed the key already is cheaper than keying a new one for each number.
        keyed = partial(hashlib.blake2b, key=key, digest_size=self._half_bytes)
        self._rounds = tuple(keyed(salt=bytes([index])) for index in range(self.ROUNDS))

    def encode(self, number: int) -> int:
        """Where `number` goes; ValueError outside [0, size)."""
        self._check(number)
        while True:
            left, right = number >> self._half_bits, number & self._mask
            for state in self._rounds:
                left, right = right, left ^ self._mix(state, right)
            number = left << self._half_bits | right
            if number < self.size:
                return number

    def decode(self, number: int) -> int:
        """The one input whose `encode` is `number`; ValueError outside [0, size)."""
        self._check(number)
        while True:
            left, right = number >> self._half_bits, number & self._mask
            for state in reversed(self._rounds):
                left, right = right ^ self._mix(state, left), left
            number = left << self._half_bits | right
            if number < self.size:
                return number

    def _mix(self, state: hashlib.blake2b, half: int) -> int:
        state = state.copy()
        state.update(half.to_bytes(self._half_bytes, "big"))
        return int.from_bytes(state.digest(), "big") & self._mask

    def _check(self, number: int) -> None:
        if not 0 <= number < self.size:
            raise ValueError(f"{number} is outside [0, {self.size})")


class LeaseCancelled(Exception):
    """The lease that several callers waited for was cancelled; none got a number, each may ask again."""


class RangeLease:
    """Numbers out of ranges leased from a shared counter: one round trip per `size` numbers.

    `lease(n)` must atomically add n to the counter and answer the value before: the caller then owns [value,
    value + n). With `size` 1 this is the plain counter per id: there is nothing to share, so each caller
    makes its own call, except while galloping (below). Otherwise at most one lease is under way, and all who
    need a number meanwhile wait for it and share its error; a caller who gives up does not disturb it. A
    crash loses the rest of one range, which leaves a gap and no harm.

    A failover or a restored backup can bring back an old counter. Its ranges were spent before, and the store
    refuses them one by one; report that with `collided`. Stepping through N spent numbers takes N refusals,
    so collisions in a row gallop (the doubling search of Bentley and Yao, 1976): the next leases skip size,
    2 size, 4 size, ... numbers. One caller at a time is past a rollback of N >= size numbers after at most
    ceil(log2(N / size)) + 1 refusals, having skipped fewer than 2 N numbers.
    """

    # 0.13 % of the codes of seven symbols; a longer rollback is escaped in steps of this size.
    MAX_SKIP = 2**32

    def __init__(self, lease: Callable[[int], Awaitable[int]], size: int) -> None:
        if size < 1:
            raise ValueError(f"a range holds at least one number, not {size}")
        self._lease = lease
        self._size = size
        self._next = 0
        self._end = 0
        self._skip = 0
        # Collisions of numbers leased before the last gallop are no news; several may still be on their way.
        self._news_from: float = 0
        self._leasing: asyncio.Task[None] | None = None

    async def next(self) -> int:
        """A number nobody else got from this counter; raises the error of `lease`, or `LeaseCancelled`."""
        if self._size == 1 and not self._skip:
            number = await self._lease(1)
            if not self._skip:
                self._news_from = min(self._news_from, number)
                return number
        while self._next == self._end:
            if self._leasing is None or self._leasing.done():
                self._leasing = asyncio.create_task(self._refill())
                self._leasing.add_done_callback(_retrieve_error)
            leasing = self._leasing
            # Unlike `await leasing`, this leaves the lease to the others when this caller is cancelled.
            await asyncio.wait((leasing,))
            if leasing.cancelled():
                raise LeaseCancelled("the lease for the next numbers was cancelled; ask again")
            leasing.result()
        number = self._next
        self._next += 1
        return number

    def collided(self, number: int | None = None) -> None:
        """The store already holds `number`: drop the rest of the range, and skip twice as far with the next.

        Callers that overlap must say which number it was, so that a handful of refusals from one spent range
        counts as one collision; without a number each call counts.
        """
        if number is not None and number < self._news_from:
            return
        self._next = self._end = 0
        self._skip = min(max(self._size, 2 * self._skip), max(self._size, self.MAX_SKIP))
        self._news_from = math.inf

    def accepted(self) -> None:
        """The store took a number, so the counter is ahead of it again: the next lease skips nothing."""
        self._skip = 0

    async def _refill(self) -> None:
        while True:
            skip = self._skip
            start = await self._lease(self._size + skip) + skip
            # A collision while the answer was under way makes this range one more that is probably spent. The
            # loop ends: a further round needs a further collision, and the skip stops growing at its maximum.
            if skip >= self._skip:
                break
        self._news_from = min(self._news_from, start)
        self._next, self._end = start, start + self._size


def _retrieve_error(task: asyncio.Task[None]) -> None:
    # The loop reports an error that nobody fetched, and everybody who waited may have been cancelled.
    if not task.cancelled():
        task.exception()


class ClockMovedBack(Exception):
    """The clock shows a time before the last id's, by `back_ms`; an id made now could repeat one."""

    def __init__(self, back_ms: int) -> None:
        super().__init__(f"the clock moved back by {back_ms} ms")
        self.back_ms = back_ms


class SequenceExhausted(Exception):
    """All 4,096 ids of this millisecond are used; the next millisecond has more."""


class Snowflake:
    """Ids of 63 bits that rise with time and need no round trip; up to 4,096 a millisecond per worker.

    The layout of Twitter's Snowflake (2010). JSON readers round numbers beyond 2**53: send it as a string.

        0 | 41 bits: ms since epoch_ms (69 years) | 10 bits: worker | 12 bits: sequence in the ms

    Two workers never make the same id, so the worker number must belong to one process at a time. The
    millisecond in which the object is made counts as used up, because the process before it may have made ids
    then. Where the clock may step back across a restart, keep the last time used and pass it as
    `used_until_ms`.
    """

    EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
    TIME_BITS, WORKER_BITS, SEQUENCE_BITS = 41, 10, 12

    def __init__(
        self,
        worker: int,
        clock_ms: Callable[[], int],
        epoch_ms: int = EPOCH_MS,
        used_until_ms: int | None = None,
    ) -> None:
        if not 0 <= worker < 1 << self.WORKER_BITS:
            raise ValueError(f"a worker is numbered from 0 to {(1 << self.WORKER_BITS) - 1}, not {worker}")
        self._worker = worker
        self._clock_ms = clock_ms
        self._epoch_ms = epoch_ms
        self._last_sequence = (1 << self.SEQUENCE_BITS) - 1
        self._last_ms = clock_ms() if used_until_ms is None else max(clock_ms(), used_until_ms)
        self._sequence = self._last_sequence

    def next(self) -> int:
        """The next id; raises `ClockMovedBack`, `SequenceExhausted`, or OverflowError after the 69 years."""
        now_ms = self._clock_ms()
        if now_ms < self._last_ms:
            raise ClockMovedBack(self._last_ms - now_ms)
        elapsed_ms = now_ms - self._epoch_ms
        if not 0 <= elapsed_ms < 1 << self.TIME_BITS:
            raise OverflowError(f"{elapsed_ms} ms since the epoch do not fit into {self.TIME_BITS} bits")
        if now_ms > self._last_ms:
            self._last_ms, self._sequence = now_ms, 0
        elif self._sequence == self._last_sequence:
            raise SequenceExhausted(f"{self._last_sequence + 1} ids were made in this millisecond")
        else:
            self._sequence += 1
        return (elapsed_ms << self.WORKER_BITS | self._worker) << self.SEQUENCE_BITS | self._sequence


MAX_CLOCK_BACK_MS = 5_000


async def next_id(snowflake: Snowflake, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> int:
    """The next id, waiting out a full millisecond or a small step back of the clock.

    Refuses with `ClockMovedBack` at once when the clock is more than 5,000 ms back, and with the last reason
    once it has waited for more than 5,000 ms in all (a clock that stands still or keeps stepping back).
    """
    waited_ms = 0
    while True:
        try:
            return snowflake.next()
        except SequenceExhausted:
            wait_ms = 1
            if waited_ms > MAX_CLOCK_BACK_MS:
                raise
        except ClockMovedBack as error:
            wait_ms = error.back_ms
            if max(wait_ms, waited_ms) > MAX_CLOCK_BACK_MS:
                raise
        waited_ms += wait_ms
        await sleep(wait_ms / 1_000)
