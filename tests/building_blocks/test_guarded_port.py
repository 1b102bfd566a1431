"""Each call to the outside ends in time, its outcome is heard, and its error says whether it may have happened."""

from __future__ import annotations

import asyncio

import pytest

from designs.building_blocks.circuit_breaker import CircuitBreaker
from designs.building_blocks.guarded_port import GuardedPort, Patience
from tests.virtual_time import now_s, run


class Refused(Exception):
    """The server said no."""


class Down(Exception):
    """The server could not."""


class Late(Exception):
    """The call took too long."""


class Server:
    """`work` takes `takes_s` and then raises `error`, if there is one."""

    capacity = 3

    def __init__(self) -> None:
        self.takes_s, self.done = 0.1, 0
        self.error: Exception | None = None

    async def work(self, value: int) -> int:
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        self.done += 1
        return value

    async def unguarded(self) -> str:
        await asyncio.sleep(100)
        return "at last"


class Guarded:
    def __init__(self, deadline_s: float | None = 1.0) -> None:
        self.server, self.heard, self.allowed = Server(), list[bool](), True
        self.port = GuardedPort(
            self.server,
            ["work"],
            deadline_s=deadline_s,
            late=Late,
            is_outage=lambda error: isinstance(error, Down),
            heard=self.heard.append,
            allow=lambda: self.allowed,
        )


def test_an_answer_in_time_is_handed_on_and_heard_of() -> None:
    guarded = Guarded()
    assert run(guarded.port.work(7)) == 7
    assert guarded.heard == [True]


def test_a_call_that_takes_too_long_ends_at_its_deadline_with_the_error_that_was_given() -> None:
    async def scene() -> None:
        guarded = Guarded()
        guarded.server.takes_s = 60
        with pytest.raises(Late, match="work"):
            await guarded.port.work(7)
        assert now_s() == 1.0
        assert (guarded.heard, guarded.server.done) == ([False], 0)

    run(scene())


def test_an_outage_is_bad_news_and_a_refusal_is_none() -> None:
    guarded = Guarded()
    guarded.server.error = Down()
    with pytest.raises(Down):
        run(guarded.port.work(7))
    guarded.server.error = Refused()
    with pytest.raises(Refused):
        run(guarded.port.work(7))
    assert guarded.heard == [False, True]


def test_a_time_out_of_the_server_itself_is_not_taken_for_the_deadline() -> None:
    guarded = Guarded()
    guarded.server.error = TimeoutError("its own")
    with pytest.raises(TimeoutError, match="its own"):
        run(guarded.port.work(7))


def test_a_caller_that_is_cancelled_says_nothing_about_the_server() -> None:
    async def scene() -> None:
        guarded = Guarded()
        guarded.server.takes_s = 60
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(guarded.port.work(7), 0.5)
        assert guarded.heard == []

    run(scene())


def test_while_calls_are_not_allowed_the_server_is_not_asked() -> None:
    guarded = Guarded()
    guarded.allowed = False
    with pytest.raises(Late):
        run(guarded.port.work(7))
    assert (guarded.heard, guarded.server.done) == ([], 0)


def test_what_is_not_guarded_is_as_it_was() -> None:
    guarded = Guarded(deadline_s=None)
    guarded.server.takes_s = 60
    assert run(guarded.port.unguarded()) == "at last"
    assert run(guarded.port.work(1)) == 1
    assert guarded.port.capacity == 3


# -- patience ---------------------------------------------------------------------------------------------------------------------


class Waiting:
    """A server that callers have a second's patience with, and a breaker that opens after two failures."""

    def __init__(self, *, breaker: bool = True) -> None:
        self.server, self.heard = Server(), list[bool]()
        self.breaker = CircuitBreaker(now_s, failures=2, open_s=5.0) if breaker else None
        self.patience = Patience("The library", 1.0, self.breaker, lambda error: isinstance(error, Down), self.heard.append)
        self.port = self.patience.guard(self.server, ["work"], lambda sentence, maybe: Late(sentence, maybe))

    async def said(self) -> tuple[str, bool]:
        with pytest.raises(Late) as late:
            await self.port.work(7)
        sentence, may_have_happened = late.value.args
        return sentence, may_have_happened


LATE = ("The library did not answer work within 1 s", True)
LEFT_ALONE = ("The library failed lately and is left alone for now", False)


