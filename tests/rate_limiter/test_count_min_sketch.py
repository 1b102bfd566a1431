"""The sketch: never less than a key has used, seldom more, and two windows that take turns."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from designs.rate_limiter import sliding_window
from designs.rate_limiter.count_min_sketch import CELLS, DEPTH, WIDTH, CountMinSketch, cells_of
from designs.rate_limiter.limits import Limit
from tests.rate_limiter.bounds import over_bound
from tests.rate_limiter.traces import START_US, THOROUGH, Key

PERIOD_US = 1_000
LIMIT = Limit("sketch", 5, PERIOD_US, 5)
AMPLE = Limit("sketch", 1_000_000, PERIOD_US, 1_000_000)


def taken(sketch: CountMinSketch, limit: Limit, item: str, now_us: int, cost: int = 1) -> bool:
    """As a store does it."""
    after = sliding_window.take(limit, sketch.state(limit, item, now_us), now_us, cost)
    if after is not None and cost:
        sketch.keep(limit, item, after)
    return after is not None


def used(sketch: CountMinSketch, item: str, now_us: int = START_US) -> int:
    return sketch.state(AMPLE, item, now_us)[1]


def test_a_key_has_one_counter_in_each_row() -> None:
    for item in ("", "u1", "x" * 1_000):
        assert [cell // WIDTH for cell in cells_of(item)] == list(range(DEPTH))
    assert cells_of("u1") == cells_of("u1") != cells_of("u2")
    assert max(max(cells_of(str(number))) for number in range(1_000)) < CELLS


@THOROUGH
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 5), st.sampled_from([0, 0, 1, 333, PERIOD_US])), max_size=200))
def test_no_key_is_ever_estimated_below_what_it_used_and_so_none_gets_more_than_its_bound(
    asked: list[tuple[int, int, int]],
) -> None:
    """Against a sliding window for each key: whom the window refuses, the sketch refuses too."""
    sketch, now_us = CountMinSketch(), START_US
    exact: dict[str, Key] = {}
    got: dict[str, list[tuple[int, int]]] = {}
    for number, cost, later_us in asked:
        now_us += later_us
        item = f"u{number}"
        key = exact.setdefault(item, Key(Limit("sliding_window", 5, PERIOD_US, 5)))
        state = sketch.state(LIMIT, item, now_us)
        _, key_used, key_before = sliding_window.state_at(key.limit, key.state, now_us)
        assert state[1] >= key_used
        assert state[2] >= key_before
        if taken(sketch, LIMIT, item, now_us, cost):
            assert key.ask(now_us, cost).allowed
            got.setdefault(item, []).append((now_us, cost))
    assert all(over_bound(LIMIT, times) is None for times in got.values())


def test_while_few_come_it_counts_each_of_them_exactly() -> None:
    sketch = CountMinSketch()
    for number in range(50):
        for _ in range(number % 7):
            assert taken(sketch, AMPLE, f"u{number}", START_US)
    assert [used(sketch, f"u{number}") for number in range(50)] == [number % 7 for number in range(50)]


def test_in_a_crowd_at_most_two_in_a_hundred_are_estimated_too_high_by_more_than_the_books_say() -> None:
    """Cormode and Muthukrishnan: more than e x N / WIDTH too high for at most e^-DEPTH of the keys; 50,000 units of 5,000 keys."""
    sketch, chance = CountMinSketch(), random.Random(7)
    true = Counter(int(chance.paretovariate(0.6)) % 5_000 for _ in range(50_000))
    for number, units in true.items():
        taken(sketch, AMPLE, f"u{number}", START_US, units)
    excess = [used(sketch, f"u{number}") - units for number, units in true.items()]
    assert min(excess) >= 0
    worse = sum(each > 2.72 * 50_000 / WIDTH for each in excess)
    assert worse <= 0.0184 * len(true)
    assert max(excess) > 0, "a crowd that shows nothing is none"


def test_a_window_that_ends_is_the_one_before_and_then_gone() -> None:
    sketch = CountMinSketch()
    assert START_US % PERIOD_US == 0
    assert taken(sketch, LIMIT, "u1", START_US, 4)
    assert sketch.state(LIMIT, "u1", START_US + PERIOD_US - 1) == (START_US, 4, 0)
    assert sketch.state(LIMIT, "u1", START_US + PERIOD_US) == (START_US + PERIOD_US, 0, 4)
    assert sketch.state(LIMIT, "u1", START_US + 2 * PERIOD_US) == (START_US + 2 * PERIOD_US, 0, 0)
    assert taken(sketch, LIMIT, "u2", START_US + PERIOD_US)
    assert sketch.state(LIMIT, "u1", START_US + PERIOD_US) == (START_US + PERIOD_US, 0, 4), "also when another begins the next one"
    assert taken(sketch, LIMIT, "u2", START_US + 5 * PERIOD_US)
    assert sketch.state(LIMIT, "u1", START_US + 5 * PERIOD_US) == (START_US + 5 * PERIOD_US, 0, 0)


def test_a_look_changes_nothing_and_neither_does_a_clock_that_goes_back() -> None:
    sketch = CountMinSketch()
    assert taken(sketch, LIMIT, "u1", START_US, 4)
    for at_us in (START_US + 9 * PERIOD_US, START_US - 9 * PERIOD_US):
        sketch.state(LIMIT, "u1", at_us)
        assert sketch.state(LIMIT, "u1", START_US)[1] == 4
    assert not taken(sketch, LIMIT, "u1", START_US - 9 * PERIOD_US, 2), "what was used later is not forgotten"
