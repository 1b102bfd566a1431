from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.url_shortener.backends.memory import MemoryClickQueue, MemoryClickStore, MemoryVisitorCounter
from designs.url_shortener.click_recorder import ClickRecorder, ClickTotals, count_now, to_queue, to_store
from designs.url_shortener.clicks import MAX_BATCH_CLICKS, Visit, decode_batch
from designs.url_shortener.ports import QueueFull, StoreError
from tests.url_shortener.replicas import failing
from tests.virtual_time import run

SECRET = b"s" * 32
NOON_S = 1_800_014_400.0
BROWSER = [(b"host", b"sho.rt"), (b"user-agent", b"Mozilla/5.0"), (b"referer", b"https://a.example/page")]
CLIENT = ("203.0.113.7", 50_000)
DEFINITE = StoreError("refused", may_have_happened=False)
INDEFINITE = StoreError("no answer", may_have_happened=True)


@dataclass(frozen=True, slots=True)
class Sent:
    """One batch as it was handed over."""

    id: str
    visits: Sequence[Visit]
    traces: Sequence[str]


class Line:
    """Where batches go: it answers as it is told, one outcome a call, and afterwards takes everything."""

    def __init__(self, outcomes: Sequence[StoreError | None] = ()) -> None:
        self.arrived: list[Sent] = []
        self.open = asyncio.Event()
        self.open.set()
        self._outcomes = list(outcomes)

    async def send(self, batch_id: str, visits: Sequence[Visit], traces: Sequence[str]) -> None:
        await self.open.wait()
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if outcome is None or outcome.may_have_happened:
            self.arrived.append(Sent(batch_id, visits, traces))
        if outcome is not None:
            raise outcome

    def clicks(self) -> int:
        """Clicks that arrived, each batch counted once by its id, as the click store does."""
        return sum(len(batch.visits) for batch in {batch.id: batch for batch in self.arrived}.values())


def recorder_to(line: Line, bound: int = 10_000, flush_s: float = 0.05) -> ClickRecorder:
    return ClickRecorder(line.send, flush_s, bound, clock_s=lambda: NOON_S)


def visit(recorder: ClickRecorder, times: int = 1) -> None:
    for _ in range(times):
        recorder.record("abc", BROWSER, CLIENT)


def known_of(totals: ClickTotals) -> int:
    return totals.accepted + totals.unsure + sum(totals.dropped.values())


@given(
    st.lists(st.tuples(st.integers(0, 12), st.lists(st.sampled_from([None, DEFINITE, INDEFINITE, QueueFull()]), max_size=6)), max_size=6),
    st.integers(1, 30),
)
def test_every_click_is_accepted_or_unsure_or_declared_as_dropped(
    rounds: list[tuple[int, list[StoreError | None]]], bound: int
) -> None:
    async def scene() -> None:
        recorded = 0
        line = Line()
        recorder = recorder_to(line, bound)
        for visits, outcomes in rounds:
            line._outcomes = list(outcomes)
            visit(recorder, visits)
            recorded += visits
            assert known_of(recorder.totals) + recorder.waiting == recorded
            await recorder.flush()
            assert known_of(recorder.totals) == recorded
        # What is called accepted did arrive; what is called dropped did not; only the unsure may be either.
        assert recorder.totals.accepted <= line.clicks() <= recorder.totals.accepted + recorder.totals.unsure

    run(scene())


def test_a_batch_is_sent_again_under_its_id_so_that_it_can_be_counted_once() -> None:
    async def scene() -> None:
        line = Line([INDEFINITE, DEFINITE, None])
        recorder = recorder_to(line)
        visit(recorder, 3)
        await recorder.flush()
        assert recorder.totals.accepted == line.clicks() == 3
        assert len(line.arrived) == 2

    run(scene())


def test_a_full_queue_is_not_asked_again() -> None:
    async def scene() -> None:
        line = Line([QueueFull()])
        recorder = recorder_to(line)
        visit(recorder, 3)
        await recorder.flush()
        assert line.arrived == []
        assert recorder.totals.dropped == {"buffer_full": 0, "queue_full": 3, "queue_down": 0}

    run(scene())


def test_a_full_buffer_drops_what_comes_and_what_is_on_its_way_still_counts_as_held() -> None:
    async def scene() -> None:
        line = Line()
        line.open.clear()
        recorder = recorder_to(line, bound=5)
        visit(recorder, 4)
        flush = asyncio.create_task(recorder.flush())
        await asyncio.sleep(0)
        visit(recorder, 4)
        assert recorder.waiting == 5
        assert recorder.totals.dropped["buffer_full"] == 3
        line.open.set()
        await flush
        await recorder.flush()
        assert recorder.totals.accepted == line.clicks() == 5

    run(scene())


