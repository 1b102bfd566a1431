import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.building_blocks.claims import Bench, Expectation, Run, at_most, between, less, more, same


def allows(expected: Expectation, ratio: float) -> bool:
    return expected.low <= ratio <= expected.high


@pytest.mark.parametrize(
    ("expected", "inside", "outside"),
    [
        (less(), [0.0, 0.5, 0.999], [1.0, 1.001, math.inf]),
        (less(0.3), [0.0, 0.7], [0.71, 1.0]),
        (more(), [1.001, math.inf], [1.0, 0.999]),
        (more(0.3), [1.3, math.inf], [1.29, 1.0]),
        (at_most(0.1), [0.0, 1.0, 1.1], [1.11, math.inf]),
        (same(), [1.0, 1.05, 1 / 1.05], [0.95, 1.06]),
        (between(2, 3), [2.0, 3.0], [1.99, 3.01]),
    ],
)
def test_an_expectation_is_a_range_of_the_ratio(expected: Expectation, inside: list[float], outside: list[float]) -> None:
    assert [ratio for ratio in inside if not allows(expected, ratio)] == []
    assert [ratio for ratio in outside if allows(expected, ratio)] == []


@given(share=st.floats(0.001, 0.99))
def test_what_is_expected_of_a_ratio_is_expected_the_other_way_round_of_its_inverse(share: float) -> None:
    assert same(share).low == pytest.approx(1 / same(share).high)
    assert allows(less(share), 1 - share)
    assert allows(more(share), 1 + share)
    assert not allows(less(share), 1.0)
    assert not allows(more(share), 1.0)


def test_a_run_is_named_as_its_record() -> None:
    assert Run("cache", ("none", "aside"), "mixed").name == "cache.mixed"
    assert Bench("growth", about_s=60).name == "bench-growth"
