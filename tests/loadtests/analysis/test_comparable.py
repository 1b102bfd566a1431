"""Which two runs may be laid side by side, and that every reason against it is told."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.analysis.comparable import differences, reasons, series
from loadtests.result import Result
from tests.loadtests.sample_result import sample_result

FIRST = sample_result()


def with_manifest(**update: Any) -> Result:
    return FIRST.model_copy(update={"manifest": FIRST.manifest.model_copy(update=update)})


def on_machine(**update: str) -> Result:
    return with_manifest(machine={**FIRST.manifest.machine, **update})


def test_a_run_may_be_compared_with_itself_and_differs_in_nothing() -> None:
    assert reasons(FIRST, FIRST) == []
    assert differences(FIRST, FIRST) == []


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (FIRST.model_copy(update={"schema_version": 1}), "the second run is schema 1, this version reads 2"),
        (with_manifest(design="job_queue"), "the design differs (url_shortener and job_queue)"),
        (with_manifest(knob="ids"), "the knob differs"),
        (with_manifest(mix="mixed"), "the mix differs"),
        (with_manifest(mix_description="Others do other things"), "the mix differs"),
        (with_manifest(rate_per_s=300.1), "the rate differs (300/s and 300.1/s)"),
        (with_manifest(round_s=1.5), "the round differs (2 s and 1.5 s)"),
        (with_manifest(seed=43), "the seed differs (42 and 43)"),
        (with_manifest(plan_hash="ab" * 32), "the plan differs"),
        (with_manifest(margin=0.1), "the margin differs (5 % and 10 %)"),
        (with_manifest(primary_figure="rss_mb"), "the primary figure differs"),
        (on_machine(cpu="Another"), "the processor differs (AMD EPYC and Another)"),
        (on_machine(cpus="4"), "the number of CPUs differs (2 and 4)"),
        (on_machine(memory="16 GB"), "memory differs (8 GB and 16 GB)"),
        (on_machine(kernel="Linux 5.4"), "the kernel differs (Linux 6.18 and Linux 5.4)"),
        (with_manifest(versions={"python": "3.12.1"}), "Python differs (3.11 and 3.12)"),
        (with_manifest(pinning="unpinned: one CPU"), "the pinning differs (pinned and unpinned)"),
        (with_manifest(blocks_planned=11), "the second run is too noisy: 10 of 11 blocks counted"),
        (with_manifest(experiment_hash="another"), "the experiment differs in something else"),
        (sample_result(unsafe=True), "the second run is not safe"),
        (sample_result(("cache=none", "cache=off")), "what is compared differs"),
    ],
)
def test_what_makes_two_runs_different_experiments_is_refused(second: Result, reason: str) -> None:
    told = reasons(FIRST, second)
    assert any(reason in each for each in told), told
    assert reasons(second, FIRST)


def test_all_reasons_are_told_at_once() -> None:
    told = reasons(FIRST, with_manifest(seed=1, rate_per_s=10.0, pinning="unpinned"))
    assert [each.split(" differs")[0] for each in told] == ["the rate", "the seed", "the pinning"]


def test_a_knob_that_both_sides_share_must_not_have_moved_between_the_runs() -> None:
    variants = [variant.model_copy(update={"knobs": {**variant.knobs, "store": "sqlite"}}) for variant in FIRST.variants]
    told = reasons(FIRST, FIRST.model_copy(update={"variants": variants}))
    assert told == [f"{variant.name} has other knobs (store redis and sqlite)" for variant in FIRST.variants]


def test_a_knob_that_did_not_exist_before_is_no_other_experiment() -> None:
    variants = [variant.model_copy(update={"knobs": {**variant.knobs, "new": "on"}}) for variant in FIRST.variants]
    assert reasons(FIRST, FIRST.model_copy(update={"variants": variants})) == []


@pytest.mark.parametrize(
    "second",
    [
        with_manifest(commit="another", dirty=True),
        with_manifest(versions={**FIRST.manifest.versions, "python": "3.11.9", "fastapi": "0.166.0"}),
        on_machine(kernel="Linux 6.18.9", memory="8.2 GB"),
        with_manifest(pinning="services and stores on CPU 2, generator on CPU 3"),
        sample_result(blocks=12),
    ],
)
def test_what_runs_are_compared_for_is_listed_and_not_refused(second: Result) -> None:
    assert reasons(FIRST, second) == []
    assert differences(FIRST, second)


def test_the_change_that_is_being_judged_is_named() -> None:
    versions = {**FIRST.manifest.versions, "fastapi": "0.166.0"}
    told = differences(FIRST, with_manifest(commit="another", dirty=True, versions=versions))
    assert told == ["commit: 0f3c2ab97d1e5b64, then another with uncommitted changes", "fastapi: 0.165.0, then 0.166.0"]


def test_more_blocks_change_the_experiment_but_not_what_is_measured() -> None:
    manifest = sample_result(blocks=12).manifest.model_copy(update={"experiment_hash": "another"})
    assert reasons(FIRST, sample_result(blocks=12).model_copy(update={"manifest": manifest})) == []


def test_a_compact_record_says_in_its_noise_floor_how_many_blocks_counted() -> None:
    compact = FIRST.model_copy(update={"blocks": []})
    assert reasons(FIRST, compact) == []
    few = compact.model_copy(update={"noise_floor": compact.noise_floor.model_copy(update={"blocks": 7})})
    assert reasons(FIRST, few) == ["the second run is too noisy: 7 of 10 blocks counted"]


@pytest.mark.parametrize(
    ("version", "said"), [("CPython 3.11.7", "CPython 3.11"), ("Linux 6.18.5-x", "Linux 6.18"), ("unknown", "unknown"), ("7", "7")]
)
def test_a_version_is_told_by_its_first_two_numbers(version: str, said: str) -> None:
    assert series(version) == said
