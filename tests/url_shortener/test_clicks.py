from __future__ import annotations

import datetime as dt
import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.url_shortener.clicks import (
    Click,
    ClickBatch,
    Visit,
    clicks_of,
    counted,
    day_of,
    decode_batch,
    encode_batch,
    is_bot,
    last_days,
    merged,
    referrer_host,
    summed,
    visitor_hash,
    visitors,
)

SECRET = b"s" * 32
NOON_S = 1_800_014_400.0  # 2027-01-15 12:00 UTC

clicks = st.builds(
    Click,
    code=st.sampled_from(["abc", "ABC", "x-y_z"]),
    at_s=st.integers(1_700_000_000, 1_700_400_000),
    referrer=st.sampled_from(["", "a.example", "b.example"]),
    visitor=st.sampled_from(["v1", "v2", "v3"]),
    bot=st.booleans(),
    times=st.integers(1, 5),
)


@given(st.lists(clicks, max_size=20), st.lists(st.text(st.characters(codec="ascii"), max_size=5), max_size=3))
def test_a_batch_survives_its_journey(some: list[Click], traces: list[str]) -> None:
    assert decode_batch(encode_batch(ClickBatch("id", some, traces))) == ClickBatch("id", some, traces)


visits = st.dictionaries(
    st.tuples(
        st.sampled_from(["abc", "x-y_z"]),
        st.sampled_from([b"", b"https://a.example/x", b"https://a.example/y"]),
        st.sampled_from(["", "203.0.113.7", "203.0.113.8"]),
        st.sampled_from([b"", b"Mozilla/5.0"]),
    ),
    st.integers(1, 9),
    max_size=12,
)


@given(visits)
def test_visits_combined_at_the_replica_are_counted_as_if_each_had_been_sent(some: dict[Visit, int]) -> None:
    combined = clicks_of(some, NOON_S, SECRET)
    one_by_one = [click for visit, times in some.items() for click in clicks_of({visit: 1}, NOON_S, SECRET) * times]
    assert ClickBatch("id", combined).total == len(one_by_one) == sum(some.values())
    assert sorted(counted(combined), key=repr) == sorted(counted(one_by_one), key=repr)
    assert visitors(combined) == visitors(one_by_one)


@given(st.binary(max_size=50))
def test_what_is_no_batch_is_refused_with_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_batch(body)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        {},
        {"id": "a", "from_s": 0, "who": [], "traces": []},
        {"id": "a", "from_s": 0, "who": [], "clicks": [], "traces": None},
        {"id": "a", "from_s": 0, "who": [], "clicks": 5, "traces": []},
        {"id": "a", "from_s": "soon", "who": [], "clicks": [], "traces": []},
        {"id": "a", "from_s": 0, "who": [["", "v"]], "clicks": [], "traces": []},
        {"id": "a", "from_s": 0, "who": [["", "v", False]], "clicks": [["abc", 1, 0]], "traces": []},
        {"id": "a", "from_s": 0, "who": [["", "v", False]], "clicks": [["abc", 1, 1, 1]], "traces": []},
        {"id": "a", "from_s": 0, "who": [["", "v", False]], "clicks": [["abc", "soon", 0, 1]], "traces": []},
        {"id": "a", "from_s": 0, "who": [], "clicks": [None], "traces": []},
    ],
)
def test_json_that_is_no_batch_is_refused_with_a_value_error(document: object) -> None:
    with pytest.raises(ValueError, match="not a click batch"):
        decode_batch(orjson.dumps(document))


@given(st.lists(clicks, max_size=40))
def test_counting_keeps_every_click_and_tells_robots_apart(some: list[Click]) -> None:
    counts = counted(some)
    assert sum(count.clicks for count in counts) == sum(click.times for click in some if not click.bot)
    assert sum(count.bots for count in counts) == sum(click.times for click in some if click.bot)
    places = [(count.code, count.day, count.referrer) for count in counts]
    assert len({*places}) == len(places)
    assert {*places} == {(click.code, day_of(click.at_s), click.referrer) for click in some}


@given(st.lists(clicks, max_size=30), st.integers(0, 30))
def test_counts_of_two_batches_add_up_to_the_counts_of_both(some: list[Click], cut: int) -> None:
    assert merged(counted(some[:cut]) + counted(some[cut:])) == merged(counted(some))


