"""A direction in the event loop, in virtual time: it writes when things are due, and reads no more than it can hold."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.faults.proxy.connection import MAX_HELD, End, Pump
from loadtests.faults.proxy.link import Link, Striking
from loadtests.faults.proxy.stages import Ending
from loadtests.faults.proxy.toxics import Attributes, Bandwidth, Latency, Toxic
from tests.virtual_time import now_s, run

A_TIMER_S = 0.001  # how coarse the loop's timers are


class RecordedTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[float, bytes]] = []
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self

    def setsockopt(self, *option: object) -> None:
        """As the socket's."""

    def write(self, data: Any) -> None:
        self.written.append((now_s(), bytes(data)))

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Direction:
    """A pump between two transports that record."""

    def __init__(self, *toxics: Attributes) -> None:
        self.endings: list[tuple[float, Ending]] = []
        self.source, self.sink = RecordedTransport(), RecordedTransport()
        ends = []
        for transport in (self.source, self.sink):
            end = End(lambda _: None, lambda: None)
            end.connection_made(transport)
            ends.append(end)
        striking = [Striking(Toxic(str(n), "", "downstream", 1.0, toxic), 0.5) for n, toxic in enumerate(toxics)]
        self.pump = Pump(*ends, Link(striking), lambda how: self.endings.append((now_s(), how)), now_s)


@given(gaps_ms=st.lists(st.integers(0, 300), min_size=1, max_size=30), latency=st.integers(0, 1_000))
@settings(max_examples=50)
def test_every_chunk_is_written_its_latency_after_it_came_however_many_came_before(gaps_ms: list[int], latency: int) -> None:
    async def main() -> None:
        direction = Direction(Latency(latency=latency))
        arrived: list[tuple[float, bytes]] = []
        for number, gap_ms in enumerate(gaps_ms):
            await asyncio.sleep(gap_ms / 1e3)
            arrived.append((now_s(), b"%d" % number))
            direction.pump.offer(arrived[-1][1])
        direction.pump.offer("eof")
        await asyncio.sleep(2)
        assert [chunk for _, chunk in direction.sink.written] == [chunk for _, chunk in arrived]
        for (came_s, _), (left_s, _) in zip(arrived, direction.sink.written, strict=True):
            assert came_s + latency / 1e3 - 1e-6 <= left_s <= came_s + latency / 1e3 + A_TIMER_S + 1e-6
        assert [how for _, how in direction.endings] == ["eof"]

    run(main())


def test_a_narrow_line_takes_the_time_it_should_and_no_longer() -> None:
    async def main() -> None:
        direction = Direction(Bandwidth(rate=10))
        direction.pump.offer(b"x" * 100_000)
        await asyncio.sleep(11)
        assert sum(len(data) for _, data in direction.sink.written) == 100_000
        assert direction.sink.written[-1][0] == pytest.approx(10, abs=A_TIMER_S)

    run(main())


def test_the_sender_is_not_read_while_too_much_is_in_flight_or_the_receiver_takes_nothing() -> None:
    async def main() -> None:
        direction = Direction(Latency(latency=1_000))
        direction.pump.offer(bytes(MAX_HELD))
        assert not direction.source.reading
        await asyncio.sleep(1.1)
        assert direction.source.reading
        direction.pump.set_blocked(True)
        assert not direction.source.reading
        direction.pump.offer(b"later")
        await asyncio.sleep(2)
        assert len(direction.sink.written) == 1
        direction.pump.set_blocked(False)
        assert direction.source.reading
        assert [data for _, data in direction.sink.written[1:]] == [b"later"]

    run(main())
