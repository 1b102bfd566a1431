from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.finished_prefix import FinishedPrefix


class CommitsTheHighest(FinishedPrefix):
    """Loses work: what was finished last says nothing about what is below it."""

    def finish(self, offset: int) -> None:
        super().finish(offset)
        self._committable = max(self._committable or 0, offset + 1)


# Gaps between offsets, and for each record when it finishes in relation to the others (None: never).
records = st.lists(st.tuples(st.integers(1, 3), st.one_of(st.none(), st.integers(0, 99))), max_size=30)


def check(make: Callable[[], FinishedPrefix], given_records: list[tuple[int, int | None]]) -> None:
    prefix, offsets, offset = make(), [], 0
    for gap, _ in given_records:
        offset += gap
        offsets.append(offset)
        prefix.take(offset)
    unfinished = set(offsets)
    order = sorted((when, place) for place, (_, when) in zip(offsets, given_records, strict=True) if when is not None)
    committed = 0
    for _, place in order:
        prefix.finish(place)
        unfinished.discard(place)
        now = prefix.committable or 0
        assert now >= committed
        committed = now
        # Never beyond an unfinished record, and never short of what could be.
        assert all(committed <= open_record for open_record in unfinished)
        done = [each for each in offsets if each < min(unfinished, default=offset + 1)]
        assert committed == (done[-1] + 1 if done else 0)
    if not unfinished and offsets:
        assert committed == offsets[-1] + 1


@given(records)
def test_what_is_committed_is_the_finished_prefix_whatever_the_order_and_the_gaps(drawn: list[tuple[int, int | None]]) -> None:
    check(FinishedPrefix, drawn)


def test_known_bad_committing_the_highest_finished_goes_beyond_an_unfinished_record() -> None:
    with pytest.raises(AssertionError):
        check(CommitsTheHighest, [(1, None), (1, 0)])


@given(st.lists(st.integers(0, 20), max_size=30))
def test_finishing_again_or_what_was_never_taken_changes_nothing(finished: list[int]) -> None:
    once, often = FinishedPrefix(), FinishedPrefix()
    for prefix in (once, often):
        for offset in (3, 4, 6, 7):
            prefix.take(offset)
    for offset in dict.fromkeys(finished):
        once.finish(offset)
    for offset in finished:
        often.finish(offset)
    assert once.committable == often.committable
    assert once.committable in (None, 4, 5, 7, 8)


def test_a_record_is_taken_once_and_behind_those_before_it() -> None:
    prefix = FinishedPrefix()
    prefix.take(5)
    for again in (5, 4):
        with pytest.raises(ValueError, match="after 5"):
            prefix.take(again)
