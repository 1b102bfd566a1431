from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from loadtests.check.slices import SLICES_SHOWN, slices
from loadtests.workload import NO_ANSWER, NOT_SENT
from tests.loadtests.check.exchanges import asked


@given(
    st.lists(st.tuples(st.floats(0, 100), st.sampled_from([302, 404, 503, NO_ANSWER, NOT_SENT]))),
    st.floats(0.5, 90),
)
def test_every_request_that_was_sent_is_in_one_slice_of_a_row_without_gaps(
    requests: list[tuple[float, int]], seconds: float
) -> None:
    exchanges = [asked(1_000 + at_s, status=status) for at_s, status in requests]
    found = slices(exchanges, 1_000, seconds)
    assert sum(each.requests for each in found) == sum(status != NOT_SENT for _, status in requests)
    assert sum(each.failed for each in found) == sum(status in (503, NO_ANSWER) for _, status in requests)
    assert found[0].at_s == 0
    assert len(found) <= SLICES_SHOWN
    widths = {round(later.at_s - sooner.at_s, 3) for sooner, later in pairwise(found)}
    assert len(widths) <= 1


def test_a_slice_has_the_median_and_the_worst_wait_of_the_answered_and_none_where_nobody_was() -> None:
    exchanges = [asked(0.01, 0.001), asked(0.02, 0.002), asked(0.03, 0.03), asked(0.04, 5.0, NO_ANSWER), asked(0.25, 5.0, 503)]
    first, empty, failing = slices(exchanges, 0.0, 0.3)
    assert (first.requests, first.failed) == (4, 1)
    assert (round(first.p50_ms or 0), round(first.max_ms or 0)) == (2, 30)
    assert (empty.requests, empty.p50_ms) == (0, None)
    assert (failing.requests, failing.failed, failing.max_ms) == (1, 1, None)


def test_what_is_due_after_the_load_widens_the_row() -> None:
    assert [each.requests for each in slices([asked(0.05), asked(0.45)], 0.0, 0.1)] == [1, 0, 0, 0, 1]
