"""The mixes of every design as a declaration: every knob has one that shows it, and the page is made from them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from loadtests.generator.arrivals import make_plan
from loadtests.workload import Mix
from loadtests.workloads_page import popularity
from workbench.catalogue import DESIGNS

MEASURED = {  # figures of the measuring itself
    "cpu_us_per_request",
    "cpu_us_per_request_service",
    "cpu_us_per_request_store",
    "cpu_us_per_request_collector",
    "latency_p50_ms",
    "latency_p99_ms",
    "rss_mb",
    "failed_per_100",
}
MEASURED_OF: Mapping[str, set[str]] = {
    "url_shortener": {"cpu_us_per_request_broker", "cpu_us_per_request_worker", "cache_hit_ratio"},
}


def of(design: str) -> ModuleType:
    """The declaration."""
    return importlib.import_module(f"loadtests.{design}.mixes")


def knobs_of(design: str) -> set[str]:
    return set(DESIGNS[design].processes().KNOBS.model_fields)


def ops_of(mix: Mix) -> set[str]:
    return {*mix.ratios, *(op for op, _ in mix.then.values())}


@pytest.mark.parametrize("design", DESIGNS)
def test_every_knob_has_a_mix_that_shows_it_and_a_card(design: str) -> None:
    assert set(of(design).DEFAULT_MIX) == {*knobs_of(design), ""}
    assert set(of(design).CARD) == {*knobs_of(design), ""}
    assert set(of(design).DEFAULT_MIX.values()) <= set(of(design).MIXES)


@pytest.mark.parametrize("design", DESIGNS)
def test_every_card_names_figures_that_exist_and_none_twice(design: str) -> None:
    counters = importlib.import_module(f"loadtests.{design}.counters").COUNTERS
    for figures in of(design).CARD.values():
        assert set(figures) <= MEASURED | MEASURED_OF.get(design, set()) | set(counters)
        assert len(set(figures)) == len(figures)


@pytest.mark.parametrize(("design", "name"), [(design, name) for design in DESIGNS for name in of(design).MIXES])
def test_a_mix_is_a_whole_of_known_requests_and_makes_a_plan(design: str, name: str) -> None:
    mix = of(design).MIXES[name]
    assert mix.name == name
    assert sum(mix.ratios.values()) == pytest.approx(1)
    assert ops_of(mix) <= set(of(design).OPS)
    plan = make_plan(mix, mix.rate_per_s, 1.0, seed=7)
    assert set(plan.ops) == ops_of(mix)
    assert max(plan.keys) < mix.keys


@pytest.mark.parametrize("design", DESIGNS)
def test_every_request_there_is_appears_in_some_mix(design: str) -> None:
    assert {op for mix in of(design).MIXES.values() for op in ops_of(mix)} == set(of(design).OPS)


@pytest.mark.parametrize("design", DESIGNS)
def test_the_page_is_made_from_the_mixes(design: str) -> None:
    page = Path(str(of(design).__file__)).with_name("WORKLOADS.md").read_text()
    assert page == of(design).workloads_page()


@pytest.mark.parametrize("design", DESIGNS)
def test_the_page_has_a_section_for_each_mix_and_names_each_knob_once(design: str) -> None:
    page = of(design).workloads_page()
    shown = [line for line in page.splitlines() if line.startswith("- Shows:")]
    for name in of(design).MIXES:
        assert f"\n## {name}\n" in page
    for knob in knobs_of(design):
        assert sum(f"`{knob}`" in line for line in shown) == 1


def test_popularity_in_words_is_the_share_of_the_first_rank() -> None:
    even = Mix("even", "", {"redirect": 1.0}, keys=10, zipf_s=0.0, rate_per_s=1.0)
    assert popularity(even) == "all equally popular"
    one = Mix("one", "", {"redirect": 1.0}, keys=1, zipf_s=0.0, rate_per_s=1.0)
    assert popularity(one) == "in every request"
    two = Mix("two", "", {"redirect": 1.0}, keys=2, zipf_s=1.0, rate_per_s=1.0)
    assert popularity(two) == "Zipf with s = 1: the most popular one gets 67 % of the requests"
