"""One direction of a spoilt connection, in a time of its own: what comes out, and when."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.faults.proxy.link import Link, Striking
from loadtests.faults.proxy.stages import MIN_PIECE, PIECE_S, Item, make_stage
from loadtests.faults.proxy.toxics import Attributes, Bandwidth, Latency, LimitData, ResetPeer, Slicer, SlowClose, Timeout, Toxic

Offers = list[tuple[float, Item]]  # when, what; in order
Changes = list[tuple[float, Sequence[Striking]]]  # from when, which toxics there are
FOREVER = 1e9


def striking(attributes: Attributes, name: str = "") -> Striking:
    kind = type(attributes).__name__
    return Striking(Toxic(name or kind, kind, "downstream", 1.0, attributes), 0.5)


def run(offers: Offers, changes: Changes, *, until_s: float = FOREVER) -> list[tuple[float, Item]]:
    """Everything that comes out of a link, with the time, when it is looked at only when it says so."""
    link = Link()
    out: list[tuple[float, Item]] = []

    def pop_all(now_s: float) -> None:
        while (item := link.pop()) is not None:
            out.append((now_s, item))

    def wait_until(then_s: float) -> None:
        while link.next_due_s <= min(then_s, until_s):
            now_s = link.next_due_s
            link.advance(now_s)
            pop_all(now_s)

    events = sorted(
        [(at_s, 0, toxics) for at_s, toxics in changes] + [(at_s, 1, item) for at_s, item in offers], key=lambda e: e[:2]
    )
    for at_s, is_offer, what in events:
        wait_until(math.nextafter(at_s, 0))
        if is_offer:
            link.offer(at_s, what)  # type: ignore[arg-type]
        else:
            link.set_toxics(at_s, what)  # type: ignore[arg-type]
        pop_all(at_s)
    wait_until(until_s)
    return out


def data(out: Sequence[tuple[float, Item]]) -> bytes:
    return b"".join(item for _, item in out if isinstance(item, bytes))


def times_s(out: Sequence[tuple[float, Item]]) -> list[float]:
    return [at_s for at_s, _ in out]


# Attributes of toxics that lose nothing, and arrivals.
delaying = st.one_of(
    st.builds(Latency, latency=st.integers(0, 500), jitter=st.integers(0, 800)),
    st.builds(Bandwidth, rate=st.sampled_from([0.5, 1, 10, 1_000])),
    st.builds(Slicer, average_size=st.integers(5, 50), size_variation=st.integers(0, 4), delay=st.integers(0, 5_000)),
    st.builds(SlowClose, delay=st.integers(0, 1_000)),
)
toxic_lists = st.lists(st.tuples(st.sampled_from("abcd"), delaying), max_size=4, unique_by=lambda named: named[0]).map(
    lambda chosen: [striking(attributes, name) for name, attributes in chosen]
)
gaps_s = st.sampled_from([0.0, 0.001, 0.01, 0.3])
chunks = st.lists(st.tuples(gaps_s, st.binary(min_size=1, max_size=300)), max_size=12)


def arrivals(spaced: list[tuple[float, bytes]]) -> Offers:
    now_s, offers = 0.0, []
    for gap_s, chunk in spaced:
        now_s += gap_s
        offers.append((now_s, chunk))
    return offers


@given(spaced=chunks, first=toxic_lists, second=toxic_lists, change_s=st.floats(0, 2), end=st.booleans())
def test_bytes_come_out_unchanged_and_in_order_whatever_delays_them_and_whenever_that_changes(
    spaced: list[tuple[float, bytes]], first: list[Striking], second: list[Striking], change_s: float, end: bool
) -> None:
    offers = arrivals(spaced)
    if end:
        offers.append((offers[-1][0] if offers else 0.0, "eof"))
    out = run(offers, [(0.0, first), (change_s, second)])
    assert data(out) == data(offers)
    assert [item for _, item in out if not isinstance(item, bytes)] == ["eof"] * end
    assert not end or out[-1][1] == "eof"


@given(spaced=chunks, toxics=toxic_lists)
def test_nothing_comes_out_before_it_came_in_and_times_never_go_back(
    spaced: list[tuple[float, bytes]], toxics: list[Striking]
) -> None:
    offers = arrivals(spaced)
    out = run(offers, [(0.0, toxics)])
    assert all(earlier <= later for earlier, later in pairwise(times_s(out)))
    for at_s, _ in out:
        arrived = sum(len(chunk) for when_s, chunk in offers if when_s <= at_s and isinstance(chunk, bytes))
        assert len(data([piece for piece in out if piece[0] <= at_s])) <= arrived


@given(spaced=chunks, toxics=toxic_lists)
def test_when_all_toxics_are_gone_everything_comes_out_at_once(spaced: list[tuple[float, bytes]], toxics: list[Striking]) -> None:
    offers = arrivals(spaced)
    healed_s = offers[-1][0] + 0.001 if offers else 1.0
    out = run(offers, [(0.0, toxics), (healed_s, [])])
    assert data(out) == data(offers)
    assert all(at_s <= healed_s for at_s in times_s(out))


def test_each_chunk_is_delayed_from_its_own_arrival_so_delays_do_not_add_up() -> None:
    offers: Offers = [(n / 1000, b"%03d" % n) for n in range(500)]
    out = run(offers, [(0.0, [striking(Latency(latency=100))])])
    assert out == [(pytest.approx(at_s + 0.1), chunk) for at_s, chunk in offers]


def test_a_link_that_is_looked_at_late_is_not_later_than_its_delay_for_the_rest() -> None:
    link = Link([striking(Latency(latency=100), "one"), striking(Latency(latency=100), "two")])
    link.offer(0.0, b"x")
    link.advance(0.15)  # was due at the second stage at 0.1
    assert link.next_due_s == pytest.approx(0.2)


@given(spaced=chunks, latency=st.integers(0, 200), jitter=st.integers(0, 400))
def test_jitter_is_within_its_bounds_and_no_chunk_overtakes_another(
    spaced: list[tuple[float, bytes]], latency: int, jitter: int
) -> None:
    offers = arrivals(spaced)
    out = run(offers, [(0.0, [striking(Latency(latency=latency, jitter=jitter))])])
    assert [item for _, item in out] == [item for _, item in offers]
    latest_s = 0.0
    for (arrived_s, _), (left_s, _) in zip(offers, out, strict=True):
        latest_s = max(latest_s, arrived_s + (latency + jitter) / 1e3)
        assert arrived_s <= left_s <= latest_s + 1e-9


@given(
    spaced=st.lists(st.tuples(gaps_s, st.binary(min_size=1, max_size=5_000)), max_size=8),
    rate=st.sampled_from([0.5, 1, 7.5, 100]),
    before=st.sampled_from([[], [striking(Latency(latency=50, jitter=50))]]),
)
def test_in_no_stretch_of_time_more_passes_than_the_bandwidth_allows_but_for_one_piece(
    spaced: list[tuple[float, bytes]], rate: float, before: list[Striking]
) -> None:
    out = run(arrivals(spaced), [(0.0, [*before, striking(Bandwidth(rate=rate))])])
    piece = max(MIN_PIECE, rate * 1e3 * PIECE_S)
    for first in range(len(out)):
        passed = 0
        for at_s, item in out[first:]:
            passed += len(item)
            assert passed <= rate * 1e3 * (at_s - out[first][0]) + piece + 1e-6
    assert all(len(data([piece for piece in out if piece[0] <= at_s])) <= rate * 1e3 * at_s + 1e-6 for at_s, _ in out)


def test_a_bandwidth_of_nothing_holds_everything_back_until_it_is_removed() -> None:
    offers: Offers = [(1.0, b"held"), (2.0, "eof")]
    assert run(offers, [(0.0, [striking(Bandwidth())])]) == []
    assert run(offers, [(0.0, [striking(Bandwidth())]), (5.0, [])]) == [(5.0, b"held"), (5.0, "eof")]


def test_a_line_that_is_made_wider_does_not_make_up_for_the_time_when_it_was_narrow() -> None:
    changes: Changes = [(0.0, [striking(Bandwidth())]), (10.0, [striking(Bandwidth(rate=1))])]
    out = run([(0.0, bytes(5_000))], changes)
    assert len(data(out)) == 5_000
    assert out[0][0] > 10
    assert out[-1][0] == pytest.approx(15)


def test_slices_follow_one_another_at_their_distance() -> None:
    slicer = striking(Slicer(average_size=10, delay=2_000))
    assert times_s(run([(1.0, bytes(30)), (2.0, b"next")], [(0.0, [slicer])])) == pytest.approx([1.0, 1.002, 1.004, 2.0])


@given(spaced=chunks, toxic=delaying)
def test_what_a_stage_lets_out_at_once_is_stamped_in_order(spaced: list[tuple[float, bytes]], toxic: Attributes) -> None:
    stage = make_stage(toxic, 0.0, random.Random(1))
    for at_s, chunk in arrivals(spaced):
        stage.offer(at_s, chunk)
    due_s = [at_s for at_s, _ in stage.take(FOREVER)]
    assert due_s == sorted(due_s)


@given(payload=st.binary(min_size=1, max_size=2_000), average=st.integers(1, 100), data_=st.data())
def test_slices_have_the_size_that_was_asked_for(payload: bytes, average: int, data_: st.DataObject) -> None:
    variation = data_.draw(st.integers(0, average - 1))
    slicer = Slicer(average_size=average, size_variation=variation, delay=10)
    slices = [item for _, item in run([(0.0, payload)], [(0.0, [striking(slicer)])])]
    assert all(average - variation <= len(item) <= average + variation for item in slices[:-1])
    assert 1 <= len(slices[-1]) <= average + variation


@given(spaced=chunks, limit=st.integers(0, 1_000), others=toxic_lists, behind=st.booleans())
def test_exactly_so_many_bytes_pass_and_then_the_connection_is_closed(
    spaced: list[tuple[float, bytes]], limit: int, others: list[Striking], behind: bool
) -> None:
    offers = arrivals(spaced)
    toxics = [*others, striking(LimitData(bytes=limit))] if behind else [striking(LimitData(bytes=limit)), *others]
    out = run(offers, [(0.0, toxics)])
    assert data(out) == data(offers)[:limit]
    reached = bool(offers) and len(data(offers)) >= limit
    assert [item for _, item in out if not isinstance(item, bytes)] == ["close"] * reached


def test_a_limit_counts_from_when_it_came_and_a_change_of_it_does_not_start_again() -> None:
    offers: Offers = [(0.0, b"12345"), (2.0, b"678"), (4.0, b"90abc")]
    changes: Changes = [(1.0, [striking(LimitData(bytes=100))]), (3.0, [striking(LimitData(bytes=5))])]
    assert run(offers, changes)[-2:] == [(4.0, b"90"), (4.0, "close")]


def test_a_limit_counts_no_byte_twice_that_waits_behind_it_when_it_changes() -> None:
    late = striking(Latency(latency=1_000), "late")
    changes: Changes = [(0.0, [striking(LimitData(bytes=8)), late]), (0.5, [striking(LimitData(bytes=6)), late])]
    assert data(run([(0.0, b"1234"), (0.6, b"5678")], changes)) == b"123456"


def test_a_timeout_lets_nothing_through_and_closes_when_its_time_has_come_or_it_is_removed() -> None:
    offers: Offers = [(0.5, b"lost"), (1.5, b"lost too")]
    assert run(offers, [(0.0, [striking(Timeout(timeout=1_000))])]) == [(1.0, "close")]
    assert run(offers, [(0.0, [striking(Timeout())])]) == []
    assert run(offers, [(0.0, [striking(Timeout())]), (9.0, [])]) == [(9.0, "close")]
    assert run(offers, [(0.0, [striking(Timeout())]), (2.0, [striking(Timeout(timeout=500))])]) == [(2.5, "close")]


def test_a_timeout_hides_no_end_of_the_other_side() -> None:
    assert run([(0.5, "eof")], [(0.0, [striking(Timeout(timeout=1_000))])]) == [(0.5, "eof")]


def test_what_is_in_flight_meets_a_toxic_that_is_added() -> None:
    late = striking(Latency(latency=1_000), "late")
    assert run([(0.0, b"in flight")], [(0.0, [late]), (0.5, [late, striking(Timeout())])]) == []


def test_a_reset_strikes_at_the_next_data_which_does_not_pass() -> None:
    reset = striking(ResetPeer(timeout=200))
    assert run([(0.0, b"before"), (2.0, b"after"), (2.1, b"more")], [(1.0, [reset])]) == [(0.0, b"before"), (2.2, "reset")]
    assert run([(2.0, "eof")], [(1.0, [reset])]) == [(2.2, "reset")]
    assert run([(0.0, b"before")], [(1.0, [reset]), (2.0, [])]) == [(0.0, b"before")], "it met nothing, so nothing is missing"
    assert run([(2.0, b"gone")], [(1.0, [reset]), (2.1, [])]) == [(2.1, "reset")], "bytes are missing, so it can't go on"


def test_a_slow_close_delays_the_end_and_nothing_else() -> None:
    offers: Offers = [(0.0, b"data"), (1.0, "eof")]
    slow = striking(SlowClose(delay=3_000))
    assert run(offers, [(0.0, [slow])]) == [(0.0, b"data"), (4.0, "eof")]
    assert run(offers, [(0.0, [slow]), (2.0, [])]) == [(0.0, b"data"), (2.0, "eof")]


def test_a_changed_latency_counts_from_the_arrival_of_what_it_already_held() -> None:
    changes: Changes = [(0.0, [striking(Latency(latency=5_000))]), (1.0, [striking(Latency(latency=1_500))])]
    assert run([(0.0, b"x")], changes) == [(1.5, b"x")]


def test_nothing_comes_out_after_an_end() -> None:
    assert run([(0.0, "eof"), (1.0, b"ghost"), (2.0, "reset")], []) == [(0.0, "eof")]


@given(spaced=chunks, toxics=toxic_lists)
def test_what_a_link_says_it_holds_is_nothing_when_all_is_out(spaced: list[tuple[float, bytes]], toxics: list[Striking]) -> None:
    link = Link(toxics)
    for at_s, chunk in arrivals(spaced):
        link.offer(at_s, chunk)
    assert link.held >= len(data(arrivals(spaced)))
    link.set_toxics(FOREVER, [])
    while link.pop() is not None:
        pass
    assert link.held == 0