def test_clicks_leave_every_flush_interval_and_no_batch_is_larger_than_stated() -> None:
    async def scene() -> None:
        line = Line()
        recorder = recorder_to(line, bound=100_000, flush_s=0.05)
        running = asyncio.create_task(recorder.run())
        visit(recorder, 7)
        await asyncio.sleep(0.051)
        assert [len(batch.visits) for batch in line.arrived] == [7]
        visit(recorder, 2 * MAX_BATCH_CLICKS + 1)
        await asyncio.sleep(0.001)  # a full batch does not wait for its interval
        assert [len(batch.visits) for batch in line.arrived] == [7, MAX_BATCH_CLICKS, MAX_BATCH_CLICKS, 1]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(scene())


def test_a_replica_that_is_stopped_waits_for_the_batch_that_is_on_its_way() -> None:
    async def scene() -> None:
        line = Line()
        line.open.clear()
        recorder = recorder_to(line)
        running = asyncio.create_task(recorder.run())
        visit(recorder, 3)
        await asyncio.sleep(0.06)
        visit(recorder, 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        last = asyncio.create_task(recorder.flush())
        await asyncio.sleep(0)
        assert not last.done()
        line.open.set()
        await last
        assert recorder.waiting == 0
        assert recorder.totals.accepted == line.clicks() == 5

    run(scene())


def test_the_traces_of_a_flush_travel_with_its_first_batch() -> None:
    async def scene() -> None:
        line = Line()
        recorder = recorder_to(line, bound=100_000)
        visit(recorder, MAX_BATCH_CLICKS)
        recorder.record("abc", BROWSER, CLIENT, trace="00-aa-bb-01")
        await recorder.flush()
        assert [list(batch.traces) for batch in line.arrived] == [["00-aa-bb-01"], []]

    run(scene())


def test_what_is_put_on_the_queue_is_a_batch_a_worker_can_read() -> None:
    async def scene() -> None:
        queue = MemoryClickQueue()
        recorder = ClickRecorder(to_queue(queue, SECRET), 1, 10, clock_s=lambda: NOON_S)
        visit(recorder, 2)
        await recorder.flush()
        (delivery,) = await queue.receive("w", 1, 1)
        assert [(click.code, click.at_s) for click in decode_batch(delivery.body).clicks] == [("abc", int(NOON_S))] * 2

    run(scene())


def test_clicks_sent_straight_to_the_store_are_counted_even_when_visitors_cannot_be() -> None:
    async def scene() -> None:
        store, visitors = MemoryClickStore(), MemoryVisitorCounter()
        recorder = ClickRecorder(to_store(store, visitors, SECRET), 1, 10, clock_s=lambda: NOON_S)
        with failing(visitors, "add", DEFINITE):
            visit(recorder, 2)
            await recorder.flush()
        assert recorder.totals.accepted == 2
        assert (await store.stats("abc", 1, "2027-01-15")).clicks == 2
        assert await visitors.count("abc", ["2027-01-15"]) == 0

    run(scene())


@pytest.mark.parametrize(
    ("outcome", "accepted", "unsure", "dropped"), [(None, 1, 0, 0), (DEFINITE, 0, 0, 1), (INDEFINITE, 0, 1, 0)]
)
def test_a_click_counted_before_the_answer_never_fails_the_answer(
    outcome: StoreError | None, accepted: int, unsure: int, dropped: int
) -> None:
    async def scene() -> None:
        line, totals = Line([outcome]), ClickTotals()
        await count_now(line.send, totals, ("abc", NOON_S, b"", CLIENT, b""), deadline_s=0.25)
        assert (totals.accepted, totals.unsure, sum(totals.dropped.values())) == (accepted, unsure, dropped)

    run(scene())


def test_a_store_that_does_not_answer_costs_the_visitor_the_deadline_and_no_more() -> None:
    async def scene() -> float:
        line, totals = Line(), ClickTotals()
        line.open.clear()
        await count_now(line.send, totals, ("abc", NOON_S, b"", CLIENT, b""), deadline_s=0.25)
        assert totals.unsure == 1
        return asyncio.get_running_loop().time()

    assert run(scene()) == pytest.approx(0.25)
