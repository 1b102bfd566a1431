"""A port whose calls end in time, and whose outcomes somebody hears of: the deadline that each call to the outside has.

>>> store = GuardedPort(store, ["get", "page"], deadline_s=2, late=too_late, is_outage=is_outage, heard=lambda ok: None)

A call that is late may still happen, unless it only reads; so the error that `late` makes has to say which it is. With `allow`, for
instance that of a circuit breaker, calls are refused at once while it says no.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.deadline import within

T = TypeVar("T")


class GuardedPort:
    """The port with these awaited verbs guarded; the others are as they were.

    `deadline_s`   seconds of a call; None for no deadline
    `late(verb)`   the error of a call that took longer
    `is_outage`    whether an error means that the server could not, and not that it would not
    `heard(ok)`    is told of each outcome; a cancelled call says nothing
    `allow()`      whether a call may be made now, and `refused(verb)` the error when it may not
    `at_once`      calls that are made at once; the others wait their turn, as part of their deadline
    `waiting`      of these at most so many, and `crowded(verb)` is the error of the rest: let in, all would be late

    With `at_once`, a late call says nothing of the server when it had its turn with less than half of its time left, or when the
    event loop was later for the deadline than that: what was short was this process, and a crowd of callers is no reason to leave
    a server alone that is well. The call is `late` all the same.
    """

    def __init__(
        self,
        port: object,
        verbs: Iterable[str],
        *,
        deadline_s: float | None,
        late: Callable[[str], Exception],
        is_outage: Callable[[Exception], bool],
        heard: Callable[[bool], None],
        allow: Callable[[], bool] | None = None,
        refused: Callable[[str], Exception] | None = None,
        at_once: int | None = None,
        waiting: int = 0,
        crowded: Callable[[str], Exception] | None = None,
    ) -> None:
        self._port = port
        under_way = 0
        most = at_once + waiting if at_once is not None else None
        turn: Any = asyncio.Semaphore(at_once) if at_once is not None else contextlib.nullcontext()
        fair_s = deadline_s / 2 if deadline_s is not None and at_once is not None else None

        def guarded(verb: str, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
            async def ask(*args: Any, **kwargs: Any) -> T:
                if allow is not None and not allow():
                    raise (refused or late)(verb)
                nonlocal under_way
                if most is not None and under_way >= most:
                    raise (crowded or late)(verb)
                under_way += 1
                called_s = None
                try:
                    async with within(deadline_s) as deadline, turn:
                        called_s = asyncio.get_running_loop().time()
                        answer = await call(*args, **kwargs)
                except Exception as error:
                    if isinstance(error, TimeoutError) and deadline.expired:
                        if fair_s is None or (
                            called_s is not None
                            and asyncio.get_running_loop().time() - called_s >= fair_s
                            and deadline.overrun_s < fair_s
                        ):
                            heard(False)
                        raise late(verb) from error
                    heard(not is_outage(error))
                    raise
                finally:
                    under_way -= 1
                heard(True)
                return answer

            return ask

        for verb in verbs:
            setattr(self, verb, guarded(verb, getattr(port, verb)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long requests of one kind wait for a server, and the breaker that spares the next ones the wait (None: nothing does).

    `server` is what errors call it; `is_outage` as in `GuardedPort`; `also_heard` is told of each outcome beside the breaker.
    `at_once` and `waiting` as there, too.
    """

    server: str
    deadline_s: float
    breaker: CircuitBreaker | None
    is_outage: Callable[[Exception], bool]
    also_heard: Callable[[bool], None] | None = None
    at_once: int | None = None
    waiting: int = 0

    def guard(self, port: Any, verbs: Iterable[str], kind: Callable[[str, bool], Exception]) -> Any:
        """A backend that requests wait for. `kind(sentence, may_have_happened)` makes its errors."""
        breaker = self.breaker
        return GuardedPort(
            port,
            verbs,
            deadline_s=self.deadline_s,
            late=lambda verb: kind(f"{self.server} did not answer {verb} within {self.deadline_s:g} s", True),
            is_outage=self.is_outage,
            heard=self._heard,
            allow=breaker.allow if breaker is not None else None,
            refused=lambda verb: kind(f"{self.server} failed lately and is left alone for now", False),
            at_once=self.at_once,
            waiting=self.waiting,
            crowded=lambda _: kind(f"too many wait for {self.server} here already", False),
        )

    def probed(self, well: bool, took_s: float) -> None:
        """A ping is the half-open breaker's probe where no request comes along to be it. One that was late is no good."""
        if self.breaker is not None and self.breaker.state == "half-open" and self.breaker.allow():
            self._heard(well and took_s <= self.deadline_s)

    def _heard(self, well: bool) -> None:
        if self.breaker is not None:
            if well:
                self.breaker.success()
            else:
                self.breaker.failure()
        if self.also_heard is not None:
            self.also_heard(well)
