import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.fault_hooks import FaultHooks, write_fault_file
from tests.virtual_time import now_s, run


class Store:
    """Notes when it was asked what."""

    size = 3

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []

    async def get(self, code: str, *, quick: bool = False) -> str:
        self.asked.append((code, now_s()))
        return f"{code} {quick}"

    async def close(self) -> None:
        self.asked.append(("close", now_s()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "replica-1"
    write_fault_file(path)
    return path


def test_the_clock_is_as_wrong_as_the_file_says_from_its_next_reading_on(file: Path) -> None:
    clock_us = FaultHooks.open(file).clock_us(lambda: 1_000_000)
    assert clock_us() == 1_000_000
    write_fault_file(file, clock_offset_us=-250_000)
    assert clock_us() == 750_000
    write_fault_file(file, clock_offset_us=0)
    assert clock_us() == 1_000_000


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**62))
def test_each_number_is_set_without_touching_the_other(offset_us: int, delay_us: int) -> None:
    words = memoryview(bytearray(16)).cast("q")
    words[0], words[1] = offset_us, delay_us
    assert FaultHooks(words).clock_us(lambda: 0)() == offset_us


def test_what_is_not_given_stays(file: Path) -> None:
    write_fault_file(file, clock_offset_us=7, store_delay_us=9)
    write_fault_file(file, store_delay_us=11)
    assert file.read_bytes() == b"".join(number.to_bytes(8, sys.byteorder) for number in (7, 11))


def test_a_slow_store_waits_before_each_of_its_verbs_and_does_what_it_did(file: Path) -> None:
    async def story() -> list[tuple[str, float]]:
        store = Store()
        slow = FaultHooks.open(file).slowed(store, ["get"])
        assert await slow.get("at once") == "at once False"
        write_fault_file(file, store_delay_us=2_500_000)
        assert await slow.get("late", quick=True) == "late True"
        await slow.close()
        assert slow.size == 3
        write_fault_file(file, store_delay_us=0)
        await slow.get("well again")
        return store.asked

    assert run(story()) == [("at once", 0), ("late", 2.5), ("close", 2.5), ("well again", 2.5)]


def test_slow_operations_wait_side_by_side(file: Path) -> None:
    async def story() -> list[tuple[str, float]]:
        store = Store()
        slow = FaultHooks.open(file).slowed(store, ["get"])
        write_fault_file(file, store_delay_us=1_000_000)
        await asyncio.gather(*(slow.get(code) for code in "abc"))
        return store.asked

    assert run(story()) == [("a", 1), ("b", 1), ("c", 1)]


def test_who_gives_up_waiting_has_asked_for_nothing(file: Path) -> None:
    async def story() -> list[tuple[str, float]]:
        store = Store()
        slow: Coroutine[Any, Any, str] = FaultHooks.open(file).slowed(store, ["get"]).get("code")
        write_fault_file(file, store_delay_us=5_000_000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow, 1)
        await asyncio.sleep(60)
        return store.asked

    assert run(story()) == []


def test_a_file_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent is no fault file: .*No such file"):
        FaultHooks.open(tmp_path / "absent")
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(ValueError, match="short is no fault file"):
        FaultHooks.open(tmp_path / "short")
