"""What every counter of unique visitors promises, as checks on an empty one. Redis estimates, so numbers here are small."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from designs.url_shortener.ports import VisitorCounter

Check: TypeAlias = Callable[[VisitorCounter], Coroutine[Any, Any, None]]
DAY, NEXT_DAY = "2026-03-01", "2026-03-02"


async def nobody_was_there_at_first(counter: VisitorCounter) -> None:
    assert await counter.count("abc", [DAY, NEXT_DAY]) == 0
    await counter.add({})
    assert await counter.count("abc", [DAY]) == 0


async def a_visitor_counts_once_however_often_added(counter: VisitorCounter) -> None:
    for _ in range(3):
        await counter.add({("abc", DAY): ["v1", "v2"]})
    assert await counter.count("abc", [DAY]) == 2


async def codes_and_days_are_counted_apart_and_days_together_as_a_union(counter: VisitorCounter) -> None:
    await counter.add({("abc", DAY): ["v1", "v2"], ("abc", NEXT_DAY): ["v2", "v3"], ("other", DAY): ["v1"]})
    assert await counter.count("abc", [DAY]) == 2
    assert await counter.count("abc", [DAY, NEXT_DAY]) == 3
    assert await counter.count("other", [DAY, NEXT_DAY]) == 1


async def many_visitors_are_counted_to_within_three_per_cent(counter: VisitorCounter) -> None:
    await counter.add({("abc", DAY): [f"visitor-{number}" for number in range(10_000)]})
    assert abs(await counter.count("abc", [DAY]) - 10_000) < 300


VISITOR_COUNTER_CONTRACT: dict[str, Check] = {
    check.__name__: check
    for check in (
        nobody_was_there_at_first,
        a_visitor_counts_once_however_often_added,
        codes_and_days_are_counted_apart_and_days_together_as_a_union,
        many_visitors_are_counted_to_within_three_per_cent,
    )
}