def test_after_some_late_answers_the_next_are_spared_the_wait_and_know_that_nothing_happened() -> None:
    async def scene() -> None:
        waiting = Waiting()
        waiting.server.takes_s = 100
        assert [await waiting.said() for _ in range(2)] == [LATE] * 2
        assert [await waiting.said() for _ in range(3)] == [LEFT_ALONE] * 3
        assert now_s() == 2
        assert waiting.heard == [False, False]

    run(scene())


def test_without_a_breaker_every_call_waits_its_second() -> None:
    async def scene() -> None:
        waiting = Waiting(breaker=False)
        waiting.server.takes_s = 100
        assert [await waiting.said() for _ in range(4)] == [LATE] * 4
        assert now_s() == 4
        waiting.patience.probed(True, 0.1)
        assert waiting.heard == [False] * 4

    run(scene())


@pytest.mark.parametrize(
    ("well", "took_s", "state"), [(True, 0.9, "closed"), (True, 1.1, "open"), (False, 0.1, "open")], ids=["well", "late", "gone"]
)
def test_a_look_at_the_server_closes_the_breaker_where_no_request_comes_to_do_it(well: bool, took_s: float, state: str) -> None:
    async def scene() -> None:
        waiting = Waiting()
        assert waiting.breaker is not None
        waiting.server.error = Down()
        for _ in range(2):
            with pytest.raises(Down):
                await waiting.port.work(7)
        waiting.patience.probed(True, 0.1)
        assert waiting.breaker.state == "open", "not before its time"
        await asyncio.sleep(5)
        waiting.patience.probed(well, took_s)
        assert waiting.breaker.state == state

    run(scene())


# -- a crowd ----------------------------------------------------------------------------------------------------------------------


class Crowd:
    """A server that two callers use at once while some wait; each has a second's patience."""

    def __init__(self, *, takes_s: float, waiting: int) -> None:
        self.server, self.heard = Server(), list[bool]()
        self.server.takes_s = takes_s
        patience = Patience("The library", 1.0, None, lambda error: isinstance(error, Down), self.heard.append, 2, waiting)
        self.port = patience.guard(self.server, ["work"], lambda sentence, maybe: Late(sentence, maybe))
        self.ended: list[tuple[float, str]] = []

    async def come(self, callers: int) -> list[tuple[float, str]]:
        """When each call ended, and how."""
        await asyncio.gather(*(self._call() for _ in range(callers)))
        return self.ended

    async def _call(self) -> None:
        try:
            await self.port.work(7)
        except Late as late:
            self.ended.append((round(now_s(), 3), late.args[0]))
        else:
            self.ended.append((round(now_s(), 3), "done"))


FULL = "too many wait for The library here already"


def test_a_crowd_takes_turns_and_who_could_not_have_one_in_time_does_not_wait() -> None:
    async def scene() -> None:
        crowd = Crowd(takes_s=0.4, waiting=2)
        assert await crowd.come(6) == [(0, FULL)] * 2 + [(0.4, "done")] * 2 + [(0.8, "done")] * 2
        assert crowd.heard == [True] * 4
        crowd.ended.clear()
        assert await crowd.come(2) == [(1.2, "done")] * 2, "and the room is free again"

    run(scene())


def test_who_had_a_turn_too_late_says_nothing_of_the_server() -> None:
    async def scene() -> None:
        crowd = Crowd(takes_s=0.4, waiting=4)
        late = (1.0, LATE[0])
        assert await crowd.come(6) == [(0.4, "done")] * 2 + [(0.8, "done")] * 2 + [late] * 2
        assert crowd.heard == [True] * 4

    run(scene())


def test_of_a_server_that_is_silent_those_tell_who_had_their_turn() -> None:
    async def scene() -> None:
        crowd = Crowd(takes_s=100, waiting=4)
        assert await crowd.come(6) == [(1.0, LATE[0])] * 6, "and nobody waits for longer than the deadline"
        assert crowd.heard == [False] * 2

    run(scene())


def test_a_caller_who_is_cancelled_while_it_waits_gives_its_place_back() -> None:
    async def scene() -> None:
        crowd = Crowd(takes_s=0.4, waiting=1)
        tasks = [asyncio.create_task(crowd._call()) for _ in range(3)]
        await asyncio.sleep(0.1)
        tasks[2].cancel()
        await asyncio.sleep(0)
        assert await crowd.come(1) == [(0.4, "done")] * 2 + [(0.8, "done")]

    run(scene())
