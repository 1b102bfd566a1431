"""The estimate against the arithmetic that circulates, recomputed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.url_shortener.capacity import PRESETS, Estimate, code_space, colliding_pairs, estimate
from loadtests.url_shortener.mixes import MIXES


def preset(name: str) -> Estimate:
    assumptions: dict[str, Any] = dict(PRESETS[name])
    return estimate(**assumptions)


def test_the_primer_asks_four_writes_and_39_reads_a_second_and_fills_457_gb_in_three_years() -> None:
    primer = preset("system-design-primer")
    assert round(primer.writes_per_s, 1) == 3.9
    assert round(primer.reads_per_s, 1) == 38.6
    assert primer.storage_bytes_per_month == pytest.approx(12.7e9)
    assert primer.links_total == pytest.approx(360e6)
    assert primer.storage_bytes == pytest.approx(457e9, rel=1e-3)


def test_a_hundred_million_a_month_at_a_hundred_to_one_is_39_writes_3858_reads_and_six_terabytes() -> None:
    answer = estimate(links_per_month=100e6, reads_per_write=100, bytes_per_link=500, years=10, cache_share=0.2)
    assert round(answer.writes_per_s, 1) == 38.6
    assert round(answer.reads_per_s) == 3_858
    assert answer.links_total == pytest.approx(12e9)
    assert answer.storage_bytes == pytest.approx(6e12)
    assert answer.reads_per_day == pytest.approx(333e6, rel=2e-3)
    assert answer.day_of_reads_bytes == pytest.approx(167e9, rel=2e-3)
    assert answer.cache_bytes == pytest.approx(33e9, rel=2e-2)


def test_the_interview_classic_needs_more_links_than_six_characters_have_codes() -> None:
    classic = preset("interview classic")
    assert (round(classic.writes_per_s), round(classic.reads_per_s)) == (1_157, 11_574)
    assert classic.links_total == pytest.approx(365e9)
    assert classic.storage_bytes == pytest.approx(36.5e12)
    assert classic.code_space_share > 1
    assert classic.guess_hit_ratio == 1


def test_the_interview_classic_asks_twelve_times_the_writes_of_the_real_leader() -> None:
    reality = preset("public reality")
    assert (round(reality.writes_per_s), round(reality.reads_per_s)) == (99, 3_819)
    assert round(preset("interview classic").writes_per_s / reality.writes_per_s) == 12


def test_our_preset_is_the_load_of_the_mixed_workload() -> None:
    ours, mixed = preset("ours"), MIXES["mixed"]
    assert ours.writes_per_s == pytest.approx(mixed.rate_per_s * mixed.ratios["create"])
    assert ours.reads_per_s == pytest.approx(mixed.rate_per_s * mixed.ratios["redirect"])


def test_code_spaces_are_as_large_as_the_table_says() -> None:
    assert code_space(6) == pytest.approx(5.68e10, rel=1e-3)
    assert code_space(7) == pytest.approx(3.52e12, rel=1e-3)
    assert code_space(8) == pytest.approx(2.18e14, rel=3e-3)
    assert code_space(7, symbols=36) == pytest.approx(7.84e10, rel=1e-3)
    assert code_space(8, symbols=36) == pytest.approx(2.82e12, rel=1e-3)


@pytest.mark.parametrize(("links", "pairs"), [(1e6, 0.14), (10e6, 14), (360e6, 18_401), (1e9, 141_980)])
def test_random_codes_collide_as_the_birthday_formula_says(links: float, pairs: float) -> None:
    assert colliding_pairs(links, 7) == pytest.approx(pairs, rel=2e-2 if pairs < 100 else 1e-4)


@pytest.mark.parametrize(("length", "hits"), [(6, 0.018), (7, 2.8e-4), (8, 4.6e-6)])
def test_a_blind_guess_at_a_billion_links_hits_as_often_as_the_table_says(length: int, hits: float) -> None:
    billion = estimate(links_per_month=1e9, years=1 / 12, code_length=length)
    assert billion.links_total == pytest.approx(1e9)
    assert billion.guess_hit_ratio == pytest.approx(hits, rel=3e-2)


def test_a_pool_of_all_six_character_codes_takes_341_gb() -> None:
    assert estimate(code_length=6).key_pool_bytes == pytest.approx(341e9, rel=1e-3)


def test_servers_follow_from_the_measured_cpu_per_request_and_one_is_spare() -> None:
    busy = estimate(
        links_per_month=2_592_000,
        reads_per_write=1_000,
        peak_factor=2,
        cpu_us_per_read=500,
        cpu_us_per_write=0,
        cores_per_server=1,
        cpu_busy_share=0.5,
    )
    assert busy.peak_cores == pytest.approx(1.0)
    assert busy.servers == 2 + 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("links_per_month", 0),
        ("links_per_month", math.nan),
        ("reads_per_write", -1),
        ("bytes_per_link", math.inf),
        ("years", 0),
        ("code_length", 0),
        ("code_length", 6.5),
        ("cache_share", 1.1),
        ("peak_factor", 0.5),
        ("days_per_year", 30),
        ("cpu_us_per_read", -1),
        ("cores_per_server", 0),
        ("cpu_busy_share", 0),
    ],
)
def test_an_assumption_that_cannot_be_is_refused_by_name(name: str, value: float) -> None:
    assumptions: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        estimate(**assumptions)


@given(
    links=st.floats(1, 1e12),
    ratio=st.floats(0, 1e4),
    years=st.floats(0.1, 100),
    length=st.integers(4, 12),
    share=st.floats(0, 1),
)
def test_twice_the_links_are_twice_the_rates_and_the_storage_and_nothing_is_negative(
    links: float, ratio: float, years: float, length: int, share: float
) -> None:
    one = estimate(links_per_month=links, reads_per_write=ratio, years=years, code_length=length, cache_share=share)
    two = estimate(links_per_month=2 * links, reads_per_write=ratio, years=years, code_length=length, cache_share=share)
    assert two.reads_per_s == pytest.approx(2 * one.reads_per_s)
    assert two.storage_bytes == pytest.approx(2 * one.storage_bytes)
    assert two.code_space_share == pytest.approx(2 * one.code_space_share)
    assert two.servers >= one.servers >= 1
    assert min(one.colliding_pairs, one.cache_bytes, one.peak_cores, one.guess_hit_ratio) >= 0
    assert one.cache_bytes <= one.day_of_reads_bytes


def test_the_table_prints_numbers_for_people() -> None:
    table = {row.figure: row.value for row in preset("interview classic").rows()}
    assert table["writes"] == "1,157 /s"
    assert table["links"] == "365 bn"
    assert table["storage"] == "36.5 TB"
    assert table["codes"] == "56.8 bn"
