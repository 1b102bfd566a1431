from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.url_shortener.backends.memory import MemoryClickQueue, MemoryClickStore, MemoryVisitorCounter
from designs.url_shortener.click_recorder import MAX_TRACES, ClickRecorder, ClickTotals, count_now, to_queue, to_store
from designs.url_shortener.clicks import Click, ClickBatch, decode_batch
from designs.url_shortener.ports import QueueFull, StoreError
from tests.url_shortener.replicas import failing
from tests.virtual_time import run

SECRET = b"s" * 32
NOON_S = 1_800_014_400.0
BROWSER = [(b"host", b"sho.rt"), (b"user-agent", b"Mozilla/5.0"), (b"referer", b"https://a.example/page")]
CLIENT = ("203.0.113.7", 50_000)
CLICK = Click("abc", int(NOON_S), "", "v", False)
DEFINITE = StoreError("refused", may_have_happened=False)
INDEFINITE = StoreError("no answer", may_have_happened=True)


class Line:
    """Where batches go: it answers as it is told, one outcome a call, and afterwards takes everything."""

    def __init__(self, outcomes: Sequence[StoreError | None] = ()) -> None:
        self.arrived: list[ClickBatch] = []
        self.open = asyncio.Event()
        self.open.set()
        self._outcomes = list(outcomes)

    async def send(self, batch: ClickBatch) -> None:
        await self.open.wait()
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if outcome is None or outcome.may_have_happened:
            self.arrived.append(batch)
        if outcome is not None:
            raise outcome

    def clicks(self) -> int:
        """Clicks that arrived, each batch counted once by its id, as the click store does."""
        return sum(batch.total for batch in {batch.id: batch for batch in self.arrived}.values())


def recorder_to(line: Line, bound: int = 10_000, flush_s: float = 0.05) -> ClickRecorder:
    return ClickRecorder(line.send, SECRET, flush_s, bound, clock_s=lambda: NOON_S)


def visit(recorder: ClickRecorder, times: int = 1) -> None:
    for _ in range(times):
        recorder.record("abc", BROWSER, CLIENT)


def known_of(totals: ClickTotals) -> int:
    return totals.accepted + totals.unsure + sum(totals.dropped.values())


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.lists(st.sampled_from([None, DEFINITE, INDEFINITE, QueueFull()]), max_size=6)), max_size=6
    ),
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


def test_clicks_leave_at_every_flush_interval_equal_ones_together_and_nothing_leaves_when_there_are_none() -> None:
    async def scene() -> None:
        line = Line()
        recorder = recorder_to(line, flush_s=0.05)
        running = asyncio.create_task(recorder.run())
        visit(recorder, 7)
        recorder.record("other", BROWSER, CLIENT)
        recorder.record("abc", BROWSER, ("203.0.113.8", 1))
        recorder.record("abc", BROWSER, ("203.0.113.7", 2))  # the same visitor on another connection
        await asyncio.sleep(0.26)
        assert [sorted(click.times for click in batch.clicks) for batch in line.arrived] == [[1, 1, 8]]
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
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        last = asyncio.create_task(recorder.flush())
        await asyncio.sleep(0.01)
        assert not last.done()  # though nothing is buffered any more
        line.open.set()
        await last
        assert recorder.waiting == 0
        assert recorder.totals.accepted == line.clicks() == 3

    run(scene())


def test_while_the_queue_is_gone_clicks_are_held_and_each_arrives_once_it_is_back() -> None:
    async def scene() -> None:
        line = Line([DEFINITE, INDEFINITE] * 20)
        recorder = recorder_to(line, flush_s=0.05)
        running = asyncio.create_task(recorder.run())
        visit(recorder, 3)
        await asyncio.sleep(2)
        visit(recorder, 4)  # in the middle of the outage
        assert recorder.totals.accepted == 0
        assert recorder.waiting == 7
        await asyncio.sleep(60)
        assert known_of(recorder.totals) == recorder.totals.accepted == 7
        assert recorder.totals.batches == 2  # each kept its id and its date
        assert {batch.id: batch.total for batch in line.arrived[-2:]} == {batch.id: batch.total for batch in line.arrived}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(scene())


