"""The mixes as a declaration: every knob has one that shows it, the page is made from them, and the service accepts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import loadtests.url_shortener
from designs.building_blocks.knobs import KnobError, build, knob_table
from designs.url_shortener.knobs import ShortenerKnobs
from loadtests.arrivals import make_plan
from loadtests.url_shortener.counters import COUNTERS
from loadtests.url_shortener.mixes import CARD, DEFAULT_MIX, MIXES, OPS, popularity, workloads_page
from loadtests.workload import Mix

MEASURED = {  # figures of the measuring itself
    "cpu_us_per_request",
    "cpu_us_per_request_service",
    "cpu_us_per_request_store",
    "cpu_us_per_request_worker",
    "latency_p50_ms",
    "latency_p99_ms",
    "rss_mb",
    "failed_per_100",
    "cache_hit_ratio",
}


def test_every_knob_has_a_mix_that_shows_it_and_a_card() -> None:
    assert set(DEFAULT_MIX) == {*ShortenerKnobs.model_fields, ""}
    assert set(CARD) == {*ShortenerKnobs.model_fields, ""}
    assert set(DEFAULT_MIX.values()) <= set(MIXES)


def test_every_card_names_figures_that_exist_and_none_twice() -> None:
    for figures in CARD.values():
        assert set(figures) <= MEASURED | set(COUNTERS)
        assert len(set(figures)) == len(figures)


@pytest.mark.parametrize("mix", MIXES.values(), ids=lambda mix: mix.name)
def test_a_mix_is_a_whole_of_known_requests_and_makes_a_plan(mix: Mix) -> None:
    assert sum(mix.ratios.values()) == pytest.approx(1)
    assert set(mix.ratios) <= set(OPS)
    plan = make_plan(mix, mix.rate_per_s, 1.0, seed=7)
    assert set(plan.ops) == set(mix.ratios)
    assert max(plan.keys) < mix.keys


def test_every_request_there_is_appears_in_some_mix() -> None:
    assert {op for mix in MIXES.values() for op in mix.ratios} == set(OPS)


def test_the_service_can_run_each_alternative_of_a_knob_under_the_mix_that_shows_it() -> None:
    """A refusal is fine where the knobs say so with any mix; the mix itself must not be why."""
    for row in knob_table(ShortenerKnobs):
        for choice in row.choices:
            values: dict[str, Any] = {**MIXES[DEFAULT_MIX[row.name]].knobs, row.name: choice}
            build(ShortenerKnobs, values)


def test_each_mix_lifts_the_limit_on_misses_since_all_load_comes_from_one_address() -> None:
    assert all(mix.knobs["misses_per_minute"] == "0" for mix in MIXES.values())


def test_a_mix_with_a_knob_the_service_does_not_have_would_be_refused() -> None:
    with pytest.raises(KnobError):
        build(ShortenerKnobs, {**MIXES["expiring"].knobs, "cache_time": "1"})


def test_the_expiring_mix_lets_hot_entries_die_often_and_keeps_them_hot() -> None:
    mix = MIXES["expiring"]
    knobs = build(ShortenerKnobs, mix.knobs)
    requests_per_life = mix.rate_per_s * min(knobs.cache_ttl_s, knobs.staleness_s) / mix.keys
    assert knobs.cache_ttl_s <= 1
    assert requests_per_life > 10


def test_the_page_is_made_from_the_mixes() -> None:
    page = Path(loadtests.url_shortener.__file__).with_name("WORKLOADS.md").read_text()
    assert page == workloads_page()


def test_the_page_has_a_section_for_each_mix_and_names_each_knob_once() -> None:
    page = workloads_page()
    shown = [line for line in page.splitlines() if line.startswith("- Shows:")]
    for name in MIXES:
        assert f"\n## {name}\n" in page
    for knob in ShortenerKnobs.model_fields:
        assert sum(f"`{knob}`" in line for line in shown) == 1


def test_popularity_in_words_is_the_share_of_the_first_rank() -> None:
    even = Mix("even", "", {"redirect": 1.0}, keys=10, zipf_s=0.0, rate_per_s=1.0)
    assert popularity(even) == "all equally popular"
    one = Mix("one", "", {"redirect": 1.0}, keys=1, zipf_s=0.0, rate_per_s=1.0)
    assert popularity(one) == "in every request"
    two = Mix("two", "", {"redirect": 1.0}, keys=2, zipf_s=1.0, rate_per_s=1.0)
    assert popularity(two) == "Zipf with s = 1: the most popular one gets 67 % of the requests"
