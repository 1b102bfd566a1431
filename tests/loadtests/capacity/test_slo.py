"""An objective as it is written on a command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.capacity.slo import PERCENTILES, BadSlo, Slo, parse_slo


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("p99<50ms", Slo("p99", 0.05)),
        (" P99.9 < 0.2 s ", Slo("p99.9", 0.2)),
        ("p50<2.5ms", Slo("p50", 0.0025)),
        ("p90 < 1s", Slo("p90", 1.0)),
    ],
)
def test_blanks_and_case_do_not_matter(text: str, objective: Slo) -> None:
    found = parse_slo(text)
    assert found.percentile == objective.percentile
    assert found.limit_s == pytest.approx(objective.limit_s)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fast", "'fast' is no objective: write a percentile, <, and a limit with its unit, for example p99<50ms"),
        ("p99<50", "for example p99<50ms"),
        ("p99>50ms", "for example p99<50ms"),
        ("p99<-1ms", "for example p99<50ms"),
        ("p95<50ms", "there is no percentile p95; the percentiles are p50, p90, p99, p99.9"),
        ("p99<50us", "us is no unit here; the units are ms and s"),
        ("p99<0ms", "the limit must be above 0"),
    ],
)
def test_what_is_wrong_with_an_objective_is_said_with_what_would_be_right(text: str, sentence: str) -> None:
    with pytest.raises(BadSlo) as refused:
        parse_slo(text)
    assert sentence in str(refused.value)


def test_the_samples_a_percentile_needs_leave_ten_beyond_it() -> None:
    assert [Slo(percentile, 1.0).samples_needed for percentile in PERCENTILES] == [20, 100, 1_000, 10_000]


@given(st.sampled_from(list(PERCENTILES)), st.integers(1, 99_999))
def test_an_objective_that_is_printed_reads_as_itself(percentile: str, limit_ms: int) -> None:
    objective = parse_slo(f"{percentile}<{limit_ms}ms")
    assert parse_slo(str(objective).replace(",", "")).limit_s == pytest.approx(objective.limit_s, rel=0.01)