def test_what_the_buffer_can_not_hold_while_the_queue_is_gone_is_dropped_and_what_it_holds_is_not() -> None:
    async def scene() -> None:
        line = Line([DEFINITE] * 30)
        recorder = recorder_to(line, bound=5, flush_s=0.05)
        running = asyncio.create_task(recorder.run())
        for _ in range(8):
            visit(recorder, 1)
            await asyncio.sleep(0.2)
        assert recorder.waiting == 5
        assert recorder.totals.dropped == {"buffer_full": 3, "queue_full": 0, "queue_down": 0}
        await asyncio.sleep(60)
        assert recorder.totals.accepted == line.clicks() == 5
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(scene())


def test_a_replica_that_is_stopped_while_the_queue_is_gone_says_how_many_clicks_that_costs() -> None:
    async def scene() -> None:
        line = Line([INDEFINITE, DEFINITE, DEFINITE] + [DEFINITE] * 30)
        recorder = recorder_to(line, flush_s=0.05)
        running = asyncio.create_task(recorder.run())
        visit(recorder, 3)
        await asyncio.sleep(0.08)  # one try, which may have arrived
        visit(recorder, 4)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await recorder.flush()
        assert recorder.waiting == 0
        assert (recorder.totals.unsure, recorder.totals.dropped["queue_down"]) == (3, 4)

    run(scene())


def test_the_traces_of_the_sampled_clicks_travel_with_their_batch() -> None:
    async def scene() -> None:
        line = Line()
        recorder = recorder_to(line)
        visit(recorder, 3)
        recorder.record("abc", BROWSER, CLIENT, trace="00-aa-bb-01")
        await recorder.flush()
        visit(recorder)
        await recorder.flush()
        assert [list(batch.traces) for batch in line.arrived] == [["00-aa-bb-01"], []]

    run(scene())


def test_a_batch_carries_no_more_traces_than_whoever_counts_it_links_back_to() -> None:
    async def scene() -> None:
        line = Line()
        recorder = recorder_to(line)
        for number in range(MAX_TRACES + 10):
            recorder.record("abc", BROWSER, CLIENT, trace=f"00-{number}-bb-01")
        await recorder.flush()
        (batch,) = line.arrived
        assert len(batch.traces) == MAX_TRACES
        assert batch.total == MAX_TRACES + 10

    run(scene())


def test_what_is_put_on_the_queue_is_a_batch_a_worker_can_read() -> None:
    async def scene() -> None:
        queue = MemoryClickQueue()
        recorder = ClickRecorder(to_queue(queue), SECRET, 1, 10, clock_s=lambda: NOON_S)
        visit(recorder, 2)
        await recorder.flush()
        (delivery,) = await queue.receive("w", 1, 1)
        (click,) = decode_batch(delivery.body).clicks
        assert (click.code, click.at_s, click.referrer, click.bot, click.times) == ("abc", int(NOON_S), "a.example", False, 2)

    run(scene())


def test_clicks_sent_straight_to_the_store_are_counted_even_when_visitors_cannot_be() -> None:
    async def scene() -> None:
        store, visitors = MemoryClickStore(), MemoryVisitorCounter()
        recorder = ClickRecorder(to_store(store, visitors), SECRET, 1, 10, clock_s=lambda: NOON_S)
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
        await count_now(line.send, totals, [CLICK], deadline_s=0.25)
        assert (totals.accepted, totals.unsure, sum(totals.dropped.values())) == (accepted, unsure, dropped)

    run(scene())


def test_a_store_that_does_not_answer_costs_the_visitor_the_deadline_and_no_more() -> None:
    async def scene() -> float:
        line, totals = Line(), ClickTotals()
        line.open.clear()
        await count_now(line.send, totals, [CLICK], deadline_s=0.25)
        assert totals.unsure == 1
        return asyncio.get_running_loop().time()

    assert run(scene()) == pytest.approx(0.25)
