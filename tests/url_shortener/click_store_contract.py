"""What every click store promises, as checks on an empty store whose clock is `CLOCK`.

Two things differ. A store keeps `FORGETS_WHEN_TOLD` (memory, sqlite) or `FORGETS_BY_ITSELF` (cassandra, by a TTL). And while a call
of `apply` goes on, or after it failed, readers see nothing of it (memory, sqlite) or may see a part (cassandra). All promise that
the same call again makes it whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

from designs.url_shortener.ports import ClickCount, ClickStats, ClickStore

Check: TypeAlias = Callable[[ClickStore, "StoreClock"], Coroutine[Any, Any, None]]
TODAY = "2026-03-02"


class StoreClock:
    """The clock the store stamps batches with."""

    def __init__(self) -> None:
        self.now_us = 1_000

    def __call__(self) -> int:
        return self.now_us


def count(code: str = "abc", day: str = TODAY, referrer: str = "", clicks: int = 1, bots: int = 0) -> ClickCount:
    return ClickCount(code, day, referrer, clicks, bots)


async def a_code_without_clicks_has_none(store: ClickStore, clock: StoreClock) -> None:
    assert await store.stats("abc", 7, TODAY) == ClickStats(0, 0, {}, {})


async def counts_add_up_by_day_and_by_referrer(store: ClickStore, clock: StoreClock) -> None:
    batch = [count(clicks=2, bots=5), count(referrer="a.example", clicks=3), count(day="2026-03-01", clicks=4), count(code="other")]
    assert [*await store.apply({"b1": batch})] == ["b1"]
    assert [*await store.apply({"b2": [count(clicks=10)]})] == ["b2"]
    assert await store.stats("abc", 7, TODAY) == ClickStats(19, 5, {"2026-03-01": 4, TODAY: 15}, {"": 16, "a.example": 3})
    assert (await store.stats("abc", 1, TODAY)).clicks == 15
    assert (await store.stats("other", 7, TODAY)).clicks == 1


async def days_outside_the_window_are_left_out(store: ClickStore, clock: StoreClock) -> None:
    days = ["2026-02-28", "2026-03-01", TODAY, "2026-03-03"]
    await store.apply({"b": [count(day=day) for day in days]})
    assert (await store.stats("abc", 2, TODAY)).by_day == {"2026-03-01": 1, TODAY: 1}
    assert (await store.stats("abc", 3, TODAY)).clicks == 3  # over the end of February


async def the_twenty_referrers_with_most_clicks_are_named(store: ClickStore, clock: StoreClock) -> None:
    await store.apply({"b": [count(referrer=f"r{number}.example", clicks=number) for number in range(1, 31)]})
    stats = await store.stats("abc", 1, TODAY)
    assert list(stats.by_referrer.items()) == [(f"r{number}.example", number) for number in range(30, 10, -1)]
    assert stats.clicks == sum(range(1, 31))


async def a_batch_applied_again_counts_once(store: ClickStore, clock: StoreClock) -> None:
    batches = {"b1": [count(clicks=2)], "b2": [count(clicks=3)]}
    assert sorted(await store.apply(batches)) == ["b1", "b2"]
    assert [*await store.apply(batches)] == []
    assert [*await store.apply({"b2": [count(clicks=3)], "b3": [count(clicks=4)]})] == ["b3"]
    assert (await store.stats("abc", 1, TODAY)).clicks == 9


async def one_batch_applied_by_many_at_once_counts_once(store: ClickStore, clock: StoreClock) -> None:
    applied = await asyncio.gather(*(store.apply({"same": [count()], f"own-{number}": [count()]}) for number in range(20)))
    assert sum("same" in new for new in applied) == 1
    assert (await store.stats("abc", 1, TODAY)).clicks == 21


async def an_empty_batch_is_remembered_like_any_other(store: ClickStore, clock: StoreClock) -> None:
    assert [*await store.apply({"empty": []})] == ["empty"]
    assert [*await store.apply({"empty": []})] == []
    assert [*await store.apply({})] == []


async def a_call_cut_short_is_made_whole_by_the_same_call_again(store: ClickStore, clock: StoreClock) -> None:
    for turn in range(8):
        batches = {f"b{turn}-{number}": [count(), count(referrer="a.example", clicks=2)] for number in range(5)}
        cut = asyncio.create_task(store.apply(batches))
        for _ in range(turn**3):
            await asyncio.sleep(0)
        cut.cancel()
        await asyncio.gather(cut, return_exceptions=True)
        await store.apply(batches)
        assert (await store.stats("abc", 1, TODAY)).clicks == 15 * (turn + 1)


async def batches_are_forgotten_by_age_and_their_counts_stay(store: ClickStore, clock: StoreClock) -> None:
    await store.apply({"old": [count()]})
    clock.now_us = 2_000
    await store.apply({"new": [count()]})
    assert await store.forget_batches(2_000) == 1
    assert (await store.stats("abc", 1, TODAY)).clicks == 2
    assert [*await store.apply({"new": [count()]})] == []


async def batches_are_remembered_whatever_is_told_to_be_forgotten(store: ClickStore, clock: StoreClock) -> None:
    await store.apply({"old": [count()]})
    clock.now_us = 2_000
    assert await store.forget_batches(2_000) == 0
    assert [*await store.apply({"old": [count()]})] == []
    assert (await store.stats("abc", 1, TODAY)).clicks == 1


FORGETS_WHEN_TOLD: dict[str, Check] = {
    "batches_are_forgotten_by_age_and_their_counts_stay": batches_are_forgotten_by_age_and_their_counts_stay
}
FORGETS_BY_ITSELF: dict[str, Check] = {
    "batches_are_remembered_whatever_is_told_to_be_forgotten": batches_are_remembered_whatever_is_told_to_be_forgotten
}
CLICK_STORE_CONTRACT: dict[str, Check] = {
    check.__name__: check
    for check in (
        a_code_without_clicks_has_none,
        counts_add_up_by_day_and_by_referrer,
        days_outside_the_window_are_left_out,
        the_twenty_referrers_with_most_clicks_are_named,
        a_batch_applied_again_counts_once,
        one_batch_applied_by_many_at_once_counts_once,
        an_empty_batch_is_remembered_like_any_other,
        a_call_cut_short_is_made_whole_by_the_same_call_again,
    )
}

_counts = st.builds(
    ClickCount,
    code=st.sampled_from(["abc", "ABC"]),
    day=st.sampled_from(["2026-02-27", "2026-02-28", "2026-03-01", TODAY, "2026-03-03"]),
    referrer=st.sampled_from(["", "a.example"]),
    clicks=st.integers(0, 5),
    bots=st.integers(0, 5),
)
_batches = st.dictionaries(st.sampled_from(["b1", "b2", "b3", "b4"]), st.lists(_counts, max_size=4), max_size=3)
HISTORIES = st.lists(st.tuples(_batches, st.sampled_from(["apply", "forget"]), st.integers(0, 3)), max_size=20)


async def replayed(
    store: ClickStore, clock: StoreClock, history: Sequence[tuple[Mapping[str, Sequence[ClickCount]], str, int]]
) -> list[Any]:
    """What the store answers to each step."""
    answers: list[Any] = []
    for batches, verb, passes_us in history:
        clock.now_us += passes_us
        if verb == "forget":
            answers.append(await store.forget_batches(clock.now_us - 2))
        else:
            answers.append(sorted(await store.apply(batches)))
        answers.append([await store.stats(code, 3, TODAY) for code in ("abc", "ABC")])
    return answers