@given(st.lists(clicks, max_size=30))
def test_a_visitor_is_named_once_per_code_and_day_and_no_robot_is(some: list[Click]) -> None:
    named = visitors(some)
    people = [click for click in some if not click.bot]
    assert {(code, day, hash) for (code, day), hashes in named.items() for hash in hashes} == {
        (click.code, day_of(click.at_s), click.visitor) for click in people
    }
    assert all(len({*hashes}) == len(hashes) for hashes in named.values())


def test_the_click_that_leaves_the_replica_holds_neither_address_nor_browser() -> None:
    visit = ("abc", b"https://a.example/private?q=1", "203.0.113.77", b"Mozilla/5.0 Unusual")
    (click,) = clicks_of({visit: 3}, NOON_S + 0.9, SECRET)
    assert (click.code, click.at_s, click.referrer, click.bot, click.times) == ("abc", int(NOON_S), "a.example", False, 3)
    sent = encode_batch(ClickBatch("id", [click]))
    for private in (b"203.0.113.77", b"Unusual", b"private"):
        assert private not in sent


def test_a_visitor_is_the_same_within_a_day_and_another_on_the_next_or_without_the_secret() -> None:
    known = visitor_hash(SECRET, 20_000, "203.0.113.7", b"Mozilla/5.0")
    assert known == visitor_hash(SECRET, 20_000, "203.0.113.7", b"Mozilla/5.0")
    others = [
        visitor_hash(SECRET, 20_001, "203.0.113.7", b"Mozilla/5.0"),
        visitor_hash(b"x" * 32, 20_000, "203.0.113.7", b"Mozilla/5.0"),
        visitor_hash(SECRET, 20_000, "203.0.113.8", b"Mozilla/5.0"),
        visitor_hash(SECRET, 20_000, "203.0.113.7", b"Mozilla/6.0"),
    ]
    assert len({known, *others}) == 5


@pytest.mark.parametrize(
    ("header", "host"),
    [
        (b"", ""),
        (b"https://A.example:8080/page?q", "a.example"),
        (b"android-app://com.example", ""),
        (b"https://[bad", ""),
        (b"\xff\xfe", ""),
        (b"https://user:secret@a.example/", "a.example"),
        (b"https://" + b"a" * 500, "a" * 128),
        (b"not a url", ""),
    ],
)
def test_of_a_referrer_only_the_host_is_kept(header: bytes, host: str) -> None:
    assert referrer_host(header) == host


@pytest.mark.parametrize(
    ("user_agent", "bot"),
    [(b"", True), (b"Googlebot/2.1", True), (b"curl/8.0", True), (b"\xff crawler", True), (b"Mozilla/5.0 (X11)", False)],
)
def test_who_says_to_be_a_robot_or_nothing_is_one(user_agent: bytes, bot: bool) -> None:
    assert is_bot(user_agent) is bot


@given(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2200, 1, 1)))
def test_the_day_of_a_time_is_its_day_in_utc(time: dt.datetime) -> None:
    assert day_of(time.replace(tzinfo=dt.UTC).timestamp()) == time.date().isoformat()


@given(st.integers(1, 90), st.dates(dt.date(2000, 1, 1)))
def test_the_last_days_end_today_and_have_no_gap(days: int, today: dt.date) -> None:
    named = last_days(days, today.isoformat())
    assert len(named) == days
    assert named[-1] == today.isoformat()
    assert all(
        dt.date.fromisoformat(later) - dt.date.fromisoformat(earlier) == dt.timedelta(days=1)
        for earlier, later in itertools.pairwise(named)
    )


def test_stats_name_days_in_order_and_referrers_by_clicks() -> None:
    rows = [("2026-03-02", "b.example", 1, 0), ("2026-03-01", "a.example", 5, 2), ("2026-02-01", "old.example", 9, 9)]
    stats = summed(rows, 7, "2026-03-02")
    assert (stats.clicks, stats.bots) == (6, 2)
    assert list(stats.by_day.items()) == [("2026-03-01", 5), ("2026-03-02", 1)]
    assert list(stats.by_referrer) == ["a.example", "b.example"]
