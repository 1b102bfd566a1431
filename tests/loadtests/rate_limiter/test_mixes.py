"""The mixes as a declaration: every knob has one that shows it, the page is made from them, and the service accepts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import loadtests.rate_limiter
from designs.building_blocks.knobs import KnobError, build, knob_table
from designs.rate_limiter.knobs import LimiterKnobs
from designs.rate_limiter.processes import processes
from loadtests.faults.kinds import KINDS
from loadtests.faults.pattern import FaultPattern, targets_of
from loadtests.generator.arrivals import make_plan
from loadtests.rate_limiter.counters import COUNTERS
from loadtests.rate_limiter.faults import MENU
from loadtests.rate_limiter.mixes import CARD, DEFAULT_MIX, MIXES, OPS, SLOT_OPS, UNIT_OPS, workloads_page
from loadtests.rate_limiter.swarm import LEFT_ALONE, LEFT_OUT, VARIED
from loadtests.workload import Mix
from workbench.soak import drawn_knobs

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


def ops_of(mix: Mix) -> set[str]:
    return {*mix.ratios, *(op for op, _ in mix.then.values())}


def test_every_knob_has_a_mix_that_shows_it_and_a_card() -> None:
    assert set(DEFAULT_MIX) == {*LimiterKnobs.model_fields, ""}
    assert set(CARD) == {*LimiterKnobs.model_fields, ""}
    assert set(DEFAULT_MIX.values()) <= set(MIXES)


def test_every_card_names_figures_that_exist_and_none_twice() -> None:
    for figures in CARD.values():
        assert set(figures) <= MEASURED | set(COUNTERS)
        assert len(set(figures)) == len(figures)


@pytest.mark.parametrize("mix", MIXES.values(), ids=lambda mix: mix.name)
def test_a_mix_is_a_whole_of_known_requests_and_makes_a_plan(mix: Mix) -> None:
    assert sum(mix.ratios.values()) == pytest.approx(1)
    assert ops_of(mix) <= set(OPS)
    assert ops_of(mix) & (UNIT_OPS | SLOT_OPS)
    plan = make_plan(mix, mix.rate_per_s, 1.0, seed=7)
    assert set(plan.ops) == ops_of(mix)
    assert max(plan.keys) < mix.keys


def test_every_request_there_is_appears_in_some_mix() -> None:
    assert {op for mix in MIXES.values() for op in ops_of(mix)} == set(OPS)


def test_the_service_can_run_each_alternative_of_a_knob_under_the_mix_that_shows_it() -> None:
    """A refusal is fine where the knobs say so with any mix; the mix itself must not be why."""
    for row in knob_table(LimiterKnobs):
        for choice in row.choices:
            values: dict[str, Any] = {row.name: choice}
            try:
                build(LimiterKnobs, values)
            except KnobError:
                continue
            build(LimiterKnobs, {**MIXES[DEFAULT_MIX[row.name]].knobs, **values})


def test_the_page_is_made_from_the_mixes() -> None:
    page = Path(loadtests.rate_limiter.__file__).with_name("WORKLOADS.md").read_text()
    assert page == workloads_page()


def test_the_page_has_a_section_for_each_mix_and_names_each_knob_once() -> None:
    page = workloads_page()
    shown = [line for line in page.splitlines() if line.startswith("- Shows:")]
    for name in MIXES:
        assert f"\n## {name}\n" in page
    for knob in LimiterKnobs.model_fields:
        assert sum(f"`{knob}`" in line for line in shown) == 1


# -- what may go wrong, and what a soak turns


@pytest.fixture
def nodes(tmp_path: Path) -> list[str]:
    specs = processes(LimiterKnobs(), data_dir=tmp_path, ports=lambda: 1, servers={}, replicas=2, env={})
    return [*(spec.name for spec in specs), "redis"]


@pytest.mark.parametrize("pattern", MENU, ids=lambda pattern: f"{pattern.kind} of {pattern.target}")
def test_each_fault_of_the_menu_finds_what_it_strikes(pattern: FaultPattern, nodes: list[str]) -> None:
    assert targets_of(pattern, nodes)


def test_every_kind_of_fault_is_on_the_menu() -> None:
    assert {pattern.kind for pattern in MENU} == set(KINDS)


def test_every_knob_is_turned_by_a_soak_or_left_alone_for_a_reason() -> None:
    assert {*VARIED, *LEFT_ALONE} == set(LimiterKnobs.model_fields)
    assert not set(VARIED) & set(LEFT_ALONE)
    for row in knob_table(LimiterKnobs):
        if row.closed and row.name in VARIED:
            assert {*VARIED[row.name], *LEFT_OUT.get(row.name, ())} == set(row.choices), row.name


def test_what_a_soak_draws_is_always_possible_and_turns_everything_sooner_or_later() -> None:
    drawn = [drawn_knobs(LimiterKnobs, VARIED, seed) for seed in range(300)]
    for turned in drawn:
        build(LimiterKnobs, turned)
    assert {(name, value) for turned in drawn for name, value in turned.items()} == {
        (name, value) for name, values in VARIED.items() for value in values
    }
