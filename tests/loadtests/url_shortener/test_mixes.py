"""The mixes as a declaration: every knob has one that shows it, the page is made from them, and the service accepts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import loadtests.url_shortener
from designs.building_blocks.knobs import KnobError, build, knob_table
from designs.url_shortener.knobs import ShortenerKnobs
from loadtests.generator.arrivals import make_plan
from loadtests.url_shortener.counters import COUNTERS
from loadtests.url_shortener.mixes import CARD, DEFAULT_MIX, MIXES, OPS, workloads_page
from loadtests.workload import Mix
from loadtests.workloads_page import popularity

MEASURED = {  # figures of the measuring itself
    "cpu_us_per_request",
    "cpu_us_per_request_service",
    "cpu_us_per_request_store",
    "cpu_us_per_request_broker",
    "cpu_us_per_request_worker",
    "cpu_us_per_request_collector",
    "latency_p50_ms",
    "latency_p99_ms",
    "rss_mb",
    "failed_per_100",
    "cache_hit_ratio",
}


def ops_of(mix: Mix) -> set[str]:
    return {*mix.ratios, *(op for op, _ in mix.then.values())}


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
    assert ops_of(mix) <= set(OPS)
    plan = make_plan(mix, mix.rate_per_s, 1.0, seed=7)
    assert set(plan.ops) == ops_of(mix)
    assert max(plan.keys) < mix.keys


def test_every_request_there_is_appears_in_some_mix() -> None:
    assert {op for mix in MIXES.values() for op in ops_of(mix)} == set(OPS)


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


def test_caches_are_warm_before_every_mix_in_which_links_are_opened_unless_cold_is_the_point() -> None:
    cold = {name for name, mix in MIXES.items() if not mix.touch}
    assert cold == {"create", "expiring", "journeys"}
    assert {mix.touch for mix in MIXES.values() if mix.touch} == {"redirect"}


def test_under_zipf_the_most_popular_links_fit_into_a_replicas_memory_and_the_others_do_not() -> None:
    """The popularity alone decides then what share of the visits the process layer can answer."""

    def share(mix: Mix) -> float:
        weights = [rank**-mix.zipf_s for rank in range(1, mix.keys + 1)]
        return sum(weights[: int(mix.knobs["cache_entries"])]) / sum(weights)

    shares = [share(MIXES[f"zipf-{zipf_s}"]) for zipf_s in (0.8, 1.0, 1.2)]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[1] < 0.8 < shares[2]


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
