"""Folding changes no sum, whatever comes twice, in whatever order, and whoever else folds. A model of one place, no server."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.url_shortener.backends.cassandra_folding import BUCKETS, FOLDED, Fold, Row, bucket_of, fold, rows_of, window
from designs.url_shortener.clicks import merged
from designs.url_shortener.ports import ClickCount

DAY = "2026-03-02"
# A batch says the same whenever it comes.
WRITTEN = {
    (batch, referrer): Row(batch, referrer, len(batch) * 7 + len(referrer), 1) for batch in ("b", "bb", "bbb") for referrer in "xy"
}


@dataclass
class ModelPlace:
    """Rows of one place, as the database keeps them: a tombstone hides a row whenever the row is written."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    tombstones: set[tuple[str, str]] = field(default_factory=set)
    folds: int = 0

    def write(self, row: Row) -> None:
        if (row.batch, row.referrer) not in self.tombstones:
            self.rows[row.batch, row.referrer] = row

    def read(self) -> tuple[int, list[Row]]:
        return self.folds, sorted(self.rows.values())

    def commit(self, folds: int, folded: Fold) -> bool:
        """Compare-and-set: only when nobody folded since `folds` was read."""
        if folds != self.folds:
            return False
        self.folds += 1
        for row in folded.taken:
            self.tombstones.add((row.batch, row.referrer))
            self.rows.pop((row.batch, row.referrer), None)
        for row in folded.sums:
            self.rows[FOLDED, row.referrer] = row
        return True

    def totals(self) -> Counter[str]:
        totals: Counter[str] = Counter()
        for row in self.rows.values():
            totals[row.referrer] += row.clicks
            totals["bots"] += row.bots
        return totals


_steps = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(sorted(WRITTEN))),
    st.tuples(st.just("read"), st.tuples(st.sampled_from("pq"), st.integers(1, 4))),
    st.tuples(st.just("commit"), st.tuples(st.sampled_from("pq"), st.just(0))),
)


@given(st.lists(_steps, max_size=40))
def test_writing_and_folding_in_any_order_by_two_processes_keeps_every_sum(steps: list[tuple[str, tuple[str, object]]]) -> None:
    place, written = ModelPlace(), set()
    plans: dict[str, tuple[int, Fold | None]] = {}
    for verb, (who, detail) in steps:
        if verb == "write":
            row = WRITTEN[who, str(detail)]
            place.write(row)
            written.add((who, str(detail)))
        elif verb == "read":
            folds, rows = place.read()
            plans[who] = (folds, fold(rows, int(str(detail))))
        elif who in plans:
            folds, planned = plans.pop(who)
            if planned is not None:
                place.commit(folds, planned)
        expected: Counter[str] = Counter()
        for key in written:
            expected[WRITTEN[key].referrer] += WRITTEN[key].clicks
            expected["bots"] += WRITTEN[key].bots
        assert place.totals() == expected


def test_without_the_comparison_two_folds_would_count_twice() -> None:
    place = ModelPlace()
    place.write(Row("b1", "", 5, 0))
    folds, rows = place.read()
    planned = fold(rows, 10)
    assert planned is not None
    assert place.commit(folds, planned)
    late = fold(rows, 10)
    assert late is not None
    place.write(Row("b2", "", 1, 0))
    _, now = place.read()
    after = fold(now, 10)
    assert after is not None
    assert place.commit(1, after)
    assert not place.commit(folds, late)
    assert place.totals()[""] == 6
    assert place.commit(place.folds, late), "the flaw: an old plan by the new version"
    assert place.totals()[""] != 6


def test_a_fold_takes_a_bounded_number_of_rows_and_nothing_from_nothing() -> None:
    rows = [Row(FOLDED, "", 10, 1), *(Row(f"b{number}", "", 1, 0) for number in range(5))]
    folded = fold(rows, 3)
    assert folded is not None
    assert len(folded.taken) == 3
    assert folded.sums == [Row(FOLDED, "", 13, 1)]
    assert fold(rows[:1], 3) is None
    assert fold([], 3) is None


def test_the_batches_of_a_hot_link_are_spread_evenly() -> None:
    spread = Counter(bucket_of(f"{number:032x}") for number in range(8_000))
    assert len(spread) == BUCKETS
    assert max(spread.values()) < 1.25 * min(spread.values())


def test_a_batch_is_one_row_for_each_code_day_and_referrer() -> None:
    counts = [ClickCount("abc", DAY, "", 1, 0), ClickCount("abc", DAY, "", 2, 1), ClickCount("abc", DAY, "a.example", 3, 0)]
    rows = rows_of("b1", merged(counts))
    assert [row for _, row in rows] == [Row("b1", "", 3, 1), Row("b1", "a.example", 3, 0)]
    assert len({place for place, _ in rows}) == 1


@pytest.mark.parametrize(("days", "partitions"), [(1, 1), (2, 1), (3, 2), (90, 4)])
def test_a_window_reads_the_buckets_of_its_months_only(days: int, partitions: int) -> None:
    first, places = window("abc", days, DAY)
    assert len(places) == partitions * BUCKETS
    assert first <= DAY
