"""Whoever matters most is refused last, what is refused grows and shrinks gradually, and after the load nobody is left out."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter.load_shedder import (
    MAX_LEVEL,
    PRIORITIES,
    RETRY_JITTER_S,
    LoadShedder,
    Marks,
    Priority,
    Room,
    Shedder,
    by_key,
    next_level,
    share_refused,
)
from tests.rate_limiter.edge import Call, client_of
from tests.virtual_time import now_s, run

priorities = st.sampled_from(PRIORITIES)
levels = st.floats(0, MAX_LEVEL)
rooms = st.builds(Room, st.integers(1, 50), st.floats(0, 0.99))
marks = st.builds(
    lambda low, gap, rise_s, fall_s: Marks(low + gap, low, rise_s, fall_s),
    *(st.floats(0.05, 0.9), st.floats(0.01, 0.5), st.floats(0.1, 10), st.floats(0.1, 10)),
)


class Scene:
    """A shedder whose clock, lag and chance are ours."""

    def __init__(self, room: Room, **more: Any) -> None:
        self.now_s = self.lag_s = self.chance = 0.0
        self.shedder = Shedder(room, lag_s=lambda: self.lag_s, clock=lambda: self.now_s, chance=lambda: self.chance, **more)

    def enter(self, priority: Priority, after_s: float = 0.0) -> bool:
        self.now_s += after_s
        return self.shedder.enter(priority)


@given(rooms, st.lists(st.tuples(priorities, st.booleans(), st.floats(0, 2), st.floats(0, 0.99), st.floats(0, 1)), max_size=80))
def test_room_is_never_overbooked_and_critical_finds_its_share_however_the_others_come(
    room: Room, steps: list[tuple[Priority, bool, float, float, float]]
) -> None:
    scene = Scene(room)
    inside: list[Priority] = []
    for priority, leaves, after_s, scene.chance, scene.lag_s in steps:
        if leaves and inside:
            scene.shedder.leave(inside.pop(0))
        critical = inside.count("critical")
        entered = scene.enter(priority, after_s)
        if priority == "critical":
            assert entered == (len(inside) < room.capacity), "critical ones are refused for want of room alone"
            assert entered or critical >= room.reserved, "the others can't fill what is reserved"
        if entered:
            inside.append(priority)
        assert scene.shedder.under_way == len(inside) <= room.capacity
        assert len(inside) - inside.count("critical") <= room.capacity - room.reserved
        assert 0 <= scene.shedder.level <= MAX_LEVEL
    assert scene.shedder.admitted.total() + scene.shedder.shed.total() == len(steps)
    assert scene.shedder.reasons.total() == scene.shedder.shed.total()


@given(levels)
def test_no_class_is_refused_more_than_the_one_below_it_and_critical_never(level: float) -> None:
    shares = [share_refused(level, priority) for priority in PRIORITIES]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert all(0 <= share <= 1 for share in shares)
    assert sum(shares) == pytest.approx(level)
    assert sum(0 < share < 1 for share in shares) <= 1, "one class at a time"


@given(rooms, levels, st.floats(0, 0.99), st.integers(0, 50), st.integers(0, 50))
def test_where_a_class_comes_in_the_higher_ones_do(room: Room, level: float, chance: float, critical: int, others: int) -> None:
    admitted = [chance >= share_refused(level, each) and room.has_place(each, critical, others) for each in PRIORITIES]
    assert admitted == sorted(admitted, reverse=True)


@given(marks, levels, st.floats(0, 3), st.floats(0, 100))
def test_the_level_moves_gradually_and_only_beyond_its_marks(
    marks: Marks, level: float, utilisation: float, elapsed_s: float
) -> None:
    after = next_level(marks, level, utilisation, elapsed_s)
    assert 0 <= after <= MAX_LEVEL
    if marks.low <= utilisation <= marks.high:
        assert after == level
    elif utilisation > marks.high:
        assert level <= after <= level + 0.25 / marks.rise_s + 1e-9
    else:
        assert level - elapsed_s / marks.fall_s - 1e-9 <= after <= level


@given(marks, levels)
def test_after_the_load_everybody_comes_in_again_within_a_time_that_can_be_told(marks: Marks, level: float) -> None:
    for _ in range(10):
        level = next_level(marks, level, 0.0, MAX_LEVEL * marks.fall_s / 10)
    assert level == pytest.approx(0, abs=1e-9)


def test_the_lowest_classes_go_first_and_come_back_last_as_the_process_gets_late() -> None:
    scene = Scene(Room(100), marks=Marks(rise_s=1, fall_s=4))
    scene.chance, scene.lag_s = 0.45, 0.2
    gone: dict[Priority, float] = {}
    for _ in range(50):
        scene.now_s += 0.1
        for priority in PRIORITIES:
            if not scene.enter(priority):
                gone.setdefault(priority, scene.now_s)
            else:
                scene.shedder.leave(priority)
    assert {priority: round(at_s, 1) for priority, at_s in gone.items()} == {"low": 0.6, "normal": 1.6, "high": 2.6}
    scene.lag_s, since_s = 0.0, scene.now_s
    back: dict[Priority, float] = {}
    for _ in range(150):
        scene.now_s += 0.1
        for priority in PRIORITIES:
            if scene.enter(priority):
                back.setdefault(priority, round(scene.now_s - since_s))
                scene.shedder.leave(priority)
    assert back == {"critical": 0, "high": 2, "normal": 6, "low": 10}


def test_a_load_between_the_marks_changes_nothing_so_it_does_not_flap() -> None:
    scene = Scene(Room(10, 0.0))
    for _ in range(7):  # 60 % when the last one asks
        assert scene.enter("low", after_s=1)
    levels = {scene.shedder.level}
    for _ in range(100):
        scene.shedder.leave("low")
        scene.enter("low", after_s=0.1)
        levels.add(scene.shedder.level)
    assert levels == {0.0}
    scene.enter("low")
    scene.enter("low")
    scene.enter("low", after_s=0.25)
    level = scene.shedder.level
    assert level == 0.25
    scene.shedder.leave("low")
    for _ in range(100):
        scene.chance = 0.9
        scene.shedder.leave("low")
        assert scene.enter("low", after_s=0.1)
        assert scene.shedder.level == level


def test_a_single_late_turn_of_the_loop_is_no_load() -> None:
    scene = Scene(Room(100))
    assert scene.enter("low", after_s=60)
    scene.lag_s = 5.0
    assert scene.enter("low", after_s=60)
    assert scene.shedder.level == 0
    scene.enter("low", after_s=0.1)
    assert scene.shedder.level == pytest.approx(0.1), "a tenth of a second of it is"


def test_whom_a_load_of_low_requests_shuts_out_is_themselves_and_no_more_of_them_than_have_to_be() -> None:
    scene = Scene(Room(10))
    tosses = itertools.cycle([0.1, 0.5, 0.9, 0.3, 0.7])
    inside = worst = 0
    for step in range(1_000):  # twice as many come as can be served
        scene.chance = next(tosses)
        inside += scene.enter("low", after_s=0.05)
        assert scene.enter("critical")
        scene.shedder.leave("critical")
        if step % 2 and inside:
            scene.shedder.leave("low")
            inside -= 1
        worst = max(worst, inside)
    shed = scene.shedder.shed
    assert shed.keys() == {"low"}
    assert 400 < shed["low"] < 650, "half of them is too much"
    assert worst <= 8
    assert scene.shedder.reasons["utilisation"] > scene.shedder.reasons["room"], "most are refused before it is full"


@pytest.mark.parametrize("wrong", [(0, 0.2), (5, 1.0), (5, -0.1)])
def test_a_room_is_for_somebody(wrong: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="place"):
        Room(*wrong)


def test_marks_that_would_flap_are_refused_and_a_room_of_one_is_everybodys() -> None:
    with pytest.raises(ValueError, match="below"):
        Marks(high=0.5, low=0.5)
    with pytest.raises(ValueError, match="no time"):
        Marks(rise_s=0)
    assert Room(1).has_place("low", 0, 0)
    assert Room(10).reserved == 2


CLASSES: dict[bytes, Priority] = {hashlib.sha256(b"payments").digest(): "critical", hashlib.sha256(b"search").digest(): "normal"}


@pytest.mark.parametrize(
    ("key", "asked", "expected"),
    [
        (b"payments", b"", "critical"),
        (b"payments", b"low", "low"),
        (b"payments", b" High ", "high"),
        (b"search", b"critical", "normal"),
        (b"search", b"nonsense", "normal"),
        (b"search", b"low", "low"),
        (b"made-up", b"critical", "low"),
        (None, b"critical", "low"),
        (None, b"", "low"),
    ],
)
def test_a_request_can_lower_its_priority_and_never_raise_it(key: bytes | None, asked: bytes, expected: Priority) -> None:
    headers = [(b"x-priority", asked)] if asked else []
    if key is not None:
        headers.append((b"authorization", b"Bearer " + key))
    assert by_key(CLASSES.get)({"headers": headers}) == expected


def test_in_front_of_an_application_it_refuses_the_unimportant_and_says_when_to_come_back() -> None:
    async def scene() -> None:
        go, begun = asyncio.Event(), asyncio.Semaphore(0)

        async def work(scope: Any, receive: Any, send: Any) -> None:
            begun.release()
            await go.wait()
            if scope["path"] == "/bug":
                raise RuntimeError("a bug")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})

        chances = itertools.cycle([0.0, 0.3, 0.6, 0.99])
        app = LoadShedder(work, by_key(CLASSES.get), 5, clock=now_s, chance=lambda: next(chances))
        payments = {"Authorization": "Bearer payments"}
        async with client_of(app) as client:
            under_way = [asyncio.create_task(client.get("/bug" if n == 3 else "/work")) for n in range(4)]
            for _ in under_way:
                await begun.acquire()
            refused = [await client.get("/work") for _ in range(8)]
            assert {each.status_code for each in refused} == {503}
            assert refused[0].headers["content-type"] == "application/problem+json"
            waits = {int(each.headers["retry-after"]) for each in refused}
            assert min(waits) >= 1
            assert max(waits) <= RETRY_JITTER_S
            assert len(waits) > 1, "they don't come back together"
            under_way.append(asyncio.create_task(client.get("/work", headers=payments)))
            await begun.acquire()
            assert (await client.get("/work", headers=payments)).status_code == 503, "a place is a place"
            probe = asyncio.create_task(client.get("/readyz"))
            socket = Call(app, "/live", "websocket")
            await begun.acquire()
            await begun.acquire()
            go.set()
            assert [each.status_code for each in await asyncio.gather(*under_way)] == [200, 200, 200, 500, 200]
            assert (await probe).status_code == 200
            await socket.task
            assert app.shedder.under_way == 0, "one that failed has left as well"
            assert app.shedder.shed == {"low": 8, "critical": 1}
            assert app.refused == 9
            assert (await client.get("/work", headers=payments)).status_code == 200

    run(scene())
