"""One replay of a plan: each row is sent when it is due, or when the row it follows has ended, if that is later.

Promises. Every row ends exactly once, whatever became of those before it. A row that the workload has no reason to send ends when
it would have been sent, as `NOT_SENT`. A mistake of the workload's ends the replay with its error instead of leaving it waiting.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence

from loadtests.generator.arrivals import Plan
from loadtests.generator.connection_pool import Origin
from loadtests.generator.one_shot_timer import Timer
from loadtests.workload import NO_ANSWER, NOT_SENT, Exchange

# (the exchange, the finished one it follows or None) -> (index of the URL, whole request), or None: there is no reason to send it.
Encode = Callable[[Exchange, Exchange | None], tuple[int, bytes] | None]


def is_sent(exchange: Exchange) -> bool:
    """Whether there was a request at all. What the client decided not to send is neither a failure nor a latency."""
    return exchange.status != NOT_SENT


class Replay:
    """The exchanges of a plan on their way. First steps are encoded here, before any time is taken; `over` is their end.

    `lags_s`: per row, how late it was taken off the plan. The wait for an earlier step, or for a connection, is not in it.
    """

    def __init__(
        self, plan: Plan, encode: Encode, first_serial: int, origins: Sequence[Origin], clock: Callable[[], float]
    ) -> None:
        columns = zip(plan.intended_s, plan.op_indexes, plan.keys, plan.clients, strict=True)
        self.exchanges = [
            Exchange(plan.ops[op_index], key, serial, due_s, 0.0, 0.0, 0.0, NO_ANSWER, b"", client)
            for serial, (due_s, op_index, key, client) in enumerate(columns, start=first_serial)
        ]
        self.lags_s = array("d", bytes(8 * len(plan)))
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._encode = encode
        self._first_serial = first_serial
        self._origins = origins
        self._clock = clock
        self._follows = plan.follows
        self._requests = [
            encode(exchange, None) if before < 0 else None for exchange, before in zip(self.exchanges, plan.follows, strict=True)
        ]
        self._timer: Timer
        self._next = 0
        self._unfinished = len(plan)
        self._ended = bytearray(len(plan))
        self._held: dict[int, list[int]] = {}  # row -> the rows that are due and wait for its end

    def start(self, start_s: float, timer: Timer) -> None:
        """Round time 0 is `start_s`; `timer` calls `send_due`."""
        for exchange in self.exchanges:
            exchange.intended_s += start_s
        self._timer = timer
        timer.arm(self.exchanges[0].intended_s)

    def send_due(self) -> None:
        """Send what is due by now, then arm the timer for what comes next."""
        clock, exchanges, follows = self._clock, self.exchanges, self._follows
        while self._next < len(exchanges):
            row = self._next
            due_s = exchanges[row].intended_s
            lag_s = clock() - due_s
            if lag_s < 0:
                self._timer.arm(due_s)
                return
            self.lags_s[row] = lag_s
            self._next += 1
            before = follows[row]
            if before < 0 or self._ended[before]:
                self._send(row)
            else:
                self._held.setdefault(before, []).append(row)
        self._timer.disarm()

    def finished(self, exchange: Exchange) -> None:
        for row in self._end(exchange.serial - self._first_serial):
            self._send(row)

    def _send(self, row: int) -> None:
        """Send one row, and where it ends at once, those that waited for it."""
        rows = [row]
        for row in rows:
            exchange, before = self.exchanges[row], self._follows[row]
            try:
                request = self._requests[row] if before < 0 else self._encode(exchange, self.exchanges[before])
            except Exception as error:  # nobody awaits this callback
                if not self.over.done():
                    self.over.set_exception(error)
                return
            if request is None:
                exchange.sent_s = exchange.first_byte_s = exchange.end_s = self._clock()
                exchange.status = NOT_SENT
                rows += self._end(row)
            else:
                self._origins[request[0]].submit(exchange, request[1])

    def _end(self, row: int) -> list[int]:
        """The rows that waited for this one."""
        self._ended[row] = True
        self._unfinished -= 1
        if self._unfinished == 0 and not self.over.done():
            self.over.set_result(None)
        return self._held.pop(row, [])
